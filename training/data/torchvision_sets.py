"""torchvision's data sets by name, downloaded on first use and compared with torchvision's digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from training.data.folder import Files
from training.data.source import Rows, Source, data_folder
from training.data.splits import DataError

Options = dict[str, Any]


@dataclass(frozen=True)
class _Set:
    """A data set of torchvision.

    Attributes:
        factory: name in ``torchvision.datasets``.
        train, test: arguments of the parts of the two splits.
        title: for records and cards.
        license: as its authors state it.
        classes: where torchvision's object does not name them.
        layout: what its folder must hold, where torchvision cannot download it.
    """

    factory: str
    train: tuple[Options, ...]
    test: tuple[Options, ...]
    title: str
    license: str = "not stated"
    classes: tuple[str, ...] = ()
    layout: str = ""


def _splits(*names: str) -> tuple[Options, ...]:
    return tuple({"split": name} for name in names)


_FLAG = (({"train": True},), ({"train": False},))
_WORD = (_splits("train"), _splits("test"))
_WITH_VAL = (_splits("train", "val"), _splits("test"))
_CARS = (
    "stanford_cars with cars_train/*.jpg, cars_test/*.jpg, devkit/cars_meta.mat, devkit/cars_train_annos.mat and "
    "cars_test_annos_withlabels.mat"
)
SETS = {
    "cifar10": _Set("CIFAR10", *_FLAG, "CIFAR-10"),
    "cifar100": _Set("CIFAR100", *_FLAG, "CIFAR-100"),
    "svhn": _Set("SVHN", *_WORD, "SVHN (cropped digits)", "non-commercial use only", tuple("0123456789")),
    "stl10": _Set("STL10", *_WORD, "STL-10"),
    "fashion_mnist": _Set("FashionMNIST", *_FLAG, "Fashion-MNIST", "MIT"),
    "food101": _Set("Food101", *_WORD, "Food-101", "scientific fair use of Foodspotting's images"),
    "cars": _Set("StanfordCars", *_WORD, "Stanford Cars", layout=_CARS),
    "dtd": _Set("DTD", *_WITH_VAL, "DTD (first partition)", "for research"),
    "pets": _Set("OxfordIIITPet", _splits("trainval"), _splits("test"), "Oxford-IIIT Pet", "CC BY-SA 4.0"),
    "flowers102": _Set("Flowers102", *_WITH_VAL, "Oxford Flowers-102"),
}


@dataclass(frozen=True)
class _Pictures:
    name: str
    dataset: Any

    def __getitem__(self, index: int) -> tuple[str, Image.Image]:
        return f"{self.name} {index}", self.dataset[index][0]


def torchvision_set(name: str) -> Source:
    """The source of one of the names in ``SETS``.

    Where a set has a validation split too (``dtd``, ``pets``, ``flowers102``), the training split is both, as is usual
    in transfer.

    Raises:
        DataError: it is not in the cache and cannot be downloaded, or its parts name other classes.
    """
    entry = SETS[name]
    train, test = ([_open(name, entry, options) for options in parts] for parts in (entry.train, entry.test))
    classes = entry.classes or tuple(map(str, train[0].classes))
    # torchvision numbers the classes of each part for itself.
    if not entry.classes and any(list(part.classes) != list(train[0].classes) for part in (*train, *test)):
        raise DataError(f"{name} in {data_folder() / name} lacks classes in a part of it: remove it, and load it again")
    return Source(entry.title, entry.license, classes, _rows(name, train), _rows(name, test))


def _rows(name: str, parts: list[Any]) -> Rows:
    if _in_files(parts[0]):
        paths, labels = zip(*(pair for part in parts for pair in _labelled_files(part)), strict=True)
        return Rows.of(Files(np.array(paths)), np.array(labels, np.int64))
    (dataset,) = parts
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return Rows.of(_Pictures(name, dataset), np.asarray(labels, dtype=np.int64))


def _in_files(dataset: Any) -> bool:
    return hasattr(dataset, "_samples") or hasattr(dataset, "_labels")


def _labelled_files(dataset: Any) -> list[tuple[str, int]]:
    """Paths and labels, for which torchvision has no public name; its items would decode an image for a label."""
    if hasattr(dataset, "_samples"):
        return [(str(path), int(label)) for path, label in dataset._samples]
    paths = dataset._image_files if hasattr(dataset, "_image_files") else dataset._images
    return [(str(path), label) for path, label in zip(paths, dataset._labels, strict=True)]


def _open(name: str, entry: _Set, options: Options) -> Any:
    return open_dataset(name, entry.factory, {"download": not entry.layout, **options}, layout=entry.layout)


def open_dataset(name: str, factory: str, options: Options, *, layout: str = "") -> Any:
    """One of ``torchvision.datasets``, in its folder in the cache.

    Args:
        name: of the folder, and for errors.
        factory: the class.
        options: its arguments, but for the folder.
        layout: what the folder must hold, where torchvision cannot download the set.

    Raises:
        DataError: it is not in the cache and cannot be downloaded.
    """
    from torchvision import datasets

    root = data_folder() / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        # torchvision's download is not for several ranks at once.
        with FileLock(root / ".lock"):
            return getattr(datasets, factory)(root, **options)
    except (OSError, RuntimeError) as error:
        # A URLError is an OSError; torchvision raises RuntimeError for what it cannot fetch, or where a digest differs.
        raise DataError(_missing(name, root, layout, " ".join(str(error).split()))) from error


def _missing(name: str, root: Path, layout: str, reason: str) -> str:
    if layout:
        return (
            f"{name} is not complete in {root} ({reason}), and nobody offers it for download any more: put the folder "
            f"{layout} there (PROTOZOO_DATA names the parent of {root.name})"
        )
    return (
        f"{name} is not complete in {root} and could not be downloaded ({reason}): connect to the network, or copy "
        "that folder from a machine that has it (PROTOZOO_DATA names its parent)"
    )
