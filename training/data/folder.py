"""Folders of image files in ImageFolder's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.source import TEST_SPLITS, Rows, Source
from training.data.splits import DataError
from zoo.files import is_of_the_system

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

    A folder without splits, <class>/<any depth>/<file>, has a fifth of each class held out as its test split: always
    the same images.

    Raises:
        DataError: it has not that layout, or classes without training images.
    """
    train = folder / "train"
    test = next((folder / name for name in TEST_SPLITS if (folder / name).is_dir()), None)
    if not train.is_dir() and test is None:
        return _split_by_us(folder)
    if not train.is_dir() or test is None:
        raise DataError(
            f"{folder} has {'no train/<class>/' if test else 'a train folder, but no val/<class>/ or test/<class>/'} "
            "beside it: add it, or put all images into <class>/ and a fifth of them is held out"
        )
    classes = _classes(train)
    if len(classes) < 2:
        raise DataError(f"{train} must hold a folder for each of at least two classes")
    unknown = sorted(set(_classes(test)) - set(classes))
    if unknown:
        raise DataError(f"{test / unknown[0]} is a class without training images")
    return Source(folder.resolve().name, "not stated", classes, _rows(train, classes), _rows(test, classes))


def _split_by_us(folder: Path) -> Source:
    classes = tuple(name for name in _classes(folder) if _files(folder / name))
    if len(classes) < 2:
        raise DataError(
            f"{folder} holds no parquet files, and for ImageFolder's layout it must hold <class>/, or train/<class>/ "
            "and val/<class>/ or test/<class>/, with images of at least two classes"
        )
    generator = np.random.default_rng(0)
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        files = _files(folder / name)
        if len(files) < 2:
            raise DataError(f"{folder / name} must hold at least two images: one is held out to test on")
        held_out = set(generator.permutation(len(files))[: max(len(files) // 5, 1)].tolist())
        for index, path in enumerate(files):
            (test if index in held_out else train).append((path, label))
    name = f"{folder.resolve().name}, a fifth held out"
    return Source(name, "not stated", classes, _labelled(train), _labelled(test))


def _classes(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not is_of_the_system(path.name)))


def _files(root: Path) -> list[str]:
    return [
        str(path)
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in _EXTENSIONS and not any(map(is_of_the_system, path.relative_to(root).parts))
    ]


def _rows(root: Path, classes: tuple[str, ...]) -> Rows:
    return _labelled([(path, label) for label, name in enumerate(classes) for path in _files(root / name)])


def _labelled(found: list[tuple[str, int]]) -> Rows:
    return Rows.of(Files(np.array([path for path, _ in found])), np.array([label for _, label in found], np.int64))
