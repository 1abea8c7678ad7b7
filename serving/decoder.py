"""Bytes to pixels: the part that meets hostile files."""

from __future__ import annotations

import asyncio
import io
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import ServingError, busy
from zoo.bundle import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_ASPECT_RATIO = 100
MAX_SCANS = 100
"""Of one JPEG. Progressive ones have some ten; each goes over the whole picture, whatever little it adds to it."""

_MAX_SEGMENTS = 10_000
_END, _SCAN = 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""Of a segment, or the end. Others have no length to libjpeg, and one that was made up could hide what follows."""

_DRAFT = 2  # times the size after resizing; at 1 the differences from exact are twice as large


class Decoder:
    """Turns the bytes of image files into a model's input, in a bounded pool of threads.

    Args:
        preprocessing: what the model expects.
        max_pixels: larger pictures are refused before they are decoded.
        threads: how many pictures are decoded at a time.
        max_pending: how many pictures may wait or be decoded; more are refused as "busy".
        mode: "exact", equal to timm's evaluation, or "fast", which decodes a large JPEG at a half, a quarter or an
            eighth of its size, but not below twice of what the model's resizing makes of it.
        on_decoded: told the seconds of every picture, in the thread that decoded it.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        max_pixels: int,
        threads: int,
        max_pending: int,
        mode: str = "exact",
        on_decoded: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._preprocessing = preprocessing
        self._max_pixels = max_pixels
        self._max_pending = max_pending
        self._mode = mode
        self._on_decoded = on_decoded
        self._pending = 0
        self._counting = threading.Lock()
        # Pillow's own limit is the whole process's, a warning up to twice its size, and before ours.
        Image.MAX_IMAGE_PIXELS = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode one file to uint8 (size, size, 3), RGB.

        Raises:
            ServingError: "unsupported_media_type" where it is no JPEG, PNG or WebP, "invalid_image" where it is
                empty, damaged, too large or too narrow.
        """
        if not data:
            raise ServingError("invalid_image", "the image is empty")
        kind = sniff(data)
        if kind is None:
            raise ServingError("unsupported_media_type", f"not an image that is taken here; send {', '.join(FORMATS)}")
        if kind == "JPEG":
            _check_scans(data)
        try:
            # Only the sniffed plugin may see the bytes: Pillow has others that start programs (EPS).
            with Image.open(io.BytesIO(data), formats=(kind,)) as image:
                self._check_size(*image.size)
                if self._mode == "fast":
                    self._draft(image)
                return self._preprocessing.pixels(image)
        except ServingError:
            raise
        except Exception as error:
            # Pillow's parsers raise nearly any class on damaged files (SyntaxError and struct.error among them).
            raise ServingError("invalid_image", f"the {kind} is damaged or truncated and cannot be decoded") from error

    async def decode_all(self, files: Sequence[bytes]) -> list[NDArray[np.uint8] | ServingError]:
        """Decode several files at once; one that fails gives its error in its place.

        Raises:
            ServingError: "busy" where too many wait already; none was begun then.
        """
        if self._pending + len(files) > self._max_pending:
            raise busy(f"{self._pending} images wait to be decoded")
        with self._counting:
            self._pending += len(files)
        futures = [self._submit(data) for data in files]
        if len(futures) == 1:
            try:
                return [await futures[0]]
            except ServingError as error:
                return [error]
        results: list[NDArray[np.uint8] | ServingError] = []
        for result in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, ServingError):
                raise result
            results.append(result)
        return results

    def _timed(self, data: bytes) -> NDArray[np.uint8]:
        started = time.perf_counter()
        try:
            return self.decode(data)
        finally:
            self._on_decoded(time.perf_counter() - started)

    def _submit(self, data: bytes) -> asyncio.Future[NDArray[np.uint8]]:
        future = self._pool.submit(self._timed, data)
        # Where the client has gone, what still waits is dropped and its permit goes back, and what a thread has begun
        # keeps its own until the thread is free: not the asyncio future, which is over at once.
        future.add_done_callback(self._release)
        return asyncio.wrap_future(future)

    def _release(self, _: Future[NDArray[np.uint8]]) -> None:
        with self._counting:
            self._pending -= 1

    def _draft(self, image: Image.Image) -> None:
        """Let the JPEG decoder leave out frequencies that resizing would throw away; others are left as they are."""
        preprocessing = self._preprocessing
        scale = _DRAFT * preprocessing.size / preprocessing.crop_pct / min(image.size)
        if scale < 1:
            image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise ServingError(
                "invalid_image",
                f"the image has too many pixels ({width} x {height}): at most {self._max_pixels} are decoded; send a "
                "smaller one",
            )
        if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
            raise ServingError(
                "invalid_image",
                f"the image is {width} x {height} pixels: one side is more than {MAX_ASPECT_RATIO} times the other",
            )


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that takes minutes to decode, however small it is.

    Up to its end alone: what cameras append, a film for instance, holds any bytes. What ends without a scan are tables
    alone, after which Pillow reads on.

    Raises:
        ServingError: it has too many scans or segments.
    """
    scans, segments, place = 0, 0, 2
    while found := _MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        if marker == _END and scans:
            return
        segments += 1
        scans += marker == _SCAN
        if scans > MAX_SCANS or segments > _MAX_SEGMENTS:
            what = f"{MAX_SCANS} scans" if scans > MAX_SCANS else f"{_MAX_SEGMENTS} segments"
            raise ServingError("invalid_image", f"the JPEG has more than {what}: save it again")
        if marker != _END:
            place += int.from_bytes(data[place : place + 2], "big")


def sniff(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes announce, or None where it is not one of :data:`FORMATS`."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return None
