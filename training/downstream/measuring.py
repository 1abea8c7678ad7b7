"""One pass of the encoder over the training images and one over the test images: what each classifier makes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor

from training.calibration import accuracy_interval
from training.data import ImageData
from training.downstream.multilabel import (
    mean_average_precision,
    multilabel_prototypes,
    one_vs_rest,
    precision_interval,
)
from training.probes import Classifier, Cost, FrozenEncoder, closed_form, fit_linear
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel

Method = Literal["linear", "projection", "encoder", "whitened"]

METHODS: tuple[Method, ...] = ("linear", "projection", "encoder", "whitened")
"""The linear probe, and fixed prototypes of the features of :data:`training.probes.FixedFeatures`."""


def measure(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, methods: Sequence[Method], recipe: Recipe
) -> dict[str, Any]:
    """Classifiers of a data set on a frozen encoder.

    Args:
        model: stays as it is, bit for bit.
        data: of any classes; labels of both splits (N,), or targets (N, K) of several classes an image.
        preprocessing: of the model.
        methods: of :data:`METHODS`.
        recipe: of :func:`training.probes.probe_recipe`, for the linear probe. For several classes an image its seed
            alone is used: see :func:`training.downstream.multilabel.one_vs_rest`.

    Returns:
        "cost" of the pass over the training images (see :class:`training.probes.Cost`), "measure", the name of what
        was measured on the test images, and by method, in "methods", its "value" in [0, 1], the "interval" of that,
        and the "seconds" that the classifier took beside the pass.

    Raises:
        ProtozooError: features that are not finite, cancel or do not vary, or a probe whose loss is no number.
    """
    encoder, started = FrozenEncoder(model, "encoder"), time.perf_counter()
    rows, labels = encoder.all(data.train, preprocessing)
    cost = Cost(encoder.passes, encoder.images, time.perf_counter() - started)
    test_rows, test_labels = encoder.all(data.test, preprocessing)
    found = {}
    for method in methods:
        started = time.perf_counter()
        projected = method == "projection"
        classifier = _fitted(method, encoder.projected(rows) if projected else rows, labels, data, recipe)
        seconds = time.perf_counter() - started
        scores = classifier(encoder.projected(test_rows) if projected else test_rows)
        value, interval = _judged(scores, test_labels)
        found[method] = {"value": value, "interval": interval, "seconds": seconds}
    kind = "top-1 accuracy" if labels.ndim == 1 else "mean average precision"
    return {"measure": kind, "cost": asdict(cost), "methods": found}


def _fitted(method: Method, rows: Tensor, labels: Tensor, data: ImageData, recipe: Recipe) -> Classifier:
    try:
        if method == "linear":
            if labels.ndim == 2:
                return one_vs_rest(rows, labels, seed=recipe.seed)
            return fit_linear(rows, labels, len(data.classes), recipe)
        if labels.ndim == 2:
            return multilabel_prototypes(rows, labels, method)
        return closed_form(rows, labels, len(data.classes), method)
    except ValueError as error:
        raise ProtozooError(f"{data.name} gives no classifier ({method}): {error}") from error


def _judged(scores: Tensor, labels: Tensor) -> tuple[float, list[float]]:
    """The value of (N, K) scores, and its interval."""
    if labels.ndim == 2:
        pair = scores.cpu().numpy(), labels.cpu().numpy()
        return mean_average_precision(*pair), precision_interval(*pair)
    accuracy = float((scores.argmax(1) == labels).double().mean())
    return accuracy, accuracy_interval(accuracy, len(labels))
