"""Numbers of a study: of every run, by name, and over the seeds of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from training.convergence import convergence
from training.robustness.errors import with_baseline
from training.run import Run
from training.study.claims import judge, parse_test, quantities_of
from training.study.driver import Study, Task
from training.study.grid import Claim, ConvergenceEvaluation, CorruptionEvaluation, Grid, ProbeEvaluation

RULE = (
    "A claim holds where the margin by which its inequality is met is larger than twice the margin's standard error: "
    "what moving each mean by its own standard error over the seeds changes in it, added in quadrature."
)


def collect(grid: Grid, study: Study) -> dict[str, Any]:
    """All results that are there.

    Returns:
        "grid"; "cells": of each its "data", "recipe", "fields", "seeds" of the grid, and "metrics", name -> "mean",
        "std" (None of one seed) and "values" by seed; "rule"; and "claims": of each what the grid says, and "verdict",
        "because" and, where it was tested, what :func:`training.study.claims.judge` found. Accuracies and errors are
        in percent, as are shares of a training (100 where the value was not reached by its end).
    """
    tasks = {(task.cell.name, task.seed): task for task in study.all_tasks()}
    by_cell: dict[str, dict[str, dict[int, float]]] = {cell.name: {} for cell in study.cells}
    for (name, seed), task in tasks.items():
        for metric, value in _of_task(task, tasks).items():
            by_cell[name].setdefault(metric, {})[seed] = value
    return {
        "grid": grid.name,
        "cells": {
            cell.name: {
                "data": cell.data,
                "recipe": cell.recipe,
                "fields": dict(cell.fields),
                "seeds": list(cell.seeds),
                "metrics": {metric: _over_seeds(values) for metric, values in by_cell[cell.name].items()},
            }
            for cell in study.cells
        },
        "rule": RULE,
        "claims": [{**claim.model_dump(), **_judged(claim, by_cell, study)} for claim in grid.claims],
    }


def run_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a run's ``result.json``, in percent where they are shares of images.

    ``accuracy``, ``train_accuracy``, ``accuracy_<readout>``, ``ece``, ``auroc``, ``train_seconds``, ``train_<metric>``
    and ``test_<metric>`` of collapse, and of a long tail ``head_accuracy``, ``head_third_accuracy`` and so on, which of
    another readout than the nearest prototype end in its name.
    """
    metrics = result["metrics"]
    found: dict[str, float | None] = {
        "accuracy": 100 * metrics["test_accuracy"],
        "train_accuracy": 100 * metrics["train_accuracy"],
        "ece": 100 * metrics["test_calibration"]["ece"],
        "train_seconds": result["cost"]["train_seconds"],
    }
    for readout, value in metrics["test_accuracy_by_readout"].items():
        found[f"accuracy_{readout}"] = 100 * value
    for split in ("train", "test"):
        found |= {f"{split}_{name}": value for name, value in metrics[f"{split}_collapse"].items()}
    if result["open_set"] and result["open_set"]["foreign"]:
        found["auroc"] = 100 * result["open_set"]["foreign"]["auroc"]
    for readout, kinds in metrics.get("test_accuracy_long_tail", {}).get("by_readout", {}).items():
        ending = "" if readout == "cosine" else f"_{readout}"
        for kind, middle in (("by_images", ""), ("by_thirds", "_third")):
            found |= {f"{name}{middle}_accuracy{ending}": 100 * row["accuracy"] for name, row in kinds[kind].items()}
    return {name: value for name, value in found.items() if value is not None}


def _of_task(task: Task, tasks: Mapping[tuple[str, int], Task]) -> dict[str, float]:
    run = Run(task.run)
    if not run.finished:
        return task.earlier
    found = run_metrics(run.read_result())
    for name, evaluation in task.cell.evaluations.items():
        baseline = getattr(evaluation, "baseline", None)
        other = None if baseline is None else tasks.get((f"{task.cell.data}.{baseline}", task.seed))
        if isinstance(evaluation, ConvergenceEvaluation):
            found |= {} if other is None else _of_convergence(name, evaluation, task.run, other.run)
        elif (record := task.record(name)) is not None:
            found |= _of_record(name, evaluation, record, other)
    return found


def _of_record(
    name: str, evaluation: ProbeEvaluation | CorruptionEvaluation, record: Mapping[str, Any], other: Task | None
) -> dict[str, float]:
    if isinstance(evaluation, ProbeEvaluation):
        return {name: 100 * record["test_accuracy"], f"{name}_seconds": record["cost"]["seconds"]}
    found = {name: 100 * record["mean_corruption_error"]}
    baseline = other.record(name) if other is not None and name in other.cell.evaluations else None
    if baseline is not None and all(sum(errors.values()) for errors in baseline["errors"].values()):
        found[f"{name}_mce"] = 100 * with_baseline(record, baseline)["mce"]
    return found


def _of_convergence(name: str, evaluation: ConvergenceEvaluation, run: Path, baseline: Path) -> dict[str, float]:
    parts = {"targets": "", "baseline": "_as_baseline"}
    if not Run(baseline).finished:
        # The targets are the same against any run.
        baseline = run
        del parts["baseline"]
    record = convergence([run], baseline, images=evaluation.images, smoothing=evaluation.smoothing)["runs"][0]
    return {
        # Left out, seeds that did not come there would make the others' mean look sooner.
        f"{name}_{metric}{ending}": 100 * (1 if reached["share"] is None else reached["share"])
        for part, ending in parts.items()
        for metric, reached in record[part].items()
    }


def _over_seeds(values: Mapping[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    return {
        "mean": mean(numbers),
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "values": {str(seed): value for seed, value in values.items()},
    }


def _judged(claim: Claim, by_cell: Mapping[str, Mapping[str, Mapping[int, float]]], study: Study) -> dict[str, Any]:
    if claim.test is None:
        return {"verdict": "not tested", "because": claim.not_tested}
    test = parse_test(claim.test)
    missing = [_missing(metric, cell, by_cell, study) for metric, cell in quantities_of(test)]
    because = next((reason for reason in missing if reason is not None), None)
    if because is not None:
        return {"verdict": "not tested", "because": because}
    return judge(test, {(metric, cell): by_cell[cell][metric] for metric, cell in quantities_of(test)})


def _missing(
    metric: str, cell: str, by_cell: Mapping[str, Mapping[str, Mapping[int, float]]], study: Study
) -> str | None:
    """Why there is no mean of a metric; None where there is one."""
    found = by_cell[cell]
    if metric in found:
        return None
    data = next(one.data for one in study.cells if one.name == cell)
    if data not in study.data:
        return f"the data {data} were not given"
    return f"{cell} has no {metric}" if found else f"no training of {cell} is finished"


def unfinished(study: Study) -> Sequence[Task]:
    """Tasks of which something is still to do."""
    return [task for task in study.tasks() if not task.elsewhere and (not Run(task.run).finished or task.missing())]
