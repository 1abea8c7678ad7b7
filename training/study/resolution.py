"""What a log can tell of how soon a value was reached: no more than between which two evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

from training.convergence import METRICS
from training.study.driver import Task
from training.study.grid import ConvergenceEvaluation
from training.study.inequality import Inequality, Quantity, metrics_of, quantities_of

Smallest = Mapping[Quantity, Mapping[int, float]]
"""Of shares of a training, by seed, the smallest that its log can show, in percent."""


def smallest_shares(task: Task) -> dict[str, float]:
    """The share of a training at which its first evaluation stands: no value shows as reached sooner.

    It is told from the recipes, so that it is known of trainings elsewhere too.

    Returns:
        Metric of convergence -> percent of the training, or of the baseline's.
    """
    found: dict[str, float] = {}
    cells = {cell.name: cell for cell in task.study.cells}
    for name, evaluation in task.cell.evaluations.items():
        if isinstance(evaluation, ConvergenceEvaluation):
            own, theirs = (one.load(task.seed) for one in (task.cell, cells[f"{task.cell.data}.{evaluation.baseline}"]))
            epoch = min(own.epochs, own.collapse_every or own.evaluate_every)
            found |= {f"{name}_{metric}": 100 * epoch / own.epochs for metric in METRICS}
            share = 100 * epoch / theirs.epochs * theirs.batch_size / own.batch_size
            found |= {f"{name}_{metric}_as_baseline": share for metric in METRICS}
    return found


def at_most(values: Mapping[int, float], smallest: Mapping[int, float]) -> bool:
    """Whether all seeds had come there by their first evaluation, so that their mean is a bound."""
    return all(_by_first(value, smallest.get(seed)) for seed, value in values.items())


def _by_first(value: float, first: float | None) -> bool:
    # An epoch of smaller batches may leave out other images; the second evaluation stands at twice the share. What was
    # not reached counts as 100.
    return first is not None and value <= 1.01 * first and value < 100


def least_means(seeds: Smallest, smallest: Smallest) -> dict[Quantity, float]:
    """Of shares of a training what their mean is at least: an evaluation says no more than that it came since the last.

    Args:
        seeds: of each quantity its value by seed.
        smallest: of those that are shares of a training.
    """
    return {
        quantity: mean(_least(value, smallest[quantity].get(seed)) for seed, value in values.items())
        for quantity, values in seeds.items()
        if quantity in smallest
    }


def _least(value: float, first: float | None) -> float:
    # What was not reached counts as 100, and is no bound.
    return value if first is None or value >= 100 else max(0.0, value - first)


def unresolved(test: Inequality, smallest: Smallest) -> str | None:
    """Why shares of a training cannot decide a test; None where they can.

    Args:
        test: of :func:`training.study.inequality.parse_test`.
        smallest: of the quantities that are shares of a training.
    """
    computed = [quantity for quantity in quantities_of(test) if quantity not in smallest]
    if any((metric, quantity[1]) in smallest for quantity in computed for metric in metrics_of(quantity)):
        return "it computes with shares of a training, which are known only to lie between two evaluations"
    return None
