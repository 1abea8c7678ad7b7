"""The rule by which a claim holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from training.study import judge, parse_test

A, B = ("accuracy", "d.a"), ("accuracy", "d.b.relu")


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def judged(text: str, a: dict[int, float], b: dict[int, float]) -> dict[str, Any]:
    return judge(parse_test(text), {A: a, B: b})


def verdict(text: str, a: dict[int, float], b: dict[int, float]) -> str:
    return str(judged(text, a, b)["verdict"])


AHEAD = "mean(accuracy, d.a) > mean(accuracy, d.b.relu)"


def test_the_interval_of_a_difference_is_that_of_welchs_t_test() -> None:
    a, b = seeds(93, 94.5, 95), seeds(91, 92, 93, 97)
    found = judged(AHEAD, a, b)
    welch = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert found["margin_interval"] == pytest.approx([low, high])
    assert found["margin_error"] == pytest.approx((high - low) / 2 / stats.t.ppf(0.975, welch.df))
    assert found["margin"] == pytest.approx((low + high) / 2)
    assert found["ours"][0] == pytest.approx(
        {"metric": "accuracy", "cell": "d.a", "mean": 94 + 1 / 6, "std": math.sqrt(13 / 12), "seeds": 3}
    )


def test_the_interval_of_one_cell_is_that_of_students_t_test() -> None:
    found = judge(parse_test("mean(accuracy, d.a) > 90"), {A: seeds(93, 94.5, 95)})
    low, high = stats.ttest_1samp([93, 94.5, 95], 90).confidence_interval(0.95)
    assert found["margin_interval"] == pytest.approx([low - 90, high - 90])


def test_a_claim_holds_or_does_not_where_zero_is_outside_of_the_interval() -> None:
    # Deviations 1, so that the difference's standard error is sqrt(2 / 3), with four degrees of freedom: 2.78 of them.
    a, b = seeds(93.3, 94.3, 95.3), seeds(91, 92, 93)
    assert verdict(AHEAD, a, b) == "holds"
    assert verdict("mean(accuracy, d.b.relu) < mean(accuracy, d.a)", a, b) == "holds"
    assert verdict("mean(accuracy, d.a) < mean(accuracy, d.b.relu)", a, b) == "does not hold here"
    found = judged(AHEAD, a, b)
    assert found["because"] == "margin +2.3, 95 % interval +0.033 to +4.57"


def test_a_claim_is_undecided_where_zero_is_in_the_interval_on_either_side_of_the_margin() -> None:
    # Twice the standard error, 1.63, is no 95 % of three seeds, let alone of two.
    assert verdict(AHEAD, seeds(93, 94, 95), seeds(91, 92, 93)) == "undecided"
    assert verdict(AHEAD, seeds(91, 92, 93), seeds(93, 94, 95)) == "undecided"
    assert verdict(AHEAD, seeds(90.0, 90.2), seeds(89.5, 89.7)) == "undecided"


def test_an_equality_within_a_bound_needs_the_deviation_to_be_smaller_than_the_bound() -> None:
    text = "abs(mean(accuracy, d.a) - mean(accuracy, d.b.relu)) < 0.5"
    assert verdict(text, seeds(90, 90.1), seeds(90.1, 90)) == "holds"
    # Equal means of noisy seeds prove nothing.
    assert verdict(text, seeds(88, 92), seeds(92, 88)) == "undecided"


def test_one_seed_is_judged_by_its_sign_and_its_verdict_says_so() -> None:
    found = judged("mean(accuracy, d.a) >= mean(accuracy, d.b.relu)", seeds(90), seeds(90))
    assert found["verdict"] == "holds with one seed"
    assert "one seed" in found["because"]
    assert found["margin_error"] is found["margin_interval"] is None
    assert verdict(AHEAD, seeds(90), seeds(90)) == "undecided"
    assert verdict(AHEAD, seeds(89), seeds(90)) == "does not hold with one seed"
    # Also where the other cell has more: by its error alone.
    assert verdict(AHEAD, seeds(98), seeds(90, 91)) == "holds with one seed"
    assert verdict(AHEAD, seeds(83), seeds(90, 91)) == "does not hold with one seed"
    assert verdict(AHEAD, seeds(95), seeds(90, 91)) == "undecided"


def test_seeds_that_agree_to_the_digit_leave_a_tie_alone_undecided() -> None:
    assert verdict(AHEAD, seeds(90, 90), seeds(89, 89)) == "holds"
    assert verdict(AHEAD, seeds(89, 89), seeds(90, 90)) == "does not hold here"
    assert verdict(AHEAD, seeds(90, 90), seeds(90, 90)) == "undecided"
    assert verdict("mean(accuracy, d.a) >= mean(accuracy, d.b.relu)", seeds(90, 90), seeds(90, 90)) == "holds"


def test_what_may_be_less_than_its_value_widens_the_interval_to_one_side() -> None:
    test, values = parse_test(AHEAD), {A: seeds(50, 52), B: seeds(30, 30)}
    low, high = judge(test, values)["margin_interval"]
    found = judge(test, values, {A: 41.0})
    assert found["margin"] == 21
    assert found["margin_interval"] == [low - 10, high]
    assert judge(test, values, {B: 22.0})["margin_interval"] == [low, high + 8]
    assert judge(test, values, {A: 41.0, B: 22.0})["margin_interval"] == [low - 10, high + 8]
    # Of one seed it is all that is known.
    found = judge(parse_test("mean(accuracy, d.a) < 7.5"), {A: seeds(8.0)}, {A: 0.0})
    assert (found["verdict"], found["margin_interval"]) == ("undecided", [-0.5, 7.5])
    found = judge(parse_test("mean(accuracy, d.a) < 9"), {A: seeds(8.0)}, {A: 0.0})
    assert (found["verdict"], found["margin_interval"]) == ("holds with one seed", [1.0, 9.0])


def test_a_zero_denominator_is_no_verdict() -> None:
    assert verdict("mean(accuracy, d.a) / mean(accuracy, d.b.relu) > 1", seeds(1), seeds(0)) == "not tested"


def test_prototypes_without_a_training_have_no_seeds() -> None:
    found = judge(parse_test("largest_cosine(equidistributed, 8, 4) - largest_cosine(simplex_etf, 4, 3) > 0.3"), {})
    assert found["verdict"] == "holds"
    assert found["margin_error"] is found["margin_interval"] is None
    row = found["ours"][1]
    assert (row["cell"], row["seeds"]) == ("simplex_etf(4, 3)", 0)
    assert row["mean"] == pytest.approx(-1 / 3, abs=1e-6)
    # Beside a cell with one seed the verdict says so, beside one with more it does not.
    mixed = "mean(accuracy, d.a) > largest_cosine(simplex_etf, 4, 3)"
    assert verdict(mixed, seeds(1), {}) == "holds with one seed"
    assert verdict(mixed, seeds(1, 1), {}) == "holds"
