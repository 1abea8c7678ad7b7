"""The arithmetic of a class: a sum of unit embeddings that does not depend on their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.sets.errors import InvalidExamplesError

GRID = 2.0**-40
"""Coordinates are rounded to multiples of this before they are added: 1e-12, where float32 itself is off by 6e-8."""
MAX_EXAMPLES = 2**12
"""Sums of so many coordinates of at most 1 on the grid need 52 of float64's 53 bits: every addition is exact."""
MIN_SPREAD = 1e-6
"""A shorter mean is rounding noise: it has no direction."""
_UNIT = 1e-6


def unit_rows(embeddings: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Scale embeddings (k, d) to unit norm; a row that has it already is kept bit for bit.

    Raises:
        InvalidExamplesError: there is none, ``dim`` is another, a number is not finite, or a row is zero.
    """
    try:
        rows = np.asarray(embeddings, np.float64)
    except (TypeError, ValueError):
        raise InvalidExamplesError(f"embeddings must be a table of numbers with {dim} in each row") from None
    if rows.ndim != 2 or len(rows) == 0:
        raise InvalidExamplesError(f"one or more embeddings are needed, each a row of {dim} numbers")
    if rows.shape[1] != dim:
        raise InvalidExamplesError(f"an embedding of this model has {dim} numbers; these have {rows.shape[1]}")
    if not np.isfinite(rows).all():
        raise InvalidExamplesError("an embedding holds NaN or an infinite number")
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if not largest.all():
        raise InvalidExamplesError("an embedding is all zeros: it has no direction")
    scaled = rows / largest  # squares of the rows themselves may overflow
    norms = _norms(scaled)[:, None]
    with np.errstate(over="ignore"):
        is_unit = np.abs(largest * norms - 1) <= _UNIT
    return np.where(is_unit, rows, scaled / norms).astype(np.float32)


def exact(units: NDArray[np.float32]) -> NDArray[np.float64]:
    """What unit embeddings (k, d) add to a sum: multiples of :data:`GRID`, and never the negative zero."""
    return np.rint(units.astype(np.float64) / GRID) * GRID + 0.0


def exact_sum(units: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum (d,) of unit embeddings (k, d), bit-equal in every order."""
    total: NDArray[np.float64] = exact(units).sum(axis=0)
    return total


def class_sums(units: NDArray[np.float32], owners: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """The sums (K, d) of unit embeddings (n, d), of which each belongs to the class that ``owners`` (n,) numbers."""
    sums = np.zeros((num_classes, units.shape[1]))
    np.add.at(sums, owners, exact(units))
    return sums


def spreads(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean cosine (K,) of each class's examples to its prototype: the norm of the mean of its unit embeddings."""
    return np.minimum(_norms(sums) / counts, 1.0)


def prototypes(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit rows (K, d) of sums (K, d)."""
    return (sums / _norms(sums)[:, None]).astype(np.float32)


def check_direction(sums: NDArray[np.float64], counts: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Refuse classes whose examples cancel out.

    Raises:
        InvalidExamplesError: names the first of them.
    """
    for position in np.flatnonzero(spreads(sums, counts) < MIN_SPREAD).tolist():
        raise InvalidExamplesError(
            f"the examples of the class {labels[position]!r} would cancel out: their mean is zero and has no direction"
        )


def _norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt((rows * rows).sum(axis=1))
    return norms
