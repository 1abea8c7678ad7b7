"""Accuracy and collapse over a training: the six panels of Figure 2 of "Neural Collapse by Design"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from training.metrics import collapse_optimum
from training.plots.figures import GREY, GRID, INK, LINES, MEDIUM, WIDTH, grid_shape, new_figure, tidy
from training.plots.runs import Group, RunHistory, common_num_classes, grouped
from zoo.errors import ProtozooError

Over = Literal["step", "epoch"]
Floats = NDArray[np.float64]

# Columns of metrics.csv, in the figure's order; its accuracy is of the training set.
PANELS = {
    "test_accuracy": "test accuracy (%)",
    "test_weight_instance_alignment": "weight-instance alignment",
    "test_weight_alignment": "weight-class alignment",
    "test_weight_erank": "weight effective rank",
    "test_intra_erank": "intra-class effective rank",
    "test_inter_erank": "inter-class effective rank",
}
_STYLES = ("-", "-.", ":")
_DASHES = (0, (4, 3))
_MARKED = 30  # points of a line, up to which each has a dot


@dataclass(frozen=True)
class Curve:
    """One metric of a group of runs; n is the number of epochs at which all of them have measured it.

    Attributes:
        x: (n,) iterations or epochs.
        mean, low, high: (n,) mean, smallest and largest over the runs.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


def curve(runs: Sequence[RunHistory], column: str, over: Over) -> Curve:
    """Mean and range over runs, where all of them have measured: a run that ends early must not bend the mean."""
    measured = [{row[over]: row[column] for row in run.rows if column in row and over in row} for run in runs]
    shared = sorted(set.intersection(*(set(values) for values in measured)))
    table = np.array([[values[x] for x in shared] for values in measured], dtype=np.float64)
    return Curve(np.array(shared, dtype=np.float64), table.mean(0), table.min(0), table.max(0))


def abscissa(runs: Sequence[RunHistory]) -> Over:
    """Iterations as in the paper where every run has counted them, else epochs."""
    return "step" if all("step" in row for run in runs for row in run.rows) else "epoch"


def optimum(column: str, num_classes: int) -> float:
    """What a column is at exact collapse of test images, each onto the prototype of its class."""
    if column == "test_accuracy":
        return 1.0
    value: float = getattr(collapse_optimum(num_classes), column.removeprefix("test_"))
    return value


def curves_figure(runs: Sequence[RunHistory]) -> Figure:
    """A panel for each metric that some run has measured, a line for each group of runs.

    Raises:
        ProtozooError: nothing was measured yet, or the runs have different numbers of classes.
    """
    num_classes, over, groups = common_num_classes(runs), abscissa(runs), grouped(runs)
    curves = {column: [curve(group.runs, column, over) for group in groups] for column in PANELS}
    drawn = [column for column in PANELS if any(len(line.x) for line in curves[column])]
    if not drawn:
        raise ProtozooError(f"{runs[0].path} has measured nothing yet: wait for its first evaluation")
    rows, columns = grid_shape(len(drawn))
    figure = new_figure(0.6 + (2.4 if columns > 1 else 3.6) * rows)
    for index, column in enumerate(drawn):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_curves(axes, curves[column])
        if num_classes is not None:
            axes.axhline(optimum(column, num_classes), color=GREY, linewidth=1, linestyle=_DASHES, zorder=1)
        _label_axes(axes, column, over)
        tidy(axes, f"({chr(ord('a') + index)}) {PANELS[column]}" if len(drawn) > 1 else PANELS[column])
    _draw_legend(figure, groups, num_classes)
    return figure


def _style(index: int) -> dict[str, Any]:
    return {"color": LINES[index % len(LINES)], "linestyle": _STYLES[index // len(LINES) % len(_STYLES)]}


def _draw_curves(axes: Axes, curves: Sequence[Curve]) -> None:
    for index, line in enumerate(curves):
        style, marker = _style(index), "o" if len(line.x) <= _MARKED else ""
        axes.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(line.x, line.mean, **style, linewidth=1.4, marker=marker, markersize=3, zorder=3)


def _label_axes(axes: Axes, column: str, over: Over) -> None:
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    if over == "step":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("iteration" if over == "step" else "epoch")
    if column == "test_accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
    if column.endswith("_alignment"):
        axes.set_ylabel("squared distance")


def _draw_legend(figure: Figure, groups: Sequence[Group], num_classes: int | None) -> None:
    handles: list[Artist] = [
        Line2D([], [], **_style(index), label=_described(group)) for index, group in enumerate(groups)
    ]
    if any(len(group.runs) > 1 for group in groups):
        handles.append(Patch(color=GREY, alpha=0.2, linewidth=0, label="range over seeds"))
    if num_classes is not None:
        label = f"exact collapse, K = {num_classes}"
        handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle=_DASHES, label=label))
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(int(WIDTH / (0.65 + 0.08 * longest)), 1)  # inches of a line's sample, and of a letter
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=MEDIUM, labelcolor=INK
    )


def _described(group: Group) -> str:
    return group.label if len(group.runs) == 1 else f"{group.label}, {len(group.runs)} seeds"
