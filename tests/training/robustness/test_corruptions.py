"""Corrupted pixels: always the same, of the right kind, and stronger with the severity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.robustness import CORRUPTIONS, corrupt

pytest.importorskip("corrupt_tta")


def picture(side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours with edges."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_image_always_gets_the_same_pixels_whatever_was_drawn_before(name: str) -> None:
    image, other = picture(), picture(seed=1)
    first = corrupt(image, name, 2)
    np.random.default_rng().random()
    corrupt(other, name, 2)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, corrupt(image, name, 2))
    assert not np.array_equal(first, image)


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "snow"])
def test_what_is_random_depends_on_the_seed(name: str) -> None:
    assert not np.array_equal(corrupt(picture(), name, 3, seed=0), corrupt(picture(), name, 3, seed=1))


def test_the_callers_random_numbers_are_left_as_they_were() -> None:
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    corrupt(picture(), "gaussian_noise", 1)
    assert np.array_equal(np.random.random(4), expected)


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "defocus_blur", "pixelate", "contrast"])
def test_a_higher_severity_is_further_from_the_image(name: str) -> None:
    image = picture()
    distances = [np.abs(corrupt(image, name, severity).astype(float) - image).mean() for severity in (1, 3, 5)]
    assert distances == sorted(distances)
    assert distances[0] < distances[2]


def test_a_blur_of_a_small_image_is_that_of_the_image_at_imagenets_size() -> None:
    small = picture()
    large = np.asarray(Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC))
    back = Image.fromarray(corrupt(large, "defocus_blur", 5)).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(back).astype(float) - corrupt(small, "defocus_blur", 5)).max() <= 1
    # At its own size the disk of ten pixels would leave nothing of it.
    assert np.abs(corrupt(small, "defocus_blur", 5).astype(float) - small).mean() < 0.5 * small.std()


def test_impulse_noise_is_the_share_of_salt_and_pepper_that_the_benchmark_has() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    for severity, share in ((1, 0.03), (5, 0.27)):
        noisy = corrupt(grey, "impulse_noise", severity)
        assert (noisy != 127).mean() - (noisy == 128).mean() == pytest.approx(share, abs=0.02)
        assert set(np.unique(noisy)) <= {0, 127, 128, 255}
