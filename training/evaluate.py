"""``evaluate``: a bundle measured on data."""

from __future__ import annotations

from typing import Any

import torch

from training.data import load_data
from training.evaluation import judge, run_model
from training.open_set import load_foreign, measure_foreign, rejections, thresholds
from zoo.bundle import Bundle, find
from zoo.loading import create_model


def evaluate_bundle(name_or_path: str, data: str, *, foreign: str | None = None) -> dict[str, Any]:
    """What a bundle's weights are worth on the test split of ``data``, in float32.

    Accuracy with its interval, calibration, collapse, and the thresholds for unknown images.

    Args:
        name_or_path: of the bundle.
        data: as for :func:`training.data.load_data`, with the bundle's classes.
        foreign: data of other classes, to tell from them.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: the data cannot be read, or its classes are not those of the bundle.
    """
    bundle = Bundle.open(find(name_or_path))
    images = load_data(data, bundle.preprocessing)
    images.check_classes(bundle.labels, bundle.name)
    strangers = load_foreign(foreign, bundle.preprocessing)
    model, prototypes = create_model(f"local-dir:{bundle.path}"), torch.from_numpy(bundle.prototypes)
    outputs = run_model(model, images.test, bundle.preprocessing)
    measured = {
        "bundle": bundle.name,
        "data": images.name,
        "test_images": len(images.test.labels),
        **judge(outputs, prototypes),
        "thresholds": thresholds(outputs.embeddings, outputs.labels, prototypes),
        "rejections": rejections(outputs.embeddings, prototypes),
    }
    if strangers is not None:
        measured["foreign"] = measure_foreign(model, bundle.preprocessing, outputs, prototypes, strangers)
    return measured
