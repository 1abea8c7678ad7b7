"""From what a user types after ``--data`` to two splits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.digits import digits
from training.data.folder import image_folder
from training.data.hub import PREFIX, hub_dataset
from training.data.parquet import parquet, parquet_files
from training.data.patches import patches
from training.data.source import Rows, Source
from training.data.splits import DataError, ImageData, Picture, Split, StoredSplit, rgb
from training.data.torchvision_sets import SETS, torchvision_set
from zoo.bundle import Preprocessing
from zoo.errors import ImageError, ProtozooWarning

OnBadImage = Literal["fail", "skip"]
Storage = Literal["auto", "memory", "disk"]

MEMORY_LIMIT = 4 * 2**30
"""Bytes of decoded images from which on ``storage="auto"`` leaves them on the disk."""

SOURCES: dict[str, Callable[[str], Source]] = {
    "digits": digits,
    "patches": patches,
    **dict.fromkeys(SETS, torchvision_set),
}
"""Named sets; a function takes the name."""


def load_data(
    spec: str, preprocessing: Preprocessing, *, on_bad_image: OnBadImage = "fail", storage: Storage = "auto"
) -> ImageData:
    """Read a data set.

    Args:
        spec: a name in :data:`SOURCES`, a folder in ImageFolder's or the Hub's parquet layout, or
            ``hfds/<owner>/<name>[@<revision>]``.
        preprocessing: the size of the images in memory, and how they get it.
        on_bad_image: "fail" at the first image that cannot be decoded (from the disk: when a batch needs it), or
            "skip": leave such images out, which decodes all of them once.
        storage: "memory": decode all images once; "disk": decode them for every batch; "auto": memory, where the
            images need less than :data:`MEMORY_LIMIT`.

    Raises:
        DataError: no such data, no layout that is known, a split or a class missing, or nothing left of one.
        ImageError: an image cannot be decoded; it is named.
    """
    source = _source(spec)
    _check(spec, source)
    size = 3 * preprocessing.size**2 * (len(source.train.labels) + len(source.test.labels))
    in_memory = size < MEMORY_LIMIT if storage == "auto" else storage == "memory"
    read: Callable[[Rows], tuple[Split | StoredSplit, tuple[str, ...]]]
    if in_memory:
        read = partial(_in_memory, preprocessing=preprocessing, on_bad_image=on_bad_image)
    else:
        read = partial(_on_disk, on_bad_image=on_bad_image)
    train, skipped_train = read(source.train)
    test, skipped_test = read(source.test)
    for name, rows, split in (("training", source.train, train), ("test", source.test, test)):
        lost = set(rows.labels.tolist()) - set(split.labels.tolist())
        if lost:
            named = ", ".join((skipped_train if split is train else skipped_test)[:2])
            raise DataError(
                f"{spec}: no {name} image of {source.classes[min(lost)]} can be decoded ({named}, ...): mend them"
            )
    skipped = skipped_train + skipped_test
    classes = _distinct(source.classes)
    return ImageData(source.name, source.license, classes, train, test, skipped, source.notices, source.files_sha256)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Classes of one name, as ImageNet's two cranes, told apart by numbers: records are by name."""
    found: list[str] = []
    seen, taken = set[str](), set(names)
    for name in names:
        told, number = name, 1
        while name in seen and told in taken:
            number += 1
            told = f"{name} ({number})"
        seen.add(name)
        taken.add(told)
        found.append(told)
    return tuple(found)


def _source(spec: str) -> Source:
    if spec in SOURCES:
        if Path(spec).is_dir():
            warnings.warn(
                f"{spec} is the data set of that name, and not the folder: give ./{spec} for the folder",
                ProtozooWarning,
                stacklevel=3,
            )
        return SOURCES[spec](spec)
    if spec.startswith(PREFIX):
        return hub_dataset(spec)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{spec!r} is neither a folder with images or parquet files nor one of {', '.join(SOURCES)} and "
            f"{PREFIX}<owner>/<name>"
        )
    return parquet(folder) if parquet_files(folder) else image_folder(folder)


def _check(spec: str, source: Source) -> None:
    count = len(source.classes)
    for rows, name in ((source.train, "training"), (source.test, "test")):
        if not len(rows.labels):
            raise DataError(f"{spec}: the {name} split is empty")
        outside = rows.labels[(rows.labels < 0) | (rows.labels >= count)]
        if len(outside):
            raise DataError(
                f"{spec}: the {name} split has the label {outside[0]}, but there are {count} classes, "
                "numbered from 0: give every image the label of one of them"
            )
    missing = np.setdiff1d(np.arange(count), source.train.labels)
    if len(missing):
        names = ", ".join(source.classes[index] for index in missing[:3])
        raise DataError(f"{spec}: no training image of {len(missing)} classes ({names})")


def _in_memory(rows: Rows, *, preprocessing: Preprocessing, on_bad_image: OnBadImage) -> tuple[Split, tuple[str, ...]]:
    images = np.empty((len(rows.labels), preprocessing.size, preprocessing.size, 3), np.uint8)

    def decode(index: int, name: str, picture: Picture) -> None:
        images[index] = preprocessing.pixels(rgb(picture, name))

    kept, skipped = _each(rows.stream(), decode, on_bad_image)
    split = Split(images, rows.labels)
    return split.subset(kept) if skipped else split, skipped


def _on_disk(rows: Rows, *, on_bad_image: OnBadImage) -> tuple[StoredSplit, tuple[str, ...]]:
    split = StoredSplit(rows.pictures(), np.arange(len(rows.labels)), rows.labels)
    if on_bad_image == "fail":
        return split, ()
    kept, skipped = _each(rows.stream(), lambda _, name, picture: rgb(picture, name), on_bad_image)
    return split.subset(kept), skipped


def _each(
    stream: Iterable[tuple[str, Picture]], work: Callable[[int, str, Picture], object], on_bad_image: OnBadImage
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Do the work on every picture, in threads, as Pillow decodes without Python's lock.

    Returns:
        The indices of the pictures that can be decoded, and the names of those that cannot.
    """

    def bad(item: tuple[int, tuple[str, Picture]]) -> str | None:
        index, (name, picture) = item
        try:
            work(index, name, picture)
        except ImageError:
            if on_bad_image == "fail":
                raise
            return name
        return None

    with ThreadPoolExecutor() as pool:
        faults = [fault for block in _blocks(enumerate(stream)) for fault in pool.map(bad, block)]
    kept = np.array([index for index, fault in enumerate(faults) if fault is None], np.int64)
    return kept, tuple(fault for fault in faults if fault is not None)


def _blocks(
    items: Iterator[tuple[int, tuple[str, Picture]]], size: int = 1024
) -> Iterator[list[tuple[int, tuple[str, Picture]]]]:
    """Lists of a size: a pool reads ahead all that it is given, and the pictures may not fit in memory."""
    while block := list(islice(items, size)):
        yield block
