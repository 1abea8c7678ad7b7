"""The page of the study is what the study's command writes of the numbers beside it."""

import json
from pathlib import Path

import pytest

from training.study import Study, collect, load_grid, report

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("grid", "name"), [("cpu", "results"), ("heads", "heads"), ("long_tail", "long-tails")])
def test_the_results_are_those_of_the_grid(grid: str, name: str, tmp_path: Path) -> None:
    asked, cells = load_grid(grid)
    kept = json.loads((DOCS / f"{name}.json").read_bytes())
    again = collect(asked, Study(cells, {}, tmp_path, earlier=kept["cells"]))
    numbers = {cell: found["metrics"] for cell, found in again["cells"].items() if found["metrics"]}
    assert numbers == {cell: found["metrics"] for cell, found in kept["cells"].items() if found["metrics"]}
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == report(asked, kept)
    for claim, judged in zip(kept["claims"], again["claims"], strict=True):
        if claim["verdict"] != "not tested":
            assert judged == claim
