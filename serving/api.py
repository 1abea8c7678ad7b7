"""The handlers of inference: what a request is checked for, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.batcher import Embedded
from serving.body import Form, read_form, read_json
from serving.deadline import timeout
from serving.errors import ServingError, busy
from serving.given import PARTS, given_prototypes
from serving.lengthy import respond
from serving.metrics import Metrics
from serving.model import Model
from serving.prototypes import PrototypeSet
from serving.query import check_names, classify_query, embed_format, verify_query
from serving.runtime import Runtime, while_connected
from serving.settings import Settings

T = TypeVar("T")

_QUICK_NUMBERS = 4096
"""Of an answer, which take less than handing it to a thread, or not much more."""

_SHORT_BYTES = 4 << 10


class Api:
    """The handlers of one app, and what they share."""

    def __init__(
        self,
        read_settings: Callable[[], Settings],
        on_ready: Callable[[Settings], None],
        load: Callable[[Settings], Model],
    ) -> None:
        self._read_settings = read_settings
        self._on_ready = on_ready
        self._load = load
        self._runtime: Runtime | None = None
        self._requests = 0
        self.metrics = Metrics()

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: loaded, warmed up, and the device has not failed since."""
        return self._runtime is not None and self._runtime.batcher.ready

    @property
    def failed(self) -> bool:
        """Whether the device has failed, or the app ends: nothing makes it ready again."""
        return self._runtime is not None and not self._runtime.batcher.ready

    @property
    def settings(self) -> Settings | None:
        """Those of the running app; None while it starts or stops."""
        return self._runtime.settings if self._runtime else None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the bundle for as long as the app runs."""
        settings = self._read_settings()
        async with Runtime.open(settings, self.metrics, self._load(settings)) as self._runtime:
            self._on_ready(settings)
            yield
        self._runtime = None

    async def classify(self, request: Request) -> Response:
        """POST /v1/classify."""
        runtime = self.running()
        query = classify_query(request.query_params)
        # A mistake in the query is told before the images are read, unless the body may bring the prototypes along.
        question = None if query.set is None else await runtime.question(query)
        form = await self.form(request, runtime, PARTS)
        given = await self._given(form, runtime)
        if question is None:
            question = await runtime.question(query, given)
        elif given:
            raise ServingError("invalid_form", "the request brings prototypes along and names a set; choose one")
        question.check_images(len(form.images))
        results = await self.embedded(request, runtime, form.images)
        quick = question.is_quick(len(results))
        run = runtime.enrolled.read if question.exemplars else run_in_threadpool
        return await respond(lambda: runtime.classified(results, question), quick=quick, run=run)

    @staticmethod
    async def _given(form: Form, runtime: Runtime) -> PrototypeSet | None:
        # Megabytes of numbers, which would hold up the event loop.
        return (
            await run_in_threadpool(given_prototypes, form.parts, runtime.dim, runtime.settings.max_classes)
            if form.parts
            else None
        )

    async def embed(self, request: Request) -> Response:
        """POST /v1/embed."""
        runtime = self.running()
        encoding = embed_format(request.query_params)
        form = await self.form(request, runtime)
        results = await self.embedded(request, runtime, form.images)
        quick = encoding == "base64" or len(results) * runtime.dim <= _QUICK_NUMBERS
        return await respond(lambda: runtime.embeddings(results, encoding), quick=quick)

    async def verify(self, request: Request) -> Response:
        """POST /v1/verify."""
        runtime = self.running()
        threshold = verify_query(request.query_params, runtime.thresholds)
        form = await self.form(request, runtime)
        if len(form.images) != 2:
            raise ServingError("invalid_form", f"two `image` files are compared; the form holds {len(form.images)}")
        first, second = await self.embedded(request, runtime, form.images)
        for result in (first, second):
            if isinstance(result, ServingError):
                raise result
        assert isinstance(first, Embedded)
        assert isinstance(second, Embedded)
        return JSONResponse(runtime.verified(first, second, threshold))

    async def model(self, request: Request) -> Response:
        """GET /v1/model."""
        check_names(request.query_params, ())
        return JSONResponse(self.running().describe())

    async def exposition(self, _: Request) -> Response:
        """GET /metrics."""
        text = await run_in_threadpool(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def running(self) -> Runtime:
        """What answers.

        Raises:
            ServingError: "not_ready".
        """
        if self._runtime is None:
            raise ServingError("not_ready", "the service is starting or stopping; send the request again later")
        return self._runtime

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Bounds how many bodies and answers are in memory at a time: taken before them, given back after.

        Raises:
            ServingError: "not_ready", or "busy" where there are as many as the settings allow.
        """
        if self._requests >= self.running().settings.max_requests:
            raise busy(f"{self._requests} requests are being answered")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def form(self, request: Request, runtime: Runtime, parts: Sequence[str] = ()) -> Form:
        """A body of images, within the limits of size and time."""
        settings = runtime.settings
        reading = read_form(request, max_bytes=settings.max_body_bytes, max_images=settings.max_images, parts=parts)
        return await self._within_time(settings, reading)

    async def json(self, request: Request, runtime: Runtime, read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of a body of JSON, within the limits of size and time."""
        return await self._within_time(runtime.settings, read_json(request, runtime.settings.max_body_bytes, read))

    async def short_json(self, request: Request, runtime: Runtime, read: Callable[[bytes], T]) -> T:
        """The same of a body that can hold no more than a name."""
        most = min(runtime.settings.max_body_bytes, _SHORT_BYTES)
        return await self._within_time(runtime.settings, read_json(request, most, read, "a name takes less"))

    @staticmethod
    async def _within_time(settings: Settings, reading: Awaitable[T]) -> T:
        """Read a body, or answer that it came too slowly."""
        try:
            async with timeout(settings.body_seconds):
                return await reading
        except asyncio.TimeoutError:
            raise ServingError(
                "body_timeout", f"the body did not arrive within {settings.body_seconds} s", {"Connection": "close"}
            ) from None

    async def embedded(
        self, request: Request, runtime: Runtime, images: Sequence[bytes]
    ) -> list[Embedded | ServingError]:
        """The images' embeddings; given up where the client goes away."""
        return await while_connected(request, runtime.embed(images), runtime.settings.answer_seconds)
