"""How soon a training reaches neural collapse: Table 7 of "Neural Collapse by Design"."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal, TypeVar

from training.plots.runs import RunHistory, grouped, read_run
from training.provenance import code_revision
from zoo.errors import ProtozooError
from zoo.files import sha256_of

T = TypeVar("T")
Images = Literal["train", "test"]
Over = Literal["step", "epoch"]

SHARE = 0.95
"""Of the way from no collapse at all to exact collapse."""

# In the table's order; names are those of NeuralCollapse. The first column is called "instance alignment" there, but
# the columns are in the order of Figure 2, where that panel is the distance to the prototype: both are measured.
METRICS = {
    "weight_instance_alignment": "weight-instance alignment",
    "instance_alignment": "instance alignment",
    "weight_alignment": "weight alignment",
    "weight_erank": "weight erank",
    "intra_erank": "intra erank",
    "inter_erank": "inter erank",
}
_RISING = ("weight_erank", "inter_erank")
# Squared distance of two unit vectors that have nothing to do with each other.
_UNRELATED = 2.0


@dataclass(frozen=True)
class Reached:
    """When a metric came to a value to stay.

    Attributes:
        bound: the value.
        at: iteration (or epoch) of the first evaluation from which on all are as good; None: not by the end.
        share: ``at`` over all iterations of the run, or of the baseline's.
        first: whether that was the first evaluation, so that it may have been so earlier.
    """

    bound: float
    at: float | None
    share: float | None
    first: bool


def targets(num_classes: int, embed_dim: int, share: float = SHARE) -> dict[str, float]:
    """What each metric must come to for a share of collapse.

    The way begins, without any collapse, at an effective rank of 0 between classes and of the whole width d within
    them, and at orthogonal vectors for the alignments; it ends at the values of exact collapse, in fewer than K - 1
    dimensions at as many as there are. For 95 % that is an effective rank of .95 min(K - 1, d) and of .05 d, and a
    squared distance of .1, a cosine of .95. The paper names the threshold of 95 % and not where its way begins.
    """
    left = 1 - share
    rank = min(num_classes - 1, embed_dim)
    bounds = {"inter_erank": share * rank, "weight_erank": share * rank}
    bounds |= {"intra_erank": left * embed_dim}
    return {name: bounds.get(name, left * _UNRELATED) for name in METRICS}


def smoothed(values: Sequence[float], smoothing: float) -> list[float]:
    """Exponentially weighted mean, ``smoothing`` the weight of the earlier ones; it begins with the first value."""
    result: list[float] = []
    for value in values:
        result.append(value if not result else smoothing * result[-1] + (1 - smoothing) * value)
    return result


def reached(
    points: Sequence[tuple[float, float]], metric: str, bound: float, *, total: float, smoothing: float = 0.0
) -> Reached:
    """The first evaluation from which on a metric stays at least as near to collapse as ``bound``.

    Args:
        points: iteration and value of each evaluation, in order.
        metric: of :data:`METRICS`; effective ranks of means and weights are to rise, all others to fall.
        bound: the value to come to.
        total: iterations that the share is of.
        smoothing: see :func:`smoothed`.

    Source: Table 7 of "Neural Collapse by Design" (arXiv 2605.20302): "the earliest iteration where the
    exponentially-weighted moving average enters and remains within a metric-specific tolerance around the 95 % NC
    threshold". The weight and the tolerances are not in the paper: here there is no tolerance, and no smoothing unless
    it is asked for. Part (II) of the table is over the iteration at which cross-entropy has "converged", which without
    a tolerance is its last.
    """
    sign = 1 if metric in _RISING else -1
    values = smoothed([value for _, value in points], smoothing)
    at = None
    for (x, _), value in zip(reversed(points), reversed(values), strict=True):
        if sign * value < sign * bound:
            break
        at = x
    share = None if at is None else at / total
    return Reached(bound, at, share, first=at is not None and at == points[0][0])


def convergence(
    paths: Sequence[Path], baseline: Path, *, images: Images | None = None, smoothing: float = 0.0, command: str = ""
) -> dict[str, Any]:
    """When runs reached 95 % of collapse, and when the final values of a baseline, as a record.

    Args:
        paths: folders of finished runs.
        baseline: that of cross-entropy, for instance; shares of its values are of its iterations.
        images: whose collapse; None: of the training images, where all runs have logged it (``--collapse_images both``
            of ``protozoo train``), else of the test images.
        smoothing: see :func:`smoothed`.
        command: what was typed, for the record.

    Returns:
        "images", "over" ("step" where all runs count iterations, else "epoch"), "smoothing", "baseline" ("run",
        "weights_sha256", "label", "final": metric -> value, "length" in iterations or epochs), and "runs": of each its
        "run", "weights_sha256" (None where the weights are not there any more), "data", "label", "seed", "targets" and
        "baseline" (metric -> :class:`Reached`); a metric that was not logged is left out.

    Raises:
        ProtozooError: a folder is no finished run, has other classes than another, or has logged no collapse.
    """
    runs, reference = [_finished(path) for path in paths], _finished(baseline)
    both = [*runs, reference]
    _check_classes(both)
    images, over = _common(both, images)
    finals = {name: values[-1][1] for name in METRICS if (values := _points(reference, images, name, over))}
    length = reference.rows[-1][over]
    labels = {run.path: group.label for group in grouped(runs) for run in group.runs}
    return {
        "kind": "convergence",
        "command": command,
        "code_revision": code_revision(),
        "images": images,
        "over": over,
        "smoothing": smoothing,
        "baseline": {
            "run": baseline.name,
            "weights_sha256": _digest(reference),
            "label": grouped([reference])[0].label,
            "final": finals,
            "length": length,
        },
        "runs": [
            {
                "run": run.path.name,
                "weights_sha256": _digest(run),
                "data": _of_result(run, lambda result: str(result["data"]["name"])),
                "label": labels[run.path],
                "seed": run.recipe.seed,
                "targets": _of_run(run, _targets(run), images, over, run.rows[-1][over], smoothing),
                "baseline": _of_run(run, finals, images, over, length, smoothing),
            }
            for run in runs
        ],
    }


def values_reached(
    path: Path, bounds: Mapping[str, float], *, total: float, images: Images | None = None, smoothing: float = 0.0
) -> dict[str, Any]:
    """When a finished run came to given values: those of a baseline whose folder is not there, for instance.

    Args:
        path: folder of the run.
        bounds: metric -> value.
        total: iterations that the shares are of (epochs, where the run does not count iterations).
        images: as in :func:`convergence`.
        smoothing: see :func:`smoothed`.

    Returns:
        Metric -> :class:`Reached`, as a mapping.

    Raises:
        ProtozooError: the folder is no finished run, or has logged no collapse.
    """
    run = _finished(path)
    images, over = _common([run], images)
    return _of_run(run, bounds, images, over, total, smoothing)


def _check_classes(runs: Sequence[RunHistory]) -> None:
    first, *others = runs
    labels = _labels(first)
    for run in others:
        if _labels(run) != labels:
            raise ProtozooError(
                f"{first.path} and {run.path} have other classes, {', '.join(labels[:3])}, ... and "
                f"{', '.join(_labels(run)[:3])}, ...: compare runs of the same data"
            )


def _labels(run: RunHistory) -> list[str]:
    return _of_result(run, lambda result: list(result["label_names"]))


def _common(runs: Sequence[RunHistory], images: Images | None) -> tuple[Images, Over]:
    """Whose collapse all runs have logged, and what all of them count."""
    images = images or ("train" if all(_logged(run, "train") for run in runs) else "test")
    for run in runs:
        if not _logged(run, images):
            raise ProtozooError(
                f"{run.path} has logged no collapse of the {images} images: train with --collapse_images both"
            )
    return images, "step" if all("step" in row for run in runs for row in run.rows) else "epoch"


def _of_run(
    run: RunHistory, bounds: Mapping[str, float], images: Images, over: Over, total: float, smoothing: float
) -> dict[str, Any]:
    return {
        name: asdict(reached(points, name, bound, total=total, smoothing=smoothing))
        for name, bound in bounds.items()
        if (points := _points(run, images, name, over))
    }


def _finished(path: Path) -> RunHistory:
    run = read_run(path)
    if not run.finished:
        raise ProtozooError(f"{path} is not finished: run its `protozoo train` again")
    return run


def _logged(run: RunHistory, images: Images) -> bool:
    return any(f"{images}_inter_erank" in row for row in run.rows)


def _points(run: RunHistory, images: Images, metric: str, over: Over) -> list[tuple[float, float]]:
    column = f"{images}_{metric}"
    return [(row[over], row[column]) for row in run.rows if column in row]


def _targets(run: RunHistory) -> dict[str, float]:
    return _of_result(run, lambda result: targets(len(result["label_names"]), int(result["embed_dim"])))


def _of_result(run: RunHistory, read: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return read(json.loads((run.path / "result.json").read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise ProtozooError(f"{run.path / 'result.json'} is damaged: train the run again") from error


def _digest(run: RunHistory) -> str | None:
    weights = run.path / "model.safetensors"
    return sha256_of(weights) if weights.is_file() else None


def convergence_table(record: Mapping[str, Any]) -> str:
    """Two Markdown tables, a row for each group of seeds: shares as means over its runs."""
    over = {"step": "iterations", "epoch": "epochs"}[record["over"]]
    named = record["baseline"]["label"]
    parts = (
        ("targets", f"Share of {over} until {100 * SHARE:g} % of collapse"),
        ("baseline", f"Share of the {over} of {named} until its final value"),
    )
    notes = f"Of the {record['images']} images; an evaluation counts from which on all are as good."
    if record["smoothing"]:
        notes += f" Exponentially weighted means, {record['smoothing']:g} the weight of the earlier values."
    tables = []
    for part, title in parts:
        lines = [f"{title}", "", f"| | {' | '.join(METRICS.values())} |", f"| --- |{' ---: |' * len(METRICS)}"]
        for label in dict.fromkeys(run["label"] for run in record["runs"]):
            found = [run[part] for run in record["runs"] if run["label"] == label]
            lines.append(f"| {label} | {' | '.join(_cell(found, name) for name in METRICS)} |")
        tables.append("\n".join(lines))
    return "\n\n".join([*tables, notes])


def _cell(found: Sequence[Mapping[str, Any]], metric: str) -> str:
    runs = [values[metric] for values in found if metric in values]
    there = [run for run in runs if run["share"] is not None]
    if not runs:
        return "not logged"
    if not there:
        return "not reached"
    # At the first evaluation it may have been so for long.
    bound = "≤ " if all(run["first"] for run in there) else ""
    some = f" ({len(there)} of {len(runs)})" if len(there) < len(runs) else ""
    return f"{bound}{100 * mean(run['share'] for run in there):.1f} %{some}"
