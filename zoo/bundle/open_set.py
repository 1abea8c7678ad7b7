"""Thresholds for unknown images from the examples of a set alone: no image of another class is at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

RATES = (0.01, 0.05, 0.1)
DEFINITION = (
    "cosine to the nearest prototype above which at most a share fpr of images of a class without a prototype is "
    "taken for known; estimated on the enrolled examples by leaving out, for each, the prototype of its own class"
)
_BLOCK = 1024


def leave_out_thresholds(
    embeddings: NDArray[np.float32], owners: NDArray[np.int64], prototypes: NDArray[np.float32]
) -> list[dict[str, float]]:
    """Thresholds for unknown images, see :data:`DEFINITION`.

    No example is compared with a prototype that it is part of. A rate of which there are fewer examples than one in
    1 / fpr is left out, and so is one that no cosine keeps to.

    Args:
        embeddings: (n, d) unit rows.
        owners: (n,), the class of each.
        prototypes: (K, d) unit rows; of fewer than two nothing can be said.

    Returns:
        For each rate "fpr" the "cosine".
    """
    if len(prototypes) < 2 or not len(embeddings):
        return []
    others = np.concatenate(list(_nearest_others(embeddings, owners, prototypes)))
    found = []
    for rate in RATES:
        # A cosine equal to the threshold is accepted, so the threshold is the next number above the quantile.
        cosine = float(np.nextafter(np.quantile(others, 1 - rate, method="higher"), np.float32(2)))
        if len(others) * rate >= 1 and cosine <= 1:
            found.append({"fpr": rate, "cosine": cosine})
    return found


def _nearest_others(
    embeddings: NDArray[np.float32], owners: NDArray[np.int64], prototypes: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(embeddings), _BLOCK):  # (n, K) at once would not fit for many classes
        cosines = embeddings[start : start + _BLOCK] @ prototypes.T
        cosines[np.arange(len(cosines)), owners[start : start + _BLOCK]] = -np.inf
        yield cosines.max(axis=1)
