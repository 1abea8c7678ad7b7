"""A folder that timm and transformers load without protozoo: the model of :mod:`export.fold`, and its description."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import Format, get_spatial_dim
from torch import Tensor, nn

from export.compare import a_batch
from export.evaluation import BATCH, calibration_files
from export.fold import fold, plain_model
from export.golden import golden_images
from export.template import render
from export.weights import weights_bytes
from zoo.bundle import Bundle, Preprocessing
from zoo.bundle.foreign import FOLDED_FROM
from zoo.bundle.sums import write_sums
from zoo.errors import ProtozooError
from zoo.files import check_free, sha256_of, staged_folder
from zoo.loading import load_bundle
from zoo.models.architectures import plain_architecture
from zoo.models.base import PrototypeModel, size_args
from zoo.runs import open_run


@dataclass(frozen=True)
class Source:
    """What is folded.

    Attributes:
        architecture, tag: its name, in two parts.
        model: with its weights, in evaluation mode, on the CPU, in float32.
        preprocessing: what it expects of an image.
        labels: class names, in the order of the prototypes.
        record: of its training: ``objective``, ``data``, ``command`` and ``metrics``.
        weights_sha256: digest of its ``model.safetensors``.
    """

    architecture: str
    tag: str
    model: PrototypeModel
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    record: Mapping[str, Any]
    weights_sha256: str

    @classmethod
    def of_run(cls, path: Path) -> Source:
        """The model of a finished run.

        Raises:
            ProtozooError: it is no run, not finished, or cannot be read.
        """
        run = open_run(path)
        digest = sha256_of(path / "model.safetensors")
        architecture, tag = run.record["architecture"], run.record["tag"]
        return cls(architecture, tag, run.model, run.preprocessing, run.labels, run.record, digest)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Source:
        """The model of a bundle."""
        architecture, tag = bundle.config["architecture"], bundle.config["pretrained_cfg"]["tag"]
        model = load_bundle(bundle).eval()
        digest = bundle.weights_sha256
        return cls(architecture, tag, model, bundle.preprocessing, bundle.labels, bundle.record, digest)


def export_plain(source: Source, out: Path, calibrate: Path | None = None) -> Mapping[str, Any]:
    """Write a model of timm's own that gives the source's class to every image, as a folder in the Hub's layout.

    Args:
        source: what to fold.
        out: the folder; must not exist.
        calibrate: folder of images, at any depth, of whose embeddings the mean norm is taken before normalisation, so
            that probabilities are near the source's; None: of the golden images'.

    Returns:
        config.json.

    Raises:
        ProtozooError: the model cannot be folded, or gives another class than the source to some image; nothing is
            written.
    """
    check_free(out)
    name = _timm_name(source.architecture)
    weight, bias = fold(source.model.head)
    images, scaling = _images(source.preprocessing, calibrate)
    expected, norms = _answers(source, images)
    # Six digits: the rest is noise of the machine, and would be in every weight.
    scale = float(f"{source.model.temperature * norms[:scaling].mean():.6g}")
    plain = plain_model(source.model, name, weight / scale, bias / scale, **size_args(name, source.preprocessing.size))
    config = _config(source, plain, name)
    config[FOLDED_FROM] = {
        "name": f"{source.architecture}.{source.tag}",
        "weights_sha256": source.weights_sha256,
        "objective": source.record["objective"],
        "temperature": source.model.temperature,
        "scale": scale,
        "scaled_on": f"{scaling} golden images" if calibrate is None else f"{scaling} images of {calibrate.name}",
        **_compared(expected, _run(plain, source.preprocessing, images).double(), scaling),
    }
    with staged_folder(out) as folder:
        metadata = {"protozoo.folded_from": source.weights_sha256}
        (folder / "model.safetensors").write_bytes(weights_bytes(plain.state_dict(), metadata))
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_card(config, source.record), encoding="utf-8")
        write_sums(folder)
    return config


def _timm_name(architecture: str) -> str:
    name = plain_architecture(architecture)
    if name is None:
        raise ProtozooError(
            f"timm itself has no architecture with the layers of {architecture} (stems for small images are protozoo's "
            "own), so it cannot load the weights: train proto_resnet18 or another for 224 pixels, or export without "
            "--plain"
        )
    return name


def _images(preprocessing: Preprocessing, calibrate: Path | None) -> tuple[NDArray[np.uint8], int]:
    """What the answers are compared on, (N, H, W, 3), and how many of the first of them set the scale."""
    golden, noise = golden_images(preprocessing.size), a_batch(preprocessing.size)
    if calibrate is None:
        return np.concatenate([golden, noise]), len(golden)
    pictures = np.concatenate(list(calibration_files(calibrate, preprocessing).batches()))
    return np.concatenate([pictures, golden, noise]), len(pictures)


def _answers(source: Source, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """The source's logits (N, K), and the norms (N,) that it divides embeddings by; in float64."""
    model, head = source.model, source.model.head

    def answer(x: Tensor) -> Tensor:
        features = model.forward_features(x)
        norms = head.projection(head.global_pool(features)).double().norm(dim=1, keepdim=True)
        return torch.cat([norms, model.forward_head(features).double()], dim=1)

    answers = _run(answer, source.preprocessing, images)
    return answers[:, 1:], answers[:, 0]


