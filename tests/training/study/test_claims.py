"""Tests of claims: what can be written, and the rule by which a claim holds."""

from __future__ import annotations

import math

import pytest

from training.study import judge, parse_test
from training.study.inequality import by_seed, cells_of, metrics_of, quantities_of
from training.study.prototypes import largest_cosine
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


def test_a_quantity_may_be_computed_of_metrics_seed_by_seed() -> None:
    test = parse_test("mean(fixed_seconds / linear_seconds, d.a) < 0.2")
    (quantity,) = quantities_of(test)
    assert quantity == ("fixed_seconds / linear_seconds", "d.a")
    assert metrics_of(quantity) == ("fixed_seconds", "linear_seconds")
    # The second seed ran on a machine of a tenth of the speed; the third has no probe.
    values = by_seed(quantity, {"fixed_seconds": seeds(12, 120, 13), "linear_seconds": {0: 120, 1: 1200}})
    assert values == {0: pytest.approx(0.1), 1: pytest.approx(0.1)}
    assert judge(test, {quantity: values})["verdict"] == "holds"
    assert by_seed(("2 * (a - b) + a * b", "d.a"), {"a": seeds(3), "b": seeds(5)}) == {0: 2 * (3 - 5) + 3 * 5}
    assert by_seed(("a", "d.a"), {"a": seeds(3, 4)}) == seeds(3, 4)


def test_prototypes_without_a_training_have_cosines_and_no_seeds() -> None:
    test = parse_test("largest_cosine(equidistributed, 8, 4) - largest_cosine(simplex_etf, 4, 3) > 0.3")
    found = judge(test, {})
    # A cross-polytope's largest cosine is 0, that of a simplex of four -1/3.
    assert found["verdict"] == "holds"
    assert found["margin"] == pytest.approx(1 / 3 - 0.3, abs=1e-6)
    assert found["margin_error"] is None
    row = found["ours"][1]
    assert (row["cell"], row["seeds"]) == ("simplex_etf(4, 3)", 0)
    assert row["mean"] == pytest.approx(-1 / 3, abs=1e-6)
    assert cells_of(test) == quantities_of(test) == ()
    # Beside a cell with one seed the verdict says so, beside one with more it does not.
    mixed = "mean(accuracy, d.a) > largest_cosine(simplex_etf, 4, 3)"
    assert verdict(mixed, seeds(1), {}) == "holds with one seed"
    assert verdict(mixed, seeds(1, 1), {}) == "holds"


def test_prototypes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ProtozooError, match=r"largest_cosine\(simplex_etf, 9, 4\): "):
        largest_cosine("simplex_etf", 9, 4)


@pytest.mark.parametrize(
    "text",
    [
        "mean(1, d.a) > 0",
        "mean(max(a, b), d.a) > 0",
        "mean(a ** 2, d.a) > 0",
        "mean('a' / b, d.a) > 0",
        "largest_cosine(equidistributed, 8) > 0",
        "largest_cosine(equidistributed, 8, 4.5) > 0",
        "largest_cosine(os, 8, 4) > 0",
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
