"""Endings that a program does not ask for: the plain end of the script, exceptions, SIGTERM.

    SIGTERM ─► C-level handler ─► wake-up fd ─► watcher thread ─► end every kernel ─► die of it
                     └─► (main thread, when it gets there) ─► previous handler

Companions (sessions of loops, ``restart/signals.py``) are told before the kernels end, and have the
last word before the process dies.

*Guarantees.*  A signal handler is installed from the main thread only, with the first kernel, and
what was installed before is called afterwards, or its default taken.  A second SIGTERM ends at
once. SIGINT is left as it was: it raises KeyboardInterrupt in the main thread.  A forked child
does none of this.

*Assumptions.*  ``threading._register_atexit`` calls back before the interpreter joins its threads
and before ``concurrent.futures`` ends its pools, if registered after those.
"""

from __future__ import annotations

import concurrent.futures.process
import concurrent.futures.thread  # noqa: F401  # both register endings; ours comes first
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class Endable(Protocol):
    """A kernel, as the endings see it."""

    def end_on_signal(self) -> None:
        """Save what is complete and end within the grace of the configuration."""

    def end_at_exit(self, exceptional: bool) -> None:
        """End at the plain end of the program, or after an uncaught exception."""


class Companion(Protocol):
    """Who has a say, beside the kernels, when a signal ends the process."""

    def told(self) -> None:
        """A signal has come; the kernels are ended after this."""

    def last_words(self) -> None:
        """The kernels have ended; the process dies when this returns."""


companions: list[Companion] = []


class _Endings:
    """The endings of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.kernels: weakref.WeakSet[Any] = weakref.WeakSet()
        self.lock = threading.Lock()
        self.previous: Any = None
        self.installed = False
        self.ended = threading.Event()
        self.begun = threading.Lock()
        self.sender: socket.socket | None = None
        self.signals = 0


_endings: _Endings | None = None


def register(kernel: Endable) -> None:
    """Have a kernel ended with the process."""
    global _endings
    if _endings is None or _endings.pid != os.getpid():
        _endings = _Endings()
        threading._register_atexit(_at_exit, _endings)  # type: ignore[attr-defined]
    with _endings.lock:
        _endings.kernels.add(kernel)
    if threading.current_thread() is threading.main_thread():
        _install(_endings)


def unregister(kernel: Endable) -> None:
    """Forget a kernel that has ended; with the last one the signal handler goes too."""
    endings = _endings
    if endings is None or endings.pid != os.getpid():
        return
    with endings.lock:
        endings.kernels.discard(kernel)
        last = not endings.kernels
    if last and threading.current_thread() is threading.main_thread():
        _uninstall(endings)


def _at_exit(endings: _Endings) -> None:
    if endings.pid != os.getpid():
        return
    exceptional = getattr(sys, "last_value", None) is not None
    for kernel in list(endings.kernels):
        try:
            kernel.end_at_exit(exceptional)
        except BaseException:
            logger.exception("Ending a kernel at exit failed.")


def _install(endings: _Endings) -> None:
    if endings.installed or not hasattr(signal, "SIGTERM"):
        return
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        return  # not Python's to handle, or the user wants it ignored
    endings.previous = previous
    signal.signal(signal.SIGTERM, on_sigterm)
    endings.installed = True
    _watch(endings)


def _uninstall(endings: _Endings) -> None:
    if not endings.installed:
        return
    endings.installed = False
    if signal.getsignal(signal.SIGTERM) is on_sigterm:
        signal.signal(signal.SIGTERM, endings.previous)
    if endings.sender is not None:
        sender, endings.sender = endings.sender, None
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, sender.fileno()):
            signal.set_wakeup_fd(current)  # someone has taken it over since
        sender.close()


def _watch(endings: _Endings) -> None:
    """Let a thread act on the signal even while the main thread is inside a long C call."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    if before != -1:  # an event loop has it: leave it there, the handler alone must do
        signal.set_wakeup_fd(before)
        sender.close()
        receiver.close()
        return
    endings.sender = sender
    threading.Thread(
        target=_watcher, args=(endings, receiver), name="parsl_ckpt-signals", daemon=True
    ).start()


def _watcher(endings: _Endings, receiver: socket.socket) -> None:
    seen = 0
    with receiver:
        while numbers := receiver.recv(64):
            for number in numbers:
                if number == signal.SIGTERM:
                    seen += 1
                    if seen == 1:
                        threading.Thread(target=_end_all, args=(endings,), daemon=True).start()
                    else:
                        _die(endings)


def on_sigterm(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM."""
    endings = _endings
    if endings is None:
        return
    begin()
    endings.ended.wait()
    if callable(endings.previous):
        _uninstall(endings)
        endings.previous(number, frame)


def begin() -> Any:
    """Begin to end the kernels, for handlers of SIGTERM; the watcher, where there is one, does so.

    Returns:
        The handler that was there before the kernels.
    """
    endings = _endings
    if endings is None:
        return None
    if endings.sender is None:  # no watcher
        endings.signals += 1
        if endings.signals > 1:
            _die(endings)
        threading.Thread(target=_end_all, args=(endings,), daemon=True).start()
    return endings.previous


def _end_all(endings: _Endings) -> None:
    if not endings.begun.acquire(blocking=False):
        return
    try:
        calls = [companion.told for companion in companions]
        calls += [kernel.end_on_signal for kernel in list(endings.kernels)]
        if not callable(endings.previous):
            calls += [companion.last_words for companion in companions]
        for call in calls:
            try:
                call()
            except BaseException:
                logger.exception("Ending a kernel on a signal failed.")
    finally:
        endings.begun.release()
        if not callable(endings.previous):
            _die(endings)
        endings.ended.set()


def _die(endings: _Endings) -> None:
    """Take the signal's default, from whichever thread."""
    _flush_streams()
    restore: Callable[[int, int], Any] = ctypes.CDLL(None).signal
    restore(int(signal.SIGTERM), 0)  # SIG_DFL; signal.signal works in the main thread only
    os.kill(os.getpid(), signal.SIGTERM)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _after_fork() -> None:
    """In a forked child: undo it all.

    The wake-up descriptor is shared with the parent, and what the child's signals write there would
    end the parent.
    """
    endings = _endings
    if endings is None or not endings.installed:
        return
    endings.installed = False
    if endings.sender is not None:
        signal.set_wakeup_fd(-1)
        endings.sender.close()  # the parent's copy stays open
        endings.sender = None
    if signal.getsignal(signal.SIGTERM) is on_sigterm:
        signal.signal(signal.SIGTERM, endings.previous)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
