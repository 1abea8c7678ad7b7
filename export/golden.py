"""Pictures for golden outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GOLDEN_IMAGES = 8


def golden_images(size: int) -> NDArray[np.uint8]:
    """Pictures that anyone may copy: coloured waves with noise, uint8 (8, size, size, 3), always the same."""
    generator = np.random.default_rng(0)
    row, column = np.mgrid[0:size, 0:size] / size
    frequency = generator.uniform(0.5, 4, size=(2, GOLDEN_IMAGES, 1, 1, 3))
    phase = generator.uniform(0, 2 * np.pi, size=(GOLDEN_IMAGES, 1, 1, 3))
    waves = np.sin(2 * np.pi * (frequency[0] * row[..., None] + frequency[1] * column[..., None]) + phase)
    noise = generator.normal(scale=0.3, size=waves.shape)
    pictures: NDArray[np.uint8] = (127.5 + 100 * (waves + noise)).clip(0, 255).astype(np.uint8)
    return pictures
