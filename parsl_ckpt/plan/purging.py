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
    from parsl_ckpt.kernel.task import Spec

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
        self._names = drawn.names
        self._lock = threading.Lock()
        wanted = {drawn.names[tid] for tid in _calls(drawn.wanted) if tid in drawn.names}
        #: By name of a task: how many have yet to be concluded of it and of those that take it.
        self._left: dict[str, int] = {}
        self._sources: dict[str, tuple[str, ...]] = {}
        #: What can be purged of a task, with what made it.
        self._values: dict[str, list[tuple[AppFuture, Spec, Arguments, bytes | None]]] = {}
        heard = []
        for future in begun:
            lazy, name = future._lazy, drawn.names[future.tid]
            assert isinstance(lazy, Planned)
            if name not in self._left:
                self._left[name] = 1
                heard.append(future.tid)
            if name not in wanted and lazy.spec.cache:
                self._values.setdefault(name, []).append(
                    (future, lazy.spec, lazy.arguments, lazy.key)
                )
        for name in self._left:
            self._sources[name] = tuple(
                {edge.source: None for edge in drawn.job.inputs(name) if edge.source in self._left}
            )
        for sources in self._sources.values():
            for source in sources:
                self._left[source] += 1
        kept = {id(one) for one in drawn.wanted}
        for part in parts:
            lazy = part._lazy
            if not isinstance(lazy, Planned) or id(part) in kept:
                continue
            whole = _whole(lazy.arguments)
            name = drawn.names.get(whole, "")
            if name in self._values:
                self._values[name].append((part, lazy.spec, lazy.arguments, lazy.key))
        if self._values:
            for tid in heard:
                kernel.hear(tid, self._concluded)

    def _concluded(self, future: AppFuture) -> None:
        """A call is over: what it took may be of use to nobody any more, or its own value."""
        name = self._names[future.tid]
        over = []
        with self._lock:
            for one in (name, *self._sources.pop(name, ())):
                self._left[one] -= 1
                if not self._left[one] and one in self._values:
                    over += self._values.pop(one)
        for value in over:
            self._purge(*value)

    def _purge(
        self, future: AppFuture, spec: Spec, arguments: Arguments, key: bytes | None
    ) -> None:
        if future._phase != FINISHED or future._exception is not None or future._lazy is not None:
            return
        if type(future._result) not in ATOMS:
            lazy = self._again(future, spec, arguments, key)
            if lazy is not None:
                callbacks = future._purge(lazy)
                if callbacks:
                    self._kernel.errands.run(lambda: future._run_callbacks(callbacks))

    def _again(
        self, future: AppFuture, spec: Spec, arguments: Arguments, key: bytes | None
    ) -> Lazy | None:
        """What can give the value again; None if nothing can."""
        kernel = self._kernel
        if spec.kind == "lift":
            whole = arguments.futures[0] if arguments.futures else None
            purged = isinstance(whole, AppFuture) and whole._lazy is not None
            return LiftedHit(kernel, spec, arguments) if purged else None
        if future._record and future._value_key is not None:
            stored = kernel.store.recorded(future._value_key, future._record)
            return None if stored is None else Hit(kernel, spec, arguments, stored)
        if unkept_id(future) is not None and future._wait is None:
            return Planned(kernel, spec, arguments, self._stage, key)
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
