"""The tables of ``protozoo list --pretrained``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zoo.bundle import Pretrained
from zoo.bundle.hub import PREFIX, is_cached

_HEADER = ("name", "data", "top-1", "MB", "where")


def pretrained_table(models: Iterable[Pretrained]) -> str:
    """One line for each model: its name, data, test accuracy, size of its weights, and where it lies."""
    return _aligned([_HEADER, *(_row(model) for model in models)])


def markdown_table(models: Iterable[Pretrained]) -> str:
    """What is known of each model, in Markdown: one row each, whose numbers are those of its record."""
    heads = ["model", *_COLUMNS]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- | --- |{' ---: |' * (len(heads) - 3)}"]
    for model in models:
        cells = [f"`{model.name}`", *(_text(column, model.config) for column in _COLUMNS.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(column: Callable[[Mapping[str, Any]], str], config: Mapping[str, Any]) -> str:
    try:
        return column(config)
    except (KeyError, TypeError):  # an older record, or one of a model that nothing was measured of
        return "-"


def _interval(config: Mapping[str, Any]) -> str:
    metrics = config["protozoo"]["metrics"]
    low, high = metrics["test_accuracy_interval"]
    return f"{metrics['test_accuracy']:.2%} ({low:.2%} to {high:.2%})".replace("%", " %")


def _collapse(metric: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda config: f"{config['protozoo']['metrics']['train_collapse'][metric]:.3f}"


def _percent(*path: str) -> Callable[[Mapping[str, Any]], str]:
    def text(config: Mapping[str, Any]) -> str:
        found: Any = config["protozoo"]
        for name in path:
            found = found[name]
        return f"{100 * found:.1f} %"

    return text


# Heading -> from a config.json to a cell.
_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "objective": lambda config: str(config["protozoo"]["objective"]),
    "data": lambda config: str(config["protozoo"]["data"]["name"]),
    "K, d": lambda config: f"{config['num_classes']}, {config['model_args']['embed_dim']}",
    "px": lambda config: str(config["pretrained_cfg"]["input_size"][-1]),
    "top-1, 95 % interval": _interval,
    "training top-1": _percent("metrics", "train_accuracy"),
    "ECE": _percent("metrics", "test_calibration", "ece"),
    "AUROC": _percent("open_set", "foreign", "auroc"),
    "foreign images": lambda config: str(config["protozoo"]["open_set"]["foreign"]["data"]),
    "inter erank": _collapse("inter_erank"),
    "weight alignment": _collapse("weight_alignment"),
    "scatter within / between": _collapse("trace_ratio"),
    "deviation from the simplex": _collapse("etf_cosine_error"),
}


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
