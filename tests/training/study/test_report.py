from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.study import Study, collect, load_grid, report


@pytest.mark.parametrize(
    ("decimals", "row"),
    [({}, "9.3200 ± 0.2828 | 10.50 ± 0.71"), ({"decimals": 2}, "9.32 ± 0.28 | 10.50 ± 0.71")],
    ids=["by size", "two"],
)
def test_the_numbers_of_a_table_have_the_decimals_that_it_asks_for(
    grid_file: Callable[..., Path], recipes: dict[str, str], tmp_path: Path, decimals: dict[str, Any], row: str
) -> None:
    table = {"title": "Accuracy", "columns": {"transfer": "digits", "accuracy": "test"}, **decimals}
    block = {"data": "mine", "recipes": {"ce": recipes["ce"]}, "seeds": [0, 1]}
    grid, cells = load_grid(str(grid_file(blocks=[block], tables=[table], claims=[])))
    found = collect(grid, Study(cells, {}, tmp_path))["cells"]
    measured = {"transfer": (9.12, 9.52), "accuracy": (10, 11)}
    found["mine.ce"]["metrics"] = {
        metric: {"values": {str(seed): value for seed, value in enumerate(values)}}
        for metric, values in measured.items()
    }
    results = collect(grid, Study(cells, {}, tmp_path, earlier=found))
    assert f"| mine.ce | 2 of 2 | {row} |" in report(grid, results)
