"""``train``: a recipe and data in, a finished run out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from training.build import Parts, build_parts, preprocessing_of
from training.data import ImageData, load_data, steps_per_epoch
from training.denormals import denormals_as_zero
from training.few_shot import with_shots
from training.long_tail import with_long_tail
from training.loop import Training
from training.open_set import load_foreign
from training.options import Options
from training.precision import settled
from training.pretrained import open_pretrained
from training.recipe import Recipe
from training.record import record
from training.run import Run
from training.trackers import tracking
from training.warm_start import start_from_class_means


@denormals_as_zero()
def train(
    recipe: Recipe,
    data: str,
    out: Path,
    *,
    name: str,
    command: str,
    say: Callable[[str], None],
    options: Options | None = None,
) -> dict[str, Any]:
    """Train, or resume, or report that all is done.

    Under ``accelerate launch`` or ``torchrun`` every process calls it with the same arguments; the main one writes.

    Args:
        recipe: what to train.
        data: see :func:`training.data.load_data`.
        out: folder of the run.
        name: the tag of the weights, ``<objective>_<dataset>``: :func:`training.naming.trained_tag`.
        command: what was typed, for the record.
        say: takes lines for the user.
        options: how to run it.

    Returns:
        The record of the finished run.

    Raises:
        ProtozooError: recipe, data or folder cannot be used.
        StoppedError: a signal asked for it.
    """
    options = options or Options()
    run = Run(out, keep_checkpoints=options.keep_checkpoints)
    recipe = settled(recipe, run.precision)
    run.check(recipe, data)
    if run.finished:
        say(f"{out} is finished already; the record stands in {run.result}")
        return run.read_result()
    preprocessing = preprocessing_of(recipe)
    storage = run.storage(options.storage, recipe)
    whole = load_data(data, preprocessing, on_bad_image=options.on_bad_image, storage=storage)
    whole.check_test()
    run.check_images(whole)
    images = with_long_tail(whole, recipe.imbalance, seed=recipe.seed)
    images = with_shots(images, recipe.shots, seed=recipe.seed)
    foreign = load_foreign(options.foreign, preprocessing, data)
    base = {"base": open_pretrained(recipe.pretrained).lineage} if recipe.pretrained is not None else {}
    labels, steps = images.train.labels, steps_per_epoch(len(images.train.labels), recipe.batch_size)
    parts = build_parts(recipe, labels, len(images.classes), steps, **tracking(options.trackers, out))
    if not parts.ranks.main:
        say = _silence
    for line in _described(images, recipe, parts):
        say(line)
    # Only now, so that a mistake in recipe or data leaves no folder behind.
    with run.alone() if parts.ranks.main else nullcontext():
        if parts.ranks.main:
            run.start(recipe, data, whole)
            for line in images.left_out:
                run.log(line)
        parts.accelerator.wait_for_everyone()
        parts.accelerator.init_trackers("trackers")
        if (
            recipe.initial_prototypes == "class_means"
            and recipe.prototype_kind == "learned"
            and recipe.objective != "ce"
        ):
            start_from_class_means(parts.model, images, preprocessing, parts.ranks.count)
        progress = Training(parts, recipe, images, preprocessing, run, options, say).fit()
        if parts.ranks.main:
            say("measuring accuracy and collapse in float32")
            result, pictures = record(parts, recipe, images, preprocessing, progress, foreign)
            result |= {**base, "tag": name, "command": command, "code_revision": run.revision}
            run.finish(parts.model, result, pictures)
            line = f"test accuracy {result['metrics']['test_accuracy']:.2%}, {progress.seconds:.0f} s of training"
            run.log(line)
            say(f"{line}; the run stands in {out}")
        parts.accelerator.wait_for_everyone()
        parts.accelerator.end_training()
    return run.read_result()


def _silence(line: str) -> None:
    del line


def _described(data: ImageData, recipe: Recipe, parts: Parts) -> list[str]:
    lines = [
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} test images, "
        f"{len(data.classes)} classes"
    ]
    lines += data.left_out
    if parts.ranks.count > 1:
        lines.append(f"{parts.ranks.count} ranks, {recipe.batch_size // parts.ranks.count} images a step on each")
        if recipe.objective in ("ntce", "nonl", "scl", "scl_prototypes"):
            lines.append(f"negatives: {recipe.negatives}, of {_NEGATIVES[recipe.negatives]}")
    return lines


_NEGATIVES = {"global": "the batches of all ranks", "local": "each rank's own batch, as in the papers' code"}
