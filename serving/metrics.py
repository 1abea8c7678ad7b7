"""Prometheus metrics with bounded labels: the template of a route, never the path that a client typed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.engine import GPU_SIZES
from serving.prototypes import DEFAULT, GIVEN
from serving.settings import METRICS_FOLDER

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COSINES = tuple(step / 10 for step in range(-10, 11))


class Metrics:
    """Counts of one app: of one process, or of all that share ``METRICS_FOLDER``, those that have ended among them."""

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
        self.batch_size = self._histogram("protozoo_batch_size", "Images in one call of the model", GPU_SIZES)
        self.decode_seconds = self._histogram("protozoo_decode_seconds", "Time to decode one image", _SECONDS)
        self.queue_seconds = self._histogram("protozoo_queue_seconds", "Time an image waits for the model", _SECONDS)
        self.infer_seconds = self._histogram("protozoo_infer_seconds", "Time of one call of the model", _SECONDS)
        self.best_cosine = Histogram(
            "protozoo_best_cosine",
            "Cosine to the prototype of the answer: it falls where images drift away from what was trained",
            ("set",),
            buckets=_COSINES,
            registry=self._registry,
        )
        self.answers = Counter(
            "protozoo_answers", "Classified images, known or rejected", ("set", "known"), registry=self._registry
        )

        # Finding a labelled series costs more than counting in it.
        self._of_answers = lru_cache(
            lambda label, known: (self.best_cosine.labels(label), self.answers.labels(label, str(known).lower()))
        )

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, meaning, buckets=buckets, registry=self._registry)

    def observe_batch(self, seconds: float, waited: Sequence[float]) -> None:
        """Count one call of the model, and how long each of its images has waited for it."""
        self.batch_size.observe(len(waited))
        self.infer_seconds.observe(seconds)
        for one in waited:
            self.queue_seconds.observe(one)

    def observe_answer(self, name: str, cosine: float, *, known: bool) -> None:
        """Count one classified image. Enrolled sets are one label together: their names are anybody's."""
        best_cosine, answers = self._of_answers(name if name in (DEFAULT, GIVEN) else "enrolled", known)
        best_cosine.observe(cosine)
        answers.inc()

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        if METRICS_FOLDER not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Measured:
    """ASGI middleware around one route's endpoint."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, route: str) -> None:
        self._app = app
        self._requests, self._seconds = metrics.requests, metrics.seconds.labels(route)
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it and its time."""
        status = 500
        scope.setdefault("state", {})["route"] = self._route
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._requests.labels(self._route, str(status)).inc()
            self._seconds.observe(time.perf_counter() - started)
