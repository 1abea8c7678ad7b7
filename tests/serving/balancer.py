"""One address before several replicas, as a Kubernetes Service is: every connection goes to the next that takes it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit


class Balancer:
    """Hands connections round; what is under way on a replica that dies is broken off, as nobody could finish it.

    Attributes:
        url: of the one address.
        taken: how many connections each replica has taken.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._ports = [urlsplit(url).port for url in urls]
        self._turns = itertools.count()
        self.taken = [0] * len(urls)
        self.url = ""

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Until ``stop``."""
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            await stop.wait()
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._ports:
            turn = next(self._turns) % len(self._ports)
            with contextlib.suppress(ConnectionError):
                backend = await asyncio.open_connection("127.0.0.1", self._ports[turn])
                self.taken[turn] += 1
                await asyncio.gather(_copied(reader, backend[1]), _copied(backend[0], writer))
                return
        writer.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def balanced(urls: Sequence[str]) -> Iterator[Balancer]:
    """A balancer in a thread of its own."""
    balancer, loop, ready, stop = Balancer(urls), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=run, args=(balancer.serve(ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield balancer
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
