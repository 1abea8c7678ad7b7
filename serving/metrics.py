"""Prometheus metrics with bounded labels: the template of a route, never the path that a client typed."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.engine import BUCKETS

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts of one app, which is one process: BentoML's folder for several is shared by all services of a user."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "protozoo_requests", "Requests by route and status", ("route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "protozoo_request_seconds",
            "Time to the whole answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch_size = Histogram(
            "protozoo_batch_size", "Images in one call of the model", buckets=BUCKETS, registry=self._registry
        )

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self._registry)


class Measured:
    """ASGI middleware around one route's endpoint."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, route: str) -> None:
        self._app = app
        self._metrics = metrics
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it and its time."""
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.requests.labels(self._route, str(status)).inc()
            self._metrics.seconds.labels(self._route).observe(time.perf_counter() - started)
