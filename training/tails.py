"""Accuracy of frequent and rare classes of a long-tailed training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD, TAIL = 100, 20
DEFINITION = (
    f"mean over classes of their accuracy on the test images; by training images, head: more than {HEAD}, medium: "
    f"{TAIL} to {HEAD}, tail: fewer than {TAIL}; by thirds: the classes in the order of their training images, in "
    "three parts of equal size"
)

Groups = dict[str, NDArray[np.int64]]


def tail_record(counts: NDArray[np.int64], accuracies: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """What the record of a long-tailed training says about its classes.

    Args:
        counts: (K,) training images of each class.
        accuracies: readout -> (K,) accuracy of each class on the test images; NaN where it has none.

    Returns:
        "definition", "training_images" ("largest" and "smallest" class), and by readout, for "by_images" and
        "by_thirds", group -> "classes" and "accuracy". A group without classes is left out.

    Source: the groups by images, Liu et al. 2019 ("Large-Scale Long-Tailed Recognition in an Open World").
    """
    kinds = {"by_images": by_images(counts), "by_thirds": by_thirds(counts)}
    return {
        "definition": DEFINITION,
        "training_images": {"largest": int(counts.max()), "smallest": int(counts.min())},
        "by_readout": {
            readout: {kind: _measured(values, groups) for kind, groups in kinds.items()}
            for readout, values in accuracies.items()
        },
    }


def by_images(counts: NDArray[np.int64]) -> Groups:
    """Classes (K,) by the field's bounds on training images; groups may be empty."""
    masks = {"head": counts > HEAD, "medium": (counts >= TAIL) & (counts <= HEAD), "tail": counts < TAIL}
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def by_thirds(counts: NDArray[np.int64]) -> Groups:
    """Classes (K,) in three parts by frequency; of equally frequent ones the smaller label comes first."""
    order = np.argsort(-counts, kind="stable")
    return dict(zip(("head", "medium", "tail"), np.array_split(order, 3), strict=True))


def class_accuracies(correct: NDArray[np.bool_], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """(N,), (N,) -> (K,), NaN for classes without images."""
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels, weights=correct, minlength=num_classes)
    accuracies = np.full(num_classes, np.nan)
    np.divide(hits, counts, out=accuracies, where=counts > 0)
    return accuracies


def _measured(accuracies: NDArray[np.float64], groups: Groups) -> dict[str, dict[str, float]]:
    tested = {name: classes[np.isfinite(accuracies[classes])] for name, classes in groups.items()}
    return {
        name: {"classes": len(classes), "accuracy": float(accuracies[classes].mean())}
        for name, classes in tested.items()
        if len(classes)
    }
