"""Numbers of a study: of every run, by name, and over the seeds of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from training.convergence import convergence, values_reached
from training.robustness import CORRUPTIONS
from training.run import Run
from training.study.claims import judge
from training.study.driver import Study, Task
from training.study.grid import (
    Claim,
    ConvergenceEvaluation,
    CorruptionEvaluation,
    Grid,
    ProbeEvaluation,
    ReadoutEvaluation,
)
from training.study.inequality import Quantity, by_seed, metrics_of, parse_test, quantities_of
from training.study.resolution import Smallest, at_most, least_means, smallest_shares, unresolved

RULE = (
    "A claim is an inequality, its margin by how much it is met. It holds where the margin's 95 % interval lies above "
    "zero, does not hold here where it lies below, and is undecided where zero is in it: more seeds would tell. The "
    "interval is Student's t (Welch and Satterthwaite's degrees of freedom) of the margin's standard error. That is "
    "found by moving each mean by its own standard error over the seeds, and adding the changes in quadrature. Two "
    "seeds make it wide: some four to thirteen standard errors to either side, where three make it under four and a "
    "half. Where a cell has one seed its deviation is not known, and a claim holds or does not hold *with one seed*: "
    "more may turn it. When a training has come to a value is known only to lie between two evaluations, and the "
    "interval is as much wider; ≤ says that it was there by the first. Each interval is of its claim alone: of "
    "twenty, one is expected not to have the true margin in it."
)

ByCell = dict[str, dict[str, dict[int, float]]]
"""Cell -> metric -> value by seed."""


def collect(grid: Grid, study: Study) -> dict[str, Any]:
    """All results that are there.

    Returns:
        "grid"; "cells": of each its "data", "recipe", "fields", "seeds", "evaluations" and "baselines" of the grid, and
        "metrics", name -> "mean", "std" (None of one seed), "values" by seed and, where all seeds came there by their
        first evaluation, "at_most"; "rule"; and "claims": of each what the grid says, and "verdict", "because" and,
        where it was tested, what :func:`training.study.claims.judge` found. Accuracies and errors are in percent, as
        are shares of a training (100 where the value was not reached by its end).
    """
    by_cell, smallest = _by_cell(study)
    metrics = {
        name: {metric: _over_seeds(values, smallest.get((metric, name), {})) for metric, values in found.items()}
        for name, found in by_cell.items()
    }
    return {
        "grid": grid.name,
        "cells": {
            cell.name: {
                "data": cell.data,
                "recipe": cell.recipe,
                "fields": dict(cell.fields),
                "seeds": list(cell.seeds),
                "evaluations": {evaluation: cell.asked(evaluation) for evaluation in cell.evaluations},
                "baselines": cell.baselines,
                "metrics": metrics[cell.name],
            }
            for cell in study.cells
        },
        "rule": RULE,
        "claims": [{**claim.model_dump(), **_judged(claim, by_cell, smallest, study)} for claim in grid.claims],
    }


def _by_cell(study: Study) -> tuple[ByCell, Smallest]:
    """All numbers, and of shares of a training the smallest that its log can show."""
    tasks = {(task.cell.name, task.seed): task for task in study.all_tasks()}
    by_cell: ByCell = {cell.name: {} for cell in study.cells}
    smallest: dict[Quantity, dict[int, float]] = {}
    found = {key: _of_task(task) for key, task in tasks.items()}
    for (name, seed), task in tasks.items():
        baselines = _baselines(task, found)
        for metric, value in {**found[name, seed], **_against(task, found[name, seed], baselines)}.items():
            by_cell[name].setdefault(metric, {})[seed] = value
        for metric, first in smallest_shares(task).items():
            smallest.setdefault((metric, name), {})[seed] = first
    return by_cell, smallest


def run_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a run's ``result.json``, in percent where they are shares of images.

    ``accuracy``, ``train_accuracy``, ``accuracy_<readout>``, ``ece``, ``auroc``, ``train_seconds``, ``embed_dim`` (d),
    ``precision_bits`` (16 of bfloat16's autocast, for machines differ in what ``precision = auto`` is),
    ``train_<metric>`` and ``test_<metric>`` of collapse, and of a long tail ``head_accuracy``, ``head_third_accuracy``
    and so on, which of another readout than the nearest prototype end in its name.
    """
    metrics = result["metrics"]
    found: dict[str, float | None] = {
        "accuracy": 100 * metrics["test_accuracy"],
        "train_accuracy": 100 * metrics["train_accuracy"],
        "ece": 100 * metrics["test_calibration"]["ece"],
        "train_seconds": result["cost"]["train_seconds"],
        "embed_dim": result["embed_dim"],
        "precision_bits": {"bf16": 16, "fp32": 32, "fp64": 64}.get(result["recipe"].get("precision")),
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


def _of_task(task: Task) -> dict[str, float]:
    run = Run(task.run)
    if not run.finished:
        return task.earlier
    found = run_metrics(run.read_result())
    for name, evaluation in task.cell.evaluations.items():
        if isinstance(evaluation, ConvergenceEvaluation):
            found |= _of_convergence(name, evaluation, task.run)
        elif (record := task.record(name)) is not None:
            found |= _of_record(name, evaluation, record)
    return found


def _of_record(
    name: str, evaluation: ProbeEvaluation | CorruptionEvaluation | ReadoutEvaluation, record: Mapping[str, Any]
) -> dict[str, float]:
    if isinstance(evaluation, ProbeEvaluation):
        found = {name: 100 * record["test_accuracy"], f"{name}_seconds": record["cost"]["seconds"]}
        alignment = record.get("weight_alignment")
        return found if alignment is None else {**found, f"{name}_weight_alignment": alignment}
    if isinstance(evaluation, ReadoutEvaluation):
        thirds = record["long_tail"]["by_readout"]["bayes"]["by_thirds"]
        found = {f"{name}_{third}_third": 100 * row["accuracy"] for third, row in thirds.items()}
        return {name: 100 * record["test_accuracy"], **found}
    errors = {f"{name}_{corruption}": 100 * mean(found.values()) for corruption, found in record["errors"].items()}
    return {name: 100 * record["mean_corruption_error"], **errors}


def _of_convergence(name: str, evaluation: ConvergenceEvaluation, run: Path) -> dict[str, float]:
    """Against itself: when it came to the targets, and what another run is to be measured by."""
    record = convergence([run], run, images=evaluation.images, smoothing=evaluation.smoothing)
    return {
        **_shares(name, record["runs"][0]["targets"], ""),
        **{f"{name}_final_{metric}": value for metric, value in record["baseline"]["final"].items()},
        f"{name}_length": record["baseline"]["length"],
    }


def _shares(name: str, reached: Mapping[str, Mapping[str, Any]], ending: str) -> dict[str, float]:
    return {
        # Left out, seeds that did not come there would make the others' mean look sooner.
        f"{name}_{metric}{ending}": 100 * (1 if found["share"] is None else found["share"])
        for metric, found in reached.items()
    }


def _baselines(task: Task, found: Mapping[tuple[str, int], Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Evaluation -> numbers of its baseline's run of the same seed, which may have been made elsewhere."""
    cells = task.cell.baselines
    return {name: found.get((f"{task.cell.data}.{cell}", task.seed), {}) for name, cell in cells.items()}


def _against(task: Task, own: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What takes numbers of another cell's run of the same seed."""
    metrics: dict[str, float] = {}
    for name, evaluation in task.cell.evaluations.items():
        if isinstance(evaluation, CorruptionEvaluation):
            metrics |= _mce(name, own, baselines.get(name, {}))
        elif isinstance(evaluation, ConvergenceEvaluation) and Run(task.run).finished:
            metrics |= _as_baseline(name, evaluation, task.run, baselines[name])
    return metrics


def _mce(name: str, own: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    # Over severities, of which all have as many, a ratio of means is the benchmark's ratio of sums.
    kinds = [f"{name}_{corruption}" for corruption in CORRUPTIONS if f"{name}_{corruption}" in own]
    if not kinds or not all(theirs.get(kind) for kind in kinds):
        return {}
    return {f"{name}_mce": 100 * mean(own[kind] / theirs[kind] for kind in kinds)}


def _as_baseline(
    name: str, evaluation: ConvergenceEvaluation, run: Path, theirs: Mapping[str, float]
) -> dict[str, float]:
    start = f"{name}_final_"
    finals = {metric.removeprefix(start): value for metric, value in theirs.items() if metric.startswith(start)}
    if not finals:
        return {}
    total = theirs[f"{name}_length"]
    reached = values_reached(run, finals, total=total, images=evaluation.images, smoothing=evaluation.smoothing)
    return _shares(name, reached, "_as_baseline")


def _over_seeds(values: Mapping[int, float], smallest: Mapping[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    return {
        "mean": mean(numbers),
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "values": {str(seed): value for seed, value in values.items()},
        **({"at_most": True} if at_most(values, smallest) else {}),
    }


def _judged(claim: Claim, by_cell: ByCell, smallest: Smallest, study: Study) -> dict[str, Any]:
    if claim.test is None:
        return {"verdict": "not tested", "because": claim.not_tested}
    test = parse_test(claim.test)
    quantities = quantities_of(test)
    missing = [_missing(quantity, by_cell, study) for quantity in quantities]
    because = next((reason for reason in missing if reason is not None), None)
    if because is not None:
        return {"verdict": "not tested", "because": because}
    try:
        seeds = {quantity: by_seed(quantity, by_cell[quantity[1]]) for quantity in quantities}
    except ZeroDivisionError:
        return {"verdict": "not tested", "because": "a denominator is zero"}
    because = unresolved(test, smallest)
    if because is not None:
        return {"verdict": "not tested", "because": because}
    judged = judge(test, seeds, least_means(seeds, smallest))
    for row, quantity in zip(judged["ours"], quantities, strict=False):  # the others have no seeds
        if at_most(seeds[quantity], smallest.get(quantity, {})):
            row["at_most"] = True
    return judged


def _missing(quantity: Quantity, by_cell: ByCell, study: Study) -> str | None:
    """Why there is no mean of a quantity; None where there is one."""
    metrics, name = metrics_of(quantity), quantity[1]
    found = by_cell[name]
    lacking = next((metric for metric in metrics if metric not in found), None)
    if lacking is None:
        common = set.intersection(*(set(found[metric]) for metric in metrics))
        return None if common else f"no seed of {name} has both {' and '.join(metrics)}"
    data = next(one.data for one in study.cells if one.name == name)
    if data not in study.data:
        return f"the data {data} were not given"
    return f"{name} has no {lacking}" if found else f"no training of {name} is finished"


def unfinished(study: Study) -> Sequence[Task]:
    """Tasks of which something is still to do."""
    return [task for task in study.tasks() if not task.elsewhere and (not Run(task.run).finished or task.missing())]
