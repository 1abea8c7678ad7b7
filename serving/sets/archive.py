"""A prototype set as one file: safetensors, which cannot execute, with the names as JSON in its metadata."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from serving.sets.embeddings import unit_rows
from serving.sets.errors import InvalidArchiveError, SetError
from serving.sets.names import checked_label
from serving.sets.records import ModelKey

FORMAT = "protozoo.set/1"
_MAX_DIM = 2**16
_KEY = "protozoo"  # one only: safetensors writes several in a random order, and the same set should give the same bytes


@dataclass(frozen=True, eq=False)
class Archive:
    """A set with all of its examples.

    Attributes:
        name: of the set.
        model: that it is bound to.
        labels: K names, in the order in which the classes were enrolled.
        counts: int64 (K,), examples of each class, none zero.
        embeddings: float32 (n, d), unit rows, class by class.
        images: n of them, None where the image was not kept.
    """

    name: str
    model: ModelKey
    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    images: tuple[bytes | None, ...]


def pack_archive(archive: Archive) -> bytes:
    """The file of a set."""
    lengths = [-1 if image is None else len(image) for image in archive.images]
    pixels = b"".join(image for image in archive.images if image is not None)
    tensors: dict[str, NDArray[Any]] = {
        "counts": archive.counts,
        "embeddings": np.ascontiguousarray(archive.embeddings),
        "image_lengths": np.array(lengths, np.int64),
        "images": np.frombuffer(pixels, np.uint8),
    }
    described = {
        "format": FORMAT,
        "name": archive.name,
        "weights_sha256": archive.model.weights_sha256,
        "labels": archive.labels,
    }
    return save(tensors, {_KEY: json.dumps(described, ensure_ascii=False, sort_keys=True)})


def unpack_archive(data: bytes) -> Archive:
    """The set of a file, with everything checked.

    Raises:
        InvalidArchiveError: it is not one, or not whole.
    """
    try:
        tensors = load(data)
        described = json.loads(_metadata(data)[_KEY])
        if described["format"] != FORMAT:
            raise InvalidArchiveError(
                f"this file has the format {described['format']!r}; this version reads {FORMAT!r}"
            )
        return _checked(tensors, described)
    except SetError as error:
        raise InvalidArchiveError(f"this is no prototype set: {error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidArchiveError("this is no prototype set: `protozoo sets dump` writes them") from error


def _metadata(data: bytes) -> Any:
    """The metadata of a file that safetensors has read without complaint."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


def _checked(tensors: dict[str, NDArray[Any]], described: Any) -> Archive:
    counts, lengths = tensors["counts"], tensors["image_lengths"]
    embeddings, pixels = tensors["embeddings"], tensors["images"]
    labels = tuple(checked_label(label) for label in described["labels"])
    model = ModelKey(str(described["weights_sha256"]), embeddings.shape[1])
    whole = (
        [part.dtype.name for part in (counts, lengths, embeddings, pixels)] == ["int64", "int64", "float32", "uint8"]
        and counts.shape == (len(labels),)
        and lengths.shape == (len(embeddings),)
        and len(set(labels)) == len(labels)
        and (counts > 0).all()
        and sum(counts.tolist()) == len(embeddings)  # not numpy's sum, which wraps around
        and (lengths >= -1).all()
        and sum(lengths[lengths > 0].tolist()) == pixels.size
        and re.fullmatch("[0-9a-f]{64}", model.weights_sha256) is not None
        and 0 < model.dim <= _MAX_DIM
    )
    if not whole:
        raise InvalidArchiveError("its parts do not fit together")
    units = unit_rows(embeddings, model.dim) if len(embeddings) else embeddings
    return Archive(str(described["name"]), model, labels, counts, units, _images(pixels.tobytes(), lengths.tolist()))


def _images(pixels: bytes, lengths: list[int]) -> tuple[bytes | None, ...]:
    images: list[bytes | None] = []
    start = 0
    for length in lengths:
        images.append(None if length < 0 else pixels[start : start + length])
        start += max(length, 0)
    return tuple(images)
