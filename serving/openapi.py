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
    """ASGI middleware that gives some paths to another app.

    Those are what the inner one would answer by itself, and what would only go through its layers.

    Args:
        app: the inner one.
        first: the other.
        paths: which, exactly.
        below: what further paths begin with.
    """

    def __init__(self, app: ASGIApp, *, first: ASGIApp, paths: Sequence[str], below: str) -> None:
        self._app = app
        self._first = first
        self._paths = frozenset(paths)
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await (self._first if self._is_first(scope) else self._app)(scope, receive, send)

    def _is_first(self, scope: Scope) -> bool:
        return scope["type"] == "http" and (scope["path"] in self._paths or scope["path"].startswith(self._below))
