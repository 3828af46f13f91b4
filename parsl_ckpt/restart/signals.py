"""Signals that announce the end: what has been done since the last commit is committed in time.

::

    SIGTERM, SIGUSR1 ─► handler (main thread) ─► count ─► the next write() of every open session
                             └─► whoever was there before         commits, answers, may raise
    SIGTERM ─► kernel/shutdown.py: told ─► count;  kernels end;  last_words ─► waits for answers

*Guarantees.*  The handler is installed with the first session that is opened in the main thread,
and taken away with the last.  It commits nothing itself: a signal may arrive between any two
bytecodes.  A handler that a user had installed is called at once, as it would have been.  Where a
kernel is loaded, it ends as it does without a session; the process does not die before the
sessions have answered, for at most ``LINGER_SECONDS``.  What is ignored stays ignored.  A second
SIGTERM does what it would do without a session.

*Assumptions.*  Reading and writing one integer is atomic.  A session that is opened in another
thread hears of a signal only where the main thread has one open too, or has loaded a kernel.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from types import FrameType
from typing import Any

from parsl_ckpt.errors import CheckpointedStop
from parsl_ckpt.kernel import shutdown

__all__ = ["LINGER_SECONDS", "Watch"]

LINGER_SECONDS = 10.0
_SLICE = 0.05
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Watch:
    """One session's ear for signals.

    Args:
        stop: have :meth:`answer` raise.

    >>> watch = Watch()
    >>> watch.open()
    >>> signal.raise_signal(signal.SIGUSR1)
    >>> watch.due
    True
    >>> watch.answer()
    >>> watch.due
    False
    >>> watch.close()
    """

    __slots__ = ("__weakref__", "_seen", "stop")

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self._seen = 0

    def open(self) -> None:
        """Begin to listen; signals of earlier do not count."""
        self._seen = _heard.count
        _heard.add(self)

    def close(self) -> None:
        """Listen no more; harmless if it does not."""
        _heard.discard(self)

    @property
    def due(self) -> bool:
        """Whether a signal has come that was not answered."""
        return _heard.count != self._seen

    def answer(self) -> None:
        """What was pending is committed.

        Raises:
            CheckpointedStop: a signal asked for it, and ``stop`` was asked for.
        """
        count = _heard.count
        if count == self._seen:
            return
        self._seen = count
        if self.stop:
            name = signal.Signals(_heard.number).name
            raise CheckpointedStop(
                f"The loop was stopped by {name}, and is committed up to here.",
                hint="Run it again to continue.",
                signal=name,
            )


class _Heard:
    """What this process has heard, and who listens."""

    def __init__(self) -> None:
        self.count = 0
        self.number = int(signal.SIGTERM)
        self.terms = 0  # SIGTERMs that the handler has seen
        self._told = 0  # and those that the kernels' endings have told of
        self.previous: dict[int, Any] = {}
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._lock = threading.Lock()  # never taken by the handler

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._watches.add(watch)
        if self not in shutdown.companions:
            shutdown.companions.append(self)
        if threading.current_thread() is threading.main_thread():
            self._install()

    def discard(self, watch: Watch) -> None:
        with self._lock:
            self._watches.discard(watch)
            last = not self._watches
        if last and threading.current_thread() is threading.main_thread():
            self.uninstall()

    def _install(self) -> None:
        for number in _SIGNALS:
            if number in self.previous:
                continue
            previous = signal.getsignal(number)
            if previous is None or previous is signal.SIG_IGN:
                continue  # not Python's to handle, or the user wants it ignored
            self.previous[number] = previous
            signal.signal(number, _on_signal)

    def uninstall(self) -> None:
        """Give back what was there, unless somebody has put his own in front since."""
        for number, previous in list(self.previous.items()):
            if signal.getsignal(number) is _on_signal:
                del self.previous[number]
                signal.signal(number, previous)
        self.terms = self._told = 0

    def hear(self, number: int) -> None:
        """A signal has come to the handler; a SIGTERM may have been told of before."""
        if number == signal.SIGTERM:
            self.terms += 1
            if self.terms <= self._told:
                return
        self.number = number
        self.count += 1

    # -- a companion of the kernels' endings -------------------------------------------------------

    def told(self) -> None:
        """A SIGTERM is about to end the process; the handler may have seen it already."""
        self._told += 1
        if self._told > self.terms:
            self.number = int(signal.SIGTERM)
            self.count += 1

    def last_words(self) -> None:
        """Wait until every session has answered."""
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                waiting = [watch for watch in self._watches if watch.due]
            if not waiting:
                return
            del waiting
            time.sleep(_SLICE)


_heard = _Heard()


def _on_signal(number: int, frame: FrameType | None) -> None:
    heard = _heard
    heard.hear(number)
    previous = heard.previous.get(number)
    kernels = previous is shutdown.on_sigterm
    if kernels:
        previous = shutdown.begin()  # no waiting here: this thread may be what runs the loop
    if callable(previous):
        previous(number, frame)
    elif number == signal.SIGTERM and not kernels and heard.terms > 1:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _after_fork() -> None:
    """A forked child has no session open, and dies of SIGTERM as others do."""
    global _heard
    heard = _heard
    _heard = _Heard()
    for number, previous in heard.previous.items():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, previous)
    if heard in shutdown.companions:
        shutdown.companions.remove(heard)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
