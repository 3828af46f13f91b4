"""How long a job will take, from what its tasks took earlier.

List scheduling, as our executors do it: a task is ready when all that it takes is there, a free
worker takes the task that has been ready longest (of several, the one that comes first in the job),
and keeps it to its end. Events are played in the order of time, so nothing is random and nobody
waits. Groups are not modelled: their tasks are scheduled like any others.

With a width w, list scheduling takes at most (2 - 1/w) times as long as the best schedule (R. L.
Graham, *Bounds on multiprocessing timing anomalies*, 1969); the longest chain and the work, from
which the lower bounds come, are told beside it.
"""

from __future__ import annotations

import math
import numbers
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate

from .. import errors
from .job import Job, is_job, shown
from .trim import Trim
from .validate import backwards


@dataclass(frozen=True)
class Forecast:
    """What a job is expected to take; everything in seconds.

    Args:
        seconds: wall time.
        chain: the longest chain of tasks: no number of workers makes it shorter.
        work: all tasks one after the other.
        width: number of workers.
        tasks: number of tasks that run.
        unknown: how many of them have no known duration.
        otherwise: what each of those was counted as.
    """

    seconds: float
    chain: float
    work: float
    width: int
    tasks: int
    unknown: int
    otherwise: float

    def __str__(self) -> str:
        workers = f"{self.width} worker{'' if self.width == 1 else 's'}"
        tasks = f"{self.tasks} task{'' if self.tasks == 1 else 's'}"
        told = f"{self.seconds:.3g} s for {tasks} on {workers}"
        if not self.unknown:
            return told
        each = f"{self.otherwise:.3g} s"
        if self.unknown == 1:
            return f"{told}, of which 1 has no known duration and counts as {each}"
        return f"{told}, of which {self.unknown} have no known duration and count as {each} each"


def forecast(
    job: Job | Trim,
    seconds: Mapping[str, float | None] | Callable[[str], float | None],
    width: int,
    *,
    otherwise: float = 0.0,
) -> Forecast:
    """Wall time of a job.

    Args:
        job: a job; or what was trimmed of one, where restored tasks take no time and no worker.
        seconds: duration of each task by name, as a mapping or a function; a task that it does not
            know, or for which it says None, is counted as unknown.
        width: number of workers.
        otherwise: what a task of unknown duration is taken to last.

    Raises:
        ForecastError: the width is no positive integer, or a duration no number of seconds.
        PlanCycleError: tasks wait for one another.

    >>> job = Job.of(["a", "b", "c"], [("a", "c"), ("b", "c")])
    >>> print(forecast(job, {"a": 3, "b": 1, "c": 2}, width=2))
    5 s for 3 tasks on 2 workers
    >>> print(forecast(job, {"a": 3, "b": 1}, width=1))
    4 s for 3 tasks on 1 worker, of which 1 has no known duration and counts as 0 s
    """
    if not isinstance(width, numbers.Integral) or isinstance(width, bool) or width < 1:
        raise errors.ForecastError(
            f"The number of workers is {shown(width)}.",
            hint="Forecast for one worker or more.",
            tasks=(),
        )
    _checked("A task of unknown duration", otherwise, ())
    restored: frozenset[str] = frozenset()
    if isinstance(job, Trim):
        restored, job = frozenset(job.restored), job.job
    is_job(job)
    if not isinstance(seconds, Mapping) and not callable(seconds):
        raise errors.ForecastError(
            f"The durations are {shown(seconds)}.",
            hint="Give a mapping from names of tasks to seconds, or a function.",
            tasks=(),
        )
    width = int(width)
    lasting, unknown = _durations(job, restored, seconds, otherwise)
    order = backwards(job)
    return Forecast(
        _played(job, lasting, width),
        _longest(job, lasting, order),
        math.fsum(last for last in lasting if last >= 0),
        width,
        len(job) - len(restored),
        unknown,
        float(otherwise),
    )


