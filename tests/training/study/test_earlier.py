"""Results of a study elsewhere: what of them counts, and what is done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.training.runs import Protozoo
from training.study import Cell, Grid, Study, collect, load_grid


def test_seeds_of_a_study_elsewhere_are_not_trained_again_and_count(
    protozoo: Protozoo, grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    def words(out: str, *more: Any, **fields: Any) -> list[Any]:
        block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0, 1], "fields": fields}
        path = grid_file(blocks=[block], evaluations={}, claims=[])
        return ["study", path, "--data", f"mine={colours}", "--out", tmp_path / out, *more]

    def accuracies(out: str) -> dict[str, float]:
        results = json.loads((tmp_path / out / "results.json").read_bytes())
        return dict(results["cells"]["mine.nonl"]["metrics"]["accuracy"]["values"])

    assert protozoo(*words("first", "--seeds", "1"))[0] == 0
    earlier = ["--earlier", tmp_path / "first" / "results.json"]
    assert protozoo(*words("second", *earlier, "--dry-run"))[1].splitlines() == [
        "mine.nonl, seed 0: done elsewhere",
        "mine.nonl, seed 1: to train",
    ]
    status, _, err = protozoo(*words("second", *earlier))
    assert status == 0, err
    assert not (tmp_path / "second" / "mine.nonl" / "seed0").exists()
    assert accuracies("second").keys() == {"0", "1"}
    assert accuracies("second")["0"] == accuracies("first")["0"]
    # What was trained otherwise is another training.
    status, _, err = protozoo(*words("third", *earlier, "--dry-run", lr=0.01))
    assert (status, err.count("\n")) == (2, 1)
    assert "results.json has no training of this grid" in err


def test_earlier_results_that_are_none_are_refused(protozoo: Protozoo, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")
    status, _, err = protozoo("study", "digits", "--out", tmp_path / "study", "--earlier", path)
    assert (status, err) == (2, f"protozoo: {path} is no results.json of a study\n")


def test_a_number_of_an_evaluation_that_was_asked_otherwise_elsewhere_is_left_out(
    protozoo: Protozoo, grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    def metrics(out: str, *more: Any, features: str) -> dict[str, Any]:
        # Names of which one begins with the other.
        names = ["fixed", "fixed_too"]
        block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": names}
        options = {"fixed": {"features": "encoder"}, "fixed_too": {"features": features}}
        asked = {name: {"kind": "probe", "probe": "prototypes", "options": options[name]} for name in names}
        path = grid_file(blocks=[block], evaluations=asked, claims=[])
        status, _, err = protozoo("study", path, "--data", f"mine={colours}", "--out", tmp_path / out, *more)
        assert status == 0, err
        results = json.loads((tmp_path / out / "results.json").read_bytes())
        return dict(results["cells"]["mine.nonl"]["metrics"])

    first = metrics("first", features="encoder")
    assert {"accuracy", "fixed", "fixed_seconds", "fixed_too", "fixed_too_seconds"} <= first.keys()
    earlier = ["--earlier", tmp_path / "first" / "results.json"]
    assert metrics("same", *earlier, features="encoder") == first
    other = metrics("other", *earlier, features="projection")
    assert other == {name: found for name, found in first.items() if not name.startswith("fixed_too")}
    # Without the run there, it cannot be done again here.
    words = ["--data", f"mine={colours}", "--out", tmp_path / "other", *earlier, "--dry-run"]
    assert (
        protozoo("study", tmp_path / "grid.yaml", *words)[1] == "mine.nonl, seed 0: done elsewhere, without fixed_too\n"
    )


def test_numbers_against_another_baseline_elsewhere_are_left_out(
    grid_file: Callable[..., Path], recipes: dict[str, str], tmp_path: Path
) -> None:
    def read(baseline: str) -> tuple[Grid, tuple[Cell, ...]]:
        block = {"data": "mine", "recipes": recipes, "seeds": [0], "evaluations": ["soon"]}
        asked = {"soon": {"kind": "convergence", "baseline": baseline}}
        return load_grid(str(grid_file(blocks=[block], evaluations=asked, claims=[])))

    grid, cells = read("ce")
    earlier = collect(grid, Study(cells, {}, tmp_path))["cells"]
    found = {"soon_inter_erank": 50.0, "soon_inter_erank_as_baseline": 60.0}
    earlier["mine.nonl"]["metrics"] = {name: {"values": {"0": value}} for name, value in found.items()}

    def kept(baseline: str) -> dict[str, float]:
        tasks = Study(read(baseline)[1], {}, tmp_path, earlier=earlier).all_tasks()
        return next(task.earlier for task in tasks if task.cell.name == "mine.nonl")

    assert kept("ce") == found
    assert kept("nonl") == {"soon_inter_erank": 50.0}
