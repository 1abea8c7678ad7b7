"""Labelled images, decoded in memory or encoded on the disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.bundle.images import open_rgb, to_rgb
from zoo.errors import ProtozooError, ProtozooWarning

Picture = Path | IO[bytes] | Image.Image


class DataError(ProtozooError):
    """Data that is not there, not of a known layout, or that does not fit the model."""


class Pictures(Protocol):
    """Pictures in any order, from any process: it can be pickled."""

    def __getitem__(self, index: int, /) -> tuple[str, Picture]:
        """What to call a picture in an error, and the picture."""
        ...


def rgb(picture: Picture, name: str) -> Image.Image:
    """Decode a picture.

    Raises:
        ImageError: it cannot be decoded; it is named.
    """
    return to_rgb(picture) if isinstance(picture, Image.Image) else open_rgb(picture, name)


@dataclass(frozen=True)
class Split:
    """Images of one split, in memory.

    Attributes:
        images: uint8 (N, S, S, 3), RGB, resized and cropped as for evaluation.
        labels: int64 (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def subset(self, indices: NDArray[np.int64]) -> Split:
        """The images at ``indices``, in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class StoredSplit:
    """Images of one split that are decoded when a batch needs them.

    Attributes:
        pictures: where they are.
        rows: int64 (N,), their places in ``pictures``.
        labels: int64 (N,).
    """

    pictures: Pictures
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def subset(self, indices: NDArray[np.int64]) -> StoredSplit:
        """The images at ``indices``, in their order."""
        return StoredSplit(self.pictures, self.rows[indices], self.labels[indices])

    def picture(self, index: int) -> Image.Image:
        """Decode one image, in its own size.

        Raises:
            ImageError: it cannot be decoded; it is named.
        """
        name, picture = self.pictures[int(self.rows[index])]
        return rgb(picture, name)


@dataclass(frozen=True)
class ImageData:
    """A data set for classification.

    Attributes:
        name: for records and cards.
        license: of the data, where its source states one.
        classes: names, in the order of the labels.
        train, test: the two splits, both in memory or both on the disk.
        skipped: names of images that cannot be decoded and were left out.
        notices: lines about what else a user may miss among the images.
        files_sha256: digest of the names of the images' files, in order; None where they are not files of their own.
    """

    name: str
    license: str
    classes: tuple[str, ...]
    train: Split | StoredSplit
    test: Split | StoredSplit
    skipped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    files_sha256: str | None = None

    @property
    def storage(self) -> Literal["memory", "disk"]:
        """Where the images are."""
        return "memory" if isinstance(self.train, Split) else "disk"

    @property
    def left_out(self) -> tuple[str, ...]:
        """Lines about what is not among the images."""
        lines = list(self.notices)
        if self.skipped:
            count = f"{len(self.skipped)} image{'s' if len(self.skipped) > 1 else ''}"
            lines.append(f"{count} that cannot be decoded left out: {', '.join(self.skipped[:3])}")
        return tuple(map(printable, lines))

    def warn_left_out(self) -> ImageData:
        """The same data, with a warning for each line of :attr:`left_out`, for which nothing else has a place."""
        for line in self.left_out:
            warnings.warn(line, ProtozooWarning, stacklevel=3)
        return self

    def check_test(self) -> None:
        """Refuse, before the work, what nothing can be measured on.

        Raises:
            DataError: the test split has images of one class alone.
        """
        present = np.unique(self.test.labels)
        if len(present) < 2:
            raise DataError(
                f"{self.name}: the test split has images of {self.classes[present[0]]} alone, and what is measured is "
                "between classes: give it images of two at least"
            )

    def in_order_of(self, labels: tuple[str, ...]) -> ImageData:
        """The same data with the classes in a model's order, where they are its classes; else as they are.

        A folder's classes stand in the order of the alphabet, those of an enrolled set in that of their enrolment.
        """
        if self.classes == labels or sorted(self.classes) != sorted(labels) or len(set(labels)) < len(labels):
            return self
        places = np.array([labels.index(name) for name in self.classes])

        def moved(split: Split | StoredSplit) -> Split | StoredSplit:
            return replace(split, labels=np.where(split.labels < 0, split.labels, places[split.labels]))

        return replace(self, classes=labels, train=moved(self.train), test=moved(self.test))

    def for_model(self, labels: tuple[str, ...], model: str) -> ImageData:
        """The same data as :meth:`in_order_of` has them, for a model of the same classes.

        Raises:
            DataError: the model's ``labels`` are not these classes.
        """
        ordered = self.in_order_of(labels)
        if ordered.classes != labels:
            raise DataError(
                f"{self.name} has the classes {', '.join(self.classes[:3])}, ..., {model} has "
                f"{', '.join(labels[:3])}, ...: give data with the same classes"
            )
        return ordered


def printable(text: str) -> str:
    """Text with names of files in it, which may hold any bytes, as a log takes it, in UTF-8."""
    return text.encode(errors="backslashreplace").decode()
