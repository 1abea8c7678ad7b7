from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.data import ImageData, Split
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel, timm_model

CLASSES = ("blue", "green", "red")
MODEL_ARGS: dict[str, Any] = {"head": "mlp", "temperature": 0.2, "prototypes": "learned", "classifier": "cosine"}


@pytest.fixture
def model() -> PrototypeModel:
    """Random weights, an MLP head, and running statistics that are not those of a new BatchNorm."""
    torch.manual_seed(0)
    model = timm_model("proto_resnet20_cifar", num_classes=3, embed_dim=8, **MODEL_ARGS)
    model.train()
    with torch.no_grad():
        model(torch.randn(32, 3, 16, 16))
    return model


def _split(count: int, seed: int) -> Split:
    """Noise around a colour a class."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % 3)
    images = 60 + 120 * np.eye(3)[labels][:, None, None, :] + generator.integers(-60, 61, (count, 16, 16, 3))
    return Split(images.clip(0, 255).astype(np.uint8), labels)


@pytest.fixture(scope="session")
def data() -> ImageData:
    return ImageData("colours", "CC0-1.0", CLASSES, _split(50, 0), _split(20, 1))


@pytest.fixture(scope="session")
def sgd() -> Callable[..., Recipe]:
    """sgd(field=value, ...) -> a recipe of a probe that takes a moment."""

    def recipe(**overrides: Any) -> Recipe:
        fields: dict[str, Any] = {
            "objective": "ce",
            "architecture": "proto_resnet20_cifar",
            "epochs": 3,
            "batch_size": 20,
            "lr": 0.5,
            "weight_decay": 0.0,
            "schedule": "step",
            "milestones": (2,),
            "step_decay": 0.2,
            "augmentation": "crop_flip",
            "crop_padding": 2,
        }
        return Recipe(**{**fields, **overrides})

    return recipe


@pytest.fixture
def run(model: PrototypeModel, preprocessing: Preprocessing, tmp_path: Path) -> Path:
    """The folder of a finished run, with what a probe reads of it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("objective: scl\n")
    save_file(model.state_dict(), folder / "model.safetensors")
    result = {
        "architecture": "proto_resnet20_cifar",
        "tag": "scl_colours",
        "model_args": MODEL_ARGS,
        "embed_dim": 8,
        "label_names": CLASSES,
        "preprocessing": preprocessing.as_pretrained_cfg(),
        "objective": "scl",
        "command": "protozoo train scl --data colours --out RUN",
        "data": {"name": "colours", "license": "CC0-1.0", "train_images": 50, "test_images": 20},
        "recipe": {"objective": "scl", "augmentation": "crop_flip", "crop_padding": 2},
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder
