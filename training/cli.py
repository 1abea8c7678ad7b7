"""The commands ``train`` and ``evaluate``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from training.naming import NAME, trained_tag
from training.provenance import recorded
from training.recipe_options import RecipeCommand
from training.workers import WORKERS

DATA_HELP = (
    "'digits', 'patches', 'cifar10', 'cifar100', 'svhn', 'stl10', 'fashion_mnist', 'food101', 'cars', 'dtd', 'pets', "
    "'flowers102', 'hfds/<owner/name>', or a folder in ImageFolder or parquet layout."
)
FOREIGN_HELP = "Data of other classes (or none), to measure how well the cosine tells them from known ones."

_RUNNING_OPTIONS = (
    click.option("--checkpoint-steps", type=click.IntRange(1), help="Also write a checkpoint every so many steps."),
    click.option(
        "--checkpoint-minutes", type=float, default=10, show_default=True, help="Minutes between checkpoints."
    ),
    click.option(
        "--keep-checkpoints", type=click.IntRange(1), default=2, show_default=True, help="Newest ones that stay."
    ),
    click.option(
        "--track", default="tensorboard", show_default=True, help="accelerate's trackers, with commas; or none."
    ),
    WORKERS,
    click.option("--storage", type=click.Choice(["auto", "memory", "disk"]), default="auto", show_default=True),
    click.option("--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail", show_default=True),
    click.option("--foreign", default="patches", show_default=True, help=FOREIGN_HELP),
)


def running_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of how to run a training; ``command`` gets them as ``running``, a :class:`training.options.Options`."""

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        from training.options import Options

        trackers = tuple(name for name in given.pop("track").split(",") if name != "none")
        own = {field.name: given.pop(field.name) for field in dataclasses.fields(Options) if field.name in given}
        own["foreign"] = None if own["foreign"] == "none" else own["foreign"]
        command(*args, running=Options(**{**own, "trackers": trackers}), **given)

    for option in reversed(_RUNNING_OPTIONS):
        run = option(run)
    return run


@click.command(cls=RecipeCommand)
@click.argument("recipe")
@click.option("--data", help=DATA_HELP)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@NAME
@click.option("--print-recipe", is_flag=True, help="Print what would run, as YAML, and end.")
@running_options
def train(
    recipe: str,
    data: str | None,
    out: Path | None,
    name: str | None,
    print_recipe: bool,
    running: Any,
    **overrides: str | None,
) -> None:
    """Train RECIPE, a name or a YAML file, on DATA. The same command resumes where it was stopped.

    Example: protozoo train nonl_digits --data digits --out runs/digits --epochs 8
    """
    from training.recipe import check_effects, load_recipe, parse_option, printed

    given = {name: parse_option(name, value) for name, value in overrides.items() if value is not None}
    chosen = load_recipe(recipe, given)
    check_effects(chosen, given)
    if print_recipe:
        click.echo(printed(recipe, given), nl=False)
        return
    if data is None or out is None:
        raise click.UsageError("--data and --out are needed: what to train on, and the folder of the run")
    from training.open_set import FOREIGN
    from training.train import train as train_recipe

    options = {name: value for name, value in overrides.items() if value is not None}
    if running.foreign not in (None, FOREIGN):
        options["foreign"] = running.foreign
    if running.storage != "auto":
        options["storage"] = running.storage
    if name is not None:
        options["name"] = name
    command = recorded("train", recipe, data, "RUN", options)
    tag = name or trained_tag(recipe, chosen.objective, data)
    train_recipe(chosen, data, out, name=tag, command=command, say=click.echo, options=running)


def _records_of(kind: str, source: str) -> Callable[..., Any]:
    """An option for files of records by another command."""
    text = f"Record of `protozoo {kind}` of {source}, for --into; again for more."
    return click.option(f"--{kind}", multiple=True, type=click.Path(path_type=Path, dir_okay=False), help=text)


@click.command()
@click.argument("bundle")
@click.option("--data", help=f"{DATA_HELP} Not needed where --into takes records of other commands alone.")
@click.option("--foreign", help=FOREIGN_HELP)
@_records_of("corruptions", "this bundle or its run")
@_records_of("transfer", "this bundle or its run")
@_records_of("probe", "this bundle or its run")
@_records_of("convergence", "its run, among others")
@click.option("--into", type=click.Path(path_type=Path), help="Write BUNDLE again into a new folder, with this record.")
def evaluate(
    bundle: str, data: str | None, foreign: str | None, into: Path | None, **records: tuple[Path, ...]
) -> None:
    """Measure BUNDLE on the test split of DATA: accuracy by class, calibration, collapse and thresholds, as JSON.

    BUNDLE is a folder, a zoo name or hf-hub:owner/name. Of one that was trained on a long tail, accuracy stands for
    head, medium and tail too. With --into, what was measured, and the records of other commands, stand in config.json
    and in the model card of the new bundle too, which is BUNDLE in everything else.

    Example: protozoo evaluate proto_resnet20_cifar.nonl_cifar10 --data cifar10-jpeg
    """
    from training.evaluate import evaluate_bundle, evaluation_of, open_evaluated, write_evaluated

    given = [kind for kind, paths in records.items() if paths]
    if into is None and given:
        raise click.UsageError(f"--{given[0]} goes into a new bundle: give --into too")
    if data is None and (foreign is not None or not given):
        raise click.UsageError("--data is needed: what to measure on")
    foreign = None if foreign == "none" else foreign
    # Before the work and not after it.
    opened, evaluations = open_evaluated(bundle, records, into)
    if data is not None:
        measured = evaluate_bundle(bundle, data, foreign=foreign)
        click.echo(json.dumps(measured, indent=2))
        command = recorded("evaluate", bundle, data, None, {} if foreign is None else {"foreign": foreign})
        evaluations = [evaluation_of(measured, command), *evaluations]
    if into is not None:
        write_evaluated(opened, into, evaluations)
        click.echo(f"written to {into}", err=True)
