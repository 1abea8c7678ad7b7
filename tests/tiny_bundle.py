"""A bundle of a few kilobytes, made without torch: a random linear model on tiny images, whole in every other way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from zoo.bundle import Bundle, array_sha256, new_bundle

LABELS = ("cat", "dog", "tench, Tinca tinca", "bird", "fish")
THRESHOLDS = ({"fpr": 0.01, "cosine": 0.9}, {"fpr": 0.05, "cosine": 0.42})


def make_tiny_bundle(
    path: str | Path,
    *,
    size: int = 8,
    dim: int = 8,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    temperature: float = 0.1,
    prototypes: NDArray[np.float32] | None = None,
    onnx_prototypes: NDArray[np.float32] | None = None,
    bias: float = 0.0,
    golden_shift: float = 0.0,
    record: dict[str, Any] | None = None,
    pretrained_cfg: dict[str, Any] | None = None,
) -> Bundle:
    """Write a real bundle to ``path`` and open it.

    Args:
        path: a folder that does not exist.
        size: height and width of the input, in pixels.
        dim: size of the embedding.
        labels: K class names.
        seed: of the weights, prototypes and golden images.
        temperature: of the record.
        prototypes: float32 (K, dim), unit rows; random by default.
        onnx_prototypes: what the ONNX graph holds, where that is to differ.
        bias: added to the features; NaN makes a model whose outputs are NaN.
        golden_shift: added to the golden embeddings, to make a bundle that its model contradicts.
        record: replaces keys of config.json's ``protozoo``.
        pretrained_cfg: replaces keys of config.json's ``pretrained_cfg``.
    """
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((size * size * 3, dim)).astype(np.float32)
    if prototypes is None:
        prototypes = _unit(generator.standard_normal((len(labels), dim)))
    images = generator.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    with new_bundle(path) as folder:
        graph = _graph(size, weight, prototypes if onnx_prototypes is None else onnx_prototypes, bias)
        onnx.save(graph, str(folder / "model.onnx"))
        save_file({"body.weight": weight, "head.fc.weight": prototypes}, folder / "model.safetensors")
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        embeddings, cosines = session.run(["embeddings", "cosines"], {"images": images})
        config = _config(size, dim, labels, temperature, prototypes, folder / "model.safetensors")
        config["protozoo"] |= record or {}
        config["pretrained_cfg"] |= pretrained_cfg or {}
        # A bundle opens only where its golden outputs are finite and of the configured size, whatever its graph does.
        images = np.resize(images, (len(images), *config["pretrained_cfg"]["input_size"][1:], 3))
        golden = {"images": images, "embeddings": embeddings + np.float32(golden_shift), "cosines": cosines}
        save_file({name: np.nan_to_num(array) for name, array in golden.items()}, folder / "golden.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        (folder / "README.md").write_text("# tiny\n\nA random model for tests.\n", encoding="utf-8")
    return Bundle.open(path)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _graph(size: int, weight: NDArray[np.float32], prototypes: NDArray[np.float32], bias: float) -> onnx.ModelProto:
    """Centre and flatten the pixels, project them by a fixed matrix, normalise; cosines with the prototypes."""
    constants = {
        "prototypes": prototypes,
        "weight": weight,
        "bias": np.full(weight.shape[1], bias, np.float32),
        "middle": np.float32(127.5),
        "flat": np.array([-1, size * size * 3], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "middle"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["projected"]),
        helper.make_node("Add", ["projected", "bias"], ["features"]),
        helper.make_node("ReduceL2", ["features", "axis"], ["norms"], keepdims=1),
        helper.make_node("Div", ["features", "norms"], ["embeddings"]),
        helper.make_node("Transpose", ["prototypes"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["embeddings", "columns"], ["cosines"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", weight.shape[1]]),
            helper.make_tensor_value_info("cosines", TensorProto.FLOAT, ["N", len(prototypes)]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _config(
    size: int,
    dim: int,
    labels: Sequence[str],
    temperature: float,
    prototypes: NDArray[np.float32],
    weights: Path,
) -> dict[str, Any]:
    """config.json: timm's schema and the record."""
    return {
        "architecture": "proto_tiny",
        "num_classes": len(labels),
        "num_features": dim,
        "label_names": list(labels),
        "model_args": {"embedding_size": dim},
        "pretrained_cfg": {
            "tag": "nonl_tiny",
            "input_size": [3, size, size],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": len(labels),
            "license": "apache-2.0",
        },
        "protozoo": {
            "format_version": 1,
            "objective": "nonl",
            "temperature": temperature,
            "prototypes": {"kind": "learned", "tensor": "head.fc.weight", "sha256": array_sha256(prototypes)},
            "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
            "data": {"name": "noise", "license": "CC0-1.0"},
            "recipe": {"name": "nonl_tiny", "seed": 0},
            "code_revision": "0" * 40,
            "metrics": {"top1": 0.2},
            "open_set": {"definition": "share of unknown images that are accepted", "thresholds": list(THRESHOLDS)},
        },
    }


def resign(folder: Path) -> None:
    """What someone who edits a bundle would do to make its digests fit again."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change config.json in place, and sign the bundle again."""
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))
    resign(folder)
