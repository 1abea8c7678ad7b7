"""A bundle of random weights, where only the time that a model takes is wanted; it has no card."""

from __future__ import annotations

import json

import torch

from export.bundle import _config, _write_golden
from export.variants import Variants, write_variants
from export.weights import weights_bytes
from zoo import __version__, create_model
from zoo.bundle import Preprocessing, new_bundle
from zoo.models.pixels import PixelModel


def write(architecture: str, out: str, classes: int = 100) -> None:
    """Write it into a folder that does not exist."""
    torch.manual_seed(0)
    model = create_model(architecture, num_classes=classes).eval()
    classifier = f"{model.get_classifier(name_only=True)}.weight"
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    state[classifier] = torch.nn.functional.normalize(state[classifier].double()).float()
    model.load_state_dict(state)
    cfg = Preprocessing.from_pretrained_cfg({"crop_pct": 1.0, "interpolation": "bicubic", **model.pretrained_cfg})
    record = {
        "architecture": architecture,
        "tag": "random",
        "label_names": [f"class {index}" for index in range(classes)],
        "model_args": {"temperature": model.temperature, "classifier": "cosine"},
        "embed_dim": model.prototypes.shape[1],
        "preprocessing": cfg.as_pretrained_cfg(),
        "objective": "none",
        "prototypes": "learned",
        "readout": {"kind": "cosine"},
        "recipe": {},
        "data": {"name": "none", "license": "none"},
        "metrics": {},
        "open_set": {"thresholds": []},
        "cost": {},
        "command": "none",
        "code_revision": __version__,
    }
    with new_bundle(out) as folder:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights_bytes(state, {"protozoo.code_revision": __version__}))
        config = _config(record, model, state, weights, classifier, "")
        pixels = PixelModel(model, cfg)
        config["protozoo"]["onnx"] = write_variants(pixels, config, folder, Variants())
        _write_golden(pixels, cfg.size, folder / "golden.safetensors")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "README.md").write_text("Random weights.\n", encoding="utf-8")
