"""How glibc, where it is there, deals with memory; elsewhere these do nothing."""

from __future__ import annotations

import ctypes

# Of malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_MIB = 1 << 20


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


def _set(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
