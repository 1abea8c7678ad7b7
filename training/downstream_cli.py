"""The command ``transfer``. Torch is imported when it runs, not when it is listed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from training.cli import DATA_HELP
from training.provenance import recorded
from training.record_files import out_option, read_record, write_record

_FILE = click.Path(path_type=Path, dir_okay=False)
_METHODS = {"linear": ("linear",), "prototypes": ("projection", "encoder", "whitened")}
_METHODS["both"] = _METHODS["linear"] + _METHODS["prototypes"]


@click.command()
@click.argument("model")
@click.option("--data", "specs", multiple=True, help=f"Again for more: 'voc2007' (multi-label), {DATA_HELP}")
@click.option("--table4", is_flag=True, help="The eight data sets of table 4 of the paper.")
@click.option("--baseline", type=_FILE, help="Record of another model by the same command, to compare with.")
@click.option("--method", type=click.Choice(list(_METHODS)), default="both", show_default=True)
@click.option("--shots", type=click.IntRange(1), help="Training images of each class; all by default.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@click.option("--protocol", default="cifar", show_default=True, help="Of the linear probe, as for `protozoo probe`.")
@click.option("--epochs", type=click.IntRange(1), help="Of the linear probe; the protocol's by default.")
@click.option("--lr", type=float, help="Learning rate of the linear probe; the protocol's by default.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@out_option("JSON file, written after each data set; the same command goes on from it.")
def transfer(
    model: str,
    specs: tuple[str, ...],
    table4: bool,
    baseline: Path | None,
    method: str,
    device: str,
    out: Path | None,
    **given: Any,
) -> None:
    """Measure MODEL's frozen encoder on other data sets: linear probe and one-pass prototypes, as a table.

    MODEL is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run. The encoder sees the
    training and the test images of each data set once; the probe is trained on these features, without augmentation.
    All data sets are opened before the first is measured. The table is Markdown, in percent, with 95 % bootstrap
    intervals over the test images.

    Example: protozoo transfer proto_resnet20_cifar.nonl_cifar10 --data cifar100 --data dtd --out transfer.json
    """
    from training.downstream import TABLE4, TransferOptions, markdown, record_transfer

    chosen = [*specs, *(name for name in TABLE4 if table4 and name not in specs)]
    if not chosen:
        raise click.UsageError("--data or --table4 is needed: what to measure on")
    options = TransferOptions(methods=_METHODS[method], device=device, **given)  # type: ignore[arg-type]
    record = record_transfer(
        model,
        chosen,
        options,
        baseline=None if baseline is None else read_record(baseline),
        earlier=read_record(out) if out is not None and out.is_file() else None,
        save=partial(write_record, out),
        command=_command(model, chosen, baseline=baseline, method=method, **given),
    )
    click.echo(markdown(record))


def _command(model: str, specs: list[str], **given: Any) -> str:
    """What was typed, with the data sets by name, but for where it ran."""
    first, *others = specs
    defaults = {"method": "both", "seed": 0, "protocol": "cifar"}
    options = [(name, str(value)) for name, value in given.items() if value is not None and value != defaults.get(name)]
    return recorded("transfer", model, first, "RECORD", [*(("data", spec) for spec in others), *options])
