"""The nearest other prototype of each, kept up over changes, against the naive comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.closest import closest


def exact(rows):
    rows = rows.astype(np.float64)
    return rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))


def naive(rows):
    cosines = exact(rows) @ exact(rows).T
    np.fill_diagonal(cosines, -np.inf)
    return cosines.max(axis=1) if len(rows) else np.empty(0)


def drawn(chance, count, dim=3):
    rows = chance.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def assert_right(found, rows):
    assert found.cosine == pytest.approx(naive(rows), abs=1e-12)
    cosines = exact(rows) @ exact(rows).T
    for place, other in enumerate(found.index):
        if other >= 0:
            assert other != place
            assert cosines[place, other] == pytest.approx(found.cosine[place], abs=1e-12)
        else:
            assert len(rows) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6))
def test_after_any_changes_it_is_what_all_pairs_say(seed, changes):
    chance = np.random.default_rng(seed)
    rows = drawn(chance, 6)
    found = closest(rows)
    assert_right(found, rows)
    for removed, added in changes:
        kept = np.sort(chance.permutation(len(rows))[removed:])
        # Whatever came stands anywhere among the others.
        came_from = np.insert(kept, chance.integers(0, len(kept) + 1, added), -1)
        new = drawn(chance, len(came_from))
        new[came_from >= 0] = rows[came_from[came_from >= 0]]
        found, rows = closest(new, found, came_from), new
        assert_right(found, rows)


def test_only_what_a_change_concerns_is_compared_again():
    """The neighbours of prototypes that stay are taken over: wrong ones would stay wrong."""
    rows = drawn(np.random.default_rng(0), 5)
    before = closest(rows)
    before.cosine[:] = 0.999
    after = closest(rows, before, np.arange(5))
    assert after.cosine.tolist() == [0.999] * 5


def test_of_one_prototype_nothing_is_near():
    found = closest(drawn(np.random.default_rng(0), 1))
    assert (found.index.tolist(), found.cosine.tolist()) == ([-1], [-np.inf])
