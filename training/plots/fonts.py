"""Fonts for names of classes in any script: Matplotlib's own has no glyphs for many."""

from __future__ import annotations

from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text


def with_glyphs(figure: Figure) -> None:
    """Give each text the fonts of this machine that have what the figure's own lacks; where none has, it stays."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        own = text.get_fontproperties()
        missing = _printed(text.get_text()) - _glyphs(findfont(own))
        if missing:
            text.set_fontfamily([*own.get_family(), *_families(missing)])


def _printed(text: str) -> set[str]:
    return {character for character in text if character.isprintable()}


@cache
def _glyphs(path: str) -> frozenset[str]:
    return frozenset(map(chr, FT2Font(path).get_charmap()))


def _families(missing: set[str]) -> list[str]:
    """As few as are needed, of plain fonts, sans-serif ones first."""
    found: list[str] = []
    for entry in sorted(fontManager.ttflist, key=_plainness):
        if not missing:
            break
        there = missing & _glyphs(entry.fname)
        if there and not entry.name.startswith("Last Resort"):  # whose glyphs are boxes
            found.append(entry.name)
            missing = missing - there
    return found


def _plainness(entry: FontEntry) -> tuple[bool, bool, bool, str]:
    return entry.style != "normal", entry.weight != 400, "Sans" not in entry.name, entry.name