def _run(model: Callable[[Tensor], Tensor], preprocessing: Preprocessing, images: NDArray[np.uint8]) -> Tensor:
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    batches = torch.from_numpy(images).split(BATCH)
    with torch.inference_mode():
        return torch.cat([model(((batch.float() / 255 - mean) / std).permute(0, 3, 1, 2)) for batch in batches])


def _compared(expected: Tensor, given: Tensor, scaling: int) -> dict[str, Any]:
    """How near the logits (N, K) of the folded model are to the source's.

    Raises:
        ProtozooError: some are not finite, or their largest is another class.
    """
    if not (expected.isfinite().all() and given.isfinite().all()):
        raise ProtozooError("the model gives numbers that are not finite: train it again")
    best = expected.argmax(dim=1)
    others = int((given.argmax(dim=1) != best).sum())
    if others:
        raise ProtozooError(
            f"the folded model gives another class than its source to {others} of {len(best)} images: nothing was "
            "written; export without --plain"
        )
    ours, theirs = (x.softmax(dim=1).gather(1, best[:, None])[:scaling] for x in (expected, given))
    apart = (ours - theirs).abs()
    return {
        "checked_images": len(best),
        "top1_agreement": 1.0,
        "probability_difference": {"mean": round(float(apart.mean()), 4), "largest": round(float(apart.max()), 4)},
    }


def _config(source: Source, plain: nn.Module, name: str) -> dict[str, Any]:
    """The fields of timm's schema."""
    cfg: Any = plain.pretrained_cfg
    classes, size = len(source.labels), source.preprocessing.size
    with torch.inference_mode():
        features = source.model.forward_features(torch.zeros(1, 3, size, size))
    pool_size = [features.shape[axis] for axis in get_spatial_dim(Format(source.model.head.input_fmt))]
    return {
        "architecture": name,
        "num_classes": classes,
        "num_features": plain.num_features,
        "global_pool": "avg",
        "label_names": list(source.labels),
        # Without num_classes, which transformers passes beside them.
        "model_args": size_args(name, size),
        "pretrained_cfg": {
            "tag": source.tag,
            "custom_load": False,
            **source.preprocessing.as_pretrained_cfg(),
            "fixed_input_size": bool(cfg["fixed_input_size"]),
            "num_classes": classes,
            "pool_size": pool_size,
            "first_conv": cfg["first_conv"],
            "classifier": cfg["classifier"],
            "license": source.model.pretrained_cfg["license"],
        },
    }


def _card(config: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    return render("plain.md.jinja", {"config": config, "folded": config[FOLDED_FROM], "record": record})
