"""The record of a finished training: what an export, a card or a comparison needs to know besides the weights."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.build import Parts, model_args
from training.checkpoint import Progress
from training.data import ImageData
from training.evaluation import Outputs, collapse, judge, per_class, run_model
from training.metrics import collapse_optimum
from training.model_prototypes import prototypes_of, set_class_means
from training.open_set import measure_foreign, open_set_record
from training.readout import bayes_offsets, bayes_scores
from training.recipe import Recipe
from training.tails import tail_record
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel
from zoo.models.heads import PrototypeClassifier


def record(
    parts: Parts,
    recipe: Recipe,
    data: ImageData,
    preprocessing: Preprocessing,
    progress: Progress,
    foreign: ImageData | None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Measure the trained model in float32, and give it the readout that the recipe asks for.

    ``foreign`` has images of other classes, from which the model is to tell its own.

    Returns:
        The record, and the card's pictures: file name -> PNG.
    """
    # Matplotlib is needed only now.
    from training.plots.card import card_pictures

    model = parts.model
    if recipe.prototype_kind == "class_means":
        set_class_means(model, data, preprocessing)
    train_outputs, test_outputs = (run_model(model, split, preprocessing) for split in (data.train, data.test))
    by_readout = {"cosine": test_outputs}
    if recipe.objective in ("ntce", "nonl"):
        trained, prior = (train_outputs.logits, train_outputs.labels, recipe.objective), recipe.readout_prior
        if recipe.readout == "bayes":
            offsets = bayes_offsets(*trained, prior=prior)
            model.set_offsets(offsets)
            train_outputs = replace(train_outputs, logits=train_outputs.logits + offsets)
            test_outputs = by_bayes = replace(test_outputs, logits=test_outputs.logits + offsets)
        else:  # NONL's for equal frequencies, which no offsets give, among them
            by_bayes = replace(test_outputs, logits=bayes_scores(test_outputs.logits, *trained, prior=prior))
        by_readout["bayes"] = by_bayes
    described = describe_model(model, recipe.architecture, model_args(recipe), data, preprocessing)
    measured = measure(model, train_outputs, test_outputs, data, preprocessing, foreign)
    measured["metrics"]["test_accuracy_by_readout"] = {name: found.accuracy() for name, found in by_readout.items()}
    if recipe.imbalance < 1:
        measured["metrics"]["test_accuracy_long_tail"] = long_tail_record(data, by_readout)
    pictures = card_pictures(test_outputs, prototypes_of(model), data.classes, measured["metrics"]["test_calibration"])
    result = {
        **described,
        **measured,
        "objective": recipe.objective,
        "prototypes": recipe.prototype_kind,
        "readout": _readout(recipe),
        "data": {**described["data"], **_stated(recipe)},
        "recipe": _told(recipe),
        "cost": {"train_seconds": round(progress.seconds, 1), **machine(parts.accelerator.device)},
    }
    return result, pictures


def describe_model(
    model: PrototypeModel,
    architecture: str,
    head: Mapping[str, Any],
    data: ImageData,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """What rebuilds a model, and what it was made from."""
    return {
        "architecture": architecture,
        "model_args": dict(head),
        "embed_dim": model.head_hidden_size,
        "label_names": list(data.classes),
        "preprocessing": preprocessing.as_pretrained_cfg(),
        "data": {
            "name": data.name,
            "license": data.license,
            "train_images": len(data.train.labels),
            "test_images": len(data.test.labels),
            **({"skipped_images": len(data.skipped)} if data.skipped else {}),
        },
    }


def measure(
    model: PrototypeModel,
    train_outputs: Outputs,
    test_outputs: Outputs,
    data: ImageData,
    preprocessing: Preprocessing,
    foreign: ImageData | None,
) -> dict[str, Any]:
    """The record's ``metrics`` and ``open_set`` (None for cross-entropy's classifier, which has no cosines)."""
    prototypes = prototypes_of(model)
    open_set = None
    if isinstance(model.get_classifier(), PrototypeClassifier):
        told = measure_foreign(model, preprocessing, test_outputs, prototypes, foreign) if foreign else None
        open_set = open_set_record(test_outputs, prototypes, told)
    return {
        "metrics": {
            **judge(test_outputs, prototypes),
            "test_accuracy_by_readout": {"cosine": test_outputs.accuracy()},
            "test_accuracy_per_class": per_class(test_outputs, data.classes),
            "train_accuracy": train_outputs.accuracy(),
            "train_collapse": collapse(train_outputs, prototypes),
            "collapse_optimum": asdict(collapse_optimum(len(data.classes))),
        },
        "open_set": open_set,
    }


def _told(recipe: Recipe) -> dict[str, Any]:
    fields = recipe.model_dump(mode="json")
    if recipe.pretrained and Path(recipe.pretrained).expanduser().is_dir():
        fields["pretrained"] = Path(recipe.pretrained).name  # where it lies on this machine is nobody's affair
    return fields


def _stated(recipe: Recipe) -> dict[str, str]:
    stated = {"name": recipe.data_name, "license": recipe.data_license}
    return {key: value for key, value in stated.items() if value}


def _readout(recipe: Recipe) -> dict[str, str]:
    if recipe.readout == "bayes":
        return {"kind": "bayes", "prior": recipe.readout_prior}
    return {"kind": "cosine"}


def long_tail_record(data: ImageData, by_readout: Mapping[str, Outputs]) -> dict[str, Any]:
    """See :func:`training.tails.tail_record`; readout -> outputs for the test images.

    With "images_per_class", the training images by class: who measures the model again has no other way to know them.
    """
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    accuracies = {name: outputs.class_accuracies() for name, outputs in by_readout.items()}
    told = dict(zip(data.classes, counts.tolist(), strict=True))
    return {**tail_record(counts, accuracies), "images_per_class": told}


def machine(device: torch.device) -> dict[str, str]:
    """Where something was computed."""
    if device.type == "cuda":
        name = str(torch.cuda.get_device_name(device))
    else:
        threads = torch.get_num_threads()
        name = f"{threads} thread{'s' if threads > 1 else ''} of a {platform.machine()} CPU"
    return {"device": name, "torch": torch.__version__}
