"""A clock that stands still until it is told to go on, for tests of what happens at certain times.

>>> clock = FakeClock()
>>> clock.call_later(60.0, lambda: print("a minute is over"))
>>> clock.advance(59.0)
>>> clock.advance(1.0)
a minute is over
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

__all__ = ["FakeClock"]


class FakeClock:
    """A :class:`parsl_ckpt.kernel.timer.Clock` whose time passes by :meth:`advance` alone.

    Args:
        start: the time at the beginning.

    Attributes:
        closed: whether it makes no more calls.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self.closed = False

    @property
    def waiting(self) -> int:
        """How many calls wait for their time."""
        return len(self._heap)

    def now(self) -> float:
        """Seconds."""
        return self._now

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have ``call()`` made by the :meth:`advance` that reaches its time."""
        with self._lock:
            if not self.closed:
                heapq.heappush(self._heap, (self._now + seconds, next(self._order), call))

    def advance(self, seconds: float) -> None:
        """Let time pass; calls whose time comes are made in its order, in this thread.

        Each is made at its own time, so one that asks to be called again within ``seconds`` is.
        """
        until = self._now + seconds
        while (due := self._next(until)) is not None:
            due()
        self._now = until

    def _next(self, until: float) -> Callable[[], None] | None:
        with self._lock:
            if not self._heap or self._heap[0][0] > until:
                return None
            at, _, call = heapq.heappop(self._heap)
            self._now = max(self._now, at)
            return call

    def close(self) -> None:
        """Make no more calls."""
        with self._lock:
            self.closed = True
            self._heap.clear()
