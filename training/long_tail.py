"""Long-tailed versions of a balanced training set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data import ImageData, Split, StoredSplit
from zoo.errors import ProtozooError


def long_tailed(split: Split | StoredSplit, imbalance: float, *, seed: int) -> Split | StoredSplit:
    r"""Keep :math:`n_c = n_{max} \cdot f^{c/(K-1)}` images of class c, the exponential profile.

    Args:
        split: whose classes 0 to K - 1 all have images.
        imbalance: f in (0, 1], smallest class over largest (the papers' .1, .02 and .01).
        seed: of the choice within each class; the same seed keeps the same images, and of two factors the smaller one
            a part of what the larger keeps.

    Returns:
        The kept images in their order; at least one of each class, and at most those that there are.

    Raises:
        ProtozooError: a factor out of its range.

    Source: Cao et al. 2019 ("Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss"); table 6 of
    "Neural Collapse by Design" (arXiv 2605.20302).
    """
    if not 0 < imbalance <= 1:
        raise ProtozooError(f"imbalance = {imbalance}: the smallest class over the largest must lie in (0, 1]")
    counts = np.bincount(split.labels)
    generator = np.random.default_rng(seed)
    kept = []
    for label, count in enumerate(counts):
        share = imbalance ** (label / max(len(counts) - 1, 1))
        wanted = min(max(round(int(counts.max()) * share), 1), int(count))
        kept.append(generator.permutation(np.flatnonzero(split.labels == label))[:wanted])
    return split.subset(np.sort(np.concatenate(kept)))


def with_long_tail(data: ImageData, imbalance: float, *, seed: int) -> ImageData:
    """``data`` with a long-tailed training split, and a name that says so; for a factor of 1, itself."""
    if imbalance == 1:
        return data
    tail = long_tailed(data.train, imbalance, seed=seed)
    return replace(data, train=tail, name=f"{data.name}, long-tailed ({imbalance:g})")
