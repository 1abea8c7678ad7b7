from __future__ import annotations

import warnings

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager

from training.plots.figures import new_figure, to_png

# Not in Matplotlib's own font, and in another that comes with it.
OUTSIDE = "\N{LATIN SMALL LETTER D WITH PALATAL HOOK}"


def _titled(title: str) -> Figure:
    figure = new_figure(1.0)
    figure.suptitle(title)
    return figure


def test_a_name_in_letters_that_the_own_font_lacks_is_drawn_by_another() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Matplotlib, at a glyph that is missing
        to_png(_titled(f"a{OUTSIDE}"))


def test_other_names_keep_the_own_font() -> None:
    assert _families_of("a name\nin two lines") == ["sans-serif"]


def test_letters_that_no_font_has_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(_families_of(OUTSIDE)) == 2
    monkeypatch.setattr(fontManager, "ttflist", [])
    with pytest.warns(UserWarning, match="missing from font"):
        assert _families_of(OUTSIDE) == ["sans-serif"]


def test_a_font_that_is_listed_and_gone_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = FontEntry(fname="/gone/Sans.ttf", name="A Sans", style="normal", weight=400)
    monkeypatch.setattr(fontManager, "ttflist", [gone, *fontManager.ttflist])
    assert "A Sans" not in _families_of(OUTSIDE)


def _families_of(title: str) -> list[str]:
    figure = _titled(title)
    to_png(figure)
    return list(figure.texts[0].get_fontfamily())
