"""The reliability diagram: how often answers of a given probability are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from training.calibration import BINS
from training.plots.figures import GRID, INK, LINES, SMALL, new_figure, tidy

_BAR, _MEAN = LINES[5], LINES[1]


def reliability_figure(calibration: Mapping[str, Any]) -> Figure:
    """Beside the diagram, how many images each bin has: few of them say little.

    Args:
        calibration: of :func:`training.calibration.calibration`.
    """
    figure = new_figure(4.1)
    diagram, histogram = figure.subplots(1, 2)
    rows = calibration["bins"]
    _draw_bars(diagram, rows, [row["accuracy"] for row in rows])
    diagram.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="calibrated")
    # Not cut off where nothing in a bin, or all of it, is right.
    marks = {"color": _MEAN, "markeredgecolor": "white", "clip_on": False, "zorder": 3}
    means = [(row["confidence"], row["accuracy"]) for row in rows]
    diagram.plot(*zip(*means, strict=True), "o", label="bin's mean", **marks)
    diagram.set(ylabel="accuracy", ylim=(0, 1.03))
    diagram.yaxis.set_major_formatter(PercentFormatter(1))
    diagram.legend(loc="upper left", framealpha=0.9, edgecolor="none", fontsize=SMALL, labelcolor=INK)
    tidy(diagram, f"Reliability: expected calibration error {calibration['ece']:.2%}")
    _draw_bars(histogram, rows, [row["count"] for row in rows])
    histogram.set(ylabel="test images", yscale="log", ylim=(0.7, 1.6 * max(row["count"] for row in rows)))
    histogram.yaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    tidy(histogram, f"{sum(row['count'] for row in rows)} test images by probability")
    return figure


def _draw_bars(axes: Axes, rows: list[dict[str, Any]], heights: list[float]) -> None:
    axes.bar([row["bin"] / BINS for row in rows], heights, 1 / BINS, align="edge", color=_BAR, edgecolor="white")
    axes.set(xlabel="probability of the most probable class", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
