"""How often to commit: ``flush_interval="auto"``.

Rule of this file: arithmetic only.  What commits cost, how long steps take and how often the work
was interrupted is told to it; clocks are passed in.

A commit too many costs its time; a commit too few costs, at an interruption, the work since the
last one.  Young (1974) finds the least sum at ``sqrt(2 * cost * mtbf)`` seconds between commits;
Daly (2006, doi:10.1016/j.future.2004.11.016, eq. 37) adds the terms that matter when commits are
not cheap beside the time between interruptions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["PRIOR_SECONDS", "AutoInterval", "mean_time_between", "seconds_between", "steps_between"]

#: What is believed of a program of which nothing is on record: one interruption in six hours of
#: work, about what a job on a shared machine with a time limit sees.
PRIOR_SECONDS = 6 * 3600.0
LONGEST_SECONDS = 3600.0  # no estimate is good enough to risk more than this
_WEIGHT = 0.2  # of the newest measurement in the running means


def mean_time_between(seconds: float, interruptions: int, prior: float = PRIOR_SECONDS) -> float:
    """Time between interruptions, as far as the record tells.

    Args:
        seconds: of work on record.
        interruptions: how many of them ended a part of it.
        prior: counts as one more interruption after so many more seconds (the mean of a Gamma prior
            on the rate), so that a short history says little.

    >>> mean_time_between(0.0, 0)
    21600.0
    >>> mean_time_between(10 * 21600.0, 10)
    21600.0
    """
    return (prior + max(0.0, seconds)) / (1 + max(0, interruptions))


def seconds_between(cost: float, mtbf: float) -> float:
    """Seconds of work between two commits that lose the least in all.

    Args:
        cost: seconds that a commit takes.
        mtbf: mean time between interruptions, in seconds.

    >>> round(seconds_between(cost=10.0, mtbf=86400.0))
    1308
    """
    if cost <= 0:
        return 0.0
    if cost >= 2 * mtbf:
        return mtbf
    ratio = cost / (2 * mtbf)
    root = math.sqrt(2 * cost * mtbf)
    return max(0.0, root * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost)


def steps_between(cost: float, mtbf: float, step: float) -> int:
    """Steps between two commits: a power of two, and no more than an hour's worth.

    The least sum is flat: half as often, or twice, costs a quarter more. Powers of two let ranks
    that measure differently still meet: each commits where ``count % interval == 0``, so the counts
    of the slowest are counts of all.

    Args:
        cost: seconds that a commit takes.
        mtbf: mean time between interruptions, in seconds.
        step: seconds that a step takes.

    >>> steps_between(cost=0.0002, mtbf=21600.0, step=0.01)
    256
    >>> steps_between(cost=0.0002, mtbf=21600.0, step=60.0)
    1
    """
    wanted = min(seconds_between(cost, mtbf), LONGEST_SECONDS)
    if wanted <= step:
        return 1
    return 1 << min(_MOST, round(math.log2(wanted / max(step, 1e-9))))


_MOST = 20


class AutoInterval:
    """Chooses the interval while the loop runs.

    Args:
        seconds, interruptions: of the work on record, see :func:`mean_time_between`.
        clock: gives seconds that never go backwards.

    The first step is committed, because that is what tells what a commit costs.

    >>> times = iter([0.0, 0.5, 1.0, 1.5])
    >>> auto = AutoInterval(clock=lambda: next(times))
    >>> auto.interval
    1
    >>> auto.wrote(); auto.committed(0.001); auto.wrote()
    >>> auto.interval
    16
    """

    def __init__(
        self,
        seconds: float = 0.0,
        interruptions: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._interruptions = interruptions
        self._begun = self._last = clock()
        self._step: float | None = None
        self._cost: float | None = None
        self._spent = 0.0  # by commits since the last step was counted

    @property
    def interval(self) -> int:
        """Steps between two commits, as it looks now: commit where ``count % interval == 0``."""
        if self._cost is None or self._step is None:
            return 1
        worked = self._seconds + self._last - self._begun
        return steps_between(self._cost, mean_time_between(worked, self._interruptions), self._step)

    def wrote(self) -> None:
        """A step is done; what commits took meanwhile is not counted to it."""
        now = self._clock()
        self._step = _mean(self._step, max(0.0, now - self._last - self._spent))
        self._last, self._spent = now, 0.0

    def committed(self, seconds: float) -> None:
        """A commit is done, and took so long."""
        self._cost = _mean(self._cost, max(0.0, seconds))
        self._spent += seconds


def _mean(before: float | None, new: float) -> float:
    return new if before is None else before + _WEIGHT * (new - before)
