"""Sending requests, sync and async, with retries where the service is busy or away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from serving.client import calls
from serving.client.answers import (
    EnrolledClass,
    Prototypes,
    PrototypeSetInfo,
    ServiceError,
    Verification,
)
from serving.client.calls import Call, Picture, Pictures

T = TypeVar("T")
Keep = Literal["nothing", "images"]

_AGAIN = (429, 503)
_LONGEST_WAIT = 30.0


_NOTHING_DONE = ("busy", "not_ready")


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
            return isinstance(error, (_BusyError, httpx.TransportError))
        refused = isinstance(error, _BusyError) and error.code in _NOTHING_DONE
        return refused or isinstance(error, httpx.ConnectError)

    return {"retry": retry_if_exception(again), "stop": stop_after_attempt(attempts), "wait": _wait, "reraise": True}


def _read(call: Call[T], response: httpx.Response) -> T:
    if response.is_success:
        return call.read(response.json() if response.content else None)
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "http_error", f"HTTP status {response.status_code}: {response.text[:200]}"
    if response.status_code not in _AGAIN:
        raise ServiceError(code, message, response.status_code)
    busy = _BusyError(code, message, response.status_code)
    after = response.headers.get("retry-after", "")
    busy.after = float(after) if after.isdecimal() else None
    raise busy


def _arguments(call: Call[T]) -> dict[str, Any]:
    given: dict[str, Any] = {"params": dict(call.params), "headers": dict(call.headers)}
    if call.files:
        given["files"] = list(call.files)
    if call.body is not None:
        given["json"] = call.body
    return given


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _unreachable(error: httpx.TransportError, url: str) -> ServiceError:
    return ServiceError("unreachable", f"no answer from {url}: {error or type(error).__name__}", 0)


class Client:
    """The service's verbs. Use as a context manager, or :meth:`close` it.

    Images are paths, bytes of a file, PIL images, or a list of them. Every method raises :class:`ServiceError` where
    the service refuses, or cannot be reached after all attempts.

    Args:
        url: of the service, such as "http://127.0.0.1:3000".
        token: bearer token, where the service asks for one.
        timeout: seconds for one attempt.
        attempts: how often a request is sent where the service is busy (429, 503) or the connection breaks. Enrolment
            carries a key, so that a retry enrols nothing twice; what deletes or renames is sent again only where it is
            certain that nothing was done.
        transport: of httpx, for tests.
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
        self._attempts = attempts

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, call: Call[T]) -> T:
        try:
            return Retrying(**_retries(call, self._attempts))(
                lambda: _read(call, self._http.request(call.method, call.path, **_arguments(call)))
            )
        except httpx.TransportError as error:
            raise _unreachable(error, str(self._http.base_url)) from error

    def classify(
        self,
        images: Pictures,
        *,
        k: int | None = None,
        threshold: float | None = None,
        fpr: float | None = None,
        labels: Sequence[str] | None = None,
        set: str | None = None,
        prototypes: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        exemplars: int = 0,
    ) -> Any:
        """Classify images by the nearest prototype.

        Args:
            images: one, or a list.
            k: how many candidates.
            threshold: least cosine of a known class; or instead
            fpr: share of unknown images that may pass for known, one of those that the model was calibrated for.
            labels: the only classes that compete.
            set: name of an enrolled set; or instead
            prototypes: (K, d), to compete in place of the model's, with
            names: K of them.
            exemplars: how many stored examples of the best class to show, for an enrolled set.

        Returns:
            A :class:`Classification`; for a list of images a list of them, with a :class:`ServiceError` in the place
            of an image that could not be read.
        """
        call = calls.classify(
            images,
            k=k,
            threshold=threshold,
            fpr=fpr,
            labels=labels,
            set=set,
            prototypes=prototypes,
            names=names,
            exemplars=exemplars,
        )
        return self._send(call)

    def embed(self, images: Pictures) -> NDArray[np.float32]:
        """Unit embeddings, float32: (d,) of one image, (N, d) of a list."""
        embeddings: NDArray[np.float32] = self._send(calls.embed(images))
        return embeddings

    def verify(
        self, first: Picture, second: Picture, *, threshold: float | None = None, fpr: float | None = None
    ) -> Verification:
        """Whether two images are of one class, without naming it."""
        return self._send(calls.verify(first, second, threshold=threshold, fpr=fpr))

    def model(self) -> dict[str, Any]:
        """What is served."""
        return self._send(calls.model())

    def sets(self) -> list[PrototypeSetInfo]:
        """All prototype sets, the model's own first."""
        return self._send(calls.sets())

    def prototypes(self, set: str = "default") -> Prototypes:
        """The unit rows of a set."""
        return self._send(calls.prototypes(set))

    def get_class(self, set: str, label: str) -> EnrolledClass:
        """One enrolled class."""
        return self._send(calls.get_class(set, label))

    def enrol(
        self,
        set: str,
        label: str,
        images: Pictures | None = None,
        *,
        embeddings: ArrayLike | None = None,
        keep: Keep = "nothing",
        key: str | None = None,
    ) -> EnrolledClass:
        """Make a class, and its set where there is none, from images or from unit embeddings (k, d).

        Args:
            set: its name.
            label: the class's.
            images: one, or a list.
            embeddings: in their place.
            keep: "images" stores the files with the set, so that it can be made again for another model.
            key: idempotency key; by default a random one, so that a retry enrols nothing twice.
        """
        return self._send(calls.enrol("PUT", set, label, images, embeddings=embeddings, keep=keep, key=key))

    def add_examples(
        self,
        set: str,
        label: str,
        images: Pictures | None = None,
        *,
        embeddings: ArrayLike | None = None,
        keep: Keep = "nothing",
        key: str | None = None,
        if_match: int | None = None,
    ) -> EnrolledClass:
        """Add examples to a class; with ``if_match`` only where its version is still that one."""
        call = calls.enrol("POST", set, label, images, embeddings=embeddings, keep=keep, key=key, if_match=if_match)
        return self._send(call)

    def remove_example(self, set: str, label: str, id: int, *, if_match: int | None = None) -> EnrolledClass:
        """Remove an example by its id, as if it had never been."""
        return self._send(calls.remove_example(set, label, id, if_match=if_match))

    def rename_class(self, set: str, label: str, to: str, *, if_match: int | None = None) -> EnrolledClass:
        """Give a class another name."""
        return self._send(calls.move("rename", set, label, to, if_match=if_match))

    def merge_class(self, set: str, label: str, into: str, *, if_match: int | None = None) -> EnrolledClass:
        """Give all examples of a class to another, and delete it."""
        return self._send(calls.move("merge", set, label, into, if_match=if_match))

    def delete_class(self, set: str, label: str, *, if_match: int | None = None) -> None:
        """Delete a class with its examples."""
        return self._send(calls.delete(set, label, if_match=if_match))

    def delete_set(self, set: str, *, if_match: int | None = None) -> None:
        """Delete a set with all that is in it."""
        return self._send(calls.delete(set, None, if_match=if_match))


