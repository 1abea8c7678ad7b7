"""What was corrupted, kept for other models: corrupting costs more than evaluating."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from training.data.splits import DataError
from zoo.files import write_atomically


@dataclass(frozen=True)
class SavedImages:
    """A folder that keeps what was made, as one file of pixels a condition. Processes may share it.

    Attributes:
        folder: of the files; None: nothing is kept.
        digest: of the images that are corrupted, and of what corrupts them.
    """

    folder: Path | None
    digest: str

    def get(self, name: str, shape: tuple[int, ...], make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The pixels of a condition, made where they are not there; a file of another shape is made again.

        Where another process is making them, it is waited for.
        """
        if self.folder is None:
            return make()
        path = self._path(self.folder, name)
        kept = _read(path, shape)
        if kept is not None:
            return kept
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            kept = _read(path, shape)
            return _write(path, make()) if kept is None else kept

    def is_being_made(self, name: str) -> bool:
        """Whether another process makes a condition right now."""
        if self.folder is None:
            return False
        path = self._path(self.folder, name)
        if path.is_file() or not path.parent.is_dir():
            return False
        try:
            with _lock(path).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _path(self, folder: Path, name: str) -> Path:
        return folder / self.digest[:16] / f"{name}.npy"


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    if not path.is_file():
        return None
    try:
        kept: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): remove it, and it is made again") from error
    return kept if kept.shape == shape and kept.dtype == np.uint8 else None


def _write(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
    return pixels
