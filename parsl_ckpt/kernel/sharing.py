"""One computation among several processes: calls that wait for the record of another run.

::

    entering ─ miss ─► ask ─► line ─► look again, take the lease ─┬─ ours ──► look again ─► launch
                                ▲                                 ├─ recorded ──► hit
                                │          later: look, take ◄────┴─ another's
                                └── next ◄── begun, or over; over: the lease is released

*Guarantees.*  No worker is occupied and no thread waits while another process computes: the timer
asks again, soon at first and then less often.  A lease is taken by what is about to be executed,
and by no more than the executor can take next, so that runs which begin with the same calls share
them instead of one waiting for the other.  Whatever goes wrong with leases, the call is computed.
A task that was given up is asked about no more, and leaves no lease.

*Assumptions.*  What is *in turn* changes the tables; files are touched on errands only.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from parsl_ckpt.checkpoint.lease import Leases
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.task import Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

logger = logging.getLogger(__name__)

SOONEST, LATEST = 0.005, 0.5  # seconds until it is asked again
SHARE = 0.1  # of the time that it has waited already
TICK = 0.1  # seconds between looks at whether executors have begun what they were given
AHEAD = 2  # tasks for each worker that may hold a lease and not have begun
JOINS_AHEAD = 16
NOT_WRITTEN = "leases cannot be written, so other processes may compute the same calls"


class Line:
    """Tasks for the same executors, in the order of their calls; changed in turn only."""

    __slots__ = ("ahead", "limit", "ticking", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: deque[Task] = deque()
        self.ahead: list[Task] = []  # asked for their leases, or given to an executor
        self.ticking = False


class Sharing:
    """Keeps calls of one kernel from being computed while another process does.

    Args:
        kernel: the kernel.
        leases: what it takes.
    """

    def __init__(self, kernel: Kernel, leases: Leases) -> None:
        self._kernel = kernel
        self.leases = leases
        leases.trouble = lambda error: kernel.problems.announce("", NOT_WRITTEN, error)
        self._lines: dict[tuple[str, ...], Line] = {}
        self._swept = False
        self._closed = False

    def ask(self, task: Task) -> None:
        """Have a task launched when nobody else computes it; it becomes a hit if someone has."""
        self._kernel.strand.post((self._queue, task))

    def leave(self, task: Task) -> None:
        """*In turn.* A task is over: others may have its lease."""
        claim = task.claim
        if claim is not None:
            self._kernel.effect(lambda: self._kernel.errands.run(claim.release))
            self._advance(self._line(task))

    def close(self) -> None:
        """Give up what waits, and let go of all leases; at the end, when all is flushed."""
        self._closed = True
        done = self._kernel.runtime.signal()

        def give_up_all() -> None:
            try:
                for task in self._kernel.under_way():
                    if task.claim is not None and task.attempt is None:
                        self._kernel.give_up(task)
            finally:
                done.set()

        self._kernel.porter.carry(self._kernel.strand.post, (give_up_all,))
        done.wait()
        self.leases.release_all()

    # -- in turn -----------------------------------------------------------------------------------

    def _queue(self, task: Task) -> None:
        """*In turn.*"""
        if task.state in states.FINAL_STATES:
            self._kernel.forget(task)
            return
        if not self._swept:
            self._swept = True
            self._kernel.effect(lambda: self._kernel.errands.run(self.leases.sweep))
        assert task.key is not None
        before = task.claim
        if before is None or before.key != task.key:
            if before is not None:  # one of its inputs has come to another value
                self._kernel.effect(lambda: self._kernel.errands.run(before.release))
            task.claim = self.leases.claim(task.key)
        line = self._line(task)
        line.waiting.append(task)
        self._advance(line)

    def _line(self, task: Task) -> Line:
        spec = task.spec
        label = ("",) if spec.kind == "join" else spec.executors  # no executor is called nothing
        line = self._lines.get(label)
        if line is None:
            limit = JOINS_AHEAD
            if spec.kind != "join":
                limit = AHEAD * self._kernel.execution.width_of(spec.executors)
            line = self._lines[label] = Line(limit)
        return line

    def _advance(self, line: Line) -> None:
        """*In turn.* Ask for the next leases, as far as executors have begun what they have."""
        line.ahead = [task for task in line.ahead if not _has_begun(task)]
        while line.waiting and len(line.ahead) < line.limit:
            task = line.waiting.popleft()
            if task.state not in states.FINAL_STATES:
                line.ahead.append(task)
                self._try_later(task, 0.0, self._kernel.clock.now())
        if line.waiting and not line.ticking:
            line.ticking = True
            # An attempt that begins tells nobody, and may itself wait for what is in this line.
            self._kernel.clock.call_later(
                TICK, lambda: self._kernel.errands.run(lambda: self._post_tick(line))
            )

    def _post_tick(self, line: Line) -> None:
        self._kernel.strand.post((self._tick, line))

    def _tick(self, line: Line) -> None:
        """*In turn.*"""
        line.ticking = False
        self._advance(line)

    def _go(self, task: Task) -> None:
        """*In turn.* Nobody else computes it."""
        if task.state in states.FINAL_STATES:  # given up while the lease was being taken
            claim = task.claim
            if claim is not None:
                self._kernel.effect(lambda: self._kernel.errands.run(claim.release))
        else:
            self._kernel.effect(lambda: self._kernel.entering.proceed(task))

    def _let_others_pass(self, task: Task) -> None:
        """*In turn.* Somebody else computes it: what comes after it need not wait."""
        line = self._line(task)
        if task in line.ahead:
            line.ahead.remove(task)
            self._advance(line)

    def _try_later(self, task: Task, seconds: float, since: float) -> None:
        """Ask for the lease of a task, for which it waits since then."""
        errands = self._kernel.errands
        if not seconds:
            self._kernel.effect(lambda: errands.run(lambda: self._try(task, since)))
        else:
            self._kernel.clock.call_later(
                seconds, lambda: errands.run(lambda: self._try(task, since))
            )

    # -- on errands --------------------------------------------------------------------------------

    def _try(self, task: Task, since: float) -> None:
        """Look whether it is recorded by now, and whether it may be computed here."""
        kernel, claim = self._kernel, task.claim
        if task.state in states.FINAL_STATES or self._closed or claim is None:
            return
        try:
            now = kernel.clock.now()
            ours = False
            stored = kernel.entering.find_elsewhere(task)
            if stored is None and claim.take(now):
                ours = True
                # Whoever had the lease may have recorded it and let go in between.
                stored = kernel.entering.find_elsewhere(task)
        except Exception:
            logger.exception("A lease failed; the call is computed without.")
            kernel.strand.post((self._go, task))
            return
        if stored is not None:
            kernel.entering.found(task, stored)
        elif ours:
            kernel.strand.post((self._go, task))
        else:
            kernel.strand.post((self._let_others_pass, task))
            delay = min(max((now - since) * SHARE, SOONEST), LATEST)
            self._try_later(task, delay, since)


def _has_begun(task: Task) -> bool:
    attempt = task.attempt
    return task.state in states.FINAL_STATES or (attempt is not None and attempt.claimed)
