"""Of each prototype the nearest other one, kept up while classes come, change and go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Closest:
    """The nearest other prototype of each.

    Attributes:
        index: int64 (K,), where it stands; -1 where there is no other.
        cosine: float64 (K,), with it; minus infinity where there is no other.
    """

    index: NDArray[np.int64]
    cosine: NDArray[np.float64]


NOTHING = Closest(np.empty(0, np.int64), np.empty(0))


def closest(
    rows: NDArray[np.float32], before: Closest = NOTHING, came_from: NDArray[np.int64] | None = None
) -> Closest:
    """Compare every two prototypes, or, after a change, only those that it concerns.

    Args:
        rows: (K, d), unit rows.
        before: of the prototypes before the change.
        came_from: int64 (K,), where each row stood then, bit for bit the same; -1 if it did not. None: none did.
    """
    # Of float32 the norms are off by 1e-7, and near a cosine of 1 that is an angle of 5e-4.
    exact = normalised(rows)
    came_from = np.full(len(rows), -1) if came_from is None else came_from
    kept, changed = np.flatnonzero(came_from >= 0), np.flatnonzero(came_from < 0)
    now_at = np.full(len(before.index) + 1, -1)  # its last entry is for neighbours that there were not
    now_at[came_from[kept]] = kept
    index, cosine = np.full(len(rows), -1), np.full(len(rows), -np.inf)
    index[kept] = now_at[before.index[came_from[kept]]]
    cosine[kept] = before.cosine[came_from[kept]]
    orphans = np.flatnonzero(index < 0)
    # Whoever kept its neighbour can only have got a nearer one among what has changed.
    _take_nearer(np.flatnonzero(index >= 0), changed, exact, index, cosine)
    cosine[orphans] = -np.inf
    _take_nearer(orphans, np.arange(len(rows)), exact, index, cosine)
    return Closest(index, cosine)


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows (K, d) or one (d,), of unit norm to float64's last digits."""
    exact = rows.astype(np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact, axis=-1, keepdims=True)
    return unit


def _take_nearer(
    of: NDArray[np.int64],
    among: NDArray[np.int64],
    rows: NDArray[np.float64],
    index: NDArray[np.int64],
    cosine: NDArray[np.float64],
) -> None:
    """Write the nearest ``among`` some rows into ``index`` and ``cosine`` where it is nearer than what stands there."""
    if not len(among):
        return
    candidates = rows[among]
    for start in range(0, len(of), _BLOCK):  # the whole K x K at once would not fit for many classes
        block = of[start : start + _BLOCK]
        cosines = rows[block] @ candidates.T
        cosines[block[:, None] == among] = -np.inf  # none with itself
        best = cosines.argmax(axis=1)
        found = cosines[np.arange(len(block)), best]
        nearer = found > cosine[block]
        index[block[nearer]] = among[best[nearer]]
        cosine[block[nearer]] = found[nearer]
