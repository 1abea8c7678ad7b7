"""A record of transfer as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROWS = {
    "linear": "linear probe",
    "projection": "prototypes (projection)",
    "encoder": "prototypes (encoder)",
    "whitened": "prototypes (whitened)",
}


def markdown(record: Mapping[str, Any]) -> str:
    """A row a method, a column a data set with 95 % intervals, the mean last, in percent; below it, what it cost.

    With a baseline, each method has a second row: how much better than that model, relative to it.

    Args:
        record: of :func:`training.downstream.record_transfer`, finished.
    """
    sets = record["sets"]
    heads = [f"{found['data']}, mAP" if found["measure"] != "top-1 accuracy" else found["data"] for found in sets]
    lines = [f"| | {' | '.join(heads)} | mean |", f"| --- |{' ---: |' * (len(sets) + 1)}"]
    for method, average in record["means"].items():
        cells = [_cell(found["methods"][method]) for found in sets]
        lines.append(f"| {_ROWS[method]} | {' | '.join(cells)} | {100 * average:.2f} |")
        if baseline := record["baseline"]:
            relative = baseline["relative"][method]
            changes = " | ".join(_change(value) for value in (*relative["sets"], relative["mean"]))
            lines.append(f"| {_ROWS[method]}, against {baseline['model']} | {changes} |")
    return "\n".join([*lines, "", _cost(record)])


def _cell(found: Mapping[str, Any]) -> str:
    low, high = (f"{100 * bound:.2f}" for bound in found["interval"])
    return f"{100 * found['value']:.2f} ({low} to {high})"


def _change(relative: float | None) -> str:
    return "" if relative is None else f"{100 * relative:+.2f} %"


def _cost(record: Mapping[str, Any]) -> str:
    sets = record["sets"]
    passes = sum(found["cost"]["seconds"] for found in sets)
    images = sum(found["cost"]["images"] for found in sets)
    beside = [
        f"{_ROWS[method]} {sum(found['methods'][method]['seconds'] for found in sets):.1f} s"
        for method in record["means"]
    ]
    return f"One pass over each training set ({images} images): {passes:.1f} s. Beside it: {', '.join(beside)}."
