"""Draw what each objective of ``training.losses`` makes of free points on the sphere; see docs/objectives.md.

No network: the samples themselves are moved, by plain gradient descent on the objective, and so are the prototypes
where the objective learns them. ``python docs/pictures/objectives.py`` writes its PNG files beside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training import losses
from training.metrics import NeuralCollapse, neural_collapse
from training.prototypes import class_means
from zoo.geometry import simplex_etf

TEMPERATURE = 0.2
COPIES = 30
STEPS = 500
RATE = 0.05
FIGURES = {"objectives_k3": [30] * 3, "objectives_k4": [30] * 4, "objectives_imbalanced": [60, 6, 6, 6]}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito
INK, GREY, OUTLINE, GRID = "#222222", "#666666", "#999999", "#dddddd"
LOOKING_DOWN = 20  # degrees

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """An objective as a function of points (N, 3), labels (N,) and prototypes (K, 3), and where the prototypes are."""

    name: str
    objective: Objective
    prototypes: Literal["learned", "fixed", "none"]


@dataclass(frozen=True)
class Outcome:
    """Where a descent ends: unit rows and their metrics."""

    points: Tensor
    labels: Tensor
    means: Tensor
    prototypes: Tensor | None
    metrics: NeuralCollapse


def on_logits(objective: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """An objective over cosine / temperature."""
    return lambda points, labels, prototypes: objective(points @ prototypes.T / TEMPERATURE, labels)


PANELS = (
    Panel("cross_entropy", lambda z, y, w: losses.cross_entropy(z @ w.T, y), "learned"),
    Panel("normface", on_logits(losses.normface), "learned"),
    Panel("decoupled_normface", on_logits(losses.decoupled_normface), "learned"),
    Panel("ntce", on_logits(losses.ntce), "learned"),
    Panel("nonl", on_logits(losses.nonl), "learned"),
    Panel("scl", lambda u, y, _: losses.scl(u, y, temperature=TEMPERATURE), "none"),
    Panel("prototype_contrast", lambda u, y, _: losses.prototype_contrast(u, y, temperature=TEMPERATURE), "none"),
    Panel(
        "scl_with_prototypes",
        lambda u, y, w: losses.scl_with_prototypes(u, y, w, temperature=TEMPERATURE, copies=COPIES),
        "fixed",
    ),
    Panel("dot_regression", lambda u, y, w: losses.dot_regression(u @ w.T, y), "fixed"),
)


def descend(panel: Panel, counts: list[int], *, steps: int = STEPS) -> Outcome:
    """Move samples of classes with ``counts`` members down an objective, from the same random start for every one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    points = _unit(torch.randn(len(labels), 3, generator=generator, dtype=torch.float64))
    prototypes = _unit(torch.randn(len(counts), 3, generator=generator, dtype=torch.float64))
    if panel.prototypes == "fixed":
        prototypes = simplex_etf(len(counts), 3, generator=generator).double()
    # Plain cross-entropy is over raw features and weights: only their directions are drawn.
    projected = (lambda rows: rows) if panel.name == "cross_entropy" else _unit
    for _ in range(steps):
        by_points, by_prototypes = _gradients(panel, points, labels, prototypes)
        # The mean over N samples gives each 1 / N of the gradient, and each prototype that of N / K samples.
        points = projected(points - RATE * len(points) * by_points)
        if panel.prototypes == "learned":
            prototypes = projected(prototypes - RATE * len(prototypes) * by_prototypes)
    points, prototypes = _unit(points), _unit(prototypes)
    means = class_means(points, labels, len(counts)).double()
    if panel.prototypes == "none":
        return Outcome(points, labels, means, None, neural_collapse(points, labels, means))
    return Outcome(points, labels, means, prototypes, neural_collapse(points, labels, prototypes))


def _gradients(panel: Panel, points: Tensor, labels: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    inputs = points.clone().requires_grad_(), prototypes.clone().requires_grad_()
    loss = panel.objective(inputs[0], labels, inputs[1])
    by_points, by_prototypes = torch.autograd.grad(loss, inputs, materialize_grads=True)
    return by_points, by_prototypes


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1)


def standpoint(num_classes: int) -> Floats:
    """(K, 3) simplex as it is shown: x to the right, y up, z towards the reader."""
    if num_classes == 3:
        return leaning(_circle(np.radians([95, 215, 335])), -50)
    base = leaning(_circle(np.radians([25, 145, 265])), 90) * np.sqrt(8) / 3 - [0, 1 / 3, 0]
    return leaning(np.concatenate([[[0.0, 1.0, 0.0]], base]), LOOKING_DOWN)


def leaning(rows: Floats, degrees: float) -> Floats:
    """Rows (N, 3) turned about the x axis, so that what is on top leans towards the reader."""
    x, y, z = rows.T
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turned: Floats = np.stack([x, y * cosine - z * sine, y * sine + z * cosine], 1)
    return turned


def _circle(angles: Floats) -> Floats:
    flat: Floats = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
    return flat


