"""What the losses promise to cost, and whether a run of benchmarks/losses.py shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.loss_measures import Ratio, ratio
from benchmarks.loss_steps import BASE, NAIVE, PRESENT, Size

LARGE_BATCH, MANY_CLASSES = Size(8192, 10, 128), Size(512, 21841, 512)


class Cost(NamedTuple):
    """Of one step: seconds in each round, and extra peak memory in bytes where it can be measured."""

    seconds: list[float]
    extra_bytes: int | None


Costs = dict[Size, dict[str, Cost]]


class Goal(NamedTuple):
    """A promise, "pass", "FAIL" or "not measured", and the figures."""

    text: str
    verdict: str
    detail: str


def time_ratio(costs: dict[str, Cost], name: str, base: str = BASE) -> Ratio:
    return ratio(costs[name].seconds, costs[base].seconds)


def memory_ratio(costs: dict[str, Cost], name: str, base: str = BASE) -> float | None:
    extra, other = costs[name].extra_bytes, costs[base].extra_bytes
    return extra / other if extra is not None and other else None


def judged(
    text: str, cases: Iterable[tuple[str, float]], reached: Callable[[float], bool], worst: Callable[..., Any]
) -> Goal:
    """A goal that the value of every case must reach; a case's name holds its figures."""
    measured = dict(cases)
    if not measured:
        return Goal(text, "not measured", "")
    missed = sum(not reached(value) for value in measured.values())
    name = worst(measured, key=measured.__getitem__)
    verdict = "FAIL" if missed else "pass"
    return Goal(text, verdict, f"worst: {name}; {missed} of {len(measured)} missed")


def goals(costs: Costs, bytes_sent: dict[str, dict[Size, int]]) -> list[Goal]:
    """What the losses promise, and whether this run shows it."""
    columns = (
        (f"{name} at {size}, {time_ratio(each, name)}", time_ratio(each, name).median)
        for size, each in costs.items()
        if size.batch >= 2048
        for name in ("ntce", "nonl")
    )
    at_large = costs.get(LARGE_BATCH, {})
    naive = [(name, time_ratio(at_large, name, "ntce")) for name in NAIVE if name in at_large]
    smaller = ((name, memory_ratio(at_large, name, "ntce")) for name, _ in naive)
    at_many = costs.get(MANY_CLASSES, {})
    present = [(name, time_ratio(at_many, name)) for name in PRESENT if name in at_many]
    return [
        judged("NTCE and NONL at most 1.25 x cross-entropy's time at M >= 2048", columns, lambda x: x <= 1.25, max),
        judged(
            f"NTCE at least 50 x faster than its M x M form at {LARGE_BATCH}",
            ((f"{name}, {times}", times.median) for name, times in naive),
            lambda x: x >= 50,
            min,
        ),
        judged(
            f"NTCE at least 20 x smaller than its M x M form at {LARGE_BATCH}",
            ((f"{name}, {times:.3g}", times) for name, times in smaller if times is not None),
            lambda x: x >= 20,
            min,
        ),
        judged(
            f"NTCE and NONL of present classes under 0.2 x cross-entropy's time at {MANY_CLASSES}",
            ((f"{name}, {times}", times.median) for name, times in present),
            lambda x: x < 0.2,
            max,
        ),
        judged(
            "Bytes between ranks of NTCE and NONL the same for every M and d",
            (
                (f"{name} at K = {classes}, {min(counts)} to {max(counts)}", max(counts) / min(counts))
                for name in ("ntce", "nonl")
                for classes, counts in by_classes(bytes_sent[name]).items()
            ),
            lambda x: x == 1,
            max,
        ),
    ]


def by_classes(counts: dict[Size, int]) -> dict[int, list[int]]:
    """Bytes at each K."""
    return {classes: [n for size, n in counts.items() if size.classes == classes] for _, classes, _ in counts}
