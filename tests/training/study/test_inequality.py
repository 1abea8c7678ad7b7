"""What can be written as the test of a claim, and what it amounts to."""

from __future__ import annotations

import pytest

from training.study import parse_test
from training.study.inequality import by_seed, cells_of, metrics_of, prototypes_of, quantities_of
from training.study.prototypes import largest_cosine
from zoo.errors import ProtozooError

A, B = ("accuracy", "d.a"), ("accuracy", "d.b.relu")


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_test_names_metrics_and_cells() -> None:
    test = parse_test("mean(accuracy, d.a) - mean(accuracy, d.b.relu) > 2 * mean(ece, d.a)")
    assert quantities_of(test) == (A, B, ("ece", "d.a"))
    assert cells_of(test) == ("d.a", "d.b.relu")


def test_the_margin_is_the_larger_side_less_the_other_by_the_usual_arithmetic() -> None:
    test = parse_test("-(mean(accuracy, d.a) + 2) * 3 / max(1, 2) > min(0, mean(accuracy, d.b.relu)) - 100")
    assert test.margin({A: 2, B: 5}) == pytest.approx(-6 + 100)
    assert parse_test("mean(accuracy, d.a) < abs(-3)").margin({A: 2}) == 1


@pytest.mark.parametrize(
    ("comparison", "met"),
    [
        (">", (False, False, True)),
        (">=", (False, True, True)),
        ("<", (True, False, False)),
        ("<=", (True, True, False)),
    ],
)
def test_a_comparison_is_met_as_in_python(comparison: str, met: tuple[bool, ...]) -> None:
    test = parse_test(f"mean(accuracy, d.a) {comparison} 5")
    assert tuple(test.met({A: value}) for value in (4, 5, 6)) == met


def test_a_quantity_may_be_computed_of_metrics_seed_by_seed() -> None:
    (quantity,) = quantities_of(parse_test("mean(fixed_seconds / linear_seconds, d.a) < 0.2"))
    assert quantity == ("fixed_seconds / linear_seconds", "d.a")
    assert metrics_of(quantity) == ("fixed_seconds", "linear_seconds")
    # The second seed ran on a machine of a tenth of the speed; the third has no probe.
    values = by_seed(quantity, {"fixed_seconds": seeds(12, 120, 13), "linear_seconds": {0: 120, 1: 1200}})
    assert values == {0: pytest.approx(0.1), 1: pytest.approx(0.1)}
    assert by_seed(("2 * (a - b) + a * b", "d.a"), {"a": seeds(3), "b": seeds(5)}) == {0: 2 * (3 - 5) + 3 * 5}
    assert by_seed(("a", "d.a"), {"a": seeds(3, 4)}) == seeds(3, 4)


@pytest.mark.parametrize("call", ["abs(1, 2)", "abs()", "min(1)", "max()"])
def test_a_function_takes_as_many_numbers_as_it_needs(call: str) -> None:
    with pytest.raises(ProtozooError, match="abs of one nor min or max of several"):
        parse_test(f"{call} > mean(accuracy, d.a)")


def test_prototypes_without_a_training_have_cosines_and_no_cell() -> None:
    test = parse_test("largest_cosine(equidistributed, 8, 4) - largest_cosine(simplex_etf, 4, 3) > 0.3")
    # A cross-polytope's largest cosine is 0, that of a simplex of four -1/3.
    assert test.margin({}) == pytest.approx(1 / 3 - 0.3, abs=1e-6)
    assert prototypes_of(test) == (("equidistributed", 8, 4), ("simplex_etf", 4, 3))
    assert cells_of(test) == quantities_of(test) == ()


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
