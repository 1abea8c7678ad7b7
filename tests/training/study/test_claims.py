"""Tests of claims: what can be written, and the rule by which a claim holds."""

from __future__ import annotations

import math

import pytest

from training.study import judge, parse_test
from training.study.claims import cells_of, quantities_of
from zoo.errors import ProtozooError

A, B = ("accuracy", "d.a"), ("accuracy", "d.b.relu")


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def verdict(text: str, a: dict[int, float], b: dict[int, float]) -> str:
    return str(judge(parse_test(text), {A: a, B: b})["verdict"])


def test_a_test_names_metrics_and_cells() -> None:
    test = parse_test("mean(accuracy, d.a) - mean(accuracy, d.b.relu) > 2 * mean(ece, d.a)")
    assert quantities_of(test) == (A, B, ("ece", "d.a"))
    assert cells_of(test) == ("d.a", "d.b.relu")


def test_a_margin_larger_than_twice_its_standard_error_holds_in_either_direction() -> None:
    # Deviations 1, so standard errors 1 / sqrt 3 and of the difference sqrt(2 / 3) = 0.816.
    a, b = seeds(93, 94, 95), seeds(91, 92, 93)
    found = judge(parse_test("mean(accuracy, d.a) > mean(accuracy, d.b.relu)"), {A: a, B: b})
    assert found["verdict"] == "holds"
    assert found["margin"] == pytest.approx(2)
    assert found["margin_error"] == pytest.approx(math.sqrt(2 / 3))
    assert found["ours"][0] == {"metric": "accuracy", "cell": "d.a", "mean": 94, "std": 1, "seeds": 3}
    assert verdict("mean(accuracy, d.b.relu) < mean(accuracy, d.a)", a, b) == "holds"
    assert verdict("mean(accuracy, d.a) < mean(accuracy, d.b.relu)", a, b) == "does not hold here"


def test_the_right_sign_within_the_deviation_does_not_hold_and_says_so() -> None:
    found = judge(
        parse_test("mean(accuracy, d.a) - mean(accuracy, d.b.relu) > 1"), {A: seeds(93, 94, 95), B: seeds(91, 92, 93)}
    )
    assert found["margin"] == pytest.approx(1)
    assert found["verdict"] == "does not hold here"
    assert found["because"].endswith("within the deviation over seeds")


def test_an_equality_within_a_bound_needs_the_deviation_to_be_smaller_than_the_bound() -> None:
    text = "abs(mean(accuracy, d.a) - mean(accuracy, d.b.relu)) < 0.5"
    assert verdict(text, seeds(90, 90.1), seeds(90.1, 90)) == "holds"
    # Equal means of noisy seeds prove nothing.
    assert verdict(text, seeds(88, 92), seeds(92, 88)) == "does not hold here"


def test_one_seed_is_judged_by_its_sign_and_its_verdict_says_so() -> None:
    found = judge(parse_test("mean(accuracy, d.a) >= mean(accuracy, d.b.relu)"), {A: seeds(90), B: seeds(90)})
    assert found["verdict"] == "holds with one seed"
    assert "one seed" in found["because"]
    assert found["margin_error"] is None
    ahead = "mean(accuracy, d.a) > mean(accuracy, d.b.relu)"
    assert verdict(ahead, seeds(90), seeds(90)) == "does not hold with one seed"
    # Also where the other cell has more: by its error alone.
    assert verdict(ahead, seeds(95), seeds(90, 91)) == "holds with one seed"
    assert verdict(ahead, seeds(91), seeds(90, 91)) == "does not hold with one seed"


def test_arithmetic_is_the_usual_and_a_zero_denominator_is_no_verdict() -> None:
    test = parse_test("-(mean(accuracy, d.a) + 2) * 3 / max(1, 2) > min(0, mean(accuracy, d.b.relu)) - 100")
    assert judge(test, {A: seeds(2), B: seeds(5)})["margin"] == pytest.approx(-6 + 100)
    assert verdict("mean(accuracy, d.a) / mean(accuracy, d.b.relu) > 1", seeds(1), seeds(0)) == "not tested"


@pytest.mark.parametrize(
    "text",
    [
        "mean(accuracy, d.a)",
        "mean(accuracy, d.a) > 1 > 0",
        "mean(accuracy, d.a) == 1",
        "mean(accuracy) > 1",
        "accuracy > 1",
        "__import__('os') > 1",
        "mean(accuracy, d.a) ** 2 > 1",
        "abs() > 1",
        "'a' > 1",
        "mean(accuracy, d.a) >",
    ],
)
def test_anything_else_is_refused_before_the_work(text: str) -> None:
    with pytest.raises(ProtozooError, match="the test"):
        parse_test(text)
