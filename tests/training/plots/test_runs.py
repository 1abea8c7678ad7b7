from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from training.plots.runs import common_num_classes, grouped, names, read_run, shortened
from training.recipe.schema import Objective
from zoo.errors import ProtozooError

MakeRun = Callable[..., Path]


def test_cells_that_were_not_measured_are_left_out(make_run: MakeRun) -> None:
    path = make_run(rows=[{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5, "test_accuracy": 0.25}])
    assert "\n1,2.5,\n" in (path / "metrics.csv").read_text().replace("\r", "")
    assert read_run(path).rows == ({"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5, "test_accuracy": 0.25})


def test_number_of_classes_is_that_of_the_record_or_of_the_newest_checkpoint(make_run: MakeRun) -> None:
    unfinished = make_run("unfinished", classes="abcde")
    assert read_run(unfinished).num_classes == 5
    assert read_run(make_run("finished", finished=True)).num_classes == 3
    newer = make_run("other", classes="abcd") / "checkpoints" / "000000002-0123.safetensors"
    shutil.copy(newer, unfinished / "checkpoints" / "000000010-4567.safetensors")
    assert read_run(unfinished).num_classes == 4
    shutil.rmtree(unfinished / "checkpoints")
    assert read_run(unfinished).num_classes is None


def test_runs_that_differ_in_their_seeds_alone_are_one_group(make_run: MakeRun) -> None:
    paths = [make_run("a", seed=0), make_run("b", objective="ce"), make_run("c", seed=1)]
    runs = [read_run(path) for path in paths]
    groups = grouped(runs)
    assert [(group.label, [run.path.name for run in group.runs]) for group in groups] == [
        ("NONL", ["a", "c"]),
        ("CE", ["b"]),
    ]
    assert list(names(runs).values()) == ["NONL, seed 0", "NONL, seed 1", "CE"]


def test_runs_of_one_objective_with_other_settings_are_told_apart_by_their_folders(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, lr=lr)) for name, lr in (("one/run", 0.1), ("two/run", 0.2))]
    assert [group.label for group in grouped(runs)] == ["NONL, one/run", "NONL, two/run"]


def test_a_second_run_of_a_seed_is_no_further_seed(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name)) for name in ("a", "b")]
    assert [group.label for group in grouped(runs)] == ["NONL, a", "NONL, b"]


@pytest.mark.parametrize("objective", get_args(Objective))
def test_every_objective_has_a_name(make_run: MakeRun, objective: str) -> None:
    augmentation = "contrastive" if objective.startswith("scl") else "none"
    (group,) = grouped([read_run(make_run(objective=objective, augmentation=augmentation))])
    assert group.label


def test_a_long_name_keeps_both_its_ends() -> None:
    assert shortened("short", 9) == "short"
    assert shortened("abcdefghijklm", 9) == "abcd…jklm"
    assert shortened("abcdefghijklm", 8) == "abcd…klm"


def test_runs_of_different_numbers_of_classes_are_refused(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, classes=classes)) for name, classes in (("a", "xyz"), ("b", "xyzw"))]
    with pytest.raises(ProtozooError, match=r"a has 3 classes and .*b has 4: draw them one at a time"):
        common_num_classes(runs)
    assert common_num_classes(runs[:1]) == 3


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("recipe.yaml", None, "is no run"),
        ("recipe.yaml", "", "is damaged"),
        ("recipe.yaml", "data: x\nobjective: nonl\nlearning: 1\n", "not of this version"),
        ("metrics.csv", None, "no metrics yet"),
        ("metrics.csv", "epoch,loss\n", "no metrics yet"),
        ("metrics.csv", "epoch,loss\n1,low\n", "not a number"),
        ("checkpoints/000000002-0123.safetensors", "", "cannot be read"),
        ("result.json", "{", "is damaged"),
    ],
)
def test_a_folder_that_is_no_sound_run_is_refused_by_name(
    make_run: MakeRun, file: str, content: str | None, message: str
) -> None:
    path = make_run()
    if content is None:
        (path / file).unlink()
    else:
        (path / file).write_text(content)
    with pytest.raises(ProtozooError, match=message) as caught:
        read_run(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