class AsyncClient:
    """:class:`Client` for asyncio: the same verbs, awaited. Use as an async context manager, or :meth:`aclose` it."""

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
            return _read(call, await self._http.request(call.method, call.path, **_arguments(call)))

        try:
            return await AsyncRetrying(**_retries(call, self._attempts))(once)
        except httpx.TransportError as error:
            raise _unreachable(error, str(self._http.base_url)) from error

    async def classify(
        self,
        images: Pictures,
        *,
        k: int | None = None,
        threshold: float | None = None,
        fpr: float | None = None,
        labels: Sequence[str] | None = None,
        set: str | None = None,
        prototypes: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        exemplars: int = 0,
    ) -> Any:
        """See :meth:`Client.classify`."""
        call = calls.classify(
            images,
            k=k,
            threshold=threshold,
            fpr=fpr,
            labels=labels,
            set=set,
            prototypes=prototypes,
            names=names,
            exemplars=exemplars,
        )
        return await self._send(call)

    async def embed(self, images: Pictures) -> NDArray[np.float32]:
        """Unit embeddings, float32: (d,) of one image, (N, d) of a list."""
        embeddings: NDArray[np.float32] = await self._send(calls.embed(images))
        return embeddings

    async def verify(
        self, first: Picture, second: Picture, *, threshold: float | None = None, fpr: float | None = None
    ) -> Verification:
        """Whether two images are of one class, without naming it."""
        return await self._send(calls.verify(first, second, threshold=threshold, fpr=fpr))

    async def model(self) -> dict[str, Any]:
        """What is served."""
        return await self._send(calls.model())

    async def sets(self) -> list[PrototypeSetInfo]:
        """All prototype sets, the model's own first."""
        return await self._send(calls.sets())

    async def prototypes(self, set: str = "default") -> Prototypes:
        """The unit rows of a set."""
        return await self._send(calls.prototypes(set))

    async def get_class(self, set: str, label: str) -> EnrolledClass:
        """One enrolled class."""
        return await self._send(calls.get_class(set, label))

    async def enrol(
        self,
        set: str,
        label: str,
        images: Pictures | None = None,
        *,
        embeddings: ArrayLike | None = None,
        keep: Keep = "nothing",
        key: str | None = None,
    ) -> EnrolledClass:
        """See :meth:`Client.enrol`."""
        return await self._send(calls.enrol("PUT", set, label, images, embeddings=embeddings, keep=keep, key=key))

    async def add_examples(
        self,
        set: str,
        label: str,
        images: Pictures | None = None,
        *,
        embeddings: ArrayLike | None = None,
        keep: Keep = "nothing",
        key: str | None = None,
        if_match: int | None = None,
    ) -> EnrolledClass:
        """Add examples to a class; with ``if_match`` only where its version is still that one."""
        call = calls.enrol("POST", set, label, images, embeddings=embeddings, keep=keep, key=key, if_match=if_match)
        return await self._send(call)

    async def remove_example(self, set: str, label: str, id: int, *, if_match: int | None = None) -> EnrolledClass:
        """Remove an example by its id, as if it had never been."""
        return await self._send(calls.remove_example(set, label, id, if_match=if_match))

    async def rename_class(self, set: str, label: str, to: str, *, if_match: int | None = None) -> EnrolledClass:
        """Give a class another name."""
        return await self._send(calls.move("rename", set, label, to, if_match=if_match))

    async def merge_class(self, set: str, label: str, into: str, *, if_match: int | None = None) -> EnrolledClass:
        """Give all examples of a class to another, and delete it."""
        return await self._send(calls.move("merge", set, label, into, if_match=if_match))

    async def delete_class(self, set: str, label: str, *, if_match: int | None = None) -> None:
        """Delete a class with its examples."""
        return await self._send(calls.delete(set, label, if_match=if_match))

    async def delete_set(self, set: str, *, if_match: int | None = None) -> None:
        """Delete a set with all that is in it."""
        return await self._send(calls.delete(set, None, if_match=if_match))
