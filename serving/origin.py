"""What a browser may ask of a service without tokens: only what its own page does.

Any page can have a browser send a form here, and the owner of any name can have it point here (DNS rebinding), so that
a page of that name reads the answers too. Who is no browser sends none of the headers that tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ServingError, error_response
from serving.settings import Settings, variable

_TOKENS = f"{variable('read_token')} and {variable('write_token')}"


def check_host(headers: Mapping[str, str], settings: Settings) -> None:
    """Refuse a name that is not this computer's, where only this computer can reach the service.

    Args:
        headers: of the request.
        settings: ``url`` says where the service listens, and ``hosts`` which further names are its own.

    Raises:
        ServingError: "forbidden".
    """
    name = _host(f"//{headers.get('host', '')}")
    if not _is_loopback(_host(settings.url)) or not name or _is_loopback(name) or name in _own(settings):
        return
    raise ServingError(
        "forbidden",
        f"{name[:80]!r} is no name of this service: ask {settings.url}; the operator can allow the name with "
        f"{variable('hosts')}, or set tokens with {_TOKENS}",
    )


def check_site(headers: Mapping[str, str], settings: Settings) -> None:
    """Refuse a write that a browser sends for another site's page.

    Args:
        headers: of the request.
        settings: pages of ``hosts`` may write too.

    Raises:
        ServingError: "forbidden".
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    page = _host(origin or "")
    if page and page in _own(settings):
        return
    # Browsers say themselves whether it is another site, but only where the service is on HTTPS or this computer.
    is_foreign = site == "cross-site" if site else origin and page != _host(f"//{headers.get('host', '')}")
    if is_foreign:
        raise ServingError(
            "forbidden",
            f"a page of another site ({(origin or 'unnamed')[:80]}) may not write: use the service's own page; the "
            f"operator can allow the other's host with {variable('hosts')}, or set tokens with {_TOKENS}",
        )


class OwnName:
    """ASGI middleware around an endpoint that nobody needs a token for: under another's name it is not answered.

    Where reading needs one, :func:`check_host` is of no use, and what is open is open.
    """

    def __init__(self, app: ASGIApp, *, settings: Callable[[], Settings | None]) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        settings = self._settings()
        if settings is not None and not settings.read_token:
            try:
                check_host(Headers(scope=scope), settings)
            except ServingError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _host(url: str) -> str:
    """The host of a URL in lower case; empty where there is none, as in the origin "null"."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _own(settings: Settings) -> list[str]:
    return [_named(name.strip().lower()) for name in settings.hosts.split(",")]


def _named(name: str) -> str:
    """The host that an operator has named, be it with a port, as a URL, or as an IPv6 address without brackets."""
    return name if _is_address(name) else _host(name if "://" in name else f"//{name}")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
