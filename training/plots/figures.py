"""What all pictures have in common: size, colours, and the way to a PNG file. No state of pyplot is touched."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from training.plots.fonts import with_glyphs

WIDTH, DPI = 8.0, 150  # inches; 1200 pixels
INK, GREY, GRID = "#222222", "#666666", "#e4e4e4"
SMALL, MEDIUM = 8.5, 9.5  # points
POINTS = 72  # in an inch
MINUS = "\N{MINUS SIGN}"  # as wide as a digit; the axes have it too
# Okabe and Ito's colours but for their yellow, which is lost as a line on white.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# For marks: Tol's muted nine, and a grey.
MARKS = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#aa4499", "#ddcc77", "#44aa99", "#882255", "#999933", "#555555",
)  # fmt: skip


def new_figure(height: float) -> Figure:
    """A white figure of 1200 pixels' width and this height in inches, which finds room for its labels by itself."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.05)
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")


def grid_shape(panels: int, columns: int = 3) -> tuple[int, int]:
    """Rows and columns for a number of panels."""
    return -(-panels // columns), min(panels, columns)


def tidy(axes: Axes, title: str) -> None:
    """Title, and no more ink than needed."""
    axes.set_title(title, fontsize=MEDIUM, color=INK)
    axes.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    axes.xaxis.label.set(fontsize=SMALL, color=INK)
    axes.yaxis.label.set(fontsize=SMALL, color=INK)
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.7)


def to_png(figure: Figure) -> bytes:
    """The picture as a PNG file, of exactly the figure's size."""
    with_glyphs(figure)
    buffer = io.BytesIO()
    # Without the date and the version of the drawing library, the same run gives the same bytes.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
