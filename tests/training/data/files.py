"""Tiny image files, alone and in the Hub's parquet layout."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from training.data import ImageData, Split


def png(seed: int, size: tuple[int, int] = (16, 16)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def check(data: ImageData, train: int, test: int, size: int = 16) -> None:
    for split, count in ((data.train, train), (data.test, test)):
        assert isinstance(split, Split)
        assert split.images.shape == (count, size, size, 3)
        assert split.images.dtype == np.uint8
        assert split.labels.shape == (count,)
        assert split.labels.dtype == np.int64


def write_parquet(
    path: Path,
    labels: Sequence[int | None],
    *,
    names: Sequence[str] | None = None,
    images: Sequence[bytes | None] | None = None,
    info: dict[str, Any] | None = None,
    columns: dict[str, str] | None = None,
    kind: pa.DataType | None = None,
) -> None:
    """A file as the Hub has it: a column of {bytes, path}, and the features as JSON in the schema's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images or [png(index) for index in range(len(labels))]
    image_column, label_column = (columns or {}).get("image", "image"), (columns or {}).get("label", "label")
    rows = [image and {"bytes": image, "path": f"{index}.png"} for index, image in enumerate(images)]
    table = pa.table({image_column: rows, label_column: pa.array(labels, kind or pa.int64())})
    if names is not None:
        features = {image_column: {"_type": "Image"}, label_column: {"names": list(names), "_type": "ClassLabel"}}
        record = json.dumps({"info": {"features": features, **(info or {})}})
        table = table.replace_schema_metadata({"huggingface": record})
    pq.write_table(table, path)
