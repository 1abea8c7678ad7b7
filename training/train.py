"""``train``: a recipe and data in, a finished run out."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training.build import build_parts, model_args, preprocessing_of
from training.checkpoint import Progress
from training.data import ImageData, load_data
from training.evaluation import collapse, open_set_thresholds, run_model
from training.loop import Parts, fit, steps_per_epoch
from training.metrics import collapse_optimum
from training.recipe import Recipe
from training.run import Run
from zoo.bundle import Preprocessing


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
    say(
        f"{images.name}: {len(images.train.labels)} training and {len(images.test.labels)} test images, "
        f"{len(images.classes)} classes"
    )
    parts = build_parts(recipe, len(images.classes), steps_per_epoch(recipe, images))
    # Only now, so that a mistake in recipe or data leaves no folder behind.
    run.start(recipe, data)
    progress = fit(parts, recipe, images, preprocessing, run, say)
    say("measuring accuracy and collapse in float32")
    result = _result(parts, recipe, images, preprocessing, progress)
    result |= {"tag": name, "command": command, "code_revision": run.revision}
    run.finish(parts.model, result)
    metrics = result["metrics"]
    line = f"test accuracy {metrics['test_accuracy']:.2%}, {progress.seconds:.0f} s of training"
    run.log(line)
    say(f"{line}; the run stands in {out}")
    return result


def _result(
    parts: Parts, recipe: Recipe, data: ImageData, preprocessing: Preprocessing, progress: Progress
) -> dict[str, Any]:
    """All that an export or a comparison needs to know, besides the weights."""
    model = parts.model
    cosine = recipe.objective != "ce"
    # The prototypes of cross-entropy are the directions of its classifier's rows.
    prototypes = model.get_classifier().weight.detach().float().cpu()
    prototypes = torch.nn.functional.normalize(prototypes, dim=1)
    train_outputs, test_outputs = (run_model(model, split, preprocessing) for split in (data.train, data.test))
    correct = test_outputs.logits.argmax(1) == test_outputs.labels
    per_class = {
        label: float(correct[test_outputs.labels == index].double().mean()) for index, label in enumerate(data.classes)
    }
    return {
        "architecture": recipe.architecture,
        "model_args": model_args(recipe),
        "embed_dim": prototypes.shape[1],
        "label_names": list(data.classes),
        "preprocessing": preprocessing.as_pretrained_cfg(),
        "objective": recipe.objective,
        "data": {
            "name": recipe.data_name or data.name,
            "license": recipe.data_license or data.license,
            "train_images": len(data.train.labels),
            "test_images": len(data.test.labels),
        },
        "recipe": recipe.model_dump(mode="json"),
        "cost": {
            "train_seconds": round(progress.seconds, 1),
            "device": _device(parts),
            "torch": torch.__version__,
        },
        "metrics": {
            "test_accuracy": test_outputs.accuracy(),
            "test_accuracy_per_class": per_class,
            "train_accuracy": train_outputs.accuracy(),
            "train_collapse": collapse(train_outputs, prototypes),
            "test_collapse": collapse(test_outputs, prototypes),
            "collapse_optimum": asdict(collapse_optimum(len(data.classes))),
        },
        "open_set": open_set_thresholds(test_outputs.embeddings, test_outputs.labels, prototypes) if cosine else None,
    }


def _device(parts: Parts) -> str:
    if parts.accelerator.device.type == "cuda":
        return str(torch.cuda.get_device_name(parts.accelerator.device))
    return f"{torch.get_num_threads()} threads of a {platform.machine()} CPU"
