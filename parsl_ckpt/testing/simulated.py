"""A kernel's threads, in one thread and in an order drawn by chance.

    porter, errands, effects of strands ──► lanes ──┐
    strands with something in their inbox ──────────┼──► one step, drawn by chance
    timers ─────────────────────────────────────────┘

*Guarantees.*  What one real thread would do in order stays in order: it is a *lane*.  Everything
that real threads might interleave is interleaved: between any two calls of a lane, any other lane
may go on.  The same source of chance gives the same order.

*Assumptions.*  Whatever waits, waits for a :meth:`SimulatedRuntime.signal`: waiting runs the others
until it is set.

See :mod:`parsl_ckpt.testing.simulate`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from parsl_ckpt.executors.base import Executor, report, run_attempt
from parsl_ckpt.kernel.attempt import Attempt, Finished, worker
from parsl_ckpt.kernel.errands import Errands
from parsl_ckpt.kernel.runtime import Runtime
from parsl_ckpt.kernel.strand import Porter, Signal, Strand

PATIENCE = 100  # timers that pass while something waits and nothing else goes on
Call = Callable[[], object]
Lane = deque[Call]


class Stuck(BaseException):
    """Something waits, and nothing is left that could set it free."""


class Scheduler:
    """The lanes of one process.

    Args:
        chance: what the order is drawn from.

    Attributes:
        steps: how many were made.
        digest: of the choices made so far; the same for the same run.
        now: the time, in seconds.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.lanes: list[Lane] = []
        self.errands: list[Lane] = []  # calls that may wait for others
        self.strands: list[SimulatedStrand] = []
        self.executors: list[SimulatedExecutor] = []
        self.timers: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self.now = 0.0
        self.steps = 0
        self.digest = 0

    def lane(self, calls: Iterable[Call]) -> None:
        """Calls to be made one after another."""
        self.lanes.append(deque(calls))

    def later(self, seconds: float, call: Call) -> None:
        heapq.heappush(self.timers, (self.now + seconds, next(self._order), call))

    def step(self, errands: bool = True) -> bool:
        """Make one step of whatever can go on; False if nothing can, but time may pass.

        Args:
            errands: also of what may wait.
        """
        lanes = self.lanes
        waits = len(self.errands) if errands else 0
        strands = [one for one in self.strands if one.inbox and not one.busy]
        busy = [one for one in self.executors if one.waiting or one.running]
        total = waits + len(lanes) + len(strands) + len(busy)
        if not total:
            return False
        self.steps += 1
        drawn = int(self.chance.random() * total)
        self.digest = (self.digest * 31 + drawn + total) & 0xFFFFFFFFFFFF
        if drawn < waits:
            (call,) = self.errands.pop(drawn)
            call()
        elif (drawn := drawn - waits) < len(lanes):
            lane = lanes[drawn]
            call = lane.popleft()
            if not lane:  # first: the call may add lanes
                lanes[drawn] = lanes[-1]
                lanes.pop()
            call()
        elif (drawn := drawn - len(lanes)) < len(strands):
            strands[drawn].take_turn()
        else:
            busy[drawn - len(strands)].step()
        return True

    def tick(self) -> bool:
        """Let time pass until the next timer, and make its call; False if there is none."""
        if not self.timers:
            return False
        self.steps += 1
        at, _, call = heapq.heappop(self.timers)
        self.now = max(self.now, at)
        call()
        return True

    def drop(self) -> None:
        """Forget everything: the process is dead."""
        self.lanes.clear()
        self.errands.clear()
        self.timers.clear()
        for strand in self.strands:
            strand.inbox.clear()
        for executor in self.executors:
            executor.waiting.clear()
            executor.running.clear()


class SimulatedStrand:
    """Items are handled in turn; the turn is taken when it is drawn, the effects become a lane."""

    def __init__(self, scheduler: Scheduler, handle: Callable[[list[Any]], Iterable[Call]]) -> None:
        self._scheduler = scheduler
        self._handle = handle
        self.inbox: deque[Any] = deque()
        self.busy = False

    def post(self, item: Any) -> None:
        self.inbox.append(item)

    def take_turn(self) -> None:
        inbox, chance = self.inbox, self._scheduler.chance
        count = len(inbox)
        if count > 1 and chance.random() < 0.5:
            count = 1 + int(chance.random() * count)
        self.busy = True
        try:
            effects = self._handle([inbox.popleft() for _ in range(count)])
        finally:
            self.busy = False
        effects = deque(effects)
        if effects:
            self._scheduler.lanes.append(effects)


