"""HTTP: routes, statuses and limits. What an answer says is decided elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.batcher import Embedded
from serving.body import read_images
from serving.errors import ServingError, busy
from serving.metrics import Measured, Metrics
from serving.query import check_names, classify_query, embed_format
from serving.runtime import Runtime, while_connected
from serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The handlers of one app, and what they share."""

    def __init__(self, read_settings: Callable[[], Settings], on_ready: Callable[[Settings], None]) -> None:
        self._read_settings = read_settings
        self._on_ready = on_ready
        self._runtime: Runtime | None = None
        self._requests = 0
        self.metrics = Metrics()

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: loaded, warmed up, and the device has not failed since."""
        return self._runtime is not None and self._runtime.batcher.ready

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the bundle for as long as the app runs."""
        settings = self._read_settings()
        async with Runtime.open(settings, self.metrics.batch_size.observe) as self._runtime:
            self._on_ready(settings)
            yield
        self._runtime = None

    async def classify(self, request: Request) -> Response:
        """POST /v1/classify."""
        runtime = self._running()
        query = classify_query(request.query_params, runtime.bundle.labels, runtime.thresholds)
        query.candidates(len(runtime.competing(query)))  # a mistake here is told before the images are read
        with self._permit():
            results = await self._embedded(request, runtime)
            return JSONResponse(await run_in_threadpool(runtime.classified, results, query))

    async def embed(self, request: Request) -> Response:
        """POST /v1/embed."""
        runtime = self._running()
        encoding = embed_format(request.query_params)
        with self._permit():
            results = await self._embedded(request, runtime)
            return JSONResponse(runtime.embeddings(results, encoding))

    async def model(self, request: Request) -> Response:
        """GET /v1/model."""
        check_names(request.query_params, ())
        return JSONResponse(self._running().describe())

    async def exposition(self, _: Request) -> Response:
        """GET /metrics."""
        text = await run_in_threadpool(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _running(self) -> Runtime:
        if self._runtime is None:
            raise ServingError("not_ready", "the service is starting or stopping; send the request again later")
        return self._runtime

    @contextmanager
    def _permit(self) -> Iterator[None]:
        """Bounds how many bodies are in memory: taken before the body is read, given back with the answer."""
        if self._requests >= self._running().settings.max_requests:
            raise busy(f"{self._requests} requests are being answered")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _embedded(self, request: Request, runtime: Runtime) -> list[Embedded | ServingError]:
        settings = runtime.settings
        try:
            with anyio.fail_after(settings.body_seconds):
                files = await read_images(request, max_bytes=settings.max_body_bytes, max_images=settings.max_images)
        except TimeoutError:
            raise ServingError(
                "body_timeout", f"the body did not arrive within {settings.body_seconds} s", {"Connection": "close"}
            ) from None
        return await while_connected(request, runtime.embed(files), settings.answer_seconds)


def create_app(
    read_settings: Callable[[], Settings], on_ready: Callable[[Settings], None] = lambda settings: None
) -> Starlette:
    """The HTTP application; ``app.state.api`` tells whether it is ready.

    Args:
        read_settings: called when the app starts, not when it is made, so that importing a module needs no settings.
        on_ready: called once the model is loaded and warmed up.
    """
    api = Api(read_settings, on_ready)
    routes = [
        *_routes(api, "/v1/classify", "POST", api.classify),
        *_routes(api, "/v1/embed", "POST", api.embed),
        *_routes(api, "/v1/model", "GET", api.model),
        Route("/metrics", api.exposition, methods=["GET"]),
        # The rest of /v1 is answered in JSON too; all of its paths together are one label of the metrics.
        Route("/v1/{path:path}", _Refuse(_UNKNOWN_PATH), middleware=_measured(api, "/v1/*")),
    ]
    app = Starlette(
        routes=routes,
        lifespan=api.lifespan,
        exception_handlers={
            ServingError: _answer_error,
            ClientDisconnect: _answer_gone,
            Exception: _answer_unexpected,
        },
    )
    app.state.api = api
    return app


class _Refuse:
    """An ASGI endpoint that answers every method with one error."""

    def __init__(self, error: ServingError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _response(self._error)(scope, receive, send)


_UNKNOWN_PATH = ServingError("not_found", "no such path; there are /v1/classify, /v1/embed and /v1/model")


def _routes(api: Api, path: str, method: str, handler: Handler) -> list[Route]:
    """A route, and the refusal of other methods: the route for unknown paths would take them as its own."""
    allowed = "GET, HEAD" if method == "GET" else method
    refusal = ServingError("method_not_allowed", f"{path} takes {allowed} only", {"Allow": allowed})
    return [
        Route(path, handler, methods=[method], middleware=_measured(api, path)),
        Route(path, _Refuse(refusal), middleware=_measured(api, path)),
    ]


def _measured(api: Api, route: str) -> list[Middleware]:
    return [Middleware(Measured, metrics=api.metrics, route=route)]


def _response(error: ServingError) -> JSONResponse:
    return JSONResponse(error.as_json(), error.status, error.headers)


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return _response(error)


async def _answer_gone(_: Request, error: Exception) -> Response:
    # Nobody reads it, but without an answer BentoML's timeout middleware would hold the request until its timeout.
    return _response(ServingError("client_gone", "the client closed the connection"))


async def _answer_unexpected(_: Request, error: Exception) -> Response:
    # Starlette raises the error again after this, so that it reaches the log; the client learns nothing of it.
    return _response(ServingError("internal_error", "the service failed on this request; its log says why"))
