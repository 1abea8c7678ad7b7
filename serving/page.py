"""The web page at ``/``: files that ``serving/web`` was built to, held in memory and sent as they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.errors import ServingError, error_response

PAGE = "/"
"""Where the page is: BentoML answers this path too, with a page of its own."""
ASSETS = "/assets/"
STATIC = Path(__file__).with_name("static")

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# The name of an asset changes with its content; the page itself is asked for anew each time.
_FOR_EVER, _ANEW = "public, max-age=31536000, immutable", "no-cache"
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class File:
    """One file as it is sent."""

    body: bytes
    media_type: str
    etag: str
    cache: str


def read_files(folder: Path = STATIC) -> dict[str, File]:
    """The page and its assets by the paths of their URLs. What a client asks for is looked up here, never on the disk.

    Args:
        folder: with ``index.html`` and ``assets/``.

    Raises:
        OSError: the page is missing.
    """
    assets = sorted((folder / "assets").iterdir())
    return {
        PAGE: _file(folder / "index.html", _ANEW),
        **{ASSETS + path.name: _file(path, _FOR_EVER) for path in assets},
    }


def _file(path: Path, cache: str) -> File:
    body = path.read_bytes()
    return File(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"', cache)


class Page:
    """ASGI endpoint of the page and its assets; open to everybody, as there is nothing in them but the page.

    Args:
        files: by path.
    """

    def __init__(self, files: dict[str, File]) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        file = self._files.get(request.scope["path"])
        if file is None:
            return error_response(ServingError("not_found", "the page has no such file"))
        if request.method not in ("GET", "HEAD"):
            allowed = {"Allow": "GET, HEAD"}
            return error_response(ServingError("method_not_allowed", "the page takes GET, HEAD only", allowed))
        headers = {**_HEADERS, "ETag": file.etag, "Cache-Control": file.cache}
        if _matches(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        response = Response(file.body, media_type=file.media_type, headers=headers)
        if request.method == "HEAD":
            response.body = b""  # the headers, Content-Length among them, are those of GET
        return response


def _matches(given: str, etag: str) -> bool:
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in given.split(","))
