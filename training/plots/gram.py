"""Cosines between prototypes, as a heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.plots.figures import INK, MINUS, POINTS, SMALL, grid_shape, new_figure, tidy
from training.plots.runs import shortened

Floats = NDArray[np.float64]
NAMED_CLASSES = 25
_NUMBERED_CLASSES = 12
_PANEL = {1: 5.3, 2: 2.9}  # inches of a panel's side, by the number of columns
_DIAGONAL = "#bdbdbd"


@dataclass(frozen=True)
class Gram:
    """Prototypes of one run.

    Attributes:
        title: of its panel.
        cosines: (K, K), classes in the order of the labels; NaN on the diagonal, where they are 1 and say nothing.
    """

    title: str
    cosines: Floats


def gram(title: str, prototypes: Floats) -> Gram:
    """Cosines of prototypes, (K, d) unit rows."""
    cosines = (prototypes @ prototypes.T).clip(-1, 1)
    np.fill_diagonal(cosines, np.nan)
    return Gram(title, cosines)


def colour_limit(grams: Sequence[Gram]) -> float:
    """Colours run from minus this to this: all cosines are inside, and a simplex's is not at the very end."""
    num_classes = len(grams[0].cosines)
    largest = max(float(np.nanmax(np.abs(each.cosines))) for each in grams)
    return min(max(largest, 2 / (num_classes - 1)), 1.0)


def gram_figure(grams: Sequence[Gram], classes: Sequence[str]) -> Figure:
    """A panel for each run, of one scale, with a simplex's cosine marked in the colour bar.

    Args:
        grams: of runs with the same classes.
        classes: (K,) names.
    """
    rows, columns = grid_shape(len(grams), 2)
    side = _PANEL[columns]
    figure = new_figure((side + 0.3) * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    limit = colour_limit(grams)
    colours = colormaps["RdBu_r"].with_extremes(bad=_DIAGONAL)
    scale = ScalarMappable(Normalize(-limit, limit), colours)
    for axes, each in zip(grid.flat, grams, strict=False):
        axes.imshow(each.cosines, cmap=colours, norm=scale.norm)
        tidy(axes, each.title)
        _label_classes(axes, classes, side)
    for axes in grid.flat[len(grams) :]:
        axes.set_axis_off()
    _share_labels(grid.ravel().tolist(), len(grams), columns)
    if len(grams) == 1 and len(classes) <= _NUMBERED_CLASSES:
        _write_numbers(grid[0, 0], grams[0].cosines, limit)
    _draw_colour_bar(figure, grid.ravel().tolist(), scale, len(classes))
    return figure


def _label_classes(axes: Axes, classes: Sequence[str], side: float) -> None:
    if len(classes) > NAMED_CLASSES:
        axes.set(xlabel="class", ylabel="class")
        return
    size = min(SMALL, 0.85 * POINTS * side / len(classes))
    names = [shortened(name, 16) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def _share_labels(panels: Sequence[Axes], count: int, columns: int) -> None:
    """Leave names only at the left of a row and at the bottom of a column, of which the last may be short."""
    for index, axes in enumerate(panels):
        if index % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if index + columns < count:
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)


def _write_numbers(axes: Axes, cosines: Floats, limit: float) -> None:
    for row, column in np.argwhere(np.isfinite(cosines)):
        cosine = cosines[row, column]
        text, colour = f"{cosine:.2f}".replace("-", MINUS), "white" if abs(cosine) > 0.6 * limit else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=colour)


def _draw_colour_bar(figure: Figure, panels: list[Axes], scale: ScalarMappable, num_classes: int) -> None:
    bar = figure.colorbar(scale, ax=panels, shrink=0.8, aspect=30)
    bar.set_label("cosine of two prototypes", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK)
    simplex = Fraction(-1, num_classes - 1)
    bar.ax.axhline(float(simplex), color=INK, linewidth=1.2)
    label = f"simplex\n{simplex}".replace("-", MINUS)
    beside = bar.ax.get_yaxis_transform()
    bar.ax.text(-0.3, float(simplex), label, transform=beside, ha="right", va="center", fontsize=SMALL, color=INK)
