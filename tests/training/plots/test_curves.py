from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.metrics import collapse_optimum
from training.plots.curves import PANELS, abscissa, curve, curves_figure, optimum
from training.plots.runs import read_run
from zoo.errors import ProtozooError

MakeRun = Callable[..., Path]
ALL = dict.fromkeys(PANELS, 0.5)


def _panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title().split(") ", 1)[-1]: axes for axes in figure.axes}


def test_a_curve_is_mean_and_range_where_every_seed_was_measured(make_run: MakeRun) -> None:
    first = make_run("a", [{"epoch": 2, "test_mir": 0.5}, {"epoch": 4, "test_mir": 0.9}, {"epoch": 6, "test_mir": 1.0}])
    second = make_run(
        "b", [{"epoch": 2, "test_mir": 0.7}, {"epoch": 3, "test_mir": 0.1}, {"epoch": 6, "test_mir": 0.6}]
    )
    drawn = curve([read_run(first), read_run(second)], "test_mir", "epoch")
    assert drawn.x.tolist() == [2, 6]
    assert drawn.mean.tolist() == pytest.approx([0.6, 0.8])
    assert drawn.low.tolist() == [0.5, 0.6]
    assert drawn.high.tolist() == [0.7, 1.0]


def test_curves_are_over_steps_only_where_every_run_counts_them(make_run: MakeRun) -> None:
    steps = read_run(make_run("steps", [{"epoch": 1, "step": 390, "test_accuracy": 0.5}]))
    epochs = read_run(make_run("epochs", [{"epoch": 1, "test_accuracy": 0.5}]))
    assert abscissa([steps]) == "step"
    assert abscissa([steps, epochs]) == "epoch"
    assert curve([steps], "test_accuracy", "step").x.tolist() == [390]


def test_optimum_is_the_collapse_optimum_and_every_image_right() -> None:
    assert optimum("test_accuracy", 10) == 1
    assert optimum("test_inter_erank", 10) == 9
    for column in list(PANELS)[1:]:
        assert optimum(column, 7) == getattr(collapse_optimum(7), column.removeprefix("test_"))


def test_six_panels_with_a_dashed_line_at_the_optimum(make_run: MakeRun) -> None:
    run = read_run(make_run(rows=[{"epoch": 1, **ALL}], classes="abcde"))
    panels = _panels(curves_figure([run]))
    assert list(panels) == list(PANELS.values())
    for column, title in PANELS.items():
        data, dashed = panels[title].lines
        assert (list(data.get_xdata()), list(data.get_ydata())) == ([1], [0.5])
        assert dashed.is_dashed()
        assert set(dashed.get_ydata()) == {optimum(column, 5)}


def test_only_what_some_run_has_measured_has_a_panel(make_run: MakeRun) -> None:
    first = read_run(make_run("a", [{"epoch": 1, "test_accuracy": 0.5, "test_mir": 0.9}]))
    second = read_run(make_run("b", [{"epoch": 1, "test_weight_erank": 1.5}], lr=0.5))
    assert list(_panels(curves_figure([first, second]))) == ["test accuracy (%)", "weight effective rank"]


def test_legend_names_groups_their_seeds_and_the_optimum(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, seed=seed, objective=o)) for name, seed, o in
            (("a", 0, "ntce"), ("b", 1, "ntce"), ("c", 0, "ce"))]  # fmt: skip
    (legend,) = curves_figure(runs).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["NTCE, 2 seeds", "CE", "range over seeds", "exact collapse, K = 3"]


def test_a_run_without_an_evaluation_is_refused(make_run: MakeRun) -> None:
    run = read_run(make_run(rows=[{"epoch": 1, "loss": 2.0}]))
    with pytest.raises(ProtozooError, match="measured nothing yet"):
        curves_figure([run])
