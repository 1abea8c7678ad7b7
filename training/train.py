"""``train``: a recipe and data in, a finished run out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.build import build_parts, preprocessing_of
from training.data import load_data
from training.long_tail import long_tailed
from training.loop import fit, steps_per_epoch
from training.recipe import Recipe
from training.record import record
from training.run import Run


def train(
    recipe: Recipe, data: str, out: Path, *, name: str, command: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train, or resume, or report that all is done.

    Args:
        recipe: what to train.
        data: ``digits`` or a folder; see :func:`training.data.load_data`.
        out: folder of the run.
        name: of the recipe: the tag of the weights, ``<objective>_<dataset>``.
        command: what was typed, for the record.
        say: takes lines for the user.

    Returns:
        The record of the finished run.

    Raises:
        ProtozooError: recipe, data or folder cannot be used.
    """
    run = Run(out)
    run.check(recipe, data)
    if run.finished:
        say(f"{out} is finished already; the record stands in {run.result}")
        return run.read_result()
    preprocessing = preprocessing_of(recipe)
    images = load_data(data, preprocessing)
    if recipe.imbalance < 1:
        tail = long_tailed(images.train, recipe.imbalance, seed=recipe.seed)
        images = replace(images, train=tail, name=f"{images.name}, long-tailed ({recipe.imbalance:g})")
    say(
        f"{images.name}: {len(images.train.labels)} training and {len(images.test.labels)} test images, "
        f"{len(images.classes)} classes"
    )
    parts = build_parts(recipe, len(images.classes), steps_per_epoch(recipe, images))
    # Only now, so that a mistake in recipe or data leaves no folder behind.
    run.start(recipe, data)
    progress = fit(parts, recipe, images, preprocessing, run, say)
    say("measuring accuracy and collapse in float32")
    result = record(parts, recipe, images, preprocessing, progress)
    result |= {"tag": name, "command": command, "code_revision": run.revision}
    run.finish(parts.model, result)
    metrics = result["metrics"]
    line = f"test accuracy {metrics['test_accuracy']:.2%}, {progress.seconds:.0f} s of training"
    run.log(line)
    say(f"{line}; the run stands in {out}")
    return result
