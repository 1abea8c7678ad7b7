"""What a study refuses before the work, and what it says that it leaves out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.training.runs import Protozoo
from training.data.load import SOURCES
from training.precision import machine_precision


@pytest.fixture
def one_cell(recipes: dict[str, str], grid_file: Callable[..., Path]) -> Callable[..., Path]:
    """one_cell(field=value, ...) -> a grid of one training on the data ``mine``."""

    def write(**fields: Any) -> Path:
        block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "fields": fields}
        return grid_file(blocks=[block], evaluations={}, claims=[])

    return write


def test_a_run_of_another_recipe_is_not_the_grids(
    protozoo: Protozoo, one_cell: Callable[..., Path], colours: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "study"

    def study(*more: object, data: Path = colours, **fields: Any) -> tuple[int, str, str]:
        return protozoo("study", one_cell(**fields), "--data", f"mine={data}", "--out", out, *more)

    assert study("--epochs-factor", "0.5", epochs=2, precision="auto")[0] == 0
    before = sorted(out.rglob("*"))
    begun = yaml.safe_load((out / "mine.nonl" / "seed0" / "run" / "recipe.yaml").read_text())
    assert begun["precision"] == machine_precision()
    # What the run was begun with: the same grid, on this machine or another, from here or elsewhere.
    status, text, err = study("--epochs-factor", "0.5", "--dry-run", epochs=2, precision="auto")
    assert (status, text) == (0, "mine.nonl, seed 0: done\n"), err
    moved = tmp_path / "elsewhere" / colours.name
    shutil.copytree(colours, moved)
    assert study("--epochs-factor", "0.5", "--dry-run", data=moved, epochs=2, precision="auto")[0] == 0
    for more in ((), ("--report",), ("--dry-run",)):
        status, text, err = study(*more, epochs=2, precision="auto")
        assert (status, text) == (2, "")
        assert err == (
            f"protozoo: mine.nonl, seed 0: {out}/mine.nonl/seed0/run holds a run with epochs = 1, not 2: choose "
            f"another --out, or give the same settings to resume, or remove {out}/mine.nonl/seed0\n"
        )
    assert "lr = 0.02, not 0.03" in study(epochs=1, lr=0.03)[2]
    other = make_folder(tmp_path / "other")
    assert f"not '{other}'" in study("--epochs-factor", "0.5", data=other, epochs=2, precision="auto")[2]
    assert sorted(out.rglob("*")) == before


def test_a_study_without_its_data_says_what_to_give(
    protozoo: Protozoo, one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        status, text, err = protozoo("study", one_cell(), "--out", tmp_path / "study", *more)
        assert (status, text) == (2, "")
        assert err.startswith("protozoo: without data there is nothing to do: give --data mine=DATA")
        assert "(1 training on mine)" in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()
    assert protozoo("study", one_cell(), "--out", tmp_path / "study", "--report")[0] == 0


def test_what_is_left_out_for_want_of_data_is_counted(
    protozoo: Protozoo, settings: dict[str, Any], grid_file: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    transfer = {"kind": "probe", "probe": "cached", "data": "absent"}
    path = grid_file(evaluations={**settings["evaluations"], "transfer": transfer})
    words = ["study", path, "--data", f"mine={colours}", "--out", tmp_path / "study", "--dry-run"]
    status, text, err = protozoo(*words)
    assert (status, len(text.splitlines())) == (0, 4)
    assert err == (
        "left out, as their data are not given: 1 training on absent, 4 evaluations on absent; --data absent=DATA "
        "would add them\n"
    )


def test_data_that_cannot_be_there_are_refused_at_once(
    protozoo: Protozoo, one_cell: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["study", one_cell(), "--out", tmp_path / "study"]
    status, _, err = protozoo(*words, "--data", "mine=/nonexistent")
    assert status == 2
    assert err.startswith("protozoo: --data mine=/nonexistent: /nonexistent is neither a folder nor one of digits, ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "study").exists()
    for known in (next(iter(SOURCES)), "hfds/owner/name"):
        assert protozoo(*words, "--data", f"mine={known}", "--dry-run")[0] == 0
