"""How glibc, where it is there, deals with memory; elsewhere these do nothing."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

# Of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_MIB = 1 << 20

_lock = RLock()  # a collection of garbage may end an iterator that keeps memory while another begins
_keepers: list[object] = []


def for_loading() -> None:
    """Give blocks of 2 MiB and more back to the system as soon as they are freed.

    Left to itself, glibc keeps blocks as large as the largest that was ever freed: 80 MB once a ResNet-18 is loaded.
    """
    _set(_MMAP_THRESHOLD, 2 * _MIB)


def for_serving() -> None:
    """Keep what a picture of up to two megapixels is decoded in: each thread that decodes has up to 8 MiB for the next.

    What glibc gives back, the system clears before it is given out again: up to a fifth of the time of decoding.
    """
    _set(_MMAP_THRESHOLD, 8 * _MIB)
    _set(_TRIM_THRESHOLD, 8 * _MIB)


@contextmanager
def kept() -> Iterator[None]:
    """Keep what a step has freed for the next one, and give it back at the end.

    Left to itself, glibc maps each block of 32 MiB and more anew, as feature maps of a batch are, and the system
    clears it page by page: up to a third of the time of training or evaluating a small network on a CPU. Afterwards it
    is as glibc has it once it has freed such a block.
    """
    with _lock:
        _keepers.append(keeper := object())
        if len(_keepers) == 1:
            if not _set(_MMAP_THRESHOLD, 1024 * _MIB):
                # Versions before 2.35 take no more than half of a thread's heap.
                _set(_MMAP_THRESHOLD, 32 * _MIB)
            _set(_TRIM_THRESHOLD, 2047 * _MIB)
    try:
        yield
    finally:
        with _lock:
            _keepers.remove(keeper)
            if not _keepers:
                _set(_MMAP_THRESHOLD, 32 * _MIB)
                _set(_TRIM_THRESHOLD, 64 * _MIB)
                _call("malloc_trim", 0)


def _set(parameter: int, value: int) -> bool:
    return _call("mallopt", parameter, value)


def _call(name: str, *arguments: int) -> bool:
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None), name, None)
    return function is not None and bool(function(*arguments))
