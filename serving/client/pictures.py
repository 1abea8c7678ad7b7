"""What a caller may give for images, as parts of a form."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Picture = Union[str, Path, bytes, "PILImage"]
Pictures = Picture | Sequence[Picture]
Part = tuple[str, tuple[str, bytes]]
"""Name of the part, and (file name, bytes)."""

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")


def is_list(images: Pictures) -> bool:
    """Whether several images were given, if only one in a list: then the answer is a list too."""
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes))


def image_parts(images: Pictures) -> list[Part]:
    """A part for each image; a PIL image is sent as PNG, as RGB where a PNG cannot have its mode.

    Raises:
        ValueError: the list is empty.
    """
    several: Sequence[Picture] = images if is_list(images) else [images]  # type: ignore[assignment,list-item]
    if not several:
        raise ValueError("give one image or more")
    return [("image", ("image", _bytes(image))) for image in several]


def npy(rows: ArrayLike) -> bytes:
    """A matrix as a .npy file of float32."""
    matrix: NDArray[np.float32] = np.asarray(rows, np.float32)
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()


def _bytes(image: Picture) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        return Path(image).read_bytes()
    if image.mode not in _PNG_MODES:
        from zoo.bundle.images import to_rgb  # imports Pillow, which who sends files need not have

        image = to_rgb(image)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
