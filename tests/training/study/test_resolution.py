"""What a log can tell of how soon a value was reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.study import Grid, Study, collect, judge, load_grid, parse_test, report
from training.study.resolution import least_means, smallest_shares, unresolved

A, B = ("share", "d.a"), ("share", "d.b")
STEP = 100 / 12
FIRST = {share: {0: STEP, 1: STEP} for share in (A, B)}


@pytest.mark.parametrize(
    ("text", "a", "b", "verdict"),
    [
        ("mean(share, d.a) < 7.5", (STEP, STEP), (), "undecided"),
        ("mean(share, d.a) < 7.5", (2 * STEP, 2 * STEP), (), "does not hold here"),  # at the first it was not there yet
        ("mean(share, d.a) < 10", (STEP, STEP), (), "holds"),
        ("mean(share, d.a) < 10", (2 * STEP, 2 * STEP), (), "undecided"),  # it came there between 8.3 and 16.7
        ("mean(share, d.a) > 7.5", (2 * STEP, 2 * STEP), (), "holds"),
        ("mean(share, d.a) < mean(share, d.b)", (STEP, STEP), (3 * STEP, 3 * STEP), "holds"),
        ("mean(share, d.a) < mean(share, d.b)", (STEP, STEP), (2 * STEP, 2 * STEP), "undecided"),
        ("mean(share, d.a) < mean(share, d.b)", (3 * STEP, 3 * STEP), (STEP, STEP), "does not hold here"),
        ("mean(share, d.a) < mean(share, d.b)", (STEP, STEP), (STEP, STEP), "undecided"),
        ("mean(share, d.a) < mean(share, d.b)", (95.0, 95.0), (100.0, 100.0), "holds"),  # 100: not by its end
    ],
)
def test_a_share_is_known_to_lie_between_two_evaluations(
    text: str, a: tuple[float, ...], b: tuple[float, ...], verdict: str
) -> None:
    test, seeds = parse_test(text), {A: dict(enumerate(a)), **({B: dict(enumerate(b))} if b else {})}
    assert judge(test, seeds, least_means(seeds, FIRST))["verdict"] == verdict
    assert unresolved(test, FIRST) is None
    assert least_means(seeds, {}) == {}


def test_what_is_computed_of_shares_decides_no_claim() -> None:
    test = parse_test("mean(share / 2, d.a) < 90")
    assert "between two evaluations" in (unresolved(test, FIRST) or "")
    assert unresolved(test, {}) is None


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
    assert f"{metric} of mine.ce ≤ 8.33 | undecided (margin -0.833, 95 % interval -0.833 to +7.5) |" in text
    assert f"{metric} of mine.ce ≤ 8.33 | holds (margin +41.7, 95 % interval +41.7 to +50) |" in text
    assert "≤ 16.67" not in report(*results(100 / 12, 25))
