"""The service's own description, and the way to it past BentoML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

DOCUMENT = "/docs.json"
"""Where the document is: BentoML answers this path too, with a document that knows nothing of a mounted app."""


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, ``openapi.yaml``."""
    text = Path(__file__).with_name("openapi.yaml").read_text(encoding="utf-8")
    # The loader in C takes a seventh of the half second that somebody's request would wait; not every build has it.
    read: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return read


async def serve_document(_: Request) -> Response:
    """GET /docs.json."""
    return JSONResponse(await run_in_threadpool(document))


class Before:
    """ASGI middleware that gives all HTTP requests but some to another app.

    The inner one would answer many by itself, in its own words, and the others would only go through its layers.

    Args:
        app: the inner one.
        first: the other.
        but: the paths that are left to the inner one.
    """

    def __init__(self, app: ASGIApp, *, first: ASGIApp, but: Sequence[str]) -> None:
        self._app = app
        self._first = first
        self._but = frozenset(but)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        is_first = scope["type"] == "http" and scope["path"] not in self._but
        await (self._first if is_first else self._app)(scope, receive, send)
