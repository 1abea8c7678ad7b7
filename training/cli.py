"""The commands ``train`` and ``evaluate``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click


class _RecipeCommand(click.Command):
    """A command with one option for each field of a recipe."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters and the recipe's fields, read from the schema when they are needed."""
        from training.recipe import Recipe

        fields: list[click.Parameter] = [
            click.Option(
                [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])],
                metavar="VALUE",
                help=field.description,
            )
            for name, field in Recipe.model_fields.items()
        ]
        return [*super().get_params(ctx), *fields]


def _parse(value: str) -> Any:
    """A command-line word as YAML reads it, so that numbers, lists and null mean what they do in a recipe."""
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


@click.command(cls=_RecipeCommand)
@click.argument("recipe")
@click.option("--data", required=True, help="'digits', or a folder in ImageFolder or parquet layout.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
def train(recipe: str, data: str, out: Path, **overrides: str | None) -> None:
    """Train RECIPE, a name or a YAML file, on DATA. The same command resumes where it was stopped.

    Example: protozoo train nonl_digits --data digits --out runs/digits --epochs 8
    """
    from training.recipe import load_recipe
    from training.train import train as train_recipe

    given = {name: _parse(value) for name, value in overrides.items() if value is not None}
    # The record names the data and the recipe, not where they stand on this machine.
    options = [f"--{name} {shlex.quote(value)}" for name, value in overrides.items() if value is not None]
    command = " ".join(
        ["protozoo train", Path(recipe).name, "--data", shlex.quote(Path(data).name), "--out RUN", *options]
    )
    train_recipe(load_recipe(recipe, given), data, out, name=Path(recipe).stem, command=command, say=click.echo)


@click.command()
@click.argument("bundle")
@click.option("--data", required=True, help="'digits', or a folder in ImageFolder or parquet layout.")
def evaluate(bundle: str, data: str) -> None:
    """Measure BUNDLE (a folder or a zoo name) on the test split of DATA: accuracy and collapse, as JSON.

    Example: protozoo evaluate proto_resnet20_cifar.nonl_cifar10 --data cifar10-jpeg
    """
    from training.evaluation import evaluate_bundle

    click.echo(json.dumps(evaluate_bundle(bundle, data), indent=2))
