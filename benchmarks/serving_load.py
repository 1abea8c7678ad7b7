"""Closed-loop clients, each a process with one connection that sends its next request when it has the answer."""

from __future__ import annotations

import http.client
import io
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

_BOUNDARY = "b0undary"


@dataclass(frozen=True)
class Load:
    """What the clients of one run have seen.

    Attributes:
        seconds: that they ran.
        latencies: seconds of every request, sorted.
    """

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return 1000 * float(np.quantile(self.latencies, share))


def photographs(count: int, width: int = 640, height: int = 480) -> list[bytes]:
    """Different JPEGs, of about 105 KB."""
    return [photograph(width, height, quality=97, seed=seed) for seed in range(count)]


def photograph(width: int, height: int, mode: str = "RGB", quality: int = 92, seed: int = 0) -> bytes:
    """A JPEG with structure at every scale, as photographs have and noise has not."""
    chance = np.random.default_rng(seed)
    layers = [_layer(chance, size, width, height) / size**0.5 for size in (4, 8, 16, 32, 64, 128, 256)]
    picture = np.sum(layers, axis=0)
    pixels = (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _layer(chance: np.random.Generator, size: int, width: int, height: int) -> np.ndarray:
    noise = chance.integers(0, 256, (size * 3 // 4, size, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)))


def form(image: bytes, field: str) -> bytes:
    """A multipart body with one file."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
    return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{_BOUNDARY}--\r\n".encode()


def load(port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Ask a server on loopback from so many processes for so long.

    Raises:
        RuntimeError: an answer was not 200; says which.
    """
    context = multiprocessing.get_context("fork")
    begin = time.monotonic() + 0.2 + 0.01 * clients  # all at once, when every one has its connection
    ends, processes = [], []
    for number in range(clients):
        mine, theirs = context.Pipe(duplex=False)
        given = (theirs, port, path, bodies, number, begin, begin + seconds)
        processes.append(context.Process(target=_client, args=given, daemon=True))
        processes[-1].start()
        theirs.close()
        ends.append(mine)
    told = [end.recv() for end in ends]
    for process in processes:
        process.join()
    failed = [one for one in told if isinstance(one, str)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {clients} clients failed; the first: {failed[0]}")
    return Load(seconds, tuple(sorted(latency for one in told for latency in one)))


def _client(
    end: Connection, port: int, path: str, bodies: Sequence[bytes], number: int, begin: float, until: float
) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        time.sleep(max(0.0, begin - time.monotonic()))
        latencies: list[float] = []
        while (started := time.monotonic()) < until:
            connection.request("POST", path, bodies[(number + len(latencies)) % len(bodies)], headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {text[:200]!r}")
            latencies.append(time.monotonic() - started)
        end.send(latencies)
    except Exception as error:  # a child's exception would be seen by nobody
        end.send(f"{type(error).__name__}: {error}")
