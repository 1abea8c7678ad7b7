"""Folders of image files in ImageFolder's layout."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.identity import names_sha256
from training.data.source import Rows, Source
from training.data.splits import DataError, printable
from zoo.image_files import (
    EXTENSIONS,
    TEST_SPLITS,
    class_folders,
    is_image,
    is_of_the_system,
    split_to_test,
    visible_files,
)


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
    the same images, by their names. An image more or less moves at most one other into the fifth or out of it.

    Raises:
        DataError: it has not that layout, or classes without training images.
    """
    train = folder / "train"
    test = split_to_test(folder)
    # A class of any name may be called train.
    if test is None and not (train.is_dir() and class_folders(train)):
        return _split_by_us(folder)
    if test is not None and not train.is_dir() and not class_folders(test):
        raise DataError(
            f"{test} is called as a test split is, and has no folders of classes: if it is a class, give it another "
            "name; if it is the test split, put its images into <class>/ and add train/<class>/ beside it"
        )
    if not train.is_dir() or test is None:
        raise DataError(
            f"{folder} has {'no train/<class>/' if test else 'a train folder, but no val/<class>/ or test/<class>/'} "
            "beside it: add it, or put all images into <class>/ and a fifth of them is held out"
        )
    splits = _Files(train), _Files(test)
    classes = tuple(splits[0].images)
    if len(classes) < 2:
        raise DataError(f"{train} must hold a folder for each of at least two classes")
    unknown = sorted(splits[1].images.keys() - set(classes))
    if unknown:
        raise DataError(f"{test / unknown[0]} is a class without training images")
    of_train, of_test = (
        [(path, label) for label, name in enumerate(classes) for path in split.images.get(name, ())] for split in splits
    )
    splits_there = [folder / name for name in TEST_SPLITS if (folder / name).is_dir()]
    notices = (
        *splits[0].notices(),
        *splits[1].notices(),
        *(
            f"{path}: left out, for it has no folders of classes; the test split is {test}"
            for path in splits_there
            if not class_folders(path)
        ),
    )
    return _source(folder, folder.resolve().name, classes, of_train, of_test, notices)


def _split_by_us(folder: Path) -> Source:
    files = _Files(folder)
    images = {name: paths for name, paths in files.images.items() if paths}
    if len(images) < 2:
        raise DataError(
            f"{folder} holds no parquet files, and for ImageFolder's layout it must hold <class>/, or train/<class>/ "
            "and val/<class>/ or test/<class>/, with images of at least two classes"
            + "".join(f"; {notice}" for notice in files.notices())
        )
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, (name, paths) in enumerate(images.items()):
        if len(paths) < 2:
            raise DataError(f"{folder / name} must hold at least two images: one is held out to test on")
        held_out = _fifth(paths, _names(paths, folder))
        for path in paths:
            (test if path in held_out else train).append((path, label))
    name = f"{folder.resolve().name}, a fifth held out"
    return _source(folder, name, tuple(images), train, test, files.notices())


def _fifth(paths: list[str], names: Iterable[str]) -> set[str]:
    """Which of a class's images to test on: those whose names have the smallest digests.

    Drawn from a list, all would be others after a change of one file, and a model would be tested on what it has seen.
    """
    digests = (sha256(os.fsencode(name)).digest() for name in names)
    return {path for _, path in sorted(zip(digests, paths, strict=True))[: max(len(paths) // 5, 1)]}


class _Files:
    """What stands below the folders of classes, but for what file managers leave there.

    Attributes:
        root: with the folders.
        images: name of a class -> the paths of its images, both in order.
        others: the other files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        names = class_folders(root)
        for name in names:
            if printable(name) != name:
                raise DataError(f"the name of the class folder {root}/{printable(name)} is not UTF-8: rename it")
        self.images: dict[str, list[str]] = {name: [] for name in names}
        self.others: list[Path] = []
        for name, paths in self.images.items():
            for path in visible_files(root / name):
                if is_image(path):
                    paths.append(str(path))
                else:
                    self.others.append(path)

    def notices(self) -> tuple[str, ...]:
        """Lines about what a user may miss: other kinds of files, images beside the classes, classes of none."""
        lines = []
        if kinds := Counter(path.suffix.lower() or "no extension" for path in self.others):
            told = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(3))
            lines.append(f"{self.root}: left out, for they do not end in {', '.join(EXTENSIONS)}: {told}")
        names = sorted(path.name for path in self.root.iterdir() if is_image(path) and path.is_file())
        if beside := [name for name in names if not is_of_the_system(name)]:
            lines.append(f"{self.root}: left out, for they are in no class's folder: {_some(beside)}")
        if empty := [name for name, paths in self.images.items() if not paths]:
            lines.append(f"{self.root}: folders without an image: {_some(empty)}")
        return tuple(lines)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _source(
    folder: Path,
    name: str,
    classes: tuple[str, ...],
    train: list[tuple[str, int]],
    test: list[tuple[str, int]],
    notices: tuple[str, ...],
) -> Source:
    """Of the paths and labels of both splits."""
    names = names_sha256(_names((path for path, _ in found), folder) for found in (train, test))
    return Source(name, "not stated", classes, _labelled(train), _labelled(test), notices, names)


def _names(paths: Iterable[str], folder: Path) -> Iterator[str]:
    """Of files, wherever their folder stands."""
    # Not Path.relative_to, which takes seconds for a million files.
    before = len(str(folder / "_")) - 1
    return (path[before:].replace(os.sep, "/") for path in paths)


def _labelled(found: list[tuple[str, int]]) -> Rows:
    return Rows.of(Files(np.array([path for path, _ in found])), np.array([label for _, label in found], np.int64))
