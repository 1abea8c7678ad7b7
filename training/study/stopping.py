"""Stopping a study between the steps of its trainings, which take signals themselves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from training.stop import StoppedError


@contextmanager
def stopping_at_once(out: Path) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM break off what runs. Outside the main thread signals are not ours to take.

    Args:
        out: folder to go on from, for the message.

    Raises:
        StoppedError: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        # The same signal again acts as it would without us; another, such as a parent's after Ctrl-C, is the same wish.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if len(came) == 1:
            # Not an Exception, which a library on the way might hold up.
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        number = came[0] if came else signal.SIGINT
        raise StoppedError(f"stopped: the same command goes on from {out}", number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
