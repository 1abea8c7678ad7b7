"""A bundle opened for serving: the parts that requests pass through, put together in one place."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from serving.batcher import Batcher, Embedded
from serving.decoder import Decoder
from serving.enrolled import EnrolledSets, open_store
from serving.errors import ServingError
from serving.metrics import Metrics
from serving.model import Model
from serving.prototypes import DEFAULT, PrototypeSet, angle
from serving.query import ClassifyQuery, Question
from serving.sets import SetError
from serving.settings import Settings
from zoo.bundle import Bundle

T = TypeVar("T")

_QUICK_SECONDS = 0.02


@dataclass(frozen=True)
class Runtime:
    """Everything that answers need; immutable, except for the queues inside decoder and batcher."""

    settings: Settings
    bundle: Bundle
    provider: str
    prototypes: PrototypeSet
    decoder: Decoder
    batcher: Batcher
    enrolled: EnrolledSets
    metrics: Metrics

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, metrics: Metrics, model: Model) -> AsyncIterator[Runtime]:
        """Put it together around a model; at the end of the block let go of it.

        Raises:
            ProtozooError: the database of enrolled sets cannot be used.
        """
        bundle, engine = model.bundle, model.engine
        prototypes = PrototypeSet.whole(bundle.prototypes, bundle.labels, bundle.offsets)
        _ = prototypes.smallest_angle  # computed once, before the first request
        decoder = Decoder(
            bundle.preprocessing,
            max_pixels=settings.max_pixels,
            threads=settings.decode_threads,
            max_pending=settings.max_queue,
            mode=settings.decode,
            on_decoded=metrics.decode_seconds.observe,
        )
        size = bundle.preprocessing.size
        batcher = Batcher(
            engine.run,
            (size, size, 3),
            lanes=engine.lanes,
            max_batch=engine.max_batch,
            max_queue=settings.max_queue,
            on_batch=metrics.observe_batch,
        )
        store = open_store(settings, bundle)
        try:
            async with batcher, EnrolledSets(store) as enrolled:
                yield cls(settings, bundle, engine.provider, prototypes, decoder, batcher, enrolled, metrics)
        finally:
            decoder.close()

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return self.bundle.weights_sha256

    @property
    def dim(self) -> int:
        """D of the embeddings."""
        return int(self.bundle.prototypes.shape[1])

    @property
    def thresholds(self) -> Sequence[dict[str, Any]]:
        """The bundle's calibrated open-set thresholds: dicts with "fpr" and "cosine"."""
        thresholds: Sequence[dict[str, Any]] = self.bundle.record.get("open_set", {}).get("thresholds", [])
        return thresholds

    def describe(self) -> dict[str, Any]:
        """The answer of /v1/model."""
        bundle = self.bundle
        return {
            "name": bundle.name,
            "revision": bundle.record["code_revision"],
            "sha256": self.sha256,
            "architecture": bundle.config["architecture"],
            "objective": bundle.record["objective"],
            "temperature": bundle.temperature,
            "readout": bundle.readout["kind"],
            "offsets": bundle.offsets.tolist(),
            "dim": self.dim,
            "input_size": bundle.preprocessing.size,
            "label_count": len(bundle.labels),
            "labels": list(bundle.labels),
            "thresholds": list(self.thresholds),
            "provider": self.provider,
        }

    async def embed(self, files: Sequence[bytes]) -> list[Embedded | ServingError]:
        """Decode and embed image files; one that cannot be decoded gives its error in its place.

        Raises:
            ServingError: the only image failed, or the service is busy or broken.
        """
        decoded = await self.decoder.decode_all(files)
        if len(decoded) == 1 and isinstance(decoded[0], ServingError):
            raise decoded[0]
        good = [pixels for pixels in decoded if not isinstance(pixels, ServingError)]
        embedded = iter(await self.batcher.embed(good))
        return [result if isinstance(result, ServingError) else next(embedded) for result in decoded]

    async def question(self, query: ClassifyQuery, given: PrototypeSet | None = None) -> Question:
        """What a query means for the set that it names, or for prototypes that came with it: those are not calibrated.

        Raises:
            SetError: there is no such set, or it is another model's.
            ServingError: "empty_set", and see :meth:`ClassifyQuery.of`.
        """
        calibrated = query.fpr is not None and given is None
        thresholds = await self.thresholds_of(query.set) if calibrated else ()
        return query.of(given or await self.prototype_set(query.set), thresholds)

    async def thresholds_of(self, name: str | None) -> Sequence[dict[str, Any]]:
        """The calibrated thresholds of a set; None means the model's own."""
        return self.thresholds if name in (None, DEFAULT) else await self.enrolled.thresholds(name)

    def classified(self, results: Sequence[Embedded | ServingError], question: Question) -> dict[str, Any]:
        """The answer of /v1/classify; not for the event loop, unless it is :meth:`Question.is_quick`."""
        answers = [
            result.as_json() if isinstance(result, ServingError) else self._answer(result, question)
            for result in results
        ]
        return {"model": self.bundle.name, "set": question.competing.name, "results": answers}

    def _answer(self, embedded: Embedded, question: Question) -> dict[str, Any]:
        competing = question.competing
        answer = competing.answer(
            embedded.embedding,
            competing.cosines(embedded.embedding, embedded.cosines),
            k=question.k,
            temperature=self.bundle.temperature,
            threshold=question.threshold,
        )
        self.metrics.observe_answer(competing.name, answer.cosine, known=answer.known)
        if not question.exemplars:
            return answer.as_json()
        best = answer.predictions[0].label
        return answer.as_json() | {"exemplars": self._exemplars(embedded, competing.name, best, question.exemplars)}

    def _exemplars(self, embedded: Embedded, name: str, label: str, count: int) -> list[dict[str, Any]]:
        """The nearest stored examples of a class: why it was chosen; none where they cannot be read any more."""
        try:
            stored = self.enrolled.store.exemplars(name, label)
        except SetError:  # somebody has deleted or renamed it, or the database is away: the answer is in memory
            return []
        cosines = stored.embeddings @ embedded.embedding
        nearest = np.argsort(-cosines, kind="stable")[:count]
        return [{"id": stored.ids[index], "label": label, "cosine": float(cosines[index])} for index in nearest]

    def verified(self, first: Embedded, second: Embedded, threshold: float | None) -> dict[str, Any]:
        """The answer of /v1/verify: whether two images are of one class, without naming it."""
        cosine = float(np.clip(first.embedding.astype(np.float64) @ second.embedding, -1, 1))
        return {
            "model": self.bundle.name,
            "cosine": cosine,
            "angle_deg": math.degrees(angle(cosine)),
            "threshold": threshold,
            "same": None if threshold is None else cosine >= threshold,
        }

    async def prototype_set(self, name: str | None) -> PrototypeSet:
        """A set by its name; None means the model's own.

        Raises:
            SetError: there is none, or it is another model's.
            ServingError: "empty_set".
        """
        return self.prototypes if name in (None, DEFAULT) else await self.enrolled.get(name)

    def embeddings(self, results: Sequence[Embedded | ServingError], encoding: str) -> dict[str, Any]:
        """The answer of /v1/embed; ``encoding`` is "float" or "base64" (of little-endian float32)."""
        encoded = [
            result.as_json() if isinstance(result, ServingError) else _encode(result, encoding) for result in results
        ]
        return {"model": self.bundle.name, "dim": self.dim, "embeddings": encoded}


def _encode(result: Embedded, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(np.ascontiguousarray(result.embedding, "<f4").tobytes()).decode("ascii")
    floats: list[float] = result.embedding.tolist()
    return floats


async def while_connected(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await ``work``; cancel it where the client goes away or the time is over. The body must have been read.

    Raises:
        ClientDisconnect: the client has gone.
        ServingError: "timeout".
    """
    task = asyncio.ensure_future(work)
    tasks: list[asyncio.Future[Any]] = [task]
    try:
        # Nobody goes away so soon that it would be worth a task for every request.
        quick = min(seconds, _QUICK_SECONDS)
        await asyncio.wait(tasks, timeout=quick)
        if not task.done():
            tasks.append(asyncio.ensure_future(_disconnected(request)))
            await asyncio.wait(tasks, timeout=seconds - quick, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if tasks[-1].done():
            raise ClientDisconnect
        raise ServingError("timeout", f"no answer within {seconds:g} s; send fewer images, or try again later")
    finally:
        for one in tasks:
            one.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
