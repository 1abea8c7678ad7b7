"""Reading and comparing the runs that tests have trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FILES = {
    ".lock",
    "recipe.yaml",
    "data.json",
    "log.txt",
    "metrics.csv",
    "checkpoints",
    "model.safetensors",
    "pictures",
    "result.json",
}
Said = list[str]
DataInOrder = Callable[[str, tuple[str, ...]], None]
Start = Callable[..., Said]
StartAndStop = Callable[..., None]
Protozoo = Callable[..., tuple[int, str, str]]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_speed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {name: value for name, value in row.items() if name not in ("images_per_second", "seconds")} for row in rows
    ]


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_bytes())
