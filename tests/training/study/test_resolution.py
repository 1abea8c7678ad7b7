"""What a log can tell of how soon a value was reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.study import Grid, Study, collect, load_grid, parse_test, report
from training.study.resolution import smallest_shares, unresolved

A, B = ("share", "d.a"), ("share", "d.b")
FIRST = {share: {0: 100 / 12, 1: 100 / 12} for share in (A, B)}


@pytest.mark.parametrize(
    ("text", "a", "b", "decided"),
    [
        ("mean(share, d.a) < 7.5", (100 / 12, 100 / 12), (), False),
        ("mean(share, d.a) < 7.5", (25.0, 25.0), (), True),  # at the first evaluation it was not there yet
        ("mean(share, d.a) < 10", (100 / 12, 100 / 12), (), True),
        ("mean(share, d.a) < 10", (25.0, 25.0), (), True),
        ("mean(share, d.a) < 10", (100 / 12, 50 / 3), (), False),
        ("mean(share, d.a) > 7.5", (25.0, 25.0), (), True),
        ("mean(share, d.a) < mean(share, d.b)", (100 / 12, 100 / 12), (25.0, 25.0), True),
        ("mean(share, d.a) < mean(share, d.b)", (25.0, 25.0), (100 / 12, 100 / 12), True),
        ("mean(share, d.a) < mean(share, d.b)", (100 / 12, 100 / 12), (100 / 12, 100 / 12), False),
        ("mean(share, d.a) + 5 < mean(share, d.b)", (25.0, 25.0), (50.0, 50.0), True),
    ],
)
def test_what_lies_before_the_first_evaluation_decides_no_claim(
    text: str, a: tuple[float, ...], b: tuple[float, ...], decided: bool
) -> None:
    test, seeds = parse_test(text), {A: dict(enumerate(a)), **({B: dict(enumerate(b))} if b else {})}
    because = unresolved(test, seeds, FIRST)
    assert because == (None if decided else "the first evaluation is at 8.3 % of the training")
    assert unresolved(test, seeds, {}) is None


def test_what_is_computed_of_shares_decides_no_claim() -> None:
    test = parse_test("mean(share / 2, d.a) < 90")
    assert "bounds" in (unresolved(test, {("share / 2", "d.a"): {0: 12.5}}, FIRST) or "")
    assert unresolved(test, {("share / 2", "d.a"): {0: 12.5}}, {}) is None


def test_the_first_evaluation_is_told_from_the_recipes() -> None:
    def of(grid: str, name: str) -> dict[str, float]:
        tasks = Study(load_grid(grid)[1], {}, Path("nowhere")).all_tasks()
        return smallest_shares(next(task for task in tasks if task.cell.name == name))

    cpu = of("cpu", "cifar10.nonl")
    assert cpu["convergence_weight_alignment"] == pytest.approx(100 / 12)
    assert cpu["convergence_weight_alignment_as_baseline"] == pytest.approx(100 / 12)
    # Every five epochs of 96: there the papers' 7.5 % can show.
    assert of("gpu", "cifar10.nonl")["convergence_weight_alignment"] == pytest.approx(100 * 5 / 96)
    assert of("cpu", "tiny.nonl") == {}


def test_a_value_of_the_first_evaluation_is_a_bound_in_tables_and_claims(
    grid_file: Callable[..., Path], recipes: dict[str, str], tmp_path: Path
) -> None:
    """Also of trainings elsewhere, whose logs are not here."""
    block = {
        "data": "mine",
        "recipes": {"ce": recipes["ce"]},
        "fields": {"epochs": 12, "evaluate_every": 1},
        "seeds": [0, 1],
        "evaluations": ["convergence"],
    }
    title, metric = "Share", "convergence_weight_erank"
    claims = [
        {"claim": f"Under {bound}", "source": "s", "theirs": "t", "test": f"mean({metric}, mine.ce) < {bound}"}
        for bound in (7.5, 50)
    ]
    path = grid_file(
        blocks=[block],
        evaluations={"convergence": {"kind": "convergence", "baseline": "ce"}},
        claims=claims,
        tables=[{"title": title, "columns": {metric: "weight erank"}}],
    )
    grid, cells = load_grid(str(path))

    def results(*values: float) -> tuple[Grid, dict[str, Any]]:
        found = collect(grid, Study(cells, {}, tmp_path))["cells"]
        found["mine.ce"]["metrics"] = {metric: {"values": {str(seed): value for seed, value in enumerate(values)}}}
        return grid, collect(grid, Study(cells, {}, tmp_path, earlier=found))

    text = report(*results(100 / 12, 100 / 12))
    assert "| mine.ce | 2 of 2 | ≤ 8.33 |" in text
    assert (
        f"{metric} of mine.ce ≤ 8.33 | not tested, because the first evaluation is at 8.3 % of the training |" in text
    )
    assert f"{metric} of mine.ce ≤ 8.33 | holds (" in text
    text = report(*results(100 / 12, 25))
    assert "≤ 16.67" not in text
    assert "not tested, because the first" not in text
