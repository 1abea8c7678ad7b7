"""How glibc, where it is there, deals with memory."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of malloc.h."""
_LARGE = 2 << 20


def give_back_what_is_large() -> None:
    """Give large blocks back to the system as soon as they are freed. Elsewhere than with glibc this does nothing.

    Left to itself, glibc keeps blocks as large as the largest that was ever freed: 80 MB once a ResNet-18 is loaded.
    ONNX Runtime, which computes with large blocks again and again, keeps its own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
