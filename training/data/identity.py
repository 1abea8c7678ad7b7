"""What tells the images of a training from others: written with a run, and compared when it is resumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from training.data.splits import ImageData, Split, StoredSplit


def identity(data: ImageData) -> dict[str, Any]:
    """What :func:`difference` compares, for JSON.

    Returns:
        "classes", names in the order of the labels; "train_images", "test_images" and "skipped_images", numbers;
        "labels_sha256" of both splits' labels; "files_sha256" of the images' names, None where they have none.
    """
    return {
        "classes": list(data.classes),
        "train_images": len(data.train.labels),
        "test_images": len(data.test.labels),
        "skipped_images": len(data.skipped),
        "labels_sha256": sha256(b"".join(map(_labels, (data.train, data.test)))).hexdigest(),
        "files_sha256": data.files_sha256,
    }


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How images differ from those of an earlier :func:`identity`, in words; None where they are the same."""
    before, after = (list(described["classes"]) for described in (then, now))
    if before != after:
        gone, new = ([name for name in one if name not in other] for one, other in ((before, after), (after, before)))
        changes = [f"{word} {', '.join(names[:3])}" for word, names in (("without", gone), ("with", new)) if names]
        return f"the classes are others, {' and '.join(changes) or 'in another order'}"
    for key, what in (
        ("skipped_images", "left out that cannot be decoded"),
        ("train_images", "to train on"),
        ("test_images", "to test on"),
    ):
        if then[key] != now[key]:
            return f"there were {then[key]} images {what}, and now there are {now[key]}"
    if then["files_sha256"] != now["files_sha256"]:
        return "some images have other names or other places"
    if then["labels_sha256"] != now["labels_sha256"]:
        return "some images have other labels, or stand in another order"
    return None


def names_sha256(splits: Iterable[Iterable[str]]) -> str:
    """Digest of the names of the images of each split, in order."""
    digest = sha256()
    for names in splits:
        for name in names:
            digest.update(name.encode(errors="surrogateescape") + b"\0")
        digest.update(b"\0")
    return digest.hexdigest()


def _labels(split: Split | StoredSplit) -> bytes:
    return np.ascontiguousarray(split.labels, "<i8").tobytes()
