from __future__ import annotations

import numpy as np
import pytest

from training.plots.figures import to_png
from training.plots.gram import colour_limit, gram, gram_figure
from zoo.geometry import simplex_etf


def test_cosines_stand_in_the_order_of_the_classes_without_the_diagonal() -> None:
    rows = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    cosines = gram("", rows).cosines
    assert np.isnan(np.diag(cosines)).all()
    assert (cosines[0, 1], cosines[0, 2], cosines[1, 2]) == pytest.approx((0.6, 0.0, 0.8))
    assert np.array_equal(cosines, cosines.T, equal_nan=True)


def test_colours_hold_all_cosines_of_all_runs_and_leave_room_about_the_simplex() -> None:
    simplex = gram("", simplex_etf(5, 8).double().numpy())
    assert colour_limit([simplex]) == 0.5
    near = gram("", np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    assert colour_limit([simplex, near]) == 1.0
    assert colour_limit([gram("", np.array([[1.0], [-1.0]]))]) == 1.0


def test_one_symmetric_scale_for_all_panels_with_the_simplex_marked() -> None:
    rows = simplex_etf(4, 8).double().numpy()
    figure = gram_figure([gram("one", rows), gram("two", rows[::-1])], ["a", "b", "c", "d"])
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == ["one", "two"]
    limits = {axes.images[0].get_clim() for axes in panels}
    assert limits == {(-2 / 3, 2 / 3)}
    assert {round(float(y), 12) for line in bar.lines for y in line.get_ydata()} == {round(-1 / 3, 12)}
    assert [text.get_text() for text in bar.texts] == ["simplex\n\N{MINUS SIGN}1/3"]


def test_names_with_signs_of_a_formula_are_drawn_as_they_are() -> None:
    figure = gram_figure([gram("", simplex_etf(2, 2).double().numpy())], ["$1_to_$5", "$5_to_$10"])
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(("num_classes", "named"), [(25, True), (26, False)])
def test_classes_are_named_while_names_can_be_read(num_classes: int, named: bool) -> None:
    classes = [f"class {index}" for index in range(num_classes)]
    figure = gram_figure([gram("", simplex_etf(num_classes, 32).double().numpy())], classes)
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert ([label.get_text() for label in axis.get_ticklabels()] == classes) == named


def test_few_cosines_are_written_into_their_cells() -> None:
    figure = gram_figure([gram("", np.array([[1.0, 0.0], [-0.6, 0.8]]))], ["a", "b"])
    assert {text.get_text() for text in figure.axes[0].texts} == {"\N{MINUS SIGN}0.60"}
