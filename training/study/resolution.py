"""What a log can tell of how soon a value was reached: nothing before its first evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
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


def unresolved(test: Inequality, seeds: Smallest, smallest: Smallest) -> str | None:
    """Why the logs cannot decide a test; None where they can.

    They cannot where what was reached by the first evaluation may have been reached so much sooner that it would turn
    the answer.

    Args:
        test: of :func:`training.study.inequality.parse_test`.
        seeds: of each quantity its value by seed.
        smallest: of those that are shares of a training.
    """
    quantities = quantities_of(test)
    shares = [quantity for quantity in quantities if quantity in smallest]
    computed = [quantity for quantity in quantities if quantity not in smallest]
    if any((metric, quantity[1]) in smallest for quantity in computed for metric in metrics_of(quantity)):
        return "it computes with shares of a training, which may be bounds"
    means = {quantity: mean(values.values()) for quantity, values in seeds.items()}
    ranges = [(means[quantity], _least(seeds[quantity], smallest[quantity])) for quantity in shares]
    answers = {test.met({**means, **dict(zip(shares, values, strict=True))}) for values in product(*ranges)}
    if len(answers) == 1:
        return None
    first = min(mean(smallest[quantity].values()) for quantity in shares)
    return f"the first evaluation is at {first:.1f} % of the training"


def _least(values: Mapping[int, float], smallest: Mapping[int, float]) -> float:
    """The mean, had every seed that came there by its first evaluation come there at once."""
    return mean(0 if _by_first(value, smallest.get(seed)) else value for seed, value in values.items())
