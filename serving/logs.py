"""One line a request, with an id that the client gets too: for people, or as JSON for machines."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from datetime import datetime, timezone

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("serving.requests")

HEADER = "X-Request-ID"
_STATE = "request_id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/livez", "/readyz", "/healthz", "/metrics")
_LINE = "%(method)s %(route)s %(status)s %(seconds).3f s %(request_id)s"
_FIELDS = ("request_id", "trace_id", "method", "route", "status", "seconds", "client")


class Logged:
    """ASGI middleware around the app: gives every request an id, and writes a line when it has been answered.

    The id is the client's own ``X-Request-ID`` where that is 1 to 64 letters, digits, dots, dashes and underscores; so
    nobody can write lines of their own into the log. The path that was asked for is not logged but the route's
    template: it may hold the name of a person that was enrolled.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        scope.setdefault("state", {})[_STATE] = request_id
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._write(scope, request_id, status, time.perf_counter() - started)

    @staticmethod
    def _write(scope: Scope, request_id: str, status: int, seconds: float) -> None:
        span = trace.get_current_span().get_span_context()
        values = {
            "request_id": request_id,
            "trace_id": format(span.trace_id, "032x") if span.is_valid else None,
            "method": scope["method"],
            "route": scope.get("state", {}).get("route"),
            "status": status,
            "seconds": round(seconds, 6),
            "client": (scope.get("client") or [None])[0],
        }
        level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
        if logger.isEnabledFor(level):
            # Logger.log would walk the stack for a place that no line shows.
            record = logger.makeRecord(logger.name, level, __file__, 0, _LINE, (values,), None, extra=values)
            logger.handle(record)


def id_header(scope: Scope) -> dict[str, str]:
    """The header with a request's id, for an answer that is given outside of :class:`Logged`; none if it has no id."""
    request_id = scope.get("state", {}).get(_STATE)
    return {} if request_id is None else {HEADER: request_id}


class JsonFormatter(logging.Formatter):
    """Every record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(format: str) -> None:
    """Write this package's records to standard error.

    Args:
        format: "text" or "json".
    """
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if format == "json" else text)
    # What no line shows, and costs a system call each: see "Optimization" in Python's Logging HOWTO.
    logging.logProcesses = logging.logThreads = logging.logMultiprocessing = False
    own = logging.getLogger("serving")
    own.handlers = [handler]
    own.setLevel(logging.INFO)
    own.propagate = False
