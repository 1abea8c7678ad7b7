"""From an image to the uint8 array that a bundle's model takes: the same few lines for training, Python and HTTP.

Resizing and cropping are Pillow's, in the order and with the rounding of timm's evaluation transform, so that the
pixels are equal to timm's bit for bit. EXIF orientation is not applied: timm and torchvision do not apply it when they
evaluate, and a service that does would be another model than the one that was measured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import BundleError, ImageError

_INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB; an alpha channel is dropped, and of 16-bit grey the upper 8 bits stay.

    Raises:
        ValueError: of 32 bits, and not in 0 to 255: nobody knows what is white there.
    """
    # Pillow would make 255 of all that is brighter.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _IN_16_BITS):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F") and not _in_8_bits(image):
        raise ValueError("its pixels have 32 bits and are not in 0 to 255: save it with 8 bits, or with 16")
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same pixels in the end, without Pillow's warning
    return image.convert("RGB")


_IN_16_BITS = ("PPM", "PNG")
"""Formats that Pillow, or an older one, opens with 32 bits where they have 16."""


def _in_8_bits(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    low, high = pixels.min(), pixels.max()
    # Floats up to one are a scale of their own, of which Pillow would make black.
    return bool(low >= 0 and high <= 255 and (image.mode == "I" or high > 1 or high == 0))


def open_rgb(file: str | os.PathLike[str] | IO[bytes], name: str) -> Image.Image:
    """Decode an image file that its owner vouches for.

    Args:
        file: path or binary stream, in any format that Pillow knows.
        name: what to call it in an error.

    Raises:
        ImageError: it is missing, or cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            return to_rgb(image)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except (OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's parsers raise SyntaxError, ValueError and (AVIF, DDS) RuntimeError too on damaged files.
        raise ImageError(f"{name} cannot be read as an image ({error}): mend or remove it") from error


SMALLEST_CROP = 0.1
"""Share of the resized shorter side: of any image its inverse times the model's input has to be held in memory."""


def _number(value: Any) -> float:
    """A finite number; text, of which float() would make one, is not."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a model: resize the shorter side, crop the centre, normalise.

    Attributes:
        size: height and width in pixels of the (square) input.
        crop_pct: the side of the crop as a share of the resized shorter side.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: per-channel statistics, on pixels scaled to [0, 1].
    """

    size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_pretrained_cfg(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """Read timm's ``pretrained_cfg``.

        Raises:
            BundleError: a field is missing, or asks for what the centre-crop pipeline does not do.
        """
        try:
            channels, height, width = cfg["input_size"]
            interpolation = str(cfg["interpolation"])
            crop_mode = cfg.get("crop_mode", "center")
            mean, std = tuple(map(_number, cfg["mean"])), tuple(map(_number, cfg["std"]))
            crop_pct = _number(cfg["crop_pct"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"config.json: pretrained_cfg is incomplete or malformed ({error!r})") from error
        if channels != 3 or height != width or crop_mode != "center" or interpolation not in _INTERPOLATIONS:
            raise BundleError(
                "config.json: pretrained_cfg must have a square input of 3 channels, crop_mode 'center' and an "
                f"interpolation of {', '.join(_INTERPOLATIONS)}; it has input_size {cfg['input_size']}, crop_mode "
                f"{crop_mode!r}, interpolation {interpolation!r}"
            )
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not SMALLEST_CROP <= crop_pct <= 1:
            raise BundleError(
                f"config.json: pretrained_cfg needs 3 means, 3 positive stds and a crop_pct in [{SMALLEST_CROP}, 1]"
            )
        return cls(int(height), crop_pct, interpolation, mean, std)

    def as_pretrained_cfg(self) -> dict[str, Any]:
        """The fields of timm's ``pretrained_cfg`` that :meth:`from_pretrained_cfg` reads."""
        return {
            "input_size": [3, self.size, self.size],
            "crop_pct": self.crop_pct,
            "crop_mode": "center",
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop a picture of any mode and size to the model's input, uint8 (size, size, 3), RGB.

        Raises:
            ImageError: it has no pixels.
        """
        width, height = image.size
        if not (width and height):
            raise ImageError(f"an image of {width} x {height} pixels shows nothing: leave it out")
        image = to_rgb(image)
        # timm: the shorter side becomes floor(size / crop_pct), the longer one int(short * long / short).
        target = int(self.size / self.crop_pct)
        if width <= height:
            resized = (target, max(int(target * height / width), 1))
        else:
            resized = (max(int(target * width / height), 1), target)
        if resized != image.size:
            image = image.resize(resized, _INTERPOLATIONS[self.interpolation])
        left = round((resized[0] - self.size) / 2)
        top = round((resized[1] - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def read(self, file: str | os.PathLike[str] | IO[bytes], name: str) -> NDArray[np.uint8]:
        """Make the model's input of an image file; see :func:`open_rgb`."""
        return self.pixels(open_rgb(file, name))
