"""A record of transfer against that of another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.errors import ProtozooError

_SAME = ("data", "classes", "train_images", "test_images")


def check_comparable(
    settings: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]
) -> None:
    """Refuse a baseline that was measured otherwise or on something else.

    Args:
        settings: of the record that is to be compared.
        sets: its data sets, each with name and counts.
        baseline: of :func:`training.downstream.record_transfer`, of all these data sets or more.

    Raises:
        ProtozooError: it was, it is not finished, or it is no such record.
    """
    if baseline.get("kind") != "transfer" or baseline.get("means") is None:
        raise ProtozooError("the baseline is no finished record of `protozoo transfer`")
    if baseline["settings"] != settings:
        raise ProtozooError("the baseline was measured with other settings: measure it by the same command")
    known = [tuple(found[name] for name in _SAME) for found in baseline["sets"]]
    for found in sets:
        if tuple(found[name] for name in _SAME) not in known:
            raise ProtozooError(f"the baseline was not measured on {found['data']}: measure it by the same command")


def with_baseline(sets: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """How much better a model is than another, relative to that one, as in the last row of table 4.

    Args:
        sets: of a finished record, of data sets that the baseline has too.
        baseline: see :func:`check_comparable`.

    Returns:
        "model", "weights_sha256", and by method, in "relative", the "sets" in their order and the "mean", the ratio of
        the means over these data sets: each less 1, so that 0 is the baseline's own. None where the baseline has 0.

    Source: table 4 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    theirs = {found["data"]: found["methods"] for found in baseline["sets"]}
    relative = {}
    for method in sets[0]["methods"]:
        pairs = [(found["methods"][method]["value"], theirs[found["data"]][method]["value"]) for found in sets]
        means = tuple(map(sum, zip(*pairs, strict=True)))
        relative[method] = {"sets": [_relative(*pair) for pair in pairs], "mean": _relative(*means)}
    return {"model": baseline["model"], "weights_sha256": baseline["weights_sha256"], "relative": relative}


def _relative(own: float, theirs: float) -> float | None:
    return own / theirs - 1 if theirs else None
