"""Image sets that fit in memory: decoded once, resized and cropped as for evaluation, held as uint8."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError

_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"}
_TEST_SPLITS = ("test", "val", "validation", "valid")


class DataError(ProtozooError):
    """Data that is not there, not of a known layout, or that does not fit the model."""


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes:
        images: uint8 (N, H, W, 3), RGB.
        labels: int64 (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class ImageData:
    """A data set for classification.

    Attributes:
        name: for records and cards.
        license: of the data, where its source states one.
        classes: names, in the order of the labels.
        train, test: the two splits.
    """

    name: str
    license: str
    classes: tuple[str, ...]
    train: Split
    test: Split


@dataclass(frozen=True)
class _Source:
    """Where images come from: anything that yields (what to call it in an error, opener, label)."""

    name: str
    license: str
    classes: tuple[str, ...]
    splits: dict[str, Callable[[], Iterable[tuple[str, Any, int]]]]


def load_data(spec: str, preprocessing: Preprocessing) -> ImageData:
    """Read ``digits``, a folder in ImageFolder layout, or a folder in the Hub's parquet layout.

    Raises:
        DataError: no such folder, no layout that is known, a split or a class missing.
        ImageError: an image cannot be decoded; it is named.
    """
    if spec == "digits":
        source = _digits()
    else:
        folder = Path(spec).expanduser()
        if not folder.is_dir():
            raise DataError(f"{spec!r} is neither 'digits' nor a folder with images or parquet files")
        source = _parquet(folder) if _parquet_files(folder) else _image_folder(folder)
    train, test = (_decode(source.splits[split](), preprocessing) for split in ("train", "test"))
    for split, name in ((train, "training"), (test, "test")):
        if not len(split.labels):
            raise DataError(f"{spec}: the {name} split is empty")
        outside = [label for label in split.labels.tolist() if not 0 <= label < len(source.classes)]
        if outside:
            raise DataError(
                f"{spec}: the {name} split has the label {outside[0]}, but there are {len(source.classes)} classes, "
                "numbered from 0: give every image the label of one of them"
            )
    missing = set(range(len(source.classes))) - set(train.labels.tolist())
    if missing:
        names = ", ".join(source.classes[index] for index in sorted(missing)[:3])
        raise DataError(f"{spec}: no training image of {len(missing)} classes ({names})")
    return ImageData(source.name, source.license, source.classes, train, test)


def _decode(samples: Iterable[tuple[str, Any, int]], preprocessing: Preprocessing) -> Split:
    images, labels = [], []
    for name, image, label in samples:
        if isinstance(image, Image.Image):
            images.append(preprocessing.pixels(image))
        else:
            images.append(preprocessing.read(image, name))
        labels.append(label)
    size = preprocessing.size
    stacked = np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
    return Split(stacked, np.asarray(labels, dtype=np.int64))


def digits_split() -> tuple[list[tuple[Image.Image, int]], list[tuple[Image.Image, int]]]:
    """scikit-learn's 1,797 digits as 8-bit grey pictures with labels: a stratified 80 % to train on, 20 % to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pictures = [Image.fromarray((image * 255 / 16).astype(np.uint8)) for image in digits.images]
    train, test = train_test_split(
        np.arange(len(pictures)), test_size=0.2, stratify=digits.target, random_state=0, shuffle=True
    )
    return tuple([(pictures[i], int(digits.target[i])) for i in sorted(part)] for part in (train, test))  # type: ignore[return-value]


def _digits() -> _Source:
    train, test = digits_split()

    def samples(part: list[tuple[Image.Image, int]]) -> Callable[[], Iterator[tuple[str, Image.Image, int]]]:
        return lambda: ((f"digit {index}", picture, label) for index, (picture, label) in enumerate(part))

    return _Source(
        "scikit-learn's digits (UCI, Alpaydin & Kaynak 1998)",
        "CC BY 4.0",
        tuple(str(digit) for digit in range(10)),
        {"train": samples(train), "test": samples(test)},
    )


def _image_folder(folder: Path) -> _Source:
    train = folder / "train"
    test = next((folder / name for name in _TEST_SPLITS if (folder / name).is_dir()), None)
    if not train.is_dir() or test is None:
        raise DataError(
            f"{folder} holds no parquet files, and for ImageFolder's layout it must hold train/<class>/ and "
            "val/<class>/ or test/<class>/"
        )
    classes = tuple(sorted(path.name for path in train.iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{train} must hold a folder for each of at least two classes")
    unknown = sorted({path.name for path in test.iterdir() if path.is_dir()} - set(classes))
    if unknown:
        raise DataError(f"{test / unknown[0]} is a class without training images")

    def samples(root: Path) -> Callable[[], Iterator[tuple[str, Path, int]]]:
        def walk() -> Iterator[tuple[str, Path, int]]:
            for label, name in enumerate(classes):
                for path in sorted((root / name).rglob("*")):
                    if path.suffix.lower() in _EXTENSIONS:
                        yield str(path), path, label

        return walk

    return _Source(folder.resolve().name, "not stated", classes, {"train": samples(train), "test": samples(test)})


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) + sorted(folder.glob("data/*.parquet"))


def _parquet(folder: Path) -> _Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths: dict[str, list[Path]] = {}
    for path in _parquet_files(folder):
        paths.setdefault(path.name.split("-")[0].split(".")[0], []).append(path)
    test = next((name for name in _TEST_SPLITS if name in paths), None)
    if "train" not in paths or test is None:
        raise DataError(f"{folder} must hold train-*.parquet and test-*.parquet (or validation-*), not {sorted(paths)}")
    for path in (*paths["train"], *paths[test]):
        try:
            pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{path} cannot be read as parquet: download it again (with Git LFS, `git lfs pull`)"
            ) from error
    schema = pq.read_schema(paths["train"][0])
    if not {"image", "label"} <= set(schema.names):
        raise DataError(f"{paths['train'][0]} must have the columns 'image' and 'label', it has {schema.names}")
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    classes = tuple(info.get("features", {}).get("label", {}).get("names") or ())
    if not classes:
        columns = (pq.read_table(path, columns=["label"])["label"].to_numpy() for path in paths["train"])
        classes = tuple(str(label) for label in range(max(int(np.nanmax(column)) for column in columns) + 1))

    def samples(split: str) -> Callable[[], Iterator[tuple[str, io.BytesIO, int]]]:
        def rows() -> Iterator[tuple[str, io.BytesIO, int]]:
            for path in paths[split]:
                for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["image", "label"]):
                    for index, (image, label) in enumerate(
                        zip(batch["image"].to_pylist(), batch["label"].to_pylist(), strict=True)
                    ):
                        name = f"{path}: {image.get('path') or f'row {index}'}"
                        yield name, io.BytesIO(image["bytes"]), -1 if label is None else label

        return rows

    name = info.get("dataset_name") or folder.resolve().name
    return _Source(
        name, info.get("license") or "not stated", classes, {"train": samples("train"), "test": samples(test)}
    )
