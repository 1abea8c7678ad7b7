"""A greedy micro-batcher: whatever waits when the device becomes free is one batch.

There is no timer: a lone request never waits for company, and under load batches fill themselves while the device is
busy with the one before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
    """

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
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._serve(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._device.shutdown(wait=True)

    @property
    def ready(self) -> bool:
        """Whether images are taken: it has been started, and the device has never failed."""
        return self._task is not None and not self._task.done()

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
        if len(self._queue) + len(images) > self._max_queue:
            raise busy(f"{len(self._queue)} images wait for the model")
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        waiting = [_Waiting(image, loop.create_future(), now) for image in images]
        self._queue.extend(waiting)
        self._arrived.set()
        if len(waiting) == 1:
            return [await waiting[0].future]
        return list(await asyncio.gather(*(item.future for item in waiting)))

    async def _serve(self) -> None:
        batch: list[_Waiting] = []
        try:
            while True:
                await self._arrived.wait()
                batch = self._take()
                if batch:
                    await self._run_batch(batch)
        except asyncio.CancelledError:
            raise
        except Exception:
            # Nothing restarts the device: readiness goes off, so that whoever watches it replaces this process.
            logger.exception("the model failed; the service is no longer ready")
        finally:
            for item in (*batch, *self._queue):
                if not item.future.done():
                    item.future.set_exception(_not_ready())
            self._queue.clear()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_batch:
            item = self._queue.popleft()
            if not item.future.done():  # else its client has gone
                batch.append(item)
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _run_batch(self, batch: list[_Waiting]) -> None:
        images = [item.image for item in batch]
        started = time.perf_counter()
        outputs = await asyncio.get_running_loop().run_in_executor(self._device, self._run, images)
        self._on_batch(time.perf_counter() - started, [started - item.since for item in batch])
        for item, embedding, cosines in zip(batch, outputs.embeddings, outputs.cosines, strict=True):
            if not item.future.done():
                item.future.set_result(Embedded(embedding, cosines))


def _not_ready() -> ServingError:
    return ServingError("not_ready", "the model is not running; the service must be restarted")
