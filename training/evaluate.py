"""``evaluate``: a bundle measured on data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.data import load_data
from training.evaluation import judge, run_model
from training.open_set import load_foreign, measure_foreign, rejections, thresholds
from training.run import code_revision
from zoo.bundle import Bundle, find
from zoo.errors import ProtozooError
from zoo.exporter import export_evaluations
from zoo.files import check_free
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


def write_evaluated(
    name_or_path: str, out: Path, measured: Mapping[str, Any], *, command: str, corruptions: Mapping[str, Any] | None
) -> Bundle:
    """Write a bundle again, with evaluations in its record and its card.

    Args:
        name_or_path: of the bundle.
        out: folder of the new one; must not exist.
        measured: of :func:`evaluate_bundle`.
        command: that measured it.
        corruptions: of :func:`training.robustness.record_corruptions`, of the same bundle; None: not measured.

    Raises:
        ProtozooError: ``out`` exists, no exporter is installed, or the corruptions are another model's.
    """
    check_free(out)
    bundle = Bundle.open(find(name_or_path))
    own = {name: value for name, value in measured.items() if name not in ("bundle", "thresholds", "rejections")}
    evaluations = [{"kind": "test", "command": command, "code_revision": code_revision(), **own}]
    if corruptions is not None:
        evaluations.append(_of_this_model(bundle, corruptions))
    return export_evaluations(bundle, evaluations, out)


def _of_this_model(bundle: Bundle, corruptions: Mapping[str, Any]) -> dict[str, Any]:
    needed = ("command", "data", "source", "images", "errors", "mean_errors", "mean_corruption_error", "baseline")
    missing = [name for name in needed if name not in corruptions]
    if missing:
        raise ProtozooError(f"that is no record of `protozoo corruptions`: it has no {missing[0]}")
    digest = bundle.record["weights"]["sha256"]
    if corruptions.get("weights_sha256") != digest:
        raise ProtozooError(
            f"the corruptions were measured of other weights than {bundle.name}'s, {digest[:16]}: run "
            "`protozoo corruptions` of this bundle"
        )
    # Whose they are the bundle says itself.
    kept = {name: value for name, value in corruptions.items() if name not in ("model", "weights_sha256")}
    return {"kind": "corruptions", **kept}
