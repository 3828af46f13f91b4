"""One thread that makes calls at their times: periodic flushes, background syncs, delayed retries.

*Guarantees.*  A call is made once, not before its time, unless it was cancelled or the timer
closed.

*Assumptions.*  Calls are short, or hand their work to others.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)


class Clock(Protocol):
    """Where the time comes from and how calls are made later; tests bring their own."""

    def now(self) -> float:
        """Seconds on a clock that never goes backwards."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have ``call()`` made in ``seconds``."""

    def close(self) -> None:
        """Make no more calls."""


class Timer:
    """The real :class:`Clock`: a thread over a heap, started with the first call to make."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have ``call()`` made on the timer's thread in ``seconds``."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._heap, (self.now() + seconds, next(self._order), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Make no more calls and let the thread end."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._heap or self._heap[0][0] > self.now()):
                    left = self._heap[0][0] - self.now() if self._heap else threading.TIMEOUT_MAX
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                if self._closed:
                    return
                call = heapq.heappop(self._heap)[2]
            try:
                call()
            except BaseException:  # the thread must outlive whatever is called
                logger.exception("A timed call failed; this is a bug in parsl_ckpt.")
            del call
