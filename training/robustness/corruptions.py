"""The fifteen corruptions of ImageNet-C, of one image at a time: the same image always gets the same pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import ProtozooError

# In the order of the benchmark's tables, with its groups, which are a level of its folders.
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
CORRUPTIONS = tuple(name for names in GROUPS.values() for name in names)
SEVERITIES = (1, 2, 3, 4, 5)

SIDE = 224
"""Pixels: the images of ImageNet-C, by which lengths are measured."""

_BY_LENGTH = ("defocus_blur", "glass_blur", "motion_blur", "snow", "frost", "elastic_transform")
_SALT_AND_PEPPER = (0.03, 0.06, 0.09, 0.17, 0.27)


def check_installed() -> None:
    """Refuse to begin where the library that makes corruptions is missing.

    Raises:
        ProtozooError: it is.
    """
    try:
        import corrupt_tta  # noqa: F401
    except ImportError as error:
        raise ProtozooError(
            "corruptions are made by corrupt-tta, which is not installed: pip install 'protozoo[corruptions]', or give "
            "--corrupted with ImageNet-C's folders"
        ) from error


def corrupt(image: NDArray[np.uint8], name: str, severity: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """An image as ImageNet-C corrupts it.

    What is random is drawn from a generator that is seeded with a digest of the seed, the corruption, the severity and
    the pixels: the result depends on nothing else, neither on the image's place in a data set nor on other images.

    Args:
        image: uint8 (S, S, 3), RGB, as the model is to see it. Where it is smaller than ImageNet-C's 224 pixels,
            corruptions whose strength is a length (blur but for zoom, snow, frost, elastic transform) are done at 224
            pixels and brought back to S: on the image they have the strength that they have there. All others do not
            depend on the size, or (noise, JPEG) are of single pixels by nature.
        name: of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        seed: of all that is drawn.

    Returns:
        uint8 (S, S, 3), values clipped and then cut off as the benchmark's script does.

    Source: Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations" (arXiv 1903.12261), as corrupt-tta writes them.
    """
    side = image.shape[0]
    enlarged = name in _BY_LENGTH and side < SIDE
    pixels = _resized(image, SIDE) if enlarged else image
    digest = hashlib.sha256(f"{seed} {name} {severity} ".encode() + np.ascontiguousarray(image).tobytes()).digest()
    with _drawing(digest) as generator:
        result = _corrupted(pixels, name, severity, generator)
    found = np.clip(result, 0, 255).astype(np.uint8)
    return _resized(found, side) if enlarged else found


def _corrupted(
    image: NDArray[np.uint8], name: str, severity: int, generator: np.random.Generator
) -> NDArray[np.floating | np.uint8]:
    if name == "impulse_noise":
        # corrupt-tta's takes its numbers from the system, so that no two are alike; the amounts are the same.
        from skimage.util import random_noise

        amount = _SALT_AND_PEPPER[severity - 1]
        noisy: NDArray[np.float64] = random_noise(image / 255, mode="s&p", amount=amount, rng=generator)
        return noisy * 255
    from corrupt_tta import corrupt as apply

    result: NDArray[np.floating | np.uint8] = apply(image, severity=severity, corruption_name=name)
    return result


@contextmanager
def _drawing(digest: bytes) -> Iterator[np.random.Generator]:
    """A generator; corrupt-tta draws from numpy's global state, which is seeded too and afterwards put back."""
    words = np.frombuffer(digest, np.uint32)
    before = np.random.get_state()
    np.random.seed(words)
    try:
        yield np.random.default_rng(words)
    finally:
        np.random.set_state(before)


def _resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
