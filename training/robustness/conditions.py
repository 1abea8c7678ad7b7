"""Corrupted test images, condition by condition: a corruption at a severity."""

from __future__ import annotations

import hashlib
import io
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
from zoo.bundle import Preprocessing
from zoo.files import write_atomically

_EXTENSIONS = {".jpeg", ".jpg", ".png"}
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


@dataclass(frozen=True)
class SavedImages:
    """A folder that keeps what was made, as one file of pixels a condition: corrupting costs more than evaluating.

    Attributes:
        folder: of the files; None: nothing is kept.
        digest: of the images that are corrupted, and of what corrupts them.
    """

    folder: Path | None
    digest: str

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The pixels of a condition, made where they are not there; a file of another shape is made again."""
        if self.folder is None:
            return make()
        path = self.folder / self.digest[:16] / f"{name}.npy"
        if path.is_file():
            try:
                kept: NDArray[np.uint8] = np.load(path, allow_pickle=False)
            except ValueError as error:
                raise DataError(f"{path} is damaged ({error}): remove it, and it is made again") from error
            if kept.shape == shape and kept.dtype == np.uint8:
                return kept
        pixels = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        write_atomically(path, buffer.getvalue())
        return pixels


def corrupted_images(
    clean: Split, corruptions: Sequence[str], severities: Sequence[int], *, seed: int, saved: SavedImages
) -> Iterator[Condition]:
    """Conditions that are made from clean images when they are needed; the pixels of one at a time are in memory."""
    for name in corruptions:
        for severity in severities:
            yield Condition(name, severity, partial(_made, clean, name, severity, seed, saved))


def _made(clean: Split, name: str, severity: int, seed: int, saved: SavedImages) -> Split:
    def make() -> NDArray[np.uint8]:
        return np.stack([corrupt(image, name, severity, seed=seed) for image in clean.images])

    return Split(saved.get(f"{name}-{severity}", clean.images.shape, make), clean.labels)


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
        files = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in _EXTENSIONS)
        if not files:
            raise DataError(f"{folder} holds no images: every class of the data must have some in every condition")
        found += [(f"{folder.name}/{file}", label) for file in files]
    return np.array([path for path, _ in found]), np.array([label for _, label in found], np.int64)


def _class_folder(root: Path, name: str) -> Path:
    """Of a class that is called after its WordNet id and a word, the folder may have the id alone."""
    return root / (name if (root / name).is_dir() else name.partition(" ")[0])
