"""The one error that a client of the service can see, and its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

STATUS = {
    "malformed_body": 400,
    "client_gone": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "read_only": 409,
    "empty_set": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_image": 422,
    "invalid_form": 422,
    "invalid_parameter": 422,
    "invalid_prototypes": 422,
    "invalid_examples": 422,
    "internal_error": 500,
    "busy": 503,
    "not_ready": 503,
    "timeout": 504,
}
"""HTTP status of every error code."""


class ServingError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: a key of :data:`STATUS`, for programs.
        message: what to do about it, for people. It reaches the client: no paths, no internals.
        headers: to send with the answer, such as Retry-After.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return error_body(self.code, self.message)


def error_body(code: str, message: str) -> dict[str, Any]:
    """The one shape that all errors have."""
    return {"error": {"code": code, "message": message}}


def error_response(error: ServingError) -> JSONResponse:
    """The answer that tells an error."""
    return JSONResponse(error.as_json(), error.status, error.headers)


def busy(what: str) -> ServingError:
    """The error for a full queue: the client should come back, and is told when."""
    return ServingError("busy", f"the service is busy: {what}; send the request again later", {"Retry-After": "1"})
