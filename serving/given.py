"""Prototypes that a request brings along."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from serving.errors import ServingError
from serving.items import TEXT, items
from serving.prototypes import GIVEN, PrototypeSet
from serving.sets.embeddings import unit_rows
from serving.sets.errors import InvalidExamplesError
from serving.sets.names import MAX_LABEL

ROWS, NAMES = "prototypes", "names"
PARTS = (ROWS, NAMES)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape one, and no answer could be encoded with it


def given_prototypes(parts: Mapping[str, bytes], dim: int, max_classes: int) -> PrototypeSet | None:
    """The set in a form's parts: `prototypes`, a .npy of (K, d) floats, and `names`, a JSON list of K texts.

    Rows are scaled to unit norm. Without names the classes are called "0", "1" and so on.

    Args:
        parts: of the form.
        dim: d of the model.
        max_classes: most rows.

    Returns:
        None where the form has no such parts.

    Raises:
        ServingError: "invalid_prototypes".
    """
    if ROWS not in parts:
        if NAMES in parts:
            raise _invalid(f"the form has `{NAMES}` but no `{ROWS}`")
        return None
    rows = _unit_rows(_read_npy(parts[ROWS]), dim, max_classes)
    names = _names(parts[NAMES], len(rows)) if NAMES in parts else [str(index) for index in range(len(rows))]
    return PrototypeSet.whole(rows, names, name=GIVEN)


def _read_npy(data: bytes) -> NDArray[np.generic]:
    try:
        # Pickles are refused; and the header is read before anything of the size that it announces is made.
        with io.BytesIO(data) as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[version](file)
            if dtype.kind != "f" or len(shape) != 2:
                raise _invalid(f"`{ROWS}` must be a matrix of floats; it is {dtype} of shape {shape}")
            if shape[0] * shape[1] * dtype.itemsize != len(data) - file.tell():
                raise _invalid(f"`{ROWS}` does not hold the numbers that its header announces")
        array: NDArray[np.generic] = np.load(io.BytesIO(data), allow_pickle=False)
    except ServingError:
        raise
    except Exception as error:
        # The header is a Python literal, and NumPy lets pass whatever reading one raises: TypeError, RecursionError.
        message = f"`{ROWS}` must be a .npy file (a part with a filename) as numpy.save writes it, without pickles"
        raise _invalid(message) from error
    return array


def _unit_rows(array: NDArray[np.generic], dim: int, max_classes: int) -> NDArray[np.float32]:
    if array.shape[1] != dim or not 1 <= len(array) <= max_classes:
        raise _invalid(f"`{ROWS}` must be of shape (K, {dim}) with K from 1 to {max_classes}; it is {array.shape}")
    try:
        return unit_rows(array, dim)
    except InvalidExamplesError as error:
        raise _invalid(f"every row of `{ROWS}` must be finite and not zero") from error


def _names(data: bytes, count: int) -> list[str]:
    wanted = f"`{NAMES}` must be a JSON list of {count} texts, one for each row of `{ROWS}`"
    try:
        written = list(islice(items(data, TEXT), count + 1))  # before they are parsed: there may be millions
        if len(written) != count:
            raise _invalid(wanted)
        names: list[str] = [json.loads(text) for text in written]
    except ValueError as error:
        raise _invalid(wanted) from error
    if any(not name or len(name) > MAX_LABEL or _LONE_SURROGATE.search(name) for name in names):
        raise _invalid(f"every one of `{NAMES}` must have 1 to {MAX_LABEL} characters of Unicode")
    return names


def _invalid(message: str) -> ServingError:
    return ServingError("invalid_prototypes", message)
