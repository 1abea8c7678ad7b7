"""The page of the study is what the study's command writes of the numbers beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.study import Study, collect, load_grid, report

DOCS = Path(__file__).resolve().parents[2] / "docs"

OBJECTIVES = {
    "cross-entropy": "ce",
    "`normface`": "normface",
    "`ntce`": "ntce",
    "`nonl`": "nonl",
    "`dot_regression` (ETF+DR)": "etf_dr",
    "the same, prototypes assigned in training": "dynamic",
    "`scl`, class means": "scl",
    "`scl_with_prototypes`, its own prototypes": "scl_prototypes",
}
CELLS = ("cifar10.{}", "tiny.{}", "cifar10.{}.lt10", "cifar10.{}.lt50", "cifar10.{}.lt100")

HEADS = {"nonl": "NONL", "ntce": "NTCE", "etf_dr": "ETF+DR"}
HEAD_METRICS = {"accuracy": ".2f", "train_etf_cosine_error": ".3f", "train_weight_alignment": ".3f"}


@pytest.mark.parametrize(("grid", "name"), [("cpu", "results"), ("heads", "heads"), ("long_tail", "long-tails")])
def test_the_results_are_those_of_the_grid(grid: str, name: str, tmp_path: Path) -> None:
    asked, cells = load_grid(grid)
    kept = json.loads((DOCS / f"{name}.json").read_bytes())
    again = collect(asked, Study(cells, {}, tmp_path, earlier=kept["cells"]))
    numbers = {cell: found["metrics"] for cell, found in again["cells"].items() if found["metrics"]}
    assert_equal(numbers, {cell: found["metrics"] for cell, found in kept["cells"].items() if found["metrics"]})
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == report(asked, kept)
    for claim, judged in zip(kept["claims"], again["claims"], strict=True):
        if claim["verdict"] != "not tested":
            assert_equal(judged, claim)


def assert_equal(found: Any, kept: Any) -> None:
    """But for the last digits of a number, which Python's statistics and SciPy round by their versions."""
    if isinstance(kept, dict):
        assert found.keys() == kept.keys()
        for name, value in kept.items():
            assert_equal(found[name], value)
    elif isinstance(kept, list):
        for one, other in zip(found, kept, strict=True):
            assert_equal(one, other)
    else:
        assert found == (pytest.approx(kept, rel=1e-9) if isinstance(kept, float) else kept)


def cells_of(name: str) -> dict[str, Any]:
    cells: dict[str, Any] = json.loads((DOCS / f"{name}.json").read_bytes())["cells"]
    return cells


def rows_of_objectives() -> list[str]:
    """The rows of accuracies in docs/objectives.md, of the numbers in docs/results.json."""
    cells = cells_of("results")

    def text(cell: str) -> str:
        found = cells.get(cell, {"metrics": {}})["metrics"].get("accuracy")
        if found is None:
            return ""
        spread = "" if found["std"] is None else f" ± {found['std']:.1f}"
        return f"{found['mean']:.1f}{spread} ({len(found['values'])})"

    return [
        f"| {name} | {' | '.join(text(cell.format(objective)) for cell in CELLS)} |"
        for name, objective in OBJECTIVES.items()
    ]


def test_the_page_on_objectives_has_the_numbers_of_the_study() -> None:
    assert "\n".join(rows_of_objectives()) in (DOCS / "objectives.md").read_text(encoding="utf-8")


def rows_of_heads() -> list[str]:
    """The rows of docs/how-it-works.md on what a head is for, of the numbers in docs/heads.json."""
    cells = cells_of("heads")

    def text(cell: str, metric: str, form: str) -> str:
        found = cells[cell]["metrics"][metric]
        return f"{found['mean']:{form}} ± {found['std']:{form}}"

    return [
        f"| {name} | {head} | {' | '.join(text(f'digits.{objective}.{head}', *one) for one in HEAD_METRICS.items())} |"
        for objective, name in HEADS.items()
        for head in ("signed", "relu")
    ]


def test_the_page_on_how_it_works_has_the_numbers_of_the_study() -> None:
    assert "\n".join(rows_of_heads()) in (DOCS / "how-it-works.md").read_text(encoding="utf-8")
