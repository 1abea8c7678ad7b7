"""Where images wait for the threads of a device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition, Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """First come, first served, by one thread for each lane of the device.

    While fewer items wait or are worked on than there are lanes, the first lane alone takes them: it has the whole
    device. From then on it is crowded, and every lane takes its share.

    Args:
        lanes: how many there are.
        most: items that a lane takes at a time.
        gone: whether nobody wants an item any more; no lane gets it.
    """

    def __init__(self, lanes: int, most: int, gone: Callable[[T], bool] = lambda item: False) -> None:
        self._lanes, self._most, self._gone = lanes, most, gone
        self._waiting: deque[T] = deque()
        self._working = 0
        self._closed = False
        lock = Lock()
        # Two conditions, as nobody but the first lane need wake up for a lone item.
        self._first, self._others = Condition(lock), Condition(lock)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, items: Iterable[T]) -> None:
        """Add to the end."""
        with self._first:
            self._waiting.extend(items)
            self._first.notify()
            if self._crowded():
                self._others.notify(len(self._waiting))

    def take(self, lane: int) -> tuple[list[T], bool] | None:
        """The next items of a lane, one at least, and whether it is crowded; waits for them. None when closed."""
        turn = self._first if lane == 0 else self._others
        with turn:
            while not self._closed:
                crowded = self._crowded()
                if self._waiting and (crowded or lane == 0):
                    share = len(self._waiting) // self._lanes if crowded else len(self._waiting)
                    items = self._wanted(max(1, min(share, self._most)))
                    self._working += len(items)
                    if items:
                        return items, crowded
                turn.wait()
        return None

    def done(self, count: int) -> None:
        """So many items that were taken are worked off."""
        with self._first:
            self._working -= count

    def close(self) -> None:
        """No lane gets anything more."""
        with self._first:
            self._closed = True
            self._waiting.clear()
            self._first.notify()
            self._others.notify_all()

    def _wanted(self, most: int) -> list[T]:
        items: list[T] = []
        while self._waiting and len(items) < most:
            item = self._waiting.popleft()
            if not self._gone(item):
                items.append(item)
        return items

    def _crowded(self) -> bool:
        return 1 < self._lanes <= len(self._waiting) + self._working
