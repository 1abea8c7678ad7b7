from __future__ import annotations

import pickle
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision.datasets
from numpy.typing import NDArray

from training.data import DataError, Split, load_data
from training.data.torchvision_sets import SETS
from zoo.bundle import Preprocessing

LABELS = np.array([*range(10), 3, 5], np.uint8)


def pixels(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_pickles(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))


def write_cifar10(root: Path) -> NDArray[np.uint8]:
    """Batches of (N, 3072), channel after channel."""
    images = pixels(12, 32, 32, 3)
    rows = images.transpose(0, 3, 1, 2).reshape(12, -1)
    batch = {"data": rows, "labels": LABELS.tolist()}
    empty = {"data": rows[:0], "labels": []}
    files = {"data_batch_1": batch, **{f"data_batch_{number}": empty for number in range(2, 6)}, "test_batch": batch}
    names = {"label_names": [f"name {label}" for label in range(10)]}
    write_pickles(root / "cifar-10-batches-py", {**files, "batches.meta": names})
    return images


def write_cifar100(root: Path) -> NDArray[np.uint8]:
    images = pixels(12, 32, 32, 3)
    batch = {"data": images.transpose(0, 3, 1, 2).reshape(12, -1), "fine_labels": LABELS.tolist()}
    names = {"fine_label_names": [f"name {label}" for label in range(10)]}
    write_pickles(root / "cifar-100-python", {"train": batch, "test": batch, "meta": names})
    return images


def write_svhn(root: Path) -> NDArray[np.uint8]:
    """Images (32, 32, 3, N); the digit 0 has the label 10."""
    root.mkdir(parents=True)
    images = pixels(12, 32, 32, 3)
    for split in ("train", "test"):
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.where(LABELS == 0, 10, LABELS)[:, None]}
        scipy.io.savemat(root / f"{split}_32x32.mat", content)
    return images


def write_stl10(root: Path) -> NDArray[np.uint8]:
    """Images channel after channel and column after column; labels from 1."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    images = pixels(12, 96, 96, 3)
    for split in ("train", "test"):
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{split}_y.bin").write_bytes((LABELS + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join(f"name {label}" for label in range(10)))
    return images


def write_fashion_mnist(root: Path) -> NDArray[np.uint8]:
    """idx files: a magic number with type and dimensions, then the sizes, big-endian."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = pixels(12, 28, 28)
    for split in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", LABELS)):
            header = np.array([0x0800 + array.ndim, *array.shape], ">i4").tobytes()
            (folder / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return np.repeat(images[..., None], 3, axis=3)


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "stl10": write_stl10,
    "fashion_mnist": write_fashion_mnist,
}
SIDES = {"stl10": 96, "fashion_mnist": 28}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no network."""
    monkeypatch.setenv("PROTOZOO_DATA", str(tmp_path))

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    return tmp_path


def plain(name: str) -> Preprocessing:
    return Preprocessing(SIDES.get(name, 32), 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize("name", SETS)
def test_a_set_in_the_cache_is_read_without_a_network(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torchvision.datasets.cifar, torchvision.datasets.stl10, torchvision.datasets.svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())
    monkeypatch.setattr(torchvision.datasets.utils, "check_integrity", lambda path, md5=None: Path(path).is_file())
    images = WRITERS[name](cache / name)
    data = load_data(name, plain(name))
    assert len(data.classes) == 10
    if name in ("cifar10", "cifar100", "stl10"):
        assert data.classes == tuple(f"name {label}" for label in range(10))
    for split in (data.train, data.test):
        assert isinstance(split, Split)
        assert np.array_equal(split.images, images)
        assert split.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_cannot_be_downloaded_says_where_it_belongs(name: str, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_data(name, plain(name))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{name} is not complete in {cache / name}")
    assert "no route to host" in message
    assert "connect to the network" in message


def test_a_damaged_set_is_not_unpickled(cache: Path) -> None:
    """torchvision compares digests before it opens a pickle."""
    write_cifar10(cache / "cifar10")
    with pytest.raises(DataError, match="cifar10 is not complete"):
        load_data("cifar10", plain("cifar10"))
