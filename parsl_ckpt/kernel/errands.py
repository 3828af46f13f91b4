"""Threads for what users hand us (callbacks, handlers, listeners): it may block for ever.

*Guarantees.*  An errand never waits for another errand: an idle thread is used again, and where
none is idle a new one begins.  One errand's calls are made in order, and an exception in one of
them is logged and stops nothing.

*Assumptions.*  The interpreter may end while errands run: their threads are daemons.

The idea of a cache of threads that only grows under need is trio's.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

logger = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
Call = Callable[[], object]


class Errands:
    """Runs lists of calls on threads of their own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: deque[SimpleQueue[Call]] = deque()

    def run(self, call: Call) -> None:
        """Have ``call()`` made soon, on a thread on which nothing else is running."""
        try:
            mailbox = self._idle.pop()  # atomic: an idle thread is given out once
        except IndexError:
            mailbox = SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(mailbox,), name=self._name, daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter is ending: late is too late
                logger.warning("No thread can be started for a callback; it is called in place.")
                _make(call)
                return
        mailbox.put(call)

    def _work(self, mailbox: SimpleQueue[Call]) -> None:
        while True:
            try:
                call = mailbox.get(timeout=IDLE_SECONDS)
            except Empty:
                try:
                    self._idle.remove(mailbox)
                except ValueError:  # given out at this very moment: the call is on its way
                    call = mailbox.get()
                else:
                    return
            _make(call)
            del call  # keep nothing alive while waiting
            self._idle.append(mailbox)


def _make(call: Call) -> None:
    try:
        call()
    except BaseException:
        logger.exception("An exception in a callback was ignored.")