def turn_to(outcome: Outcome, target: Floats) -> Floats:
    """(3, 3) orthogonal matrix that brings means and prototypes nearest to the target (Procrustes).

    Every objective is the same for a turned or mirrored sphere, so that one view of all panels loses nothing.
    """
    prototypes = outcome.means if outcome.prototypes is None else outcome.prototypes
    left, _, right = np.linalg.svd((outcome.means + prototypes).numpy().T @ target)
    turn: Floats = left @ right
    return turn


def draw_sphere(axes: Axes) -> None:
    """Outline, and the front half of a few parallels and meridians."""
    circle = _circle(np.linspace(0, 2 * np.pi, 181))
    axes.plot(circle[:, 0], circle[:, 1], color=OUTLINE, linewidth=0.8, zorder=0)
    flat = leaning(circle, 90)
    parallels = [flat * np.cos(a) + [0, np.sin(a), 0] for a in (-0.6, 0, 0.6)]
    meridians = [circle * [np.cos(a), 1, 0] + circle[:, :1] * [0, 0, np.sin(a)] for a in (0.5, 1.5, 2.6)]
    for ring in parallels + meridians:
        x, y, depth = leaning(ring, LOOKING_DOWN).T
        axes.plot(x, np.where(depth >= 0, y, np.nan), color=GRID, linewidth=0.6, zorder=0)


def draw_panel(axes: Axes, panel: Panel, outcome: Outcome) -> None:
    """Spokes to the class means, dots for the samples, stars for the prototypes; what lies behind is pale."""
    turn, classes = turn_to(outcome, standpoint(len(outcome.means))), range(len(outcome.means))
    draw_sphere(axes)
    x, y, depth = (outcome.means.numpy() @ turn).T
    spokes = [[(0.0, 0.0), tip] for tip in zip(x, y, strict=True)]
    axes.add_collection(LineCollection(spokes, colors=shaded(classes, depth), linewidths=1, zorder=1))
    if outcome.prototypes is not None:
        x, y, depth = (outcome.prototypes.numpy() @ turn).T
        axes.scatter(x, y, 150, marker="*", c="white", edgecolors=shaded(classes, depth), zorder=2)
    x, y, depth = (outcome.points.numpy() @ turn).T
    axes.scatter(x, y, 11, c=shaded(outcome.labels.tolist(), depth), linewidths=0, zorder=3)
    axes.set_title(panel.name, fontsize=10.5, color=INK, family="monospace", pad=3)
    axes.text(0, -1.12, _note(panel, outcome.metrics), ha="center", va="top", fontsize=9, color=INK, linespacing=1.25)
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.85, 1.08), aspect="equal")
    axes.axis("off")


def shaded(labels: Sequence[int], depths: Floats) -> list[tuple[float, float, float, float]]:
    """Each class's colour, pale on the far side; the margin keeps marks on the outline whole."""
    return [to_rgba(COLOURS[label], 0.4 if depth < -0.02 else 1) for label, depth in zip(labels, depths, strict=True)]


def _note(panel: Panel, metrics: NeuralCollapse) -> str:
    alignment = "none" if panel.prototypes == "none" else f"{metrics.weight_alignment:.3f}"
    return f"angles {metrics.etf_cosine_error:.3f}\nspread {metrics.trace_ratio:.3f}\nprototypes {alignment}"


def draw_legend(axes: Axes, counts: list[int]) -> None:
    """What the marks are, in the last place of the figure."""
    handles = [
        Line2D([], [], color=GREY, linestyle="none", marker=".", markersize=7, label="sample"),
        Line2D([], [], color=GREY, linestyle="none", marker="*", markersize=12, markerfacecolor="w", label="prototype"),
        Line2D([], [], color=GREY, linewidth=1, label="to the class mean"),
    ]
    classes = [
        Line2D([], [], marker="o", markersize=7, color=colour, linestyle="none", label=f"class of {count}")
        for colour, count in zip(COLOURS, counts, strict=False)
    ]
    axes.legend(handles=handles + classes, loc="upper left", frameon=False, fontsize=9.5, labelcolor=INK)
    meaning = "angles: etf_cosine_error\nspread: trace_ratio\nprototypes: weight_alignment\n(at collapse all are 0)"
    axes.text(-0.04, 0.02, meaning, transform=axes.transAxes, fontsize=8.5, color=INK, linespacing=1.25)
    axes.axis("off")


def draw(counts: list[int], path: Path) -> None:
    """Every objective on classes with these numbers of samples."""
    figure, grid = plt.subplots(2, 5, figsize=(10, 5.9))
    for axes, panel in zip(grid.flat, PANELS, strict=False):
        draw_panel(axes, panel, descend(panel, counts))
    draw_legend(grid.flat[-1], counts)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.01, wspace=0.06, hspace=0.1)
    figure.savefig(path, dpi=135, facecolor="white", metadata={"Software": None}, pil_kwargs={"optimize": True})
    plt.close(figure)


def main() -> None:
    """Draw all figures."""
    plt.switch_backend("agg")
    torch.set_num_threads(1)
    for name, counts in FIGURES.items():
        draw(counts, Path(__file__).with_name(f"{name}.png"))


if __name__ == "__main__":
    main()
