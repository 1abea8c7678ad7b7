"""Sending requests, sync and async, with retries where the service is busy or away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from serving.client import calls
from serving.client.answers import ServiceError
from serving.client.calls import Call, header_value

if TYPE_CHECKING:
    from serving.client.typed import AsyncClassify, Classify
else:
    Classify = AsyncClassify = object


P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_AGAIN = (429, 503)
_TOO_SLOW = "the answer did not arrive in time"
_LONGEST_WAIT = 30.0
_NOTHING_DONE = ("busy", "not_ready")
_OURS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""Mistakes of the caller's, which are no better the second time."""
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What reading JSON raises that is none, or says something else."""


class _BusyError(ServiceError):
    """Retried; ``after`` is what the service asked for, in seconds."""

    after: float | None = None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _BusyError) and error.after is not None:
        return min(error.after, _LONGEST_WAIT)
    return wait_random_exponential(multiplier=0.1, max=5)(state)


def _retries(call: Call[T], attempts: int) -> dict[str, Any]:
    def again(error: BaseException) -> bool:
        if call.retry == "always":
            return isinstance(error, (_BusyError, httpx.TransportError)) and not isinstance(error, _OURS)
        refused = isinstance(error, _BusyError) and error.code in _NOTHING_DONE
        return refused or isinstance(error, httpx.ConnectError)

    return {"retry": retry_if_exception(again), "stop": stop_after_attempt(attempts), "wait": _wait, "reraise": True}


def _read(call: Call[T], response: httpx.Response, content: bytes) -> T:
    told = f"HTTP status {response.status_code}: {content[:200].decode(errors='replace')}"
    if response.is_success:
        try:
            return call.read(json.loads(content) if content else None)
        except _UNREADABLE as cause:
            raise ServiceError("http_error", f"not an answer of protozoo's: {told}", response.status_code) from cause
    try:
        error = json.loads(content)["error"]
        code, message = str(error["code"]), str(error["message"])
    except _UNREADABLE:
        code, message = "http_error", told
    if response.status_code not in _AGAIN:
        raise ServiceError(code, message, response.status_code)
    busy = _BusyError(code, message, response.status_code)
    after = response.headers.get("retry-after", "")
    busy.after = float(after) if after.isdecimal() else None
    raise busy


def _until(deadline: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout(_TOO_SLOW)
        yield chunk


def _arguments(call: Call[T]) -> dict[str, Any]:
    given: dict[str, Any] = {"params": dict(call.params), "headers": dict(call.headers)}
    if call.files:
        given["files"] = list(call.files)
    if call.body is not None:
        given["json"] = call.body
    return given


def _headers(token: str | None) -> dict[str, str]:
    value = header_value("token", token or "")
    return {"Authorization": f"Bearer {value}"} if value else {}


def _unreachable(error: httpx.RequestError, url: str) -> ServiceError:
    if isinstance(error, httpx.DecodingError):
        return ServiceError("http_error", f"not an answer of protozoo's from {url}: {error}", 0)
    return ServiceError("unreachable", f"no answer from {url}: {error or type(error).__name__}", 0)


def _verb(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that sends what ``build`` makes of its arguments."""

    def verb(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(build(*args, **kwargs))

    return _described(verb, build)


def _async_verb(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """:func:`_verb`, awaited."""

    async def verb(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(build(*args, **kwargs))

    return _described(verb, build)


def _described(verb: F, build: Callable[..., Any]) -> F:
    """Name, docstring and arguments of ``build``; functools.wraps would take its first argument for ``self``."""
    verb.__name__, verb.__doc__ = build.__name__, build.__doc__
    arguments = [Parameter("self", Parameter.POSITIONAL_ONLY), *signature(build).parameters.values()]
    verb.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    return verb


class Client(Classify):
    """The service's verbs. Use as a context manager, or :meth:`close` it.

    Images are paths, bytes of a file, PIL images, or a list of them. Every method raises :class:`ServiceError` where
    the service refuses, or cannot be reached after all attempts.

    Args:
        url: of the service, such as "http://127.0.0.1:3000".
        token: bearer token, where the service asks for one.
        timeout: seconds for one attempt. It may take twice as long where what is sent, or the answer, comes to a halt
            in the middle.
        attempts: how often a request is sent where the service is busy (429, 503) or the connection breaks. Enrolment
            carries a key, so that a retry enrols nothing twice; what deletes or renames is sent again only where it is
            certain that nothing was done.
        transport: of httpx, for tests.

    Raises:
        ValueError: the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        attempts: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(token), timeout=timeout, transport=transport)
        self._timeout = timeout
        self._attempts = attempts

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, call: Call[T]) -> T:
        def once() -> T:
            deadline = time.monotonic() + self._timeout
            with self._http.stream(call.method, call.path, **_arguments(call)) as response:
                content = b"".join(_until(deadline, response.iter_bytes()))
            return _read(call, response, content)

        try:
            return Retrying(**_retries(call, self._attempts))(once)
        except httpx.RequestError as error:
            raise _unreachable(error, str(self._http.base_url)) from error

    if not TYPE_CHECKING:  # whose type depends on what is given
        classify = _verb(calls.classify)
    embed = _verb(calls.embed)
    verify = _verb(calls.verify)
    model = _verb(calls.model)
    sets = _verb(calls.sets)
    thresholds = _verb(calls.thresholds)
    prototypes = _verb(calls.prototypes)
    get_class = _verb(calls.get_class)
    enrol = _verb(calls.enrol)
    add_examples = _verb(calls.add_examples)
    remove_example = _verb(calls.remove_example)
    rename_class = _verb(calls.rename_class)
    merge_class = _verb(calls.merge_class)
    delete_class = _verb(calls.delete_class)
    delete_set = _verb(calls.delete_set)


class AsyncClient(AsyncClassify):
    """:class:`Client` for asyncio: the same verbs, awaited. Use as an async context manager, or :meth:`aclose` it.

    ``timeout`` is that of a whole attempt, wherever it comes to a halt.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        attempts: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(token), timeout=timeout, transport=transport)
        self._timeout = timeout
        self._attempts = attempts

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, call: Call[T]) -> T:
        async def once() -> T:
            request = self._http.request(call.method, call.path, **_arguments(call))
            try:
                response = await asyncio.wait_for(request, self._timeout)
            except asyncio.TimeoutError:
                raise httpx.ReadTimeout(_TOO_SLOW) from None
            return _read(call, response, response.content)

        try:
            return await AsyncRetrying(**_retries(call, self._attempts))(once)
        except httpx.RequestError as error:
            raise _unreachable(error, str(self._http.base_url)) from error

    if not TYPE_CHECKING:  # whose type depends on what is given
        classify = _async_verb(calls.classify)
    embed = _async_verb(calls.embed)
    verify = _async_verb(calls.verify)
    model = _async_verb(calls.model)
    sets = _async_verb(calls.sets)
    thresholds = _async_verb(calls.thresholds)
    prototypes = _async_verb(calls.prototypes)
    get_class = _async_verb(calls.get_class)
    enrol = _async_verb(calls.enrol)
    add_examples = _async_verb(calls.add_examples)
    remove_example = _async_verb(calls.remove_example)
    rename_class = _async_verb(calls.rename_class)
    merge_class = _async_verb(calls.merge_class)
    delete_class = _async_verb(calls.delete_class)
    delete_set = _async_verb(calls.delete_set)
