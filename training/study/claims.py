"""Whether ours bear a claim out.

The rule: a test's margin is the side that is to be larger, less the other. The margin's standard error is what moving
each mean by its own standard error (deviation over seeds / sqrt of their number) changes in it, added in quadrature.
The claim *holds* where the margin is larger than twice that, else it *does not hold here*, and it is said where the
margin has the right sign but lies within the deviation. Where a cell has one seed its deviation is not known: by what
error there is, the claim *holds with one seed* or *does not hold with one seed*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

from training.study.inequality import Inequality, Quantity, prototypes_of, quantities_of
from training.study.prototypes import Prototypes, largest_cosine

VERDICTS = ("holds", "holds with one seed", "does not hold here", "does not hold with one seed", "not tested")


def judge(test: Inequality, seeds: Mapping[Quantity, Mapping[int, float]]) -> dict[str, Any]:
    """Whether a test holds.

    Args:
        test: of :func:`training.study.inequality.parse_test`.
        seeds: of each quantity its value by seed, not empty.

    Returns:
        "verdict" (of ``VERDICTS``; "with one seed" where a cell has no more, "not tested" where a denominator is zero),
        "because", "margin", "margin_error" (its standard error; None where no cell has two seeds), and "ours", of each
        quantity its "metric", "cell", "mean", "std" (None of one seed) and "seeds" (0 of prototypes without a training,
        whose "cell" says how they are made).
    """
    ours = [_summary(quantity, seeds[quantity]) for quantity in quantities_of(test)]
    alone = any(row["seeds"] == 1 for row in ours)
    means = {(row["metric"], row["cell"]): row["mean"] for row in ours}
    errors = {
        (row["metric"], row["cell"]): row["std"] / math.sqrt(row["seeds"]) for row in ours if row["std"] is not None
    }
    ours += [_untrained(prototypes) for prototypes in prototypes_of(test)]
    try:
        margin = test.margin(means)
        error = _margin_error(test, means, errors) if errors else None
    except ZeroDivisionError:
        return {"verdict": "not tested", "because": "a denominator is zero", "ours": ours}
    verdict, because = _verdict(test.met(means), margin, error, alone=alone)
    return {"verdict": verdict, "because": because, "margin": margin, "margin_error": error, "ours": ours}


def _verdict(met: bool, margin: float, error: float | None, *, alone: bool) -> tuple[str, str]:
    known = "" if error is None else f", standard error {error:.2g}"
    one = "; a cell has one seed, so its deviation is not known" if alone else ""
    sure = met and (not error or margin > 2 * error)
    within = ": within the deviation over seeds" if met and not sure else ""
    yes, no = ("holds with one seed", "does not hold with one seed") if alone else ("holds", "does not hold here")
    return (yes if sure else no), f"margin {margin:+.4g}{known}{one}{within}"


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


def _margin_error(test: Inequality, means: Mapping[Quantity, float], errors: Mapping[Quantity, float]) -> float:
    centre = test.margin(means)
    squares = []
    for quantity, error in errors.items():
        moved = [test.margin({**means, quantity: means[quantity] + sign * error}) for sign in (1, -1)]
        squares.append(max(abs(value - centre) for value in moved) ** 2)
    return math.sqrt(sum(squares))
