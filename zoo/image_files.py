"""Which files of a folder are images, and which folders its test split: one rule, for training and for measuring."""

from __future__ import annotations

from pathlib import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
"""torchvision's, of ImageFolder."""

TEST_SPLITS = ("test", "val", "validation", "valid")
"""What the split to measure on is called; the first that is there."""


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in EXTENSIONS


def is_of_the_system(name: str) -> bool:
    """Whether file managers or editors leave such beside a user's files: .ipynb_checkpoints, ._001.png, __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def visible_files(root: Path) -> list[Path]:
    """All files below a folder, in order, but for what file managers leave there."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if not any(map(is_of_the_system, path.relative_to(root).parts)) and not path.is_dir()
    ]


def split_to_test(root: Path) -> Path | None:
    """The folder of the test split in ``root``; None where it has none."""
    return next((root / name for name in TEST_SPLITS if (root / name).is_dir()), None)