#: The duration of what does not run: it takes no worker.
_NOTHING = -1.0


def _durations(
    job: Job,
    restored: frozenset[str],
    seconds: Mapping[str, float | None] | Callable[[str], float | None],
    otherwise: float,
) -> tuple[array[float], int]:
    known = seconds.get if isinstance(seconds, Mapping) else seconds
    lasting = array("d", [_NOTHING]) * len(job)
    unknown = 0
    for at, name in enumerate(job.tasks):
        if name in restored:
            continue
        found = known(name)
        if found is None:
            unknown += 1
            found = otherwise
        else:
            _checked(f"Task {shown(name)}", found, (name,))
        lasting[at] = found
    return lasting, unknown


def _checked(what: str, seconds: object, tasks: tuple[str, ...]) -> None:
    if (
        isinstance(seconds, (int, float, numbers.Real))  # the last one is slow to ask
        and not isinstance(seconds, bool)
        and 0 <= float(seconds) < math.inf
    ):
        return
    raise errors.ForecastError(
        f"{what} is said to last {shown(seconds)} seconds.",
        hint="A duration is a finite number of seconds, 0 or more; None if it is not known.",
        tasks=tasks,
    )


def _longest(job: Job, lasting: array[float], order: array[int]) -> float:
    """Duration of the longest chain: each task's own, and the longest that waits for it."""
    owner, first, source = job.tasks.owner, job.edges.first, job.edges.source
    after = array("d", [0.0]) * len(job)
    longest = 0.0
    for task in order:
        whole = after[task] + max(lasting[task], 0.0)
        longest = max(longest, whole)
        for output in source[first[task] : first[task + 1]]:
            giver = owner[output]
            if after[giver] < whole:
                after[giver] = whole
    return longest


def _played(job: Job, lasting: array[float], width: int) -> float:
    """Play the events in the order of time; when the last task ends."""
    first = job.edges.first
    waits = array("i", [first[task + 1] - first[task] for task in range(len(job))])
    begins, takers = _forwards(job)
    ready: deque[int] = deque()
    running: list[tuple[float, int]] = []
    now = 0.0
    released = [task for task, count in enumerate(waits) if not count]
    while True:
        ready.extend(_to_run(released, lasting, waits, begins, takers))
        while ready and len(running) < width:
            task = ready.popleft()
            heappush(running, (now + lasting[task], task))
        if not running:
            return now
        now = running[0][0]
        released = []
        while running and running[0][0] == now:
            _, task = heappop(running)
            released += _released(task, waits, begins, takers)


def _to_run(
    released: list[int],
    lasting: array[float],
    waits: array[int],
    begins: array[int],
    takers: array[int],
) -> Iterator[int]:
    """Those that need a worker, in the order of the job; what does not run is over at once."""
    found: list[int] = []
    for task in released:  # grows while it is read
        if lasting[task] >= 0:
            found.append(task)
        else:
            released += _released(task, waits, begins, takers)
    return iter(sorted(found))


def _released(
    task: int, waits: array[int], begins: array[int], takers: array[int]
) -> Iterator[int]:
    """The tasks that waited for nothing but this one."""
    for taker in takers[begins[task] : begins[task + 1]]:
        waits[taker] -= 1
        if not waits[taker]:
            yield taker


def _forwards(job: Job) -> tuple[array[int], array[int]]:
    """Who takes from each task: edges sorted by who gives."""
    owner, first, source = job.tasks.owner, job.edges.first, job.edges.source
    counts = [0] * (len(job) + 1)
    for output in source:
        counts[owner[output] + 1] += 1
    begins = array("i", accumulate(counts))
    free = array("i", begins)
    takers = array("i", bytes(len(source) * begins.itemsize))
    for task in range(len(job)):
        for output in source[first[task] : first[task + 1]]:
            giver = owner[output]
            takers[free[giver]] = task
            free[giver] += 1
    return begins, takers
