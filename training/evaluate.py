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

_NEEDED = {
    "corruptions": ("source", "images", "errors", "mean_errors", "mean_corruption_error", "baseline"),
    "transfer": ("settings", "sets", "means", "baseline"),
}


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
    name_or_path: str,
    out: Path,
    measured: Mapping[str, Any],
    *,
    command: str,
    records: Mapping[str, Mapping[str, Any]],
) -> Bundle:
    """Write a bundle again, with evaluations in its record and its card.

    Args:
        name_or_path: of the bundle.
        out: folder of the new one; must not exist.
        measured: of :func:`evaluate_bundle`.
        command: that measured it.
        records: by kind, of the same bundle: "corruptions", of :func:`training.robustness.record_corruptions`, and
            "transfer", of :func:`training.downstream.record_transfer`; those that were measured.

    Raises:
        ProtozooError: ``out`` exists, no exporter is installed, or a record is another model's or not finished.
    """
    check_free(out)
    bundle = Bundle.open(find(name_or_path))
    own = {name: value for name, value in measured.items() if name not in ("bundle", "thresholds", "rejections")}
    evaluations = [{"kind": "test", "command": command, "code_revision": code_revision(), **own}]
    evaluations += [_of_this_model(bundle, kind, record) for kind, record in records.items()]
    return export_evaluations(bundle, evaluations, out)


def _of_this_model(bundle: Bundle, kind: str, record: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in ("command", "data", *_NEEDED[kind]) if name not in record]
    if missing:
        raise ProtozooError(f"that is no record of `protozoo {kind}`: it has no {missing[0]}")
    digest = bundle.record["weights"]["sha256"]
    if record.get("weights_sha256") != digest:
        raise ProtozooError(
            f"the record of `protozoo {kind}` is of other weights than {bundle.name}'s, {digest[:16]}: give that "
            "command this bundle"
        )
    if kind == "transfer" and record["means"] is None:
        raise ProtozooError("the record of `protozoo transfer` lacks data sets: the same command goes on from it")
    # Whose they are the bundle says itself.
    kept = {name: value for name, value in record.items() if name not in ("model", "weights_sha256")}
    return {**kept, "kind": kind}
