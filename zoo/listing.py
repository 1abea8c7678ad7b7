"""The table of ``protozoo list --pretrained``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zoo.bundle import Pretrained
from zoo.bundle.hub import PREFIX, is_cached

_HEADER = ("name", "data", "top-1", "MB", "where")


def pretrained_table(models: Iterable[Pretrained]) -> str:
    """One line for each model: its name, data, test accuracy, size of its weights, and where it lies."""
    return _aligned([_HEADER, *(_row(model) for model in models)])


def _row(model: Pretrained) -> tuple[str, ...]:
    record = model.config["protozoo"]
    accuracy = record.get("metrics", {}).get("test_accuracy")
    top1 = "-" if accuracy is None else f"{accuracy:.2%}"
    return model.name, str(record.get("data", {}).get("name", "-")), top1, _megabytes(model), _where(model)


def _megabytes(model: Pretrained) -> str:
    # Of weights on the Hub only their record can tell, without asking the Hub.
    size = model.config["protozoo"]["weights"].get("bytes")
    if size is None and model.hub is None:
        size = (model.folder / "model.safetensors").stat().st_size
    return "-" if size is None else f"{size / 1e6:.1f}"


def _where(model: Pretrained) -> str:
    if model.hub is None:
        return f"in {model.package}"
    return f"{PREFIX}{model.hub} ({'cached' if is_cached(model.hub) else 'not cached'}), by {model.package}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
