"""Bearer tokens: who may ask, and who may change what is asked."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ServingError, error_response
from serving.origin import check_host, check_site
from serving.settings import Settings, variable

READ, WRITE = "read", "write"


def authorise(headers: Mapping[str, str], settings: Settings, access: str) -> None:
    """Check a request's token; where no token is set, everybody may do everything, but for pages of others'.

    Args:
        headers: of the request.
        settings: ``read_token`` and ``write_token``; the second also reads.
        access: "read" or "write".

    Raises:
        ServingError: "unauthorized" where a token is missing or wrong, "forbidden" where it only reads, or where a
            browser asks for another's page.
    """
    needed = settings.write_token if access == WRITE else settings.read_token
    if not needed and not (access == WRITE and settings.read_token):
        check_host(headers, settings)
        if access == WRITE:
            check_site(headers, settings)
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # Every token is compared, in constant time: how long it takes tells nothing.
    writes, reads = (_equal(given.strip(), token) for token in (settings.write_token, settings.read_token))
    if scheme.lower() != "bearer" or not (writes or reads):
        raise ServingError(
            "unauthorized",
            "send Authorization: Bearer TOKEN with a token of this service",
            {"WWW-Authenticate": "Bearer"},
        )
    if access == WRITE and not writes:
        what = (
            "this token only reads"
            if settings.write_token
            else f"nobody may write: {variable('write_token')} is not set"
        )
        raise ServingError("forbidden", what)


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode()) and bool(token)


class Authorised:
    """ASGI middleware around one route's endpoint: the body of a request without a token is never read."""

    def __init__(self, app: ASGIApp, *, settings: Callable[[], Settings | None], access: str) -> None:
        self._app = app
        self._settings = settings
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 or 403."""
        settings = self._settings()
        if settings is not None:  # else the app is starting, which every endpoint says by itself
            try:
                authorise(Headers(scope=scope), settings, self._access)
            except ServingError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
