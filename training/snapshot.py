"""What is measured of a model while it trains."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from training.build import Parts
from training.data import ImageData
from training.evaluation import Outputs, run_model
from training.metrics import neural_collapse
from training.model_prototypes import check_finite, prototypes_of, set_class_means
from training.recipe import Recipe
from zoo.bundle import Preprocessing


def snapshot(parts: Parts, recipe: Recipe, data: ImageData, preprocessing: Preprocessing, epoch: int) -> dict[str, Any]:
    """Test accuracy and collapse metrics as columns, None on epochs at which they are not due.

    The main rank measures; the others wait at the next exchange.

    Raises:
        ProtozooError: the last step left weights with which images have no embeddings.
    """
    last = epoch == recipe.epochs
    accuracy_due = last or epoch % recipe.evaluate_every == 0
    collapse_due = last or epoch % (recipe.collapse_every or recipe.evaluate_every) == 0
    row: dict[str, Any] = {"test_accuracy": None}
    if parts.ranks.main and (accuracy_due or collapse_due):
        with parts.accelerator.autocast():
            if recipe.prototype_kind == "class_means":
                set_class_means(parts.model, data, preprocessing)
            outputs = run_model(parts.model, data.test, preprocessing)
        check_finite(outputs)
        row["test_accuracy"] = outputs.accuracy()
        if collapse_due:
            row |= _collapse("test", parts, outputs)
        if collapse_due and recipe.collapse_images == "both":
            with parts.accelerator.autocast():
                seen = run_model(parts.model, data.train, preprocessing)
            row |= _collapse("train", parts, seen)
    return row


def _collapse(split: str, parts: Parts, outputs: Outputs) -> dict[str, float]:
    measured = asdict(neural_collapse(outputs.embeddings, outputs.labels, prototypes_of(parts.model)))
    return {f"{split}_{name}": value for name, value in measured.items() if isinstance(value, float)}
