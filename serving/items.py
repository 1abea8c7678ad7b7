"""A list in JSON, item by item: parsed at once it is objects of up to 24 times its size before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Iterator

ROW = rb"\[[^\[\]{}]*\]"
"""An item that is a list, of what is neither list nor object."""
TEXT = rb'"(?:[^"\\]|\\.){0,1280}"'
"""An item that is a text of up to 128 characters, of which JSON writes some in twelve; or of some more."""

_SPACE = rb"[ \t\n\r]*"
_BEGIN = re.compile(_SPACE + rb"\[" + _SPACE)
_END = re.compile(rb"\]" + _SPACE)
_COMMA = re.compile(rb"," + _SPACE)


def items(data: bytes, item: bytes, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Each item as it is written, for json.loads; between two of them other threads get their turn.

    Args:
        data: holds the list, with blanks around it.
        item: :data:`ROW` or :data:`TEXT`.
        begin: where in ``data``.
        end: where that ends; None means with ``data``.

    Raises:
        ValueError: it is no list, or of something else.
    """
    end = len(data) if end is None else end
    pattern = re.compile(b"(" + item + b")" + _SPACE)
    found = _BEGIN.match(data, begin, end)
    if found and _END.fullmatch(data, found.end(), end):
        return
    while found:
        found = pattern.match(data, found.end(), end)
        if found:
            yield found[1]
            if _END.fullmatch(data, found.end(), end):
                return
            found = _COMMA.match(data, found.end(), end)
    raise ValueError("not a list of such items")
