"""The commands ``fit`` and ``finetune``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from training.cli import DATA_HELP, FOREIGN_HELP, running_options
from training.naming import NAME, tag_for
from training.provenance import recorded
from training.recipe_options import RecipeCommand

_OUT = click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the new bundle; must not exist."
)


@click.command()
@click.argument("bundle")
@click.option("--data", required=True, help=DATA_HELP)
@_OUT
@NAME
@click.option(
    "--features",
    type=click.Choice(["whitened", "encoder", "projection"]),
    default="whitened",
    show_default=True,
    help="Pooled features whitened within classes; as they are; or, for the classes it was trained on, BUNDLE's own.",
)
@click.option("--shots", type=click.IntRange(1), help="Training images of each class; all by default.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of their choice.")
@click.option("--foreign", default="patches", show_default=True, help=FOREIGN_HELP)
@click.option("--data-name", help="Of DATA, for the model card; its folder's name by default.")
@click.option("--data-license", help="Of DATA, for the model card.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--storage", type=click.Choice(["auto", "memory", "disk"]), default="auto", show_default=True)
@click.option("--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail", show_default=True)
def fit(bundle: str, data: str, out: Path, name: str | None, foreign: str, **given: Any) -> None:
    """Make a classifier of DATA's classes from BUNDLE's encoder, in one pass: prototypes are the class means.

    BUNDLE is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run. Nothing is trained;
    the held-out images of DATA give the temperature and the thresholds for unknown images.

    Example: protozoo fit proto_resnet20_cifar.nonl_cifar10 --data my-photos --out my-bundle
    """
    from training.transfer.fit import FitOptions
    from training.transfer.fit import fit as fit_bundle

    told = ("features", "shots", "seed", "data_name", "data_license")
    shown = {key.replace("_", "-"): str(given[key]) for key in told if given[key] is not None}
    shown |= {} if name is None else {"name": name}
    command = recorded("fit", bundle, data, "BUNDLE", shown)
    options = FitOptions(foreign=None if foreign == "none" else foreign, **given)
    tag = name or tag_for("class_means", data)
    made = fit_bundle(bundle, data, out, tag=tag, command=command, say=click.echo, options=options)
    _report(made, out)


@click.command(cls=RecipeCommand)
@click.argument("bundle")
@click.option("--data", required=True, help=DATA_HELP)
@_OUT
@NAME
@click.option("--recipe", help="Name or YAML file with how to train; a short fine-tuning by default.")
@running_options
def finetune(
    bundle: str,
    data: str,
    out: Path,
    name: str | None,
    recipe: str | None,
    running: Any,
    **overrides: str | None,
) -> None:
    """Train BUNDLE on, on DATA's classes, and write a new bundle. The same command resumes where it was stopped.

    BUNDLE is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run. The training's own
    folder is OUT.run. `--trained head` leaves the backbone as it is, `--shots` takes a few images of each class,
    `--layer_decay` slows the layers down towards the input.

    Example: protozoo finetune proto_resnet20_cifar.nonl_cifar10 --data my-photos --out my-bundle --epochs 10
    """
    from training.recipe import check_effects, parse_option
    from training.transfer.finetune import RECIPE, finetune_recipe
    from training.transfer.finetune import finetune as finetune_bundle

    typed = {field: value for field, value in overrides.items() if value is not None}
    given = {field: parse_option(field, word) for field, word in typed.items()}
    chosen = finetune_recipe(bundle, recipe or RECIPE, given)
    check_effects(chosen, given)
    own = {key: word for key, word in (("recipe", recipe), ("name", name)) if word is not None}
    own |= {} if running.storage == "auto" else {"storage": running.storage}
    command = recorded("finetune", bundle, data, "BUNDLE", {**own, **typed})
    made = finetune_bundle(chosen, data, out, tag=name, command=command, say=click.echo, options=running)
    _report(made, out)


def _report(bundle: Any, out: Path) -> None:
    record = bundle.record
    click.echo(f"accuracy on {record['data']['test_images']} held-out images: {record['metrics']['test_accuracy']:.2%}")
    for row in record["open_set"]["rejections"]:
        click.echo(f"cosine {row['cosine']:+.4f} rejects {row['frr']:.0%} of them")
    if foreign := record["open_set"]["foreign"]:
        click.echo(f"AUROC against {foreign['data']}: {foreign['auroc']:.4f}")
    click.echo(f"{bundle.name}: {record['cost']['train_seconds']:.1f} s, written to {out}")