class SimulatedPorter:
    """A lane that never ends."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._lane: Lane = deque()

    def carry(self, call: Callable[..., object], *args: Any) -> None:
        fresh = not self._lane
        self._lane.append(lambda: call(*args))
        if fresh and not any(lane is self._lane for lane in self._scheduler.lanes):
            self._scheduler.lanes.append(self._lane)

    def close(self) -> None:
        """What is carried later is carried out too, as by the real one."""


class SimulatedErrands:
    """A lane for each."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def run(self, call: Call) -> None:
        self._scheduler.errands.append(deque((call,)))


class SimulatedClock:
    """Time that passes when it is drawn."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.closed = False

    def now(self) -> float:
        return self._scheduler.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        if not self.closed:
            self._scheduler.later(seconds, lambda: None if self.closed else call())

    def close(self) -> None:
        self.closed = True


class SimulatedSignal:
    """Waiting makes the other lanes go on."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        scheduler = self._scheduler
        ticks = 0
        while not self._set:
            if not scheduler.step():
                ticks += 1
                if ticks > PATIENCE or not scheduler.tick():
                    raise Stuck
        return True


class SimulatedExecutor(Executor):
    """Workers that begin when it is drawn, and end later when it is drawn again.

    Args:
        scheduler: whose steps it makes.
        began: called with an attempt when a worker takes it.
        fate: called when an attempt is to end: None runs it, an error is a worker that died.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        label: str,
        began: Callable[[Attempt], None],
        fate: Callable[[Attempt], BaseException | None],
        width: int = 3,
    ) -> None:
        self.label = label
        self._scheduler = scheduler
        self._began = began
        self._fate = fate
        self._width = width
        self.waiting: deque[tuple[Attempt, Finished]] = deque()
        self.running: list[tuple[Attempt, Finished]] = []
        scheduler.executors.append(self)

    @property
    def width(self) -> int:
        return self._width

    def start(self) -> None:
        pass

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        self.waiting.append((attempt, finished))

    def step(self) -> None:
        """Begin or end one attempt."""
        running, chance = self.running, self._scheduler.chance
        if self.waiting and (not running or (len(running) < self._width and chance.random() < 0.5)):
            attempt, finished = self.waiting.popleft()
            if attempt.claim():
                running.append((attempt, finished))
                self._began(attempt)
            return
        attempt, finished = running.pop(int(chance.random() * len(running)))
        error = self._fate(attempt)
        if error is not None:
            report(attempt, finished, None, error)
            return
        before, worker.pool = worker.pool, self
        try:
            run_attempt(attempt, finished, self.label)
        finally:
            worker.pool = before

    def shutdown(self, grace: float | None = None) -> None:
        from parsl_ckpt.executors.base import refuse

        if grace is None:
            while self.waiting or self.running:
                self.step()
        while self.waiting:
            refuse(*self.waiting.popleft(), self.label)


class SimulatedRuntime(Runtime):
    """A kernel's threads, made of one scheduler's lanes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def clock(self) -> SimulatedClock:
        return SimulatedClock(self.scheduler)

    def porter(self) -> Porter:
        porter: Any = SimulatedPorter(self.scheduler)
        return porter  # type: ignore[no-any-return]

    def errands(self) -> Errands:
        errands: Any = SimulatedErrands(self.scheduler)
        return errands  # type: ignore[no-any-return]

    def strand(self, handle: Callable[[list[Any]], Iterable[Call]]) -> Strand[Any]:
        strand: Any = SimulatedStrand(self.scheduler, handle)
        self.scheduler.strands.append(strand)
        return strand  # type: ignore[no-any-return]

    def signal(self) -> Signal:
        signal: Any = SimulatedSignal(self.scheduler)
        return signal  # type: ignore[no-any-return]
