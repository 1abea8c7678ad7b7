"""Fonts for names of classes in any script: Matplotlib's own has no glyphs for many."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text


def with_glyphs(figure: Figure) -> None:
    """Give each text the fonts of this machine that have what the figure's own lacks; where none has, it stays."""
    lacking: dict[Text, set[str]] = {}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if missing := _printed(text.get_text()) - _glyphs(findfont(text.get_fontproperties())):
            lacking[text] = missing
    # Once for all texts, as it may come to reading every font.
    families = _families(set().union(*lacking.values()))
    for text in lacking:
        text.set_fontfamily([*text.get_fontfamily(), *families])


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
        # Matplotlib's list is kept over sessions: a font may be gone. The glyphs of the last resort are boxes.
        if entry.name.startswith("Last Resort") or not Path(entry.fname).is_file():
            continue
        if there := missing & _glyphs(entry.fname):
            found.append(entry.name)
            missing = missing - there
    return found


def _plainness(entry: FontEntry) -> tuple[bool, bool, bool, str]:
    return entry.style != "normal", entry.weight != 400, "Sans" not in entry.name, entry.name
