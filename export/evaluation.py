"""Images of folders, for calibration and for comparing runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.onnx import Runner
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.image_files import EXTENSIONS, is_image, split_to_test, visible_files

CALIBRATION_IMAGES = 512
BATCH = 32


@dataclass(frozen=True)
class ImageFiles:
    """Image files with or without labels.

    Attributes:
        files: their paths.
        labels: int64 (N,), the index of each one's class; None where it is not known.
        preprocessing: how a model takes them.
    """

    files: Sequence[Path]
    labels: NDArray[np.int64] | None
    preprocessing: Preprocessing

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """Inputs of a model, uint8 (up to 32, H, W, 3), in the order of ``files``."""
        for start in range(0, len(self.files), BATCH):
            yield np.stack([self.preprocessing.read(path, str(path)) for path in self.files[start : start + BATCH]])

    def cosines(self, run: Runner) -> NDArray[np.float32]:
        """What a runtime says of every image, (N, K)."""
        return np.concatenate([run(images)[1] for images in self.batches()])


def calibration_files(folder: Path, preprocessing: Preprocessing) -> ImageFiles:
    """Up to 512 images of a folder, at any depth, evenly over their sorted paths.

    Raises:
        ProtozooError: there is none.
    """
    found = _images(folder)
    chosen = np.linspace(0, len(found) - 1, min(len(found), CALIBRATION_IMAGES)).round().astype(int)
    return ImageFiles([found[index] for index in chosen], None, preprocessing)


def labelled_files(folder: Path, labels: Sequence[str], preprocessing: Preprocessing) -> ImageFiles:
    """The images of ``folder/<class>``, or of ``folder/test/<class>`` (or ``val``) where there is one.

    Of a folder without splits all: which of them a training has seen, a bundle does not know.

    Raises:
        ProtozooError: a class is not one of ``labels``, or there is no image in a class's folder.
    """
    root = split_to_test(folder) or folder
    found = [path for path in _images(root) if path.parent != root]
    if not found:
        raise ProtozooError(f"{root} holds images, and none in a class's folder: put them into <class>/")
    names = [path.relative_to(root).parts[0] for path in found]
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise ProtozooError(
            f"{root}: {unknown[0]!r} is none of the model's classes: --data takes a folder with one folder of images "
            f"for each class, named as the model names it ({', '.join(labels[:3])}, ...)"
        )
    return ImageFiles(found, np.array([labels.index(name) for name in names]), preprocessing)


def _images(folder: Path) -> list[Path]:
    found = [path for path in visible_files(folder) if is_image(path)]
    if not found:
        raise ProtozooError(f"{folder} holds no images (files that end in {', '.join(EXTENSIONS)})")
    return found
