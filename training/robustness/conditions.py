"""Corrupted test images, condition by condition: a corruption at a severity."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data import Split, StoredSplit, evaluation_batches
from training.data.folder import Files
from training.data.splits import DataError
from training.robustness.corruptions import GROUPS, corrupt
from training.robustness.saved_images import SavedImages
from zoo.bundle import Preprocessing
from zoo.image_files import is_image

_CHOICE_SEED = 0


@dataclass(frozen=True)
class Condition:
    """The images of one corruption at one severity.

    Attributes:
        corruption: its name.
        severity: 1 to 5.
        images: read or made when they are asked for.
    """

    corruption: str
    severity: int
    images: Callable[[], Split | StoredSplit]


def chosen(labels: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    """Places of ``count`` images in their order, always the same random choice; None: all."""
    order = np.arange(len(labels))
    return order if count is None else np.sort(np.random.default_rng(_CHOICE_SEED).permutation(order)[:count])


def decoded(split: Split | StoredSplit, preprocessing: Preprocessing) -> Split:
    """A split in memory, at the model's size."""
    if isinstance(split, Split):
        return split
    batches = [batch.permute(0, 2, 3, 1).numpy() for batch in evaluation_batches(split, preprocessing, 500)]
    return Split(np.concatenate(batches), split.labels)


def images_digest(split: Split) -> str:
    """SHA-256 of pixels and labels: what makes two measurements those of the same images."""
    digest = hashlib.sha256(str(split.images.shape).encode())
    digest.update(np.ascontiguousarray(split.images).tobytes())
    digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def corrupted_images(
    clean: Split, corruptions: Sequence[str], severities: Sequence[int], *, seed: int, saved: SavedImages
) -> Iterator[Condition]:
    """Conditions that are made from clean images when they are needed; the pixels of one at a time are in memory.

    Those that another process is making for the same folder come last, so that processes share the work.
    """
    later = []
    for kind in itertools.product(corruptions, severities):
        condition = Condition(*kind, partial(_made, clean, *kind, seed, saved))
        if saved.is_being_made(_file_of(*kind)):
            later.append(condition)
        else:
            yield condition
    yield from later


def _made(clean: Split, name: str, severity: int, seed: int, saved: SavedImages) -> Split:
    def make() -> NDArray[np.uint8]:
        return np.stack([corrupt(image, name, severity, seed=seed) for image in clean.images])

    return Split(saved.get(_file_of(name, severity), clean.images.shape, make), clean.labels)


def _file_of(name: str, severity: int) -> str:
    return f"{name}-{severity}"


def read_conditions(
    folder: Path, classes: Sequence[str], corruptions: Sequence[str], severities: Sequence[int], count: int | None
) -> tuple[list[Condition], str]:
    """Conditions of ImageNet-C's folders, ``<corruption>/<severity>/<class>/<image>``, with or without its groups.

    Args:
        folder: the groups ``noise``, ``blur``, ``weather``, ``digital``, or the corruptions, stand in it.
        classes: folders of each condition, in the order of the labels; a name's first word will do (``n01443537``).
        corruptions: to read.
        severities: to read.
        count: images of each condition, the same choice in all; None: all.

    Returns:
        The conditions, and the SHA-256 of their images' names and sizes in bytes.

    Raises:
        DataError: a folder is missing or empty, or the conditions are not of the same images.
    """
    roots = [
        (name, severity, _corruption_folder(folder, name) / str(severity))
        for name in corruptions
        for severity in severities
    ]
    names, labels = _images_of(roots[0][2], classes)
    rows = chosen(labels, count)
    conditions, digest = [], hashlib.sha256()
    for name, severity, root in roots:
        if not np.array_equal(_images_of(root, classes)[0], names):
            raise DataError(f"{root} has other images than {roots[0][2]}: complete it")
        files = [root / path for path in names[rows]]
        for file in files:
            digest.update(f"{name}/{severity} {file.name} {file.stat().st_size}\n".encode())
        split = StoredSplit(Files(np.array([str(file) for file in files])), np.arange(len(rows)), labels[rows])
        conditions.append(Condition(name, severity, partial(_as_it_is, split)))
    return conditions, digest.hexdigest()


def _as_it_is(split: StoredSplit) -> StoredSplit:
    return split


def _corruption_folder(folder: Path, name: str) -> Path:
    group = next((group for group, names in GROUPS.items() if name in names), "")
    for root in (folder / name, folder / group / name):
        if root.is_dir():
            return root
    raise DataError(
        f"{folder} has neither {name}/ nor {group}/{name}/: ImageNet-C has <corruption>/<severity>/<class>/; give "
        "--corruption for those that are there"
    )


def _images_of(root: Path, classes: Sequence[str]) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Paths below ``root`` and labels of all images, by class and then by name."""
    found: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        folder = _class_folder(root, name)
        files = sorted(path.name for path in folder.glob("*") if is_image(path))
        if not files:
            raise DataError(f"{folder} holds no images: every class of the data must have some in every condition")
        found += [(f"{folder.name}/{file}", label) for file in files]
    return np.array([path for path, _ in found]), np.array([label for _, label in found], np.int64)


def _class_folder(root: Path, name: str) -> Path:
    """Of a class that is called after its WordNet id and a word, the folder may have the id alone."""
    return root / (name if (root / name).is_dir() else name.partition(" ")[0])
