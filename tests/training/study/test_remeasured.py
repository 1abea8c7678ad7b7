"""What was measured of other settings, data or weights is measured again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.study import Study, load_grid, work
from training.study.driver import Task
from zoo.files import sha256_of

pytest.importorskip("corrupt_tta")


def test_an_evaluation_that_is_asked_for_otherwise_is_done_again_and_no_other(
    grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    blocks = [{"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["fixed", "other"]}]
    probe = {"kind": "probe", "probe": "prototypes"}

    def study(features: str) -> Study:
        other = {**probe, "options": {"features": features}}
        path = grid_file(blocks=blocks, evaluations={"fixed": probe, "other": other}, claims=[])
        return Study(load_grid(str(path))[1], {"mine": str(colours)}, tmp_path / "study")

    work(study("encoder"), jobs=1, say=lambda line: None)
    said: list[str] = []
    work(study("whitened"), jobs=1, say=said.append)
    assert said == ["mine.nonl, seed 0: other"]


def test_a_record_of_other_data_is_measured_again(
    grid_file: Callable[..., Path], recipes: dict[str, str], tmp_path: Path
) -> None:
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["there"]}
    asked = {"there": {"kind": "probe", "probe": "prototypes", "data": "other"}}
    _, cells = load_grid(str(grid_file(blocks=[block], evaluations=asked, claims=[])))

    def task(place: str | None) -> Task:
        return next(Study(cells, {"mine": "m", **({"other": place} if place else {})}, tmp_path).tasks())

    task("a/birds").folder.mkdir(parents=True)
    task("a/birds").keep("there", {"test_accuracy": 1})
    assert task("moved/birds").missing() == []
    assert task("a/fish").missing() == ["there"]
    assert task(None).record("there") == {"test_accuracy": 1}


def test_what_was_measured_of_other_weights_is_measured_again_and_stays_where_the_run_is_gone(
    grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["fixed", "uniform"]}
    asked = {
        "fixed": {"kind": "probe", "probe": "prototypes"},
        "uniform": {"kind": "readout", "prior": "uniform"},
    }

    def study_of(epochs: int) -> Study:
        changed = {**block, "fields": {"epochs": epochs, "warmup_epochs": 0}}
        _, cells = load_grid(str(grid_file(blocks=[changed], evaluations=asked, claims=[])))
        return Study(cells, {"mine": str(colours)}, tmp_path / "study")

    def records(task: Task) -> list[str | None]:
        return [(task.record(name) or {}).get("weights_sha256") for name in asked]

    work(study_of(1), jobs=1, say=str)
    (task,) = study_of(2).tasks()
    weights = task.run / "model.safetensors"
    first = sha256_of(weights)
    assert records(task) == [first] * 2
    shutil.rmtree(task.run)
    assert records(task) == [first] * 2
    work(study_of(2), jobs=1, say=str)
    assert records(task) == [sha256_of(weights)] * 2 != [first] * 2
