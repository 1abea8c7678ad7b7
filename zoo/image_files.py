"""Which files of a folder are images, and which folders its test split: one rule, for training and for measuring."""

from __future__ import annotations

import os
from pathlib import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
"""torchvision's, of ImageFolder."""

TEST_SPLITS = ("test", "val", "validation", "valid")
"""What the split to measure on is called; the first that is there and has classes."""


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in EXTENSIONS


def is_of_the_system(name: str) -> bool:
    """Whether file managers or editors leave such beside a user's files: .ipynb_checkpoints, ._001.png, __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def visible_files(root: Path) -> list[Path]:
    """All files below a folder, in order, but for what file managers leave there; links are followed.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    above: dict[str, frozenset[str]] = {}
    # Not rglob, after which each of a million files would be asked whether it is a folder.
    for folder, folders, names in os.walk(root, onerror=fail, followlinks=True):
        real, parents = os.path.realpath(folder), above.pop(str(Path(folder)), frozenset())
        if real in parents:  # a link to a folder that it stands in
            folders.clear()
            continue
        folders[:] = [name for name in folders if not is_of_the_system(name)]
        above |= {str(Path(folder, name)): parents | {real} for name in folders}
        found += [Path(folder, name) for name in names if not is_of_the_system(name)]
    return sorted(found)


def split_to_test(root: Path) -> Path | None:
    """The folder of the test split in ``root``; None where it has none.

    One without folders of classes, as competitions give theirs, is taken only where no other has them.
    """
    there = [root / name for name in TEST_SPLITS if (root / name).is_dir()]
    return next((folder for folder in there if class_folders(folder)), next(iter(there), None))


def class_folders(root: Path) -> list[str]:
    """Names of the folders in a folder, in order, but for what file managers leave there."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_of_the_system(path.name))
