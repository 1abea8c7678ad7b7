"""The examples run, and show what their first lines claim."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

Lines = list[str]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def timm_loading(lines: Lines) -> None:
    assert numbers(lines[1])[-1] > 98
    before, after = numbers(lines[2])[-1], numbers(lines[3])
    assert before < 75
    assert after[0] > 95
    assert after[1] < 0


def retrieval_index(lines: Lines) -> None:
    own, foreign = (numbers(lines[row])[1] for row in (1, 4))
    assert own > 97
    assert 20 < foreign < 60


def incremental_classes(lines: Lines) -> None:
    assert all(line.endswith("moved by 0.0") for line in lines[:10])
    assert numbers(lines[9])[1] == numbers(lines[10])[0] > 75


def open_set_monitoring(lines: Lines) -> None:
    shares = lines[1:-1]
    assert not shares[0].endswith("alarm")
    assert all(line.endswith("alarm") for line in shares[-2:])
    assert numbers(lines[-1])[1] > 75


def long_tail_geometry(lines: Lines) -> None:
    rows = [numbers(line) for line in lines[1:]]
    assert all(frequent > 95 for _, frequent, *_ in rows)
    rare = [row[4] for row in rows]
    assert max(rare) - min(rare) < 8, "the angles do make a difference"
    assert rows[0][3] < rows[1][3] < rows[2][3]


CLAIMS: dict[str, Callable[[Lines], None]] = {
    claim.__name__: claim
    for claim in (timm_loading, retrieval_index, incremental_classes, open_set_monitoring, long_tail_geometry)
}


def numbers(line: str) -> list[float]:
    return [float(found[0]) for found in _NUMBER.finditer(line)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_shows_what_it_says(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    CLAIMS[path.stem](printed)
    shown = namespace["__doc__"].split("\n\n")[-1].splitlines()
    assert [_NUMBER.sub("#", line).split() for line in shown] == [_NUMBER.sub("#", line).split() for line in printed]


def test_an_example_is_short() -> None:
    assert {path.stem for path in EXAMPLES} == set(CLAIMS)
    assert max(len(path.read_text().splitlines()) for path in EXAMPLES) < 60
