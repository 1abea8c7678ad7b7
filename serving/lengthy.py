"""Long JSON, read and written in threads where the event loop gets its turn.

The parser and the encoder of :mod:`json` that are written in C keep Python's lock from beginning to end, in whatever
thread: half a second for 12 MiB of numbers, in which nobody else is answered.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

T = TypeVar("T")
Run = Callable[[Callable[[], JSONResponse]], Awaitable[JSONResponse]]

_QUICK_BYTES = 32 << 10
"""What is parsed in less time than it takes to hand it to a thread, or not much more."""


class LengthyResponse(JSONResponse):
    """The same bytes as Starlette's, rendered by Python's own code."""

    def render(self, content: Any) -> bytes:
        """The body."""
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        pieces = encoder.iterencode(content)
        # Millions, each a text of its own, are not all kept until the last.
        return b"".join(iter(lambda: "".join(islice(pieces, 1024)).encode(), b""))


async def respond(
    make: Callable[[], Any], *, quick: bool, headers: Mapping[str, str] | None = None, run: Run = run_in_threadpool
) -> JSONResponse:
    """The answer with what ``make`` gives, made and rendered in a thread unless that is ``quick``.

    Args:
        make: gives what is to be JSON.
        quick: whether that and rendering it takes next to no time.
        headers: of the answer.
        run: has a thread do what it is given.
    """
    if quick:
        return JSONResponse(make(), headers=headers)
    return await run(lambda: LengthyResponse(make(), headers=headers))


async def parse(data: bytes, read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of JSON, in a thread where the text is long: there it is to be parsed in pieces."""
    return await run_in_threadpool(read, data) if len(data) > _QUICK_BYTES else read(data)
