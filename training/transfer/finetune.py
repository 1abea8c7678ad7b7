"""``finetune``: train a model of the zoo on, on other images or with another objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.naming import tag_for
from training.options import Options
from training.pretrained import open_pretrained
from training.recipe import Recipe, RecipeError, load_recipe
from training.train import train
from zoo.bundle import Bundle
from zoo.exporter import check_exporter, export_run
from zoo.files import check_free

RECIPE = "_finetune"


def finetune_recipe(name_or_path: str, recipe: str = RECIPE, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that begins with a bundle's weights and takes images as they do.

    Args:
        name_or_path: of the bundle or run: architecture, head, width, temperature and preprocessing are its own.
        recipe: name or file with how to train.
        overrides: fields that win over both.

    Raises:
        RecipeError: no such recipe, or a field that does not fit.
        ProtozooError: the bundle or run cannot be used.
    """
    if "pretrained" in (overrides or {}):
        raise RecipeError(f"finetune begins with {name_or_path}: leave --pretrained out")
    pretrained = open_pretrained(name_or_path)
    head, preprocessing = pretrained.model.head, pretrained.preprocessing
    own = {
        "pretrained": name_or_path,
        "architecture": pretrained.architecture,
        "head": head.kind,
        "embed_dim": head.num_features,
        "temperature": pretrained.model.temperature,
        "input_size": preprocessing.size,
        "crop_padding": preprocessing.size // 8,
        "crop_pct": preprocessing.crop_pct,
        "interpolation": preprocessing.interpolation,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    given = dict(overrides or {})
    if "head" in given and "embed_dim" not in given:
        # Another kind of head may not have this width.
        own["embed_dim"] = None
    return load_recipe(recipe, {**own, **given})


def finetune(
    recipe: Recipe,
    data: str,
    out: Path,
    *,
    tag: str | None,
    command: str,
    say: Callable[[str], None],
    options: Options | None = None,
) -> Bundle:
    """Train in the folder ``out`` + ".run", from which the same command resumes, and write the bundle.

    Args:
        recipe: of :func:`finetune_recipe`.
        data: see :func:`training.data.load_data`.
        out: folder of the bundle; must not exist.
        tag: of the weights; ``<objective>_<dataset>`` by default.
        command: what was typed, for the record.
        say: takes lines for the user.
        options: how to run it.

    Raises:
        RecipeError: the recipe trains a classifier without prototypes.
        ProtozooError: recipe, data or folder cannot be used.
        StoppedError: a signal asked for it.
    """
    check_free(out)
    check_exporter("bundle")
    if recipe.objective == "ce":
        raise RecipeError(
            "finetune ends with a bundle, and ce's linear classifier has no prototypes to serve: train normface, ntce "
            "or nonl, or train ce by `protozoo train --pretrained` and take the class means of its features for "
            "prototypes by `protozoo fit RUN --data DATA --features encoder --out OUT`"
        )
    run = out.with_name(f"{out.name}.run")
    train(recipe, data, run, name=tag or tag_for(recipe.objective, data), command=command, say=say, options=options)
    return export_run(run, out)
