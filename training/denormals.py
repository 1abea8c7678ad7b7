"""Numbers too small for their type's full precision, which a CPU computes with many times as slowly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Have the CPU take and give zero in their place, where it can; also a decorator.

    The momentum of a dead channel, whose gradient is zero, shrinks at every step until it is one, and stays one: the
    least of them times 0.95 rounds to itself. One channel of 128 makes Muon's matrix products six times as slow.

    It holds for this thread, and for those that torch starts from then on: begin with it.
    """
    before = are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def are_zero() -> bool:
    """Whether this thread takes them for zero."""
    least = torch.ones(1, dtype=torch.int32).view(torch.float32)  # by its bits, as arithmetic could make a zero of it
    return not (least * 1).view(torch.int32).item()
