"""Which images stand in which batch of an epoch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def generator_of(seed: int, epoch: int, step: int | None = None) -> np.random.Generator:
    """The only source of chance in a step, or, without one, in the order of an epoch."""
    # numpy's seeds end in zeros without being others: (seed, epoch) is (seed, epoch, 0).
    return np.random.default_rng((seed, epoch, 0 if step is None else step + 1))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Optimiser steps in an epoch of ``count`` images: full batches only, or one of all images if it is larger."""
    return count // min(batch_size, count)


def epoch_order(
    labels: NDArray[np.int64], batch_size: int, *, batches: Literal["shuffled", "balanced"], seed: int, epoch: int
) -> NDArray[np.int64]:
    """The images of every batch of an epoch; a pure function.

    Args:
        labels: (N,).
        batch_size: over all ranks; all N images where it is larger.
        batches: "shuffled": a random order; "balanced": a batch holds as many classes as it can, each as often as the
            others to within one, so that images of rare classes come back and of common ones some stay out.
        seed: of the order.
        epoch: of the order, from 0.

    Returns:
        (steps, batch) indices; the incomplete last batch is left out.
    """
    size, steps = min(batch_size, len(labels)), steps_per_epoch(len(labels), batch_size)
    generator = generator_of(seed, epoch)
    if batches == "shuffled":
        return generator.permutation(len(labels))[: steps * size].reshape(steps, size)
    values, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    wanted = _balanced_classes(len(values), steps, size, generator)
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    # Every class deals its images in one order, again and again, so that one comes back as late as it can.
    uses = np.bincount(wanted.ravel(), minlength=len(values))
    dealt = [np.resize(generator.permutation(own), count) for own, count in zip(members, uses, strict=True)]
    order = np.empty(steps * size, np.int64)
    order[np.argsort(wanted.ravel(), kind="stable")] = np.concatenate(dealt)
    return order.reshape(steps, size)


def _balanced_classes(classes: int, steps: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(steps, size) classes: each ``size // classes`` times in a batch, the rest different ones, taken in turns."""
    rounds, rest = divmod(size, classes)
    batches = np.empty((steps, size), np.int64)
    deck = np.empty(0, np.int64)
    for step in range(steps):
        if len(deck) < rest:
            fresh = generator.permutation(classes)
            # What is left of the old deck goes to the end of the new one's: no class twice among the rest of a batch.
            repeated = np.isin(fresh, deck)
            deck = np.concatenate([deck, fresh[~repeated], fresh[repeated]])
        whole = np.tile(np.arange(classes), rounds)
        batches[step] = generator.permutation(np.concatenate([whole, deck[:rest]]))
        deck = deck[rest:]
    return batches
