"""Patches of the two photographs that come with scikit-learn: pictures of nothing that a classifier was taught."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.data.source import Rows, Source

_SIDE, _STRIDE = 64, 32


def patches(_: str) -> Source:
    """The source ``patches``: 456 overlapping squares of 64 pixels, every second one in the test split."""
    from sklearn.datasets import load_sample_images

    found = [
        (Image.fromarray(photograph[row : row + _SIDE, column : column + _SIDE]), label)
        for label, photograph in enumerate(load_sample_images().images)
        for row in range(0, photograph.shape[0] - _SIDE + 1, _STRIDE)
        for column in range(0, photograph.shape[1] - _SIDE + 1, _STRIDE)
    ]

    def rows(part: list[tuple[Image.Image, int]]) -> Rows:
        pictures = [(f"patch {index}", picture) for index, (picture, _) in enumerate(part)]
        return Rows.of(pictures, np.array([label for _, label in part], np.int64))

    return Source(
        "patches of scikit-learn's photographs china.jpg and flower.jpg",
        "CC BY",
        ("china", "flower"),
        rows(found[::2]),
        rows(found[1::2]),
    )
