"""Folders in the layout of the Hub's data sets: parquet files of encoded images and labels."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.arrow import arrow_copy
from training.data.source import Rows, Source
from training.data.splits import DataError
from zoo.image_files import TEST_SPLITS

SPLITS = ("train", *TEST_SPLITS)
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str


def parquet_files(folder: Path) -> list[Path]:
    """``*.parquet`` in the folder, in its ``data`` and in folders named as splits are."""
    places = (folder, folder / "data", *(folder / split for split in SPLITS))
    return [path for place in places for path in sorted(place.glob("*.parquet"))]


def parquet(folder: Path, *, name: str | None = None, license: str | None = None) -> Source:
    """The source that a folder of parquet files is.

    Args:
        folder: see :func:`parquet_files`.
        name: where the files do not say.
        license: where the files do not say.

    Raises:
        DataError: splits, files of one, or columns are missing.
    """
    paths = _by_split(folder)
    tests = [split for split in TEST_SPLITS if split in paths]
    if "train" not in paths or not tests:
        raise DataError(f"{folder} must hold train-*.parquet and test-*.parquet (or validation-*), not {sorted(paths)}")
    for split in ("train", *tests):
        _check_complete(paths[split])
    columns, info = _columns(paths["train"][0])
    labels = {split: _labels(paths[split], columns) for split in ("train", *tests)}
    # The Hub's test splits of competitions have -1 for every label: the next split is the one to test on.
    test = next((split for split in tests if (labels[split] >= 0).any()), tests[0])
    classes = tuple((info.get("features", {}).get(columns.label) or {}).get("names") or ())
    if not classes:
        classes = tuple(str(label) for label in range(int(labels["train"].max(initial=-1)) + 1))

    def rows(split: str) -> Rows:
        return Rows(
            labels[split],
            lambda: _stream(paths[split], columns.image),
            lambda: arrow_copy(paths[split], columns.image, lambda: _encoded(paths[split], columns.image)),
        )

    return Source(
        info.get("dataset_name") or name or folder.resolve().name,
        info.get("license") or license or "not stated",
        classes,
        rows("train"),
        rows(test),
    )


def _by_split(folder: Path) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for path in parquet_files(folder):
        split = path.name.split("-")[0].split(".")[0]
        if split not in SPLITS and path.parent.name in SPLITS:
            split = path.parent.name
        paths.setdefault(split, []).append(path)
    return paths


def _check_complete(paths: list[Path]) -> None:
    """Names end in ``-of-N`` where a split is N files: fewer are a download that was cut short."""
    for path in paths:
        if (match := re.search(r"-of-0*(\d+)", path.name)) and len(paths) < int(match[1]):
            raise DataError(
                f"{path.parent} holds {len(paths)} of the {match[1]} files that {path.name} is one of: fetch the rest"
            )


def _columns(path: Path) -> tuple[_Columns, dict[str, Any]]:
    """The columns of image and label, and what the Hub's library wrote beside them."""
    import pyarrow as pa

    schema = _schema(path)
    image = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None or not pa.types.is_integer(schema.field(label).type):
        raise DataError(
            f"{path} must have the columns 'image' and 'label' (or 'img'; 'labels', 'fine_label'), labels as integers, "
            f"it has {schema.names}"
        )
    if not pa.types.is_struct(schema.field(image).type) or schema.field(image).type.get_field_index("bytes") < 0:
        raise DataError(f"{path}: the column {image!r} must hold encoded images, a struct of bytes and path")
    return _Columns(image, label), json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info") or {}


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path} cannot be read as parquet: download it again (with Git LFS, `git lfs pull`)"
        ) from error


def _labels(paths: list[Path], columns: _Columns) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for path in paths:
        missing = {columns.image, columns.label} - set(_schema(path).names)
        if missing:
            raise DataError(f"{path} has no column {min(missing)!r}, which the first training file has")
        try:
            # Of an unsigned type -1 would be no value.
            labels = pq.read_table(path, columns=[columns.label])[columns.label].cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} has labels that are no classes' numbers: {error}") from error
        found.append(labels.fill_null(-1).to_numpy())
    return np.concatenate(found)


def _encoded(paths: list[Path], column: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    for path in paths:
        row = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=[column]):
            for image in batch[column].to_pylist():
                cell = image or {}
                yield f"{path}: {cell.get('path') or f'row {row}'}", cell.get("bytes") or b""
                row += 1


def _stream(paths: list[Path], column: str) -> Iterator[tuple[str, io.BytesIO]]:
    return ((name, io.BytesIO(content)) for name, content in _encoded(paths, column))
