"""scikit-learn's digits, which come with its package."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.data.source import Rows, Source


def digits_split() -> tuple[list[tuple[Image.Image, int]], list[tuple[Image.Image, int]]]:
    """scikit-learn's 1,797 digits as 8-bit grey pictures with labels: a stratified 80 % to train on, 20 % to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pictures = [Image.fromarray((image * 255 / 16).astype(np.uint8)) for image in digits.images]
    train, test = train_test_split(
        np.arange(len(pictures)), test_size=0.2, stratify=digits.target, random_state=0, shuffle=True
    )
    return tuple([(pictures[i], int(digits.target[i])) for i in sorted(part)] for part in (train, test))  # type: ignore[return-value]


def digits(_: str) -> Source:
    """The source ``digits``."""

    def rows(part: list[tuple[Image.Image, int]]) -> Rows:
        pictures = [(f"digit {index}", picture) for index, (picture, _) in enumerate(part)]
        return Rows.of(pictures, np.array([label for _, label in part], np.int64))

    train, test = map(rows, digits_split())
    return Source(
        "scikit-learn's digits (UCI, Alpaydin & Kaynak 1998)",
        "CC BY 4.0",
        tuple(str(digit) for digit in range(10)),
        train,
        test,
    )
