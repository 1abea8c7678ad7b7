"""Runs that differ from an exported one in the seed alone: what a card's deviations over seeds are taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import ProtozooError
from zoo.runs import FinishedRun, open_run

_METRICS = (
    "test_accuracy",
    "test_accuracy_by_readout",
    "train_accuracy",
    "train_collapse",
    "test_collapse",
    "test_calibration",
)


def read_repeats(run: FinishedRun, others: Sequence[Path]) -> list[dict[str, Any]]:
    """What the record says of ``others``: of each its seed, command, code revision and the metrics that a card tables.

    Raises:
        ProtozooError: one is not a finished run, differs from ``run`` in something besides the seed (it is named), or
            has a seed that another has.
    """
    seeds = {run.record["recipe"]["seed"]: run.path}
    repeats = []
    for path in others:
        record = open_run(path).record
        _check_same(run, path, record)
        seed = record["recipe"]["seed"]
        if seed in seeds:
            raise ProtozooError(f"{path} has seed {seed}, as {seeds[seed]} has: give each --repeat another seed")
        seeds[seed] = path
        repeats.append(_repeat(record))
    return repeats


def _check_same(run: FinishedRun, path: Path, record: Mapping[str, Any]) -> None:
    own, other = _made_of(run.record), _made_of(record)
    for field in sorted({*own, *other}):
        if own.get(field) != other.get(field):
            raise ProtozooError(
                f"{path} is no repetition of {run.path}: its {field} is {other.get(field)!r}, not {own.get(field)!r}; "
                "give runs of the same recipe and data that differ in the seed alone"
            )


def _made_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be equal: data and recipe, under the recipe's own names but for the seed."""
    recipe = {f"recipe.{name}": value for name, value in record["recipe"].items() if name != "seed"}
    data = {f"data.{name}": value for name, value in record["data"].items()}
    kept = ("architecture", "objective", "label_names", "model_args", "preprocessing")
    return {**recipe, **data, **{name: record[name] for name in kept}, "base": record.get("base")}


def _repeat(record: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {name: record["metrics"][name] for name in _METRICS if name in record["metrics"]}
    if "test_calibration" in metrics:
        metrics["test_calibration"] = {name: metrics["test_calibration"][name] for name in ("ece", "nll")}
    return {
        "seed": record["recipe"]["seed"],
        "command": record["command"],
        "code_revision": record["code_revision"],
        "metrics": metrics,
    }
