"""Answers on their way: sent as fast as they are read, and held to the limits of requests until they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ServingError, error_response

PIECE_BYTES = 64 << 10


class InPieces:
    """ASGI middleware that sends long bodies piece by piece.

    The server takes whatever it is given into memory, and lets the sender wait before the next piece alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def sent(message: Message) -> None:
            body = message.get("body", b"")
            if message["type"] == "http.response.body" and len(body) > PIECE_BYTES:
                last = (len(body) - 1) // PIECE_BYTES * PIECE_BYTES
                for start in range(0, last, PIECE_BYTES):
                    await send({**message, "body": body[start : start + PIECE_BYTES], "more_body": True})
                message = {**message, "body": body[last:]}
            await send(message)

        await self._app(scope, receive, sent)


class Permitted:
    """ASGI middleware around one route's endpoint, which is asked with a permit that is kept until the answer is sent.

    Args:
        app: the inner one.
        permit: gives one, or raises ServingError.
    """

    def __init__(self, app: ASGIApp, *, permit: Callable[[], AbstractContextManager[None]]) -> None:
        self._app = app
        self._permit = permit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 503."""
        with ExitStack() as held:
            try:
                held.enter_context(self._permit())
            except ServingError as error:
                await error_response(error)(scope, receive, send)
                return
            await self._app(scope, receive, send)
