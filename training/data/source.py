"""What every source of data gives: names, and labelled pictures of two splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.splits import Picture, Pictures


@dataclass(frozen=True)
class Rows:
    """The labelled pictures of one split.

    Attributes:
        labels: int64 (N,); negative where there is none.
        stream: gives all pictures once, in order, each with what to call it in an error.
        pictures: gives access in any order, at the cost of a copy on the disk where the source has none.
    """

    labels: NDArray[np.int64]
    stream: Callable[[], Iterable[tuple[str, Picture]]]
    pictures: Callable[[], Pictures]

    @classmethod
    def of(cls, pictures: Pictures, labels: NDArray[np.int64]) -> Rows:
        """Rows of pictures that stand open in any order."""
        return cls(labels, lambda: (pictures[index] for index in range(len(labels))), lambda: pictures)


@dataclass(frozen=True)
class Source:
    """A data set before any picture is decoded; the fields are those of :class:`training.data.ImageData`."""

    name: str
    license: str
    classes: tuple[str, ...]
    train: Rows
    test: Rows
    notices: tuple[str, ...] = ()
    files_sha256: str | None = None


def data_folder() -> Path:
    """Where data is downloaded and copied to: ``$PROTOZOO_DATA``, or ``~/.cache/protozoo/data``."""
    return Path(os.environ.get("PROTOZOO_DATA") or Path.home() / ".cache" / "protozoo" / "data").expanduser()
