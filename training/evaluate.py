"""``evaluate``: a bundle measured on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data import load_data
from training.evaluated_records import read_evaluations
from training.evaluation import Outputs, judge, per_class, run_model
from training.open_set import load_foreign, measure_foreign, rejections, thresholds
from training.provenance import code_revision
from training.tails import tail_record
from zoo.bundle import Bundle, find
from zoo.errors import ProtozooError
from zoo.exporter import check_exporter, export_evaluations
from zoo.files import check_free
from zoo.loading import load_bundle


def evaluate_bundle(name_or_path: str, data: str, *, foreign: str | None = None) -> dict[str, Any]:
    """What a bundle's weights are worth on the test split of ``data``, in float32.

    Accuracy with its interval, by class and, where the record tells of a long tail, by its parts; calibration,
    collapse, and the thresholds for unknown images.

    Args:
        name_or_path: of the bundle.
        data: as for :func:`training.data.load_data`, with the bundle's classes.
        foreign: data of other classes, to tell from them.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: the data cannot be read, or its classes are not those of the bundle.
    """
    bundle = Bundle.open(find(name_or_path))
    images = load_data(data, bundle.preprocessing).warn_left_out().for_model(bundle.labels, bundle.name)
    images.check_test()
    strangers = load_foreign(foreign, bundle.preprocessing, data)
    model, prototypes = load_bundle(bundle), torch.from_numpy(bundle.prototypes)
    outputs = run_model(model, images.test, bundle.preprocessing)
    measured = {
        "bundle": bundle.name,
        "data": images.name,
        "test_images": len(images.test.labels),
        **judge(outputs, prototypes),
        "test_accuracy_per_class": per_class(outputs, bundle.labels),
        **_long_tail(bundle, outputs),
        "thresholds": thresholds(outputs.embeddings, outputs.labels, prototypes),
        "rejections": rejections(outputs.embeddings, prototypes),
    }
    if strangers is not None:
        measured["foreign"] = measure_foreign(model, bundle.preprocessing, outputs, prototypes, strangers)
    return measured


def _long_tail(bundle: Bundle, outputs: Outputs) -> dict[str, Any]:
    """Accuracy of classes by their training images, where the record of the training tells their numbers."""
    told = bundle.record["metrics"].get("test_accuracy_long_tail", {}).get("images_per_class")
    if told is None:
        return {}
    counts = np.array([told[label] for label in bundle.labels])
    return {"test_accuracy_long_tail": tail_record(counts, {bundle.readout["kind"]: outputs.class_accuracies()})}


def open_evaluated(
    name_or_path: str, files: Mapping[str, Sequence[Path]], out: Path | None
) -> tuple[Bundle, list[dict[str, Any]]]:
    """A bundle that is to be measured, and what other commands have measured of it.

    Args:
        name_or_path: of the bundle.
        files: by kind, see :func:`training.evaluated_records.read_evaluations`.
        out: folder of the new bundle that is to be written; None: there will be none.

    Raises:
        ProtozooError: ``out`` exists or cannot be written, no exporter is installed, or a record is another model's or
            not finished.
    """
    if out is not None:
        check_free(out)
        check_exporter("evaluations")
    bundle = Bundle.open(find(name_or_path))
    return bundle, read_evaluations(bundle, files)


def evaluation_of(measured: Mapping[str, Any], command: str) -> dict[str, Any]:
    """What :func:`evaluate_bundle` has measured, as it stands in the bundle's record; ``command`` measured it."""
    own = {name: value for name, value in measured.items() if name != "bundle"}
    return {"kind": "test", "command": command, "code_revision": code_revision(), **own}


def write_evaluated(bundle: Bundle, out: Path, evaluations: Sequence[Mapping[str, Any]]) -> Bundle:
    """Write a bundle again, with evaluations in its record and its card.

    Args:
        bundle: that was measured.
        out: folder of the new one; must not exist.
        evaluations: of :func:`evaluation_of` and :func:`open_evaluated`.

    Raises:
        ProtozooError: ``out`` exists or cannot be written, or no exporter is installed.
    """
    try:
        return export_evaluations(bundle, evaluations, out)
    except OSError as error:
        raise ProtozooError(f"{out} cannot be written ({error.strerror}): choose another folder") from error
