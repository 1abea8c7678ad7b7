"""The BentoML shell around :mod:`serving.app`: processes, GPU environment, health, packaging."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import bentoml
import click
from _bentoml_impl.server.allocator import ResourceAllocator  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from serving.launch import finish_check
from serving.logs import set_up
from serving.openapi import Before
from serving.settings import METRICS_FOLDER, TIMEOUT_SECONDS, Settings
from serving.tracing import tracing

if TYPE_CHECKING:
    from serving.model import Model


_METRICS = "PROTOZOO_METRICS_FOLDER"
"""Set where several workers count together, as /metrics is answered by any of them."""


def _on_ready(settings: Settings) -> None:
    # A full collection over BentoML's objects stops the process for some 80 ms; frozen, they are no longer looked at.
    gc.collect()
    gc.freeze()
    # A request leaves no cycles behind worth a look at every 700 new objects, Python's default.
    gc.set_threshold(20_000)
    if settings.url:
        click.echo(
            f"protozoo: ready on {settings.url}\n"
            f"  curl {settings.url}/v1/model\n"
            f"  curl -F image=@photo.jpg '{settings.url}/v1/classify?k=5'"
        )


def _settings() -> Settings:
    settings = Settings.from_environment()
    set_up(settings.log)
    # BentoML counts its workers from 1, and gives all of them the same GPUs.
    return replace(settings, gpu=settings.gpu + (bentoml.server_context.worker_index or 1) - 1)


def _load() -> Model:
    from serving.model import load

    return load(_settings())


class _App(Starlette):
    """The application, made when a worker starts: BentoML's first process, which starts the workers, needs none."""

    def __init__(self) -> None:
        super().__init__(lifespan=self._run)
        self._made: Starlette | None = None
        self._loading: Future[Model] | None = None

    def load(self) -> Future[Model]:
        """Begin to load the model in a thread, unless that was done.

        ONNX Runtime does most of it without Python's lock, while BentoML, and then this application, are imported.
        """
        if self._loading is None:
            self._loading = ThreadPoolExecutor(1, "load").submit(_load)
        return self._loading

    @property
    def ready(self) -> bool:
        """Whether requests can be answered."""
        return self._made is not None and bool(self._made.state.api.ready)

    @property
    def failed(self) -> bool:
        """Whether only a new process can help."""
        return self._made is not None and bool(self._made.state.api.failed)

    @property
    def routes(self) -> list[BaseRoute]:
        """Of the paths that BentoML leaves to this application."""
        return self._made.routes if self._made else []

    @asynccontextmanager
    async def _run(self, _: Starlette) -> AsyncIterator[None]:
        # BentoML's own folder for the metrics of several processes is shared by all services of a user, and a process
        # that counts alone needs none. To be said before prometheus_client is imported.
        os.environ.pop(METRICS_FOLDER, None)
        if folder := os.environ.get(_METRICS):
            os.environ[METRICS_FOLDER] = folder
        from serving.app import create_app

        self._made = create_app(_settings, _on_ready, lambda _: self.load().result())
        async with self._made.router.lifespan_context(self._made):
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._made is not None, "BentoML starts an application before it sends requests to it"
        await self._made(scope, receive, send)


app = _App()

if bentoml.server_context.worker_index:
    # BentoML's first process makes no server of uvicorn's, and needs no model.
    from serving.deadline import replace_timeouts
    from serving.heads import bound_heads

    bound_heads()
    replace_timeouts()
    app.load()

# A container's loopback interface is reached by nobody; what it publishes is its host's choice.
_HOST = "0.0.0.0" if "BENTOML_CONTAINERIZED" in os.environ else "127.0.0.1"


@bentoml.service(
    name="protozoo",
    http={"host": _HOST, "port": 3000},
    traffic={"timeout": TIMEOUT_SECONDS},
    # BentoML labels its metrics with the path as the client typed it, so that anyone can make it keep new time series
    # until memory ends. Its middleware stands outside of all of ours; the app's own /metrics has bounded labels.
    metrics={"enabled": False},
    tracing=tracing(),
    # The app writes its own lines, with the client's request id and without the names in a path.
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/")
class Protozoo:
    """Classifies images by the nearest prototype on the unit sphere."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    def check() -> None:  # BentoML calls it without an instance, before any worker
        """End `bentoml serve` where the model cannot be served: a worker that fails would be started for ever."""
        finish_check()
        if ResourceAllocator().get_worker_env(Protozoo)[0] > 1:
            folder = tempfile.mkdtemp(prefix="protozoo-metrics-")
            os.environ[_METRICS] = folder  # which the workers get
            atexit.register(shutil.rmtree, folder, ignore_errors=True)

    async def __is_alive__(self) -> bool:
        return not app.failed

    async def __is_ready__(self) -> bool:
        return app.ready


# BentoML's own routes stand before a mounted app's, and its answer to what has no route is not ours.
Protozoo.add_asgi_middleware(Before, first=app, but=["/livez", "/readyz", "/healthz", "/schema.json"])  # type: ignore[attr-defined]
