"""How long a recorded outcome holds, where its app says so: ``valid_for`` and ``valid_if``.

Rule of this file: what cannot be told counts as not valid.  A call whose record is not valid runs
again, and the newer record takes the older one's place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from parsl_ckpt.checkpoint.store import Store, Stored
from parsl_ckpt.errors import AppDefinitionError
from parsl_ckpt.kernel import watching
from parsl_ckpt.kernel.spans import Span, seconds_of

Warn = Callable[[str, str, str], None]


class Recorded:
    """A recorded outcome, as ``valid_if`` is shown it.

    Attributes:
        app: name of the app.
        began: when the call began, in seconds since the epoch.
        seconds: how long it took.
        tries: attempts that it took.
        worker: name of what ran it.
        version: the app's version then.
        checkpoint: the directory that the record is in.
    """

    __slots__ = (
        "_store", "_stored", "app", "began", "checkpoint", "seconds", "tries", "version", "worker",
    )  # fmt: skip

    def __init__(self, store: Store, stored: Stored) -> None:
        result = stored.result
        self._store = store
        self._stored = stored
        self.app = result.app
        self.began = result.began
        self.seconds = result.seconds
        self.tries = result.tries
        self.worker = result.worker
        self.version = result.version
        self.checkpoint = stored.directory

    @property
    def age(self) -> float:
        """Seconds since the call ended."""
        return max(0.0, time.time() - self.began - self.seconds)

    def value(self) -> Any:
        """The outcome, decoded afresh.

        Raises:
            UnreadableRecordError: it cannot be read.
        """
        return self._store.value(self._stored)

    def __repr__(self) -> str:
        return f"<Recorded {self.app}, {self.age:.0f} s old, in {os.path.dirname(self.checkpoint)}>"


class Validity:
    """Whether records of one app hold.

    Args:
        app: its name, for messages.
        store: where the records are.
        seconds: how old they may be; None for any age.
        condition: called with a :class:`Recorded`; a false answer makes the call run again.
        inputs: the files that were noted while it ran must be what they were.
        warn: ``warn(cause, app, text)``, told when the condition raises.
    """

    __slots__ = ("_app", "_condition", "_inputs", "_seconds", "_store", "_warn")

    def __init__(
        self,
        app: str,
        store: Store,
        seconds: float | None,
        condition: Callable[[Recorded], object] | None,
        inputs: bool,
        warn: Warn,
    ) -> None:
        self._app = app
        self._store = store
        self._seconds = seconds
        self._condition = condition
        self._inputs = inputs
        self._warn = warn

    @property
    def restricts(self) -> bool:
        """Whether there is any condition."""
        return self._inputs or self._seconds is not None or self._condition is not None

    def __call__(self, stored: Stored) -> bool:
        """Whether a record may be used."""
        result = stored.result
        if self._seconds is not None:
            # Counted from the end of the call; one from the future is of another clock, or of none.
            age = time.time() - result.began - result.seconds
            if not -_SKEW <= age <= self._seconds:
                return False
        if self._inputs:
            note = self._store.note(stored.record_id, watching.UNDECLARED)
            if note is not None and not watching.unchanged(watching.decode(note)):
                return False
        if self._condition is None:
            return True
        try:
            return bool(self._condition(Recorded(self._store, stored)))
        except Exception as error:
            self._warn(
                f"valid_if {self._app}",
                self._app,
                f"valid_if of {self._app} raised {type(error).__name__}: {error}; "
                "its calls run again.",
            )
            return False


_SKEW = 300.0  # seconds by which the clocks of two hosts may differ


def seconds_valid(app: str, span: Span) -> float:
    """``valid_for`` in seconds.

    Args:
        app: whose it is, for the error.
        span: a span of time, see :func:`~parsl_ckpt.kernel.spans.seconds_of`.

    Raises:
        AppDefinitionError: it is no span of time, or not positive.
    """
    seconds = seconds_of(span)
    if seconds is None or not 0 < seconds < float("inf"):
        raise AppDefinitionError(
            f"{app}: valid_for={span!r} is not a span of time.",
            hint="Use '7d', '12h', '30m', '45s', 'HH:MM:SS', a timedelta, or a number of seconds.",
            app=app,
            parameter="valid_for",
        )
    return seconds
