from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.sets.embeddings import (
    GRID,
    MAX_EXAMPLES,
    check_direction,
    class_sums,
    exact,
    exact_sum,
    prototypes,
    spreads,
    unit_rows,
)
from serving.sets.errors import InvalidExamplesError

coordinates = st.floats(-1e6, 1e6, width=32)
examples = arrays(np.float32, st.tuples(st.integers(1, 30), st.just(5)), elements=coordinates).filter(
    lambda rows: np.abs(rows).max(axis=1).all()
)


@given(examples, st.randoms(use_true_random=False))
def test_a_sum_has_the_same_bits_in_every_order_and_grouping(rows, random):
    units = unit_rows(rows, 5)
    order = list(range(len(units)))
    random.shuffle(order)
    one_by_one = np.zeros(5)
    for position in order:
        one_by_one = one_by_one + exact_sum(units[position : position + 1])
    cut = random.randint(0, len(units))
    merged = exact_sum(units[:cut]) + exact_sum(units[cut:])
    assert one_by_one.tobytes() == merged.tobytes() == exact_sum(units).tobytes()


@given(examples, examples)
def test_examples_that_came_and_went_leave_no_bit_behind(stay, go):
    stay, go = unit_rows(stay, 5), unit_rows(go, 5)
    total = exact_sum(stay) + exact_sum(go)
    for row in go:
        total = total - exact_sum(row[None])
    assert total.tobytes() == exact_sum(stay).tobytes()


@given(examples)
def test_rows_have_unit_norm_and_unit_rows_are_kept_bit_for_bit(rows):
    units = unit_rows(rows, 5)
    assert units.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(units.astype(np.float64), axis=1), 1, atol=2e-7)
    assert unit_rows(units, 5).tobytes() == units.tobytes()


@pytest.mark.parametrize("size", [1.7e308, 1.0, 1e-300, 5e-324])
def test_rows_of_any_size_have_a_direction(size):
    np.testing.assert_allclose(unit_rows([[size] * 8, [0.0] * 7 + [-size]], 8), [[8**-0.5] * 8, [0.0] * 7 + [-1]])


@given(examples)
def test_rounding_to_the_grid_is_far_below_float32(rows):
    units = unit_rows(rows, 5)
    assert np.abs(exact(units) - units).max() <= GRID / 2
    assert not np.signbit(exact(units)[exact(units) == 0]).any()


def test_the_largest_allowed_sum_is_exact_to_the_last_grid_step():
    tall = np.full((MAX_EXAMPLES, 1), np.nextafter(np.float32(1), np.float32(2)))  # over 1, as float32 rounds
    low = np.array([[GRID]], np.float32)
    assert exact_sum(np.concatenate([tall, low])) - exact_sum(tall) == GRID


def test_numbers_of_any_size_are_scaled_without_overflow():
    np.testing.assert_array_equal(unit_rows([[3e300, 4e300], [3e-300, 4e-300]], 2), np.float32([[0.6, 0.8]] * 2))


def test_the_prototype_is_the_normalised_mean_and_spread_the_mean_cosine_to_it():
    units = unit_rows(np.random.default_rng(0).standard_normal((6, 4)) + 1, 4)
    sums = class_sums(units, np.array([0, 1, 0, 1, 0, 1]), 2)
    rows = prototypes(sums)
    for position in range(2):
        mean = units[position::2].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(rows[position], mean / np.linalg.norm(mean), atol=1e-7)
        cosine = (units[position::2] @ rows[position]).mean()
        assert spreads(sums, np.array([3, 3]))[position] == pytest.approx(cosine, abs=1e-6)


def test_class_sums_are_those_of_each_class_alone():
    units = unit_rows(np.random.default_rng(0).standard_normal((9, 4)), 4)
    owners = np.array([2, 0, 1, 1, 2, 2, 0, 0, 2])
    sums = class_sums(units, owners, 3)
    for position in range(3):
        assert sums[position].tobytes() == exact_sum(units[owners == position]).tobytes()


@pytest.mark.parametrize(
    ("embeddings", "says"),
    [
        ([], "one or more"),
        (np.empty((0, 2)), "one or more"),
        ([0.5, 0.5], "one or more"),
        ([[1, 2, 3]], "has 2 numbers; these have 3"),
        ([[1, 2], [3]], "table of numbers"),
        ([["a", "b"]], "table of numbers"),
        ([[{}, None]], "table of numbers"),
        ([[1, np.nan]], "NaN"),
        ([[1, np.inf]], "infinite"),
        ([[1, 2], [0, 0]], "all zeros"),
    ],
)
def test_what_no_class_can_be_made_of_is_refused(embeddings, says):
    with pytest.raises(InvalidExamplesError, match=says):
        unit_rows(embeddings, 2)


@settings(max_examples=50)
@given(arrays(np.float32, (1, 5), elements=st.floats(0.125, 1, width=32)), st.integers(1, 5))
def test_examples_that_cancel_out_are_refused_and_their_class_is_named(row, pairs):
    units = np.concatenate([unit_rows(row, 5)] * pairs + [unit_rows(-row, 5)] * pairs)
    with pytest.raises(InvalidExamplesError, match=r"'cat'.* cancel out"):
        check_direction(exact_sum(units)[None], np.array([2 * pairs]), ["cat"])
