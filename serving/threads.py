"""Threads of their own for what may wait long, so that whoever needs a thread for something else gets one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from serving.errors import busy

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking work.

    Args:
        name: of the threads.
        threads: how many works run at a time.
        most: how many may run or wait; None means any number.
        waiting: what those that wait are called in the refusal of one more.
    """

    def __init__(self, name: str, threads: int, *, most: int | None = None, waiting: str = "requests wait") -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = most
        self._waiting = waiting
        self._pending = 0
        self._counting = threading.Lock()

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives. Where nobody awaits it any more it is dropped, unless it has begun.

        Raises:
            ServingError: "busy" where too many wait already.
        """
        with self._counting:
            if self._most is not None and self._pending >= self._most:
                raise busy(f"{self._pending} {self._waiting}")
            self._pending += 1
        future = self._pool.submit(partial(work, *args, **kwargs))
        # Not the asyncio future, which is over at once where the client goes away.
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, _: Future[T]) -> None:
        with self._counting:
            self._pending -= 1
