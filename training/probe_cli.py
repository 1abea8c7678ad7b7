"""The commands ``probe …``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from training.provenance import recorded
from training.record_files import out_option, write_record
from training.workers import WORKERS


@click.group()
def probe() -> None:
    """Make a classifier from a trained encoder and measure it: accuracy and cost, as a line of JSON.

    Example: protozoo probe prototypes runs/scl --data cifar10
    """


def _source(command: Callable[..., None]) -> Callable[..., None]:
    """What every probe takes."""
    for option in (
        out_option("JSON file to write the record to."),
        click.option("--device", default="cpu", show_default=True, help="Torch device."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."),
        click.option("--shots", type=click.IntRange(1), help="Training images of each class; all by default."),
        click.option("--data", required=True, help="Data set, as for `protozoo train`, of any classes."),
        click.argument("model"),
    ):
        command = option(command)
    return command


def _trained(command: Callable[..., None]) -> Callable[..., None]:
    """What the probes that are trained take besides."""
    for option in (
        click.option("--weight-decay", "--weight_decay", type=float, help="0 by default."),
        click.option(
            "--milestones", callback=_numbers, metavar="E,E,...", help="Epochs after which lr falls to a fifth."
        ),
        click.option("--lr", type=float, help="Learning rate; the protocol's by default."),
        click.option("--batch-size", "--batch_size", type=int, help="Images a step; the protocol's by default."),
        click.option("--epochs", type=int, help="The protocol's by default; its milestones move in proportion."),
        click.option("--protocol", default="cifar", show_default=True, help="cifar, imagenet100 or imagenet1k."),
    ):
        command = option(command)
    return command


def _numbers(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else value.split(",")


def _augmented(command: Callable[..., None]) -> Callable[..., None]:
    """What the probes that augment take besides."""
    for option in (
        WORKERS,
        click.option(
            "--augmentation",
            type=click.Choice(["none", "crop", "crop_flip", "resized_crop"]),
            help="That of the pretraining by default, without its colours.",
        ),
    ):
        command = option(command)
    return command


@probe.command()
@_source
@click.option(
    "--features",
    type=click.Choice(["projection", "encoder", "whitened"]),
    default="projection",
    show_default=True,
    help="Unit outputs of the projection head, of the pooled encoder, or of the encoder whitened within classes.",
)
def prototypes(out: Path | None, **given: Any) -> None:
    """Take the class means of MODEL's features as fixed prototypes: one forward pass, no training.

    MODEL is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run.

    Example: protozoo probe prototypes runs/scl --data cifar10
    """
    from training.probes.record import record_prototypes

    command = _command("prototypes", **given)
    model, data = given.pop("model"), given.pop("data")
    _report(record_prototypes(model, data, command=command, **given), out)


@probe.command()
@_source
@_trained
@_augmented
def linear(out: Path | None, **given: Any) -> None:
    """Train a linear classifier with bias on MODEL's frozen encoder, augmenting the images in each epoch.

    MODEL is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run.

    Example: protozoo probe linear runs/scl --data cifar10 --device cuda
    """
    _report(_record("linear", **given), out)


@probe.command()
@_source
@_trained
@_augmented
@click.option("--temperature", type=float, help="Cosines are divided by it; 0.2 by default.")
def normalized(out: Path | None, **given: Any) -> None:
    """Train a classifier by cosine without bias (NormFace) on MODEL's frozen encoder, augmenting in each epoch.

    MODEL is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run.

    Example: protozoo probe normalized runs/scl --data cifar10 --device cuda
    """
    _report(_record("normalized", **given), out)


@probe.command()
@_source
@_trained
def cached(out: Path | None, **given: Any) -> None:
    """Train a linear classifier with bias on features of MODEL's encoder computed once, without augmentation.

    MODEL is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run.

    Example: protozoo probe cached runs/scl --data cifar10
    """
    _report(_record("cached", **given), out)


def _record(
    kind: Any, model: str, data: str, device: str, protocol: str, workers: int = 0, **given: Any
) -> dict[str, Any]:
    from training.probes.record import record_trained

    command = _command(kind, model, data, protocol=protocol, **given)
    overrides = {name: value for name, value in given.items() if value is not None}
    return record_trained(
        kind, model, data, protocol=protocol, overrides=overrides, device=device, workers=workers, command=command
    )


def _command(kind: str, model: str, data: str, **given: Any) -> str:
    """What was typed, but for where it ran."""
    defaults = {"seed": 0, "protocol": "cifar", "features": "projection"}
    options = {
        name.replace("_", "-"): ",".join(value) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if name != "device" and value is not None and value != defaults.get(name)
    }
    return recorded(f"probe {kind}", model, data, "RECORD", options)


def _report(record: dict[str, Any], out: Path | None) -> None:
    # Printed first: a disk that has become full does not cost the result.
    click.echo(json.dumps(record))
    write_record(out, record)
