from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.models.base import timm_model

MakeRun = Callable[..., Path]
CLASSES = ("blue", "green", "red")
ROWS = ({"epoch": 1, "test_accuracy": 0.5}, {"epoch": 2, "test_accuracy": 0.75})


@pytest.fixture
def make_run(tmp_path: Path, preprocessing: Preprocessing) -> MakeRun:
    """make_run(name, rows, finished=..., field=value, ...) -> the folder of a run as a training leaves it."""

    def make(
        name: str = "run",
        rows: Sequence[Mapping[str, float]] = ROWS,
        *,
        classes: Sequence[str] = CLASSES,
        finished: bool = False,
        **fields: Any,
    ) -> Path:
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        recipe = Recipe(
            **{"objective": "nonl", "architecture": "proto_resnet20_cifar", "epochs": 4, "lr": 0.1} | fields
        )
        (path / "recipe.yaml").write_text(yaml.safe_dump({"data": "colours", **recipe.model_dump(mode="json")}))
        with (path / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
        if finished:
            _finish(path, recipe, classes, preprocessing)
        else:
            (path / "checkpoints").mkdir()
            arrays = {"model.head.fc.weight": np.zeros((len(classes), 8), np.float32)}
            save_arrays(arrays, path / "checkpoints" / "000000002-0123.safetensors")
        return path

    return make


def _finish(path: Path, recipe: Recipe, classes: Sequence[str], preprocessing: Preprocessing) -> None:
    args = {"head": "linear", "classifier": "linear" if recipe.objective == "ce" else "cosine"}
    torch.manual_seed(recipe.seed)
    model = timm_model(recipe.architecture, num_classes=len(classes), embed_dim=8, **args)
    save_file(model.state_dict(), path / "model.safetensors")
    result = {
        "architecture": recipe.architecture,
        "model_args": args,
        "embed_dim": 8,
        "label_names": list(classes),
        "preprocessing": preprocessing.as_pretrained_cfg(),
        "recipe": recipe.model_dump(mode="json"),
        "tag": "nonl_colours",
    }
    (path / "result.json").write_text(json.dumps(result))
