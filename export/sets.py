"""From classes that were enrolled in a running service to a bundle."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from export.bundle import export_run
from zoo import __version__
from zoo.bundle import Bundle
from zoo.bundle.open_set import DEFINITION, leave_out_thresholds
from zoo.exporter import EnrolledClasses
from zoo.files import check_free

_OF_THE_CLASSES = {"num_classes", "in_chans", "global_pool", "embed_dim"}
"""What export_run puts into ``model_args`` by itself."""


def export_set(base: Bundle, classes: EnrolledClasses, out: Path, command: str) -> Bundle:
    """Write a bundle whose encoder is another's and whose prototypes are those of enrolled classes.

    Nothing can be measured without test images: the record has no metrics, its temperature is that of ``base``, and
    its thresholds for unknown images are those of :func:`zoo.bundle.open_set.leave_out_thresholds`.

    Args:
        base: whose encoder has embedded the examples.
        classes: two or more.
        out: folder of the bundle; must not exist.
        command: what was typed, for the record.

    Raises:
        ProtozooError: ``out`` exists.
        BundleError: the ONNX file's answers are too far from torch's; nothing is written.
    """
    check_free(out)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        save_file(_weights(base, classes.prototypes), run / "model.safetensors")
        (run / "result.json").write_text(json.dumps(set_record(base, classes, command)), encoding="utf-8")
        return export_run(run, out)


def _weights(base: Bundle, prototypes: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The tensors of ``base`` with another classifier."""
    classifier = base.record["prototypes"]["tensor"].rpartition(".")[0] + "."
    encoder = {name: value for name, value in load_file(base.weights_path).items() if not name.startswith(classifier)}
    own = {"weight": prototypes, "temperature": np.array(base.temperature, np.float32)}
    return encoder | {classifier + name: value for name, value in own.items()}


def set_record(base: Bundle, classes: EnrolledClasses, command: str) -> dict[str, Any]:
    """The ``result.json`` of a set as a run; arguments as for :func:`export_set`."""
    base_args = {name: value for name, value in base.config["model_args"].items() if name not in _OF_THE_CLASSES}
    counts = np.bincount(classes.owners, minlength=len(classes.labels)).tolist()
    return {
        "architecture": base.config["architecture"],
        "tag": "class_means_" + re.sub("[^a-z0-9]+", "_", classes.name),
        "label_names": list(classes.labels),
        "model_args": {**base_args, "temperature": base.temperature, "prototypes": "fixed", "readout": "cosine"},
        "embed_dim": classes.prototypes.shape[1],
        "preprocessing": base.preprocessing.as_pretrained_cfg(),
        "objective": "class_means",
        "prototypes": "class_means",
        "readout": {"kind": "cosine"},
        "recipe": {"features": "projection", "set": classes.name},
        "base": {
            "name": base.name,
            "weights_sha256": base.weights_sha256,
            "objective": base.record["objective"],
            "data": {key: base.record["data"][key] for key in ("name", "license")},
        },
        "data": {
            "name": f"the prototype set {classes.name!r}",
            "license": "not stated",
            "train_images": len(classes.embeddings),
            "test_images": 0,
            "examples_per_class": dict(zip(classes.labels, counts, strict=True)),
        },
        "metrics": {},
        "open_set": {
            "definition": DEFINITION,
            "thresholds": leave_out_thresholds(classes.embeddings, classes.owners, classes.prototypes),
        },
        "cost": {},
        "command": command,
        "code_revision": __version__,
    }
