"""A greedy micro-batcher: whatever waits when the device becomes free is one batch.

There is no timer: a lone request never waits for company, and under load batches fill themselves while the device is
busy with the one before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from serving.engine import Outputs
from serving.errors import ServingError, busy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """The model's outputs for one image: unit embedding, float32 (d,), and cosines, float32 (K,)."""

    embedding: NDArray[np.float32]
    cosines: NDArray[np.float32]


@dataclass(frozen=True)
class _Waiting:
    image: NDArray[np.uint8]
    future: asyncio.Future[Embedded]
    since: float


class Batcher:
    """Brings the images of all requests to one device thread. Use as an async context manager.

    Args:
        run: the device; called in one thread with at most ``max_batch`` images.
        shape: (H, W, 3) of every image.
        max_batch: most images in one call.
        max_queue: most images that wait; more are refused as "busy".
        on_batch: told of every batch its seconds on the device, and the seconds that each of its images has waited.

    Attributes:
        ready: whether images are taken: it has been started, and the device has never failed.
    """

    ready = False

    def __init__(
        self,
        run: Callable[[Sequence[NDArray[np.uint8]]], Outputs],
        shape: tuple[int, int, int],
        *,
        max_batch: int = 32,
        max_queue: int = 256,
        on_batch: Callable[[float, Sequence[float]], None] = lambda seconds, waited: None,
    ) -> None:
        self._run = run
        self._shape = shape
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._unanswered: set[asyncio.Future[Embedded]] = set()
        # Fed by a queue and not by an executor: it goes on with the next batch without waiting for the event loop.
        self._device = Thread(target=self._work, name="device", daemon=True)

    async def __aenter__(self) -> Batcher:
        self._loop = asyncio.get_running_loop()
        self._device.start()
        self.ready = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._device.join)

    async def embed(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedded]:
        """Embed images; all are taken or none. Cancelling the call drops those that still wait.

        Raises:
            ServingError: "busy" where the queue is full, "not_ready" where the device has failed.
            ValueError: an image has another shape; it would have failed the whole batch.
        """
        for image in images:
            if image.shape != self._shape:
                raise ValueError(f"expected images of shape {self._shape}, got {image.shape}")
        if not self.ready:
            raise _not_ready()
        if self._queue.qsize() + len(images) > self._max_queue:
            raise busy(f"{self._queue.qsize()} images wait for the model")
        now = time.perf_counter()
        waiting = [_Waiting(image, self._loop.create_future(), now) for image in images]
        for item in waiting:
            self._unanswered.add(item.future)
            item.future.add_done_callback(self._unanswered.discard)
            self._queue.put(item)
        if len(waiting) == 1:
            return [await waiting[0].future]
        return list(await asyncio.gather(*(item.future for item in waiting)))

    def _work(self) -> None:
        """The device's thread: a batch after the other, until there is no more or the device fails."""
        try:
            while batch := self._next():
                started = time.perf_counter()
                outputs = self._run([item.image for item in batch])
                ended = time.perf_counter()
                answers = [Embedded(*each) for each in zip(outputs.embeddings, outputs.cosines, strict=True)]
                answered = list(zip(batch, answers, strict=True))
                self._loop.call_soon_threadsafe(self._answer, answered, started, ended)
        except Exception:
            # Nothing restarts the device: readiness goes off, so that whoever watches it replaces this process.
            logger.exception("the model failed; the service is no longer ready")
            self._loop.call_soon_threadsafe(self._end)

    def _next(self) -> list[_Waiting]:
        """What waits, at most a batch, when there is something; empty at the end."""
        batch: list[_Waiting] = []
        while len(batch) < self._max_batch and not (batch and self._queue.empty()):
            item = self._queue.get()
            if item is None:
                return []
            if not item.future.done():  # else its client has gone
                batch.append(item)
        return batch

    def _answer(self, answered: list[tuple[_Waiting, Embedded]], started: float, ended: float) -> None:
        for item, answer in answered:
            if not item.future.done():
                item.future.set_result(answer)
        self._on_batch(ended - started, [started - item.since for item, _ in answered])

    def _end(self) -> None:
        self.ready = False
        for future in self._unanswered:
            if not future.done():
                future.set_exception(_not_ready())


def _not_ready() -> ServingError:
    return ServingError("not_ready", "the model is not running; the service must be restarted")
