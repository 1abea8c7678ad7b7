"""torchvision's data sets by name, downloaded on first use and compared with torchvision's digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from training.data.source import Rows, Source, data_folder
from training.data.splits import DataError


@dataclass(frozen=True)
class _Set:
    """A data set of torchvision.

    Attributes:
        factory: name in ``torchvision.datasets``.
        train, test: arguments of the two splits.
        title: for records and cards.
        license: as its authors state it.
        classes: where torchvision's object does not name them.
    """

    factory: str
    train: dict[str, Any]
    test: dict[str, Any]
    title: str
    license: str = "not stated"
    classes: tuple[str, ...] = ()


_FLAG = ({"train": True}, {"train": False})
_WORD = ({"split": "train"}, {"split": "test"})
SETS = {
    "cifar10": _Set("CIFAR10", *_FLAG, "CIFAR-10"),
    "cifar100": _Set("CIFAR100", *_FLAG, "CIFAR-100"),
    "svhn": _Set("SVHN", *_WORD, "SVHN (cropped digits)", "non-commercial use only", tuple("0123456789")),
    "stl10": _Set("STL10", *_WORD, "STL-10"),
    "fashion_mnist": _Set("FashionMNIST", *_FLAG, "Fashion-MNIST", "MIT"),
}


@dataclass(frozen=True)
class _Pictures:
    name: str
    dataset: Any

    def __getitem__(self, index: int) -> tuple[str, Image.Image]:
        return f"{self.name} {index}", self.dataset[index][0]


def torchvision_set(name: str) -> Source:
    """The source ``cifar10``, ``cifar100``, ``svhn``, ``stl10`` or ``fashion_mnist``.

    Raises:
        DataError: it is not in the cache and cannot be downloaded.
    """
    entry = SETS[name]
    train, test = (_open(name, entry, options) for options in (entry.train, entry.test))
    classes = entry.classes or tuple(train.classes)
    return Source(entry.title, entry.license, classes, _rows(name, train), _rows(name, test))


def _rows(name: str, dataset: Any) -> Rows:
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return Rows.of(_Pictures(name, dataset), np.asarray(labels, dtype=np.int64))


def _open(name: str, entry: _Set, options: dict[str, Any]) -> Any:
    from torchvision import datasets

    root = data_folder() / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        # torchvision's download is not for several ranks at once.
        with FileLock(root / ".lock"):
            return getattr(datasets, entry.factory)(root, download=True, **options)
    except (OSError, RuntimeError) as error:
        # A URLError is an OSError; torchvision raises RuntimeError for what it cannot fetch, or where a digest differs.
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is not complete in {root} and could not be downloaded ({reason}): connect to the network, or copy "
            "that folder from a machine that has it (PROTOZOO_DATA names its parent)"
        ) from error
