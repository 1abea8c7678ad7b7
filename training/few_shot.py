"""A few images of each class to train on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data import ImageData
from zoo.errors import ProtozooError


def with_shots(data: ImageData, shots: int | None, *, seed: int) -> ImageData:
    """``data`` with at most ``shots`` training images of each class, and a name that says so; None keeps all.

    Args:
        data: whose test split stays whole.
        shots: images of a class; a class that has fewer keeps them all.
        seed: of the choice; the same seed keeps the same images, and fewer shots a part of what more keep.

    Raises:
        ProtozooError: fewer than one.
    """
    if shots is None:
        return data
    if shots < 1:
        raise ProtozooError(f"shots = {shots}: a class needs at least one image")
    generator, labels = np.random.default_rng(seed), data.train.labels
    kept = [generator.permutation(np.flatnonzero(labels == label))[:shots] for label in range(len(data.classes))]
    name = f"{data.name}, {shots} image{'s' if shots > 1 else ''} a class"
    return replace(data, train=data.train.subset(np.sort(np.concatenate(kept))), name=name)
