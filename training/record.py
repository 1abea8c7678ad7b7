"""The record of a finished training: what an export, a card or a comparison needs to know besides the weights."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from typing import Any

import torch

from training.build import Parts, model_args
from training.checkpoint import Progress
from training.data import ImageData
from training.evaluation import Outputs, collapse, open_set_thresholds, run_model
from training.metrics import collapse_optimum
from training.readout import bayes_offsets
from training.recipe import Recipe
from training.snapshot import prototypes_of, set_class_means
from zoo.bundle import Preprocessing


def record(
    parts: Parts, recipe: Recipe, data: ImageData, preprocessing: Preprocessing, progress: Progress
) -> dict[str, Any]:
    """Measure the trained model in float32, and give it the readout that the recipe asks for."""
    model = parts.model
    cosine = recipe.objective != "ce"
    if recipe.prototype_kind == "class_means":
        set_class_means(model, data, preprocessing)
    prototypes = prototypes_of(model)
    train_outputs, test_outputs = (run_model(model, split, preprocessing) for split in (data.train, data.test))
    by_readout = {"cosine": test_outputs.accuracy()}
    if recipe.objective in ("ntce", "nonl"):
        offsets = bayes_offsets(
            train_outputs.logits, train_outputs.labels, recipe.objective, prior=recipe.readout_prior
        )
        by_bayes = replace(test_outputs, logits=test_outputs.logits + offsets)
        by_readout["bayes"] = by_bayes.accuracy()
        if recipe.readout == "bayes":
            model.set_offsets(offsets)
            train_outputs = replace(train_outputs, logits=train_outputs.logits + offsets)
            test_outputs = by_bayes
    return {
        "architecture": recipe.architecture,
        "model_args": model_args(recipe),
        "embed_dim": prototypes.shape[1],
        "label_names": list(data.classes),
        "preprocessing": preprocessing.as_pretrained_cfg(),
        "objective": recipe.objective,
        "prototypes": recipe.prototype_kind,
        "readout": _readout(recipe),
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
            "test_accuracy_by_readout": by_readout,
            "test_accuracy_per_class": _per_class(test_outputs, data.classes),
            "train_accuracy": train_outputs.accuracy(),
            "train_collapse": collapse(train_outputs, prototypes),
            "test_collapse": collapse(test_outputs, prototypes),
            "collapse_optimum": asdict(collapse_optimum(len(data.classes))),
        },
        "open_set": open_set_thresholds(test_outputs.embeddings, test_outputs.labels, prototypes) if cosine else None,
    }


def _readout(recipe: Recipe) -> dict[str, str]:
    if recipe.readout == "bayes":
        return {"kind": "bayes", "prior": recipe.readout_prior}
    return {"kind": "cosine"}


def _per_class(outputs: Outputs, classes: tuple[str, ...]) -> dict[str, float]:
    correct = outputs.logits.argmax(1) == outputs.labels
    return {label: float(correct[outputs.labels == index].double().mean()) for index, label in enumerate(classes)}


def _device(parts: Parts) -> str:
    if parts.accelerator.device.type == "cuda":
        return str(torch.cuda.get_device_name(parts.accelerator.device))
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a {platform.machine()} CPU"
