"""Time limits of calls that share their process with others: as good as a thread allows.

::

    Limited(fn) ── starts ──► timer ── walltime is over ─► asks the interpreter to raise AppTimeout
        │                                                  in the thread that runs fn
        └─ fn ends first ─► takes the token: the timer finds it gone

A thread cannot be stopped from outside; an exception can be raised in it between two bytecodes.  So
code in C (a long ``sleep``, a solver) is interrupted when it comes back to Python, and a function
that catches the error goes on.  Executors that own their workers do better: see ``pool.py``.

Guarantees
    * No error reaches the thread after the call is over, so none hits the task that follows.
    * A function that returns has succeeded, however late.

Assumptions
    * The interpreter is CPython.

The way is Parsl's: https://parsl.readthedocs.io (``walltime`` of apps).
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from parsl_ckpt.errors import AppTimeout

__all__ = ["Limited", "too_slow"]


def too_slow(app: str, walltime: float) -> AppTimeout:
    """The error of a call that took longer than it may."""
    return AppTimeout(
        f"App {app!r} took longer than its walltime of {walltime:g} s.",
        hint="Allow a longer walltime=, or give it less to do at a time.",
        app=app,
        walltime=walltime,
    )


class Limited:
    """A function that fails with ``AppTimeout`` when it takes too long.

    Args:
        fn: the function.
        walltime: seconds that it may take.
        app: name of the app, for the error.

    >>> Limited(pow, 60.0, "power")(2, 10)
    1024
    """

    def __init__(self, fn: Callable[..., Any], walltime: float, app: str) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.walltime = walltime
        self.app = app

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fuse = _Fuse()
        timer = threading.Timer(self.walltime, fuse.burn)
        timer.daemon = True
        try:
            try:
                timer.start()
                value = self.fn(*args, **kwargs)
            finally:
                in_time = fuse.quench()
        except AppTimeout as error:
            if in_time or isinstance(error.__cause__, AppTimeout) or error.fields:
                raise  # one of its own
            raise too_slow(self.app, self.walltime).with_traceback(
                error.__traceback__ and error.__traceback__.tb_next
            ) from None
        finally:
            timer.cancel()
        return value

    def __reduce__(self) -> Any:
        return Limited, (self.fn, self.walltime, self.app)


class _Fuse:
    """Raises ``AppTimeout`` in the thread that made it, if it burns before it is quenched."""

    def __init__(self) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._token = [None]  # whoever pops it has decided which of the two comes first
        self._burnt = False

    def burn(self) -> None:
        if self._take():
            _raise_in(self._thread, ctypes.py_object(AppTimeout))
            self._burnt = True

    def quench(self) -> bool:
        """Called by that thread: nothing is raised afterwards; whether it has come in time."""
        if self._take():
            return True
        while True:
            try:
                while not self._burnt:  # no lock: what is on its way may be raised right here
                    time.sleep(0)
                # In the place of what has not been raised yet.  Taking that back instead would
                # leave the interpreter looking for it at every turn, until one is raised somewhere.
                _raise_in(self._thread, ctypes.py_object(_Quenched))
                while True:
                    time.sleep(0)
            except AppTimeout:
                continue
            except _Quenched:
                return False

    def _take(self) -> bool:
        try:
            self._token.pop()
        except IndexError:
            return False
        return True


class _Quenched(BaseException):
    """Raised, and caught, where nothing else is to be raised any more."""


_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
