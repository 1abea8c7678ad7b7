from __future__ import annotations

import json
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
from PIL import Image

from training.data import DataError, Split, load_data
from training.data.torchvision_sets import SETS
from zoo.bundle import Preprocessing
from zoo.errors import ImageError

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


def write_jpegs(paths: list[Path]) -> NDArray[np.uint8]:
    """A picture of one colour at each path; JPEG keeps it, nearly."""
    colours = pixels(len(paths), 3)
    for path, colour in zip(paths, colours, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(colour, (32, 32, 3)).copy()).save(path, quality=100, subsampling=0)
    return np.broadcast_to(colours[:, None, None], (len(paths), 32, 32, 3))


def write_food101(root: Path) -> NDArray[np.uint8]:
    """images/<class>/<number>.jpg, and by split the numbers of each class, class after class."""
    folder = root / "food-101"
    order = np.sort(LABELS)
    files = [f"name {label}/{index}" for index, label in enumerate(order)]
    (folder / "meta").mkdir(parents=True)
    by_class = {f"name {label}": [file for file in files if file.startswith(f"name {label}/")] for label in range(10)}
    for split in ("train", "test"):
        (folder / "meta" / f"{split}.json").write_text(json.dumps(by_class))
    return write_jpegs([folder / "images" / f"{file}.jpg" for file in files])


def write_cars(root: Path) -> NDArray[np.uint8]:
    """Labels from 1, in MATLAB's structs."""
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array([f"name {label}" for label in range(10)], object)
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    annotations = np.array(
        [(f"{index:05}.jpg", label + 1) for index, label in enumerate(LABELS)], [("fname", object), ("class", np.uint8)]
    )
    for name in ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"):
        scipy.io.savemat(folder / name, {"annotations": annotations})
    files = [f"{index:05}.jpg" for index in range(12)]
    write_jpegs([folder / "cars_test" / file for file in files])
    return write_jpegs([folder / "cars_train" / file for file in files])


def write_dtd(root: Path) -> NDArray[np.uint8]:
    """images/<class>/<file>, and a list of them for each split of each partition; validation images train too."""
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    files = [f"name {label}/{index}.jpg" for index, label in enumerate([*range(10), *range(10)])]
    for split, listed in (("train", files[:10]), ("val", files[10:]), ("test", files)):
        (folder / "labels" / f"{split}1.txt").write_text("\n".join(listed))
    return write_jpegs([folder / "images" / file for file in files])


def write_pets(root: Path) -> NDArray[np.uint8]:
    """<Breed>_<number>, label from 1, species, and a number within it."""
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    files = [f"name_{label}_{index}" for index, label in enumerate(LABELS)]
    lines = [f"{file} {label + 1} 1 1" for file, label in zip(files, LABELS, strict=True)]
    for split in ("trainval", "test"):
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    return write_jpegs([folder / "images" / f"{file}.jpg" for file in files])


def write_flowers102(root: Path) -> NDArray[np.uint8]:
    """Labels from 1 of all images, and the images' numbers, from 1, of each split; validation images train too."""
    folder = root / "flowers-102"
    folder.mkdir(parents=True)
    labels = np.array([*LABELS, *range(10, 102)], int) + 1
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels})
    numbers = np.arange(len(labels)) + 1
    ids = {"trnid": numbers[:10], "valid": numbers[10:], "tstid": numbers}
    scipy.io.savemat(folder / "setid.mat", ids)
    return write_jpegs([folder / "jpg" / f"image_{number:05}.jpg" for number in numbers])


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "stl10": write_stl10,
    "fashion_mnist": write_fashion_mnist,
    "food101": write_food101,
    "cars": write_cars,
    "dtd": write_dtd,
    "pets": write_pets,
    "flowers102": write_flowers102,
}
SIDES = {"stl10": 96, "fashion_mnist": 28}
EXPECTED = {
    "food101": sorted(LABELS),
    "dtd": [*range(10), *range(10)],
    "flowers102": [*LABELS, *range(10, 102)],
}
NAMES = {"pets": "Name {}"} | dict.fromkeys(("cifar10", "cifar100", "stl10", "food101", "cars", "dtd"), "name {}")
IN_FILES = ("food101", "cars", "dtd", "pets", "flowers102")


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
    for module in ("cifar", "stl10", "svhn", "flowers102"):
        found = getattr(torchvision.datasets, module)
        monkeypatch.setattr(found, "check_integrity", lambda path, md5=None: Path(path).is_file())
    monkeypatch.setattr(torchvision.datasets.utils, "check_integrity", lambda path, md5=None: Path(path).is_file())
    images = WRITERS[name](cache / name)
    data = load_data(name, plain(name))
    assert len(data.classes) == (102 if name == "flowers102" else 10)
    if name in NAMES:
        assert data.classes == tuple(NAMES[name].format(label) for label in range(10))
    for split in (data.train, data.test):
        assert isinstance(split, Split)
        assert np.abs(split.images.astype(int) - images).max() <= (3 if name in IN_FILES else 0)
        assert split.labels.tolist() == list(EXPECTED.get(name, LABELS))


@pytest.mark.parametrize("name", IN_FILES)
def test_labels_are_read_without_decoding_and_a_broken_image_is_named(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.flowers102, "check_integrity", lambda path, md5: Path(path).is_file())
    WRITERS[name](cache / name)
    broken = sorted((cache / name).rglob("*.jpg"))
    for path in broken:
        path.write_bytes(b"torn")
    data = load_data(name, plain(name), storage="disk")
    assert data.train.labels.tolist() == list(EXPECTED.get(name, LABELS))
    with pytest.raises(ImageError, match=r"\.jpg"):
        data.train.picture(0)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_cannot_be_downloaded_says_where_it_belongs(name: str, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_data(name, plain(name))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{name} is not complete in {cache / name}")
    if name == "cars":
        assert "put the folder stanford_cars with cars_train/*.jpg" in message
        assert "cars_test_annos_withlabels.mat there" in message
        return
    assert "no route to host" in message
    assert "connect to the network" in message


def test_a_part_that_lacks_a_class_is_not_labelled_by_its_own_numbers(cache: Path) -> None:
    write_dtd(cache / "dtd")
    (cache / "dtd/dtd/dtd/labels/val1.txt").write_text("name 3/13.jpg\nname 5/15.jpg")
    with pytest.raises(DataError, match=r"dtd in .* lacks classes"):
        load_data("dtd", plain("dtd"), storage="disk")


def test_a_damaged_set_is_not_unpickled(cache: Path) -> None:
    """torchvision compares digests before it opens a pickle."""
    write_cifar10(cache / "cifar10")
    with pytest.raises(DataError, match="cifar10 is not complete"):
        load_data("cifar10", plain("cifar10"))
