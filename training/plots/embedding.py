"""A map of embeddings: the plane in which they vary most. Linear, so that nothing in it is invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from training.plots.figures import GREY, INK, MARKS, SMALL, grid_shape, new_figure, tidy
from training.plots.gram import NAMED_CLASSES
from training.plots.runs import shortened

Floats = NDArray[np.float64]
_SHAPES = ("o", "^", "s")
_OTHERS = "#c8c8c8"


@dataclass(frozen=True)
class Map:
    """Embeddings and prototypes of one run in a plane through the centre of the sphere.

    Attributes:
        title: of its panel.
        points: (N, 2), inside the unit circle.
        labels: (N,).
        prototypes: (K, 2).
        share: how much of the variance of the embeddings the plane holds.
    """

    title: str
    points: Floats
    labels: NDArray[np.int64]
    prototypes: Floats
    share: float


def principal_plane(embeddings: Floats) -> tuple[Floats, float]:
    """The two orthonormal directions of largest variance, and their share of it.

    Args:
        embeddings: (N, d).

    Returns:
        (d, 2) directions, the entry of largest size positive in each, so that a picture does not depend on the solver;
        zeros for the second where d = 1. The share is 1 where nothing varies.
    """
    centred = embeddings - embeddings.mean(0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    plane = directions[:, ::-1][:, :2]
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), range(plane.shape[1])])
    total = float(variances.sum())
    share = float(variances[-2:].sum()) / total if total > 0 else 1.0
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1]))), share


def embedding_map(title: str, embeddings: Floats, labels: NDArray[np.int64], prototypes: Floats) -> Map:
    """Project unit rows, embeddings (N, d) with labels (N,) and prototypes (K, d), onto the embeddings' plane."""
    plane, share = principal_plane(embeddings)
    return Map(title, embeddings @ plane, labels, prototypes @ plane, share)


def embedding_figure(maps: Sequence[Map], classes: Sequence[str]) -> Figure:
    """A panel for each run, dots for images, stars for prototypes, the outline of the sphere around them.

    Beyond 25 classes, colours cannot be told apart: the first 25 have one, the others are grey.
    """
    rows, columns = grid_shape(len(maps), 2)
    figure = new_figure({1: 6.2, 2: 3.6}[columns] * rows + 0.1)
    grid = figure.subplots(rows, columns, squeeze=False)
    reach = 1.1 * max(float(np.hypot(*np.concatenate([each.points, each.prototypes]).T).max()) for each in maps)
    for index, (axes, each) in enumerate(zip(grid.flat, maps, strict=False)):
        _draw_map(axes, each)
        if index % columns:
            axes.set_ylabel("")
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    _draw_legend(figure, classes)
    return figure


def _draw_map(axes: Axes, drawn: Map) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, color=GREY, linewidth=0.8))
    others = drawn.labels >= NAMED_CLASSES
    axes.scatter(drawn.points[others, 0], drawn.points[others, 1], s=6, color=_OTHERS, linewidths=0)
    named = range(min(len(drawn.prototypes), NAMED_CLASSES))
    for label in named:
        colour, shape = _mark(label)
        x, y = drawn.points[drawn.labels == label].T
        axes.scatter(x, y, s=9, color=colour, marker=shape, alpha=0.6, linewidths=0)
    for label in named:
        x, y = drawn.prototypes[label]
        axes.scatter(x, y, s=190, color=_mark(label)[0], marker="*", edgecolors=INK, linewidths=0.9, zorder=3)
    axes.set(xlabel="first principal direction", ylabel="second principal direction")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    tidy(axes, f"{drawn.title}\n{drawn.share:.0%} of the variance is in this plane")


def _mark(label: int) -> tuple[str, str]:
    return MARKS[label % len(MARKS)], _SHAPES[label // len(MARKS)]


def _draw_legend(figure: Figure, classes: Sequence[str]) -> None:
    handles = [
        _key(shortened(name, 20), marker=_mark(label)[1], color=_mark(label)[0])
        for label, name in enumerate(classes[:NAMED_CLASSES])
    ]
    if len(classes) > NAMED_CLASSES:
        handles.append(_key(f"{len(classes) - NAMED_CLASSES} other classes", marker="o", color=_OTHERS))
    handles.append(_key("prototype", marker="*", color="white", markeredgecolor=INK, markersize=12))
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=SMALL, labelcolor=INK)


def _key(label: str, **style: Any) -> Line2D:
    return Line2D([], [], **{"linestyle": "none", "markersize": 5, **style}, label=label)
