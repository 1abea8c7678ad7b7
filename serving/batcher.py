"""A greedy micro-batcher: whatever waits when the device becomes free is one batch.

There is no timer: a lone request never waits for company, and under load batches fill themselves while the device is
busy with the one before. A device of several lanes works on as many batches at a time while there are images for all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from serving.errors import ServingError, busy
from serving.lane import Run
from serving.line import Line

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
    """Brings the images of all requests to the device's threads. Use as an async context manager.

    Args:
        run: the whole device; called with at most ``max_batch`` images, in one thread.
        shape: (H, W, 3) of every image.
        lanes: parts of the device, each called in a thread of its own, beside each other and beside ``run``; they do
            the work while there is an image for every one of them.
        max_batch: most images in one call.
        max_queue: most images that wait; more are refused as "busy".
        on_batch: told of every batch its seconds on the device, and the seconds that each of its images has waited.

    Attributes:
        ready: whether images are taken: it has been started, and the device has never failed.
    """

    ready = False

    def __init__(
        self,
        run: Run,
        shape: tuple[int, int, int],
        *,
        lanes: Sequence[Run] = (),
        max_batch: int = 32,
        max_queue: int = 256,
        on_batch: Callable[[float, Sequence[float]], None] = lambda seconds, waited: None,
    ) -> None:
        self._run = run
        self._lanes = tuple(lanes) or (run,)
        self._shape = shape
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._line: Line[_Waiting] = Line(len(self._lanes), max_batch, gone=lambda item: item.future.done())
        self._unanswered: set[asyncio.Future[Embedded]] = set()
        # Threads of their own and no executor: they go on with the next batch without waiting for the event loop.
        self._threads = [
            Thread(target=self._work, args=(lane,), name=f"device-{lane}", daemon=True)
            for lane in range(len(self._lanes))
        ]

    async def __aenter__(self) -> Batcher:
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()
        self.ready = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)

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
        if len(self._line) + len(images) > self._max_queue:
            raise busy(f"{len(self._line)} images wait for the model")
        now = time.perf_counter()
        waiting = [_Waiting(image, self._loop.create_future(), now) for image in images]
        for item in waiting:
            self._unanswered.add(item.future)
            item.future.add_done_callback(self._unanswered.discard)
        self._line.put(waiting)
        if len(waiting) == 1:
            return [await waiting[0].future]
        return list(await asyncio.gather(*(item.future for item in waiting)))

    def _work(self, lane: int) -> None:
        """A thread of the device: a batch after the other, until there is no more or the device fails."""
        try:
            while (taken := self._line.take(lane)) is not None:
                batch, crowded = taken
                started = time.perf_counter()
                outputs = (self._lanes[lane] if crowded else self._run)([item.image for item in batch])
                ended = time.perf_counter()
                answers = [Embedded(*each) for each in zip(outputs.embeddings, outputs.cosines, strict=True)]
                answered = list(zip(batch, answers, strict=True))
                self._line.done(len(batch))  # before anybody who has an answer can send the next image
                self._loop.call_soon_threadsafe(self._answer, answered, started, ended)
        except Exception:
            # Nothing restarts the device: readiness goes off, so that whoever watches it replaces this process.
            logger.exception("the model failed; the service is no longer ready")
            self._loop.call_soon_threadsafe(self._end)

    def _answer(self, answered: list[tuple[_Waiting, Embedded]], started: float, ended: float) -> None:
        for item, answer in answered:
            if not item.future.done():
                item.future.set_result(answer)
        self._on_batch(ended - started, [started - item.since for item, _ in answered])

    def _end(self) -> None:
        self.ready = False
        self._line.close()
        for future in self._unanswered:
            if not future.done():
                future.set_exception(_not_ready())


def _not_ready() -> ServingError:
    return ServingError("not_ready", "the model is not running; the service must be restarted")
