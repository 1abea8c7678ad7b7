"""Folders of image files in ImageFolder's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.source import TEST_SPLITS, Rows, Source
from training.data.splits import DataError

_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Files:
    """Image files; their paths are one array, which workers share without copying it."""

    paths: NDArray[np.str_]

    def __getitem__(self, index: int) -> tuple[str, Path]:
        """The path of a file, as text and as path."""
        path = str(self.paths[index])
        return path, Path(path)


def image_folder(folder: Path) -> Source:
    """The source that a folder in ImageFolder's layout is: <split>/<class>/<any depth>/<file>.

    Raises:
        DataError: it has not that layout, or classes without training images.
    """
    train = folder / "train"
    test = next((folder / name for name in TEST_SPLITS if (folder / name).is_dir()), None)
    if not train.is_dir() or test is None:
        raise DataError(
            f"{folder} holds no parquet files, and for ImageFolder's layout it must hold train/<class>/ and "
            "val/<class>/ or test/<class>/"
        )
    classes = tuple(sorted(path.name for path in train.iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{train} must hold a folder for each of at least two classes")
    unknown = sorted({path.name for path in test.iterdir() if path.is_dir()} - set(classes))
    if unknown:
        raise DataError(f"{test / unknown[0]} is a class without training images")
    return Source(folder.resolve().name, "not stated", classes, _rows(train, classes), _rows(test, classes))


def _rows(root: Path, classes: tuple[str, ...]) -> Rows:
    found = [
        (str(path), label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in _EXTENSIONS
    ]
    return Rows.of(Files(np.array([path for path, _ in found])), np.array([label for _, label in found], np.int64))
