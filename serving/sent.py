"""Embeddings that a client has made itself and sends to be enrolled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving.errors import ServingError
from serving.items import ROW, items

_BEFORE = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"embeddings"[ \t\n\r]*:')
_AFTER = re.compile(rb"\}[ \t\n\r]*")


def sent_embeddings(data: bytes, dim: int, check_count: Callable[[int], None]) -> NDArray[np.float64]:
    """The rows (k, d) of `{"embeddings": [[...], ...]}`; how many and how long is looked at before they are parsed.

    Args:
        data: the body.
        dim: d.
        check_count: raises where k is too many.

    Raises:
        ServingError: "malformed_body", "invalid_examples".
    """
    before, end = _BEFORE.match(data), max(data.rfind(b"}"), 0)
    if before is None or not _AFTER.fullmatch(data, end):
        raise ServingError("malformed_body", 'send {"embeddings": [[...], ...]} as JSON, or images')
    count = data.count(b"[") - 1  # wherever it is lists of numbers in a list
    if count < 1:
        raise _invalid(f"one or more embeddings are needed, each a list of {dim} numbers")
    check_count(count)
    rows = np.empty((count, dim))
    try:
        for row, text in zip(rows, items(data, ROW, before.end(), end), strict=True):
            row[:] = _numbers(text, dim)
    except ValueError as error:
        raise _invalid("embeddings must be a list of lists of numbers") from error
    except OverflowError as error:
        raise _invalid("embeddings hold a number that is too large") from error
    return rows


def _numbers(text: bytes, dim: int) -> list[float]:
    count = text.count(b",") + 1
    if count != dim:
        raise _invalid(f"an embedding of this model has {dim} numbers; one of these has {count}")
    numbers: list[float] = json.loads(text)
    # A boolean is an int to Python, and to NumPy a number like any other.
    if len(numbers) != dim or not {*map(type, numbers)} <= {int, float}:
        raise ValueError("not all are numbers")
    return numbers


def _invalid(message: str) -> ServingError:
    return ServingError("invalid_examples", message)
