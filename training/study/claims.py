"""Whether ours bear a claim out.

The rule: a test's margin is the side that is to be larger, less the other. The margin's standard error is what moving
each mean by its own standard error (deviation over seeds / sqrt of their number) changes in it, added in quadrature;
the margin's 95 % interval is as many standard errors to either side as Student's t says, with Welch and Satterthwaite's
degrees of freedom. What is known only to lie between two evaluations widens it by what any value between them would
change. The claim *holds* where the interval lies above zero, *does not hold here* where it lies below, and is
*undecided* where zero is in it. Where a cell has one seed its deviation is not known: by what error there is, the claim
*holds with one seed* or *does not hold with one seed*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from scipy.special import stdtrit

from training.study.inequality import Inequality, Quantity, prototypes_of, quantities_of
from training.study.prototypes import Prototypes, largest_cosine

VERDICTS = (
    "holds",
    "holds with one seed",
    "does not hold here",
    "does not hold with one seed",
    "undecided",
    "not tested",
)


def judge(
    test: Inequality,
    seeds: Mapping[Quantity, Mapping[int, float]],
    least: Mapping[Quantity, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Whether a test holds.

    Args:
        test: of :func:`training.study.inequality.parse_test`.
        seeds: of each quantity its value by seed, not empty.
        least: of quantities whose values are upper bounds, what their mean is at least.

    Returns:
        "verdict" (of ``VERDICTS``; "with one seed" where a cell has no more, "not tested" where a denominator is zero),
        "because", "margin", "margin_error" and "margin_interval" (its standard error and 95 % interval; None where no
        cell has two seeds, but for what ``least`` leaves open), and "ours", of each quantity its "metric", "cell",
        "mean", "std" (None of one seed) and "seeds" (0 of prototypes without a training, whose "cell" says how they
        are made).
    """
    ours = [_summary(quantity, seeds[quantity]) for quantity in quantities_of(test)]
    alone = any(row["seeds"] == 1 for row in ours)
    means = {(row["metric"], row["cell"]): row["mean"] for row in ours}
    spread = {(row["metric"], row["cell"]): row for row in ours if row["std"] is not None}
    ours += [_untrained(prototypes) for prototypes in prototypes_of(test)]
    try:
        margin = test.margin(means)
        error, half = _uncertainty(test, means, spread) if spread else (None, 0.0)
        corners = product(*((means[quantity], least[quantity]) for quantity in least))
        margins = [test.margin({**means, **dict(zip(least, corner, strict=True))}) for corner in corners]
    except ZeroDivisionError:
        return {"verdict": "not tested", "because": "a denominator is zero", "ours": ours}
    low, high = min(margins) - half, max(margins) + half
    interval = None if error is None and not least else [low, high]
    return {
        "verdict": _verdict(low, high, met=test.met(means), alone=alone),
        "because": _because(margin, interval, alone=alone),
        "margin": margin,
        "margin_error": error,
        "margin_interval": interval,
        "ours": ours,
    }


def _verdict(low: float, high: float, *, met: bool, alone: bool) -> str:
    # An interval of no width at zero is what >= and <= are about.
    if low <= 0 <= high and not (met and low == high):
        return "undecided"
    if alone:
        return "holds with one seed" if met else "does not hold with one seed"
    return "holds" if met else "does not hold here"


def _because(margin: float, interval: list[float] | None, *, alone: bool) -> str:
    known = "" if interval is None else f", 95 % interval {interval[0]:+.3g} to {interval[1]:+.3g}"
    return f"margin {margin:+.3g}{known}{'; a cell has one seed, so its deviation is not known' if alone else ''}"


def _summary(quantity: Quantity, values: Mapping[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    return {
        "metric": quantity[0],
        "cell": quantity[1],
        "mean": mean(numbers),
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "seeds": len(numbers),
    }


def _untrained(prototypes: Prototypes) -> dict[str, Any]:
    value = largest_cosine(*prototypes)
    name = f"{prototypes[0]}({prototypes[1]}, {prototypes[2]})"
    return {"metric": "largest_cosine", "cell": name, "mean": value, "std": None, "seeds": 0}


def _uncertainty(
    test: Inequality, means: Mapping[Quantity, float], spread: Mapping[Quantity, Mapping[str, Any]]
) -> tuple[float, float]:
    """The margin's standard error, and half of its 95 % interval."""
    centre = test.margin(means)
    variances: list[tuple[float, int]] = []  # with their degrees of freedom
    for quantity, row in spread.items():
        error = row["std"] / math.sqrt(row["seeds"])
        moved = [test.margin({**means, quantity: means[quantity] + sign * error}) for sign in (1, -1)]
        variances.append((max(abs(value - centre) for value in moved) ** 2, row["seeds"] - 1))
    variance = sum(part for part, _ in variances)
    if not variance:
        return 0.0, 0.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in variances)
    return math.sqrt(variance), float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
