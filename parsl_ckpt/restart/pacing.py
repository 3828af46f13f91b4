"""When a session commits: every so many writes, as it pays, and when a signal has come.

Rule of this file: it is asked and told, and commits nothing itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, Union

from parsl_ckpt.checkpoint.rows import Row

from .interval import AutoInterval
from .signals import Watch

Interval = Union[int, Literal["auto"], None]  # noqa: UP007 (Python 3.10 cannot)


class Pace:
    """The rule of one session.

    Args:
        interval: number of writes from one commit to the next; None: never by itself; ``"auto"``:
            as it pays.
        stop: have :meth:`answer` raise when a signal has come.
        clock: gives seconds that never go backwards.
    """

    def __init__(
        self, interval: Interval, stop: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._watch = Watch(stop)
        self._clock = clock
        self._auto: AutoInterval | None = None

    def open(self, rows: Callable[[], Sequence[Row]]) -> None:
        """The session begins.

        Args:
            rows: gives what is on record.
        """
        self._watch.open()
        if self._interval == "auto":
            self._auto = AutoInterval(*record_of(rows()), clock=self._clock)

    def close(self) -> None:
        """The session is over."""
        self._watch.close()

    def wrote(self) -> None:
        """A step is done."""
        if self._auto is not None:
            self._auto.wrote()

    def committed(self, seconds: float) -> None:
        """A commit is done, and took so long."""
        if self._auto is not None:
            self._auto.committed(seconds)

    def due(self, count: int) -> bool:
        """Whether that many steps are to be committed now."""
        if self._watch.due:
            return True
        interval = self.interval
        return interval is not None and count % interval == 0

    def answer(self) -> None:
        """What was due is committed.

        Raises:
            CheckpointedStop: a signal asked for it, and ``stop`` was asked for.
        """
        self._watch.answer()

    @property
    def interval(self) -> int | None:
        """Number of writes from one commit to the next, as it is now."""
        if self._auto is not None:
            return self._auto.interval
        return self._interval if isinstance(self._interval, int) else None


def record_of(rows: Sequence[Row]) -> tuple[float, int]:
    """Seconds of work on record, and how often it was taken up again.

    Every opening but the first counts as an interruption: that a run was ended in order, to be made
    longer later, is rare, and costs a few commits too many.
    """
    spans: dict[int, tuple[int, int]] = {}
    for row in rows:
        at = row.session.at
        first, last = spans.get(row.session.attempt, (at, at))
        spans[row.session.attempt] = min(first, at), max(last, at)
    seconds = sum(last - first for first, last in spans.values()) / 1e9
    return seconds, max(0, len(spans) - 1)
