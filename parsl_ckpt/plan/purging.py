"""Values between the calls of a plan leave memory as soon as nobody needs them any more.

    consumer concluded ─► one less ─► none left, not wanted ─┬─ recorded ──► decoded on demand
                                                             ├─ not kept ──► sleeps again
                                                             └─ neither ───► stays

Rule of this file: a value leaves only if its future can give it again.  What is wanted stays, and
so does the value of an app that is not cached, which nothing can give again; of a call that is not
kept, what somebody has waited for stays as well.

*Guarantees.*  A value that is recorded leaves after its record was written, and after its names in
a set were, where it has any.

*Assumptions.*  What takes a recorded value gets it from the record, so that nobody holds on to the
object but who has asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

from parsl_ckpt.kernel.arguments import ATOMS, Arguments
from parsl_ckpt.kernel.futures import AppFuture, Lazy
from parsl_ckpt.kernel.hits import Hit
from parsl_ckpt.kernel.lifting import LiftedHit
from parsl_ckpt.kernel.memo import unkept_id
from parsl_ckpt.kernel.planning import Planned, Stage

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

    from .drawing import Drawn


class Purging:
    """Counts who has yet to take each value.

    Args:
        kernel: the kernel.
        drawn: the plan.
        stage: how far it is.
        begun: the futures of the calls that are about to begin.
        parts: the futures of parts of values.
    """

    def __init__(
        self,
        kernel: Kernel,
        drawn: Drawn,
        stage: Stage,
        begun: Iterable[AppFuture],
        parts: Iterable[AppFuture],
    ) -> None:
        self._kernel = kernel
        self._stage = stage
        self._lock = threading.Lock()
        job = drawn.job
        self._edges, self._owner = job.edges, job.tasks.owner
        number = job.tasks.number
        #: Number in the job of each task that runs, by that of its first call.
        self._number: dict[int, int] = {}
        #: Futures that can be purged of a task, each followed by its call, by the task's number.
        self._values: dict[int, list[Any]] = {}
        wanted = {drawn.names[tid] for tid in _calls(drawn.wanted) if tid in drawn.names}
        for future in begun:
            lazy, name = future._lazy, drawn.names[future.tid]
            assert isinstance(lazy, Planned)
            if drawn.number[name] == future.tid:
                self._number[future.tid] = number[name]
            if name not in wanted and lazy.spec.cache:
                self._values.setdefault(number[name], []).extend((future, lazy))
        #: How many have yet to be concluded of a task and of those that take it.
        self._left = left = [0] * len(job)
        for task in self._number.values():
            left[task] += 1
            for source in self._sources(task):
                left[source] += 1
        kept = {id(one) for one in drawn.wanted}
        for part in parts:
            lazy = part._lazy
            if isinstance(lazy, Planned) and id(part) not in kept:
                whole = drawn.names.get(_whole(lazy.arguments), "")
                if number.get(whole) in self._values:
                    self._values[number[whole]].extend((part, lazy))
        if self._values:
            kernel.hear(self._number, self._concluded)

    def _sources(self, task: int) -> Iterable[int]:
        """The tasks that a task takes something of."""
        first, source, owner = self._edges.first, self._edges.source, self._owner
        begin, end = first[task], first[task + 1]
        if end - begin == 1:
            return (owner[source[begin]],)
        return {owner[at] for at in source[begin:end]}

    def _concluded(self, future: AppFuture) -> None:
        """A call is over: what it took may be of use to nobody any more, or its own value."""
        task = self._number[future.tid]
        over: list[Any] = []
        left, values = self._left, self._values
        with self._lock:
            for one in (task, *self._sources(task)):
                left[one] -= 1
                if not left[one] and one in values:
                    over += values.pop(one)
        for at in range(0, len(over), 2):
            self._purge(over[at], over[at + 1])

    def _purge(self, future: AppFuture, call: Planned) -> None:
        call.made.clear()  # the task, which has the value too
        if future._phase != FINISHED or future._exception is not None or future._lazy is not None:
            return
        if type(future._result) not in ATOMS:
            lazy = self._again(future, call)
            if lazy is not None:
                callbacks = future._purge(lazy)
                if callbacks:
                    self._kernel.errands.run(lambda: future._run_callbacks(callbacks))

    def _again(self, future: AppFuture, call: Planned) -> Lazy | None:
        """What can give the value again; None if nothing can."""
        kernel, spec, arguments = self._kernel, call.spec, call.arguments
        if spec.kind == "lift":
            whole = arguments.futures[0] if arguments.futures else None
            purged = isinstance(whole, AppFuture) and whole._lazy is not None
            return LiftedHit(kernel, spec, arguments) if purged else None
        if future._record and future._value_key is not None:
            stored = kernel.store.recorded(future._value_key, future._record)
            return None if stored is None else Hit(kernel, spec, arguments, stored)
        if unkept_id(future) is not None and future._wait is None:
            return Planned(kernel, spec, arguments, self._stage, call.key)
        return None


def _calls(futures: Iterable[Future[Any]]) -> Iterable[int]:
    """The numbers of the calls that futures are of."""
    for future in futures:
        whole: Any = getattr(future, "parent", future) if _is_file(future) else future
        lazy = whole._lazy if isinstance(whole, AppFuture) else None
        while isinstance(lazy, (Planned, LiftedHit)) and lazy.spec.kind == "lift":
            whole = lazy.arguments.args[0]
            lazy = whole._lazy if isinstance(whole, AppFuture) else None
        if isinstance(whole, AppFuture):
            yield whole.tid


def _whole(arguments: Arguments) -> int:
    """The number of the call of which something is a part, however deep; -1 if there is none."""
    return next(iter(_calls(arguments.args[:1])), -1)


def _is_file(future: object) -> bool:
    from parsl_ckpt.kernel.data import DataFuture

    return isinstance(future, DataFuture)
