"""From a finished run to a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from timm.layers import Format, get_spatial_dim

from export.card import render_card
from export.onnx import write_onnx
from zoo.bundle import FORMAT_VERSION, Bundle, Preprocessing, array_sha256, new_bundle
from zoo.errors import ProtozooError
from zoo.files import sha256_of
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit
from zoo.models.pixels import PixelModel
from zoo.runs import FinishedRun, open_run

GOLDEN_IMAGES = 8


def export_run(run: Path, out: Path) -> Bundle:
    """Write the bundle of a finished run.

    Args:
        run: folder that ``protozoo train`` wrote.
        out: folder of the bundle; must not exist.

    Raises:
        ProtozooError: the run is not finished, has no prototypes, or ``out`` exists.
    """
    finished = _load_run(run)
    result, model = finished.record, finished.model
    head = model.get_classifier(name_only=True)
    classifier, offsets = f"{head}.weight", f"{head}.offsets"
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # Only the direction of a learned prototype means anything: stored as unit rows, the weights are the prototypes.
    state[classifier] = unit(state[classifier].double()).float().contiguous()
    model.load_state_dict(state)
    with new_bundle(out) as folder:
        weights = folder / "model.safetensors"
        save_file(state, weights, metadata={"format": "pt", "protozoo.code_revision": result["code_revision"]})
        config = _config(result, model, state, weights, classifier, offsets)
        preprocessing = Preprocessing.from_pretrained_cfg(config["pretrained_cfg"])
        pixels = PixelModel(model, preprocessing)
        metadata = {
            "protozoo.name": f"{result['architecture']}.{result['tag']}",
            "protozoo.labels": result["label_names"],
            "protozoo.temperature": config["protozoo"]["temperature"],
            "protozoo.weights_sha256": config["protozoo"]["weights"]["sha256"],
            "protozoo.prototypes_sha256": config["protozoo"]["prototypes"]["sha256"],
        }
        write_onnx(pixels, preprocessing.size, folder / "model.onnx", metadata)
        _write_golden(pixels, preprocessing.size, folder / "golden.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render_card(config), encoding="utf-8")
    return Bundle.open(out)


def _load_run(path: Path) -> FinishedRun:
    run = open_run(path)
    if run.record["model_args"]["classifier"] != "cosine":
        raise ProtozooError(
            f"{path} was trained with {run.record['objective']}, whose linear classifier has no prototypes to serve: "
            "train normface, ntce or nonl"
        )
    return run


def _config(
    result: Mapping[str, Any],
    model: PrototypeModel,
    state: dict[str, torch.Tensor],
    weights: Path,
    classifier: str,
    offsets: str,
) -> dict[str, Any]:
    """config.json: timm's schema, and the key ``protozoo``, which timm ignores and keeps."""
    cfg = model.pretrained_cfg
    size = result["preprocessing"]["input_size"][-1]
    with torch.inference_mode():
        features = model.forward_features(torch.zeros(1, 3, size, size))
    pool_size = [features.shape[axis] for axis in get_spatial_dim(Format(model.head.input_fmt))]
    classes = len(result["label_names"])
    return {
        "architecture": result["architecture"],
        "num_classes": classes,
        "num_features": model.num_features,
        "global_pool": "avg",
        "label_names": result["label_names"],
        "model_args": {
            "num_classes": classes,
            "in_chans": 3,
            "global_pool": "avg",
            **result["model_args"],
            "embed_dim": result["embed_dim"],
        },
        "pretrained_cfg": {
            "tag": result["tag"],
            "custom_load": False,
            **result["preprocessing"],
            "fixed_input_size": bool(cfg.get("fixed_input_size")),
            "num_classes": classes,
            "pool_size": pool_size,
            "first_conv": cfg["first_conv"],
            "classifier": cfg["classifier"],
            "license": cfg["license"],
        },
        "protozoo": {
            "format_version": FORMAT_VERSION,
            "objective": result["objective"],
            "temperature": model.temperature,
            "prototypes": {
                # Runs of before this key had no other kind.
                "kind": result.get("prototypes", "learned"),
                "tensor": classifier,
                "sha256": array_sha256(state[classifier].numpy()),
            },
            "readout": _readout(result, state, offsets),
            "weights": {"file": weights.name, "sha256": sha256_of(weights), "bytes": weights.stat().st_size},
            **{
                key: result[key]
                for key in ("data", "recipe", "command", "code_revision", "cost", "metrics", "open_set")
            },
            # What a fine-tuned or fitted model goes on from.
            **({"base": result["base"]} if "base" in result else {}),
        },
    }


def _readout(result: Mapping[str, Any], state: dict[str, torch.Tensor], offsets: str) -> dict[str, Any]:
    """How cosines become an answer, and with offsets where they are and what they stand for."""
    readout: dict[str, Any] = result["readout"]
    if readout["kind"] == "cosine":
        return readout
    return {**readout, "tensor": offsets, "sha256": array_sha256(state[offsets].numpy())}


def golden_images(size: int) -> NDArray[np.uint8]:
    """Pictures that anyone may copy: coloured waves with noise, uint8 (8, size, size, 3), always the same."""
    generator = np.random.default_rng(0)
    row, column = np.mgrid[0:size, 0:size] / size
    frequency = generator.uniform(0.5, 4, size=(2, GOLDEN_IMAGES, 1, 1, 3))
    phase = generator.uniform(0, 2 * np.pi, size=(GOLDEN_IMAGES, 1, 1, 3))
    waves = np.sin(2 * np.pi * (frequency[0] * row[..., None] + frequency[1] * column[..., None]) + phase)
    noise = generator.normal(scale=0.3, size=waves.shape)
    pictures: NDArray[np.uint8] = (127.5 + 100 * (waves + noise)).clip(0, 255).astype(np.uint8)
    return pictures


def _write_golden(model: PixelModel, size: int, path: Path) -> None:
    images = golden_images(size)
    with torch.inference_mode():
        embeddings, cosines, *_ = model(torch.from_numpy(images))
    save_arrays({"images": images, "embeddings": embeddings.numpy(), "cosines": cosines.numpy()}, path)
