"""The longest that a request may take, however it is spent."""

from __future__ import annotations

import asyncio
import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ServingError, error_response
from serving.logs import id_header

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["Deadline", "replace_timeouts", "timeout"]


class Deadline:
    """ASGI middleware in place of BentoML's, whose timers end with their requests.

    BentoML leaves each one running, and in memory with all that it knows, until the timeout is over: at 400 requests a
    second and a timeout of 120 s that is 48,000 of them. The time in which an answer is sent counts too.

    Args:
        app: the inner one.
        timeout: in seconds.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app
        self._seconds = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer 504 where none has begun in time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with timeout(self._seconds):
                await self._app(scope, receive, watched)
        except asyncio.TimeoutError:
            if begun:  # uvicorn logs it and closes the connection: a half answer cannot be taken back
                raise
            message = f"no answer within {self._seconds:g} s; try again later"
            error = ServingError("timeout", message, id_header(scope))
            await error_response(error)(scope, receive, send)


def replace_timeouts() -> None:
    """Let BentoML take this middleware for its own, before a worker makes its server: it has no setting for it."""
    from bentoml._internal.server.http import traffic

    traffic.TimeoutMiddleware = Deadline  # type: ignore[misc, assignment]
