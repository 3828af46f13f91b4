"""``Plan``: what ``with dfk.plan() as plan`` gives.

    with block      calls are recorded, in the order in which they are made
    first question  the job is made of them (names, edges, what is wanted) and checked
    each question   every call is looked up (:mod:`~parsl_ckpt.plan.standing`), the job is trimmed
    run()           the same once more; then what is restored is done before anything starts, what
                    runs is begun, and what was cut goes on sleeping

Rule of this file: it decides nothing.  What is there is :mod:`~parsl_ckpt.plan.standing`'s to say,
what is needed :mod:`~parsl_ckpt.plan.trim`'s, and how a call is made the kernel's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import PlanUsedError, UnknownTaskError, UnknownWantError
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Hit, mark
from parsl_ckpt.kernel.planning import Desk, Planned, Recording, Stage

from .drawing import Drawn, draw, flat
from .finding import Asks
from .job import Job, shown
from .naming import persist
from .outcomes import Outcomes
from .persist import PersistSpec
from .purging import Purging
from .sets import Retrieval, Sets, chosen
from .standing import HIT, Standing, Standings
from .telling import Telling
from .trim import Trim, trim

if TYPE_CHECKING:
    from types import TracebackType

    from parsl_ckpt.kernel.kernel import Kernel


class Plan(Telling):
    """Calls that were not made yet, as a graph that knows which of them need not be.

    Made by :meth:`DataFlowKernel.plan() <parsl_ckpt.dataflow.DataFlowKernel.plan>`.

    Args:
        kernel: what it is recorded on.
        desk: where calls are turned aside.
        asks: who knows more of what is recorded: why a call would run, how its code has changed.
        persist: what is restored from which named set, and persisted to which.

    Attributes:
        futures: the future of each call, in the order in which they were made.
        trim: what was restored, run and cut; None before it has run.
    """

    def __init__(
        self, kernel: Kernel, desk: Desk, asks: Asks, persist: PersistSpec | None = None
    ) -> None:
        self._kernel = kernel
        self._desk = desk
        self._asks = asks
        self._stage = Stage()
        self._recording = Recording(kernel, self._stage)
        self._context: Any = None
        self._closed = self._failed = False
        self._wanted: list[Future[Any]] | None = None
        self._drawn: Drawn | None = None
        self._drawn_of = 0
        self._standings: dict[int, Standing] = {}
        self._persist = persist
        self._sets = Sets(kernel, persist) if persist is not None else None
        self._ran: float | None = None
        self._decided: tuple[Sequence[AppFuture], Outcomes] | None = None
        self._run_was_called = False
        self._all_begun = False  # all that is to begin has
        self.trim: Trim | None = None

    # -- recording ---------------------------------------------------------------------------------

    def __enter__(self) -> Plan:
        if self._context is not None:
            raise PlanUsedError(
                "A plan is recorded once, and this one was before.",
                hint="Make another one with dfk.plan().",
                tasks=(),
            )
        if self._desk.now is not None:
            raise PlanUsedError(
                "A plan was begun inside the with block of another one.",
                hint="Record all calls in one plan, or one plan after the other.",
                tasks=(),
            )
        self._context = self._desk.recording(self._recording)
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, traceback)
        self._closed, self._failed = kind is None, kind is not None

    @property
    def futures(self) -> Sequence[AppFuture]:
        """The future of each call, in the order in which they were made."""
        return list(self._draw().futures.values())

    def want(self, *outputs: Any) -> None:
        """Say what is wanted; without this, what no other call takes.

        Args:
            outputs: futures of this plan, their parts (``future["x"]``) and files
                (``future.outputs[0]``), or lists, tuples, sets and dicts of such.

        Raises:
            UnknownWantError: something is no future, or one that is not of this plan.
            PlanUsedError: the plan has run.
        """
        if self._run_was_called:
            raise _has_run("want() was called")
        wanted = list(flat(outputs))
        for one in wanted:
            self._refuse_failed(one)
            if not self._has(one):
                raise UnknownWantError(
                    f"What is wanted is {shown(one) if isinstance(one, str) else repr(one)[:80]}, "
                    "which is no future of this plan.",
                    hint="Want what apps returned inside the with block.",
                    tasks=(),
                )
        self._wanted = [*(self._wanted or ()), *wanted]
        self._drawn = None

    def __len__(self) -> int:
        return len(self.job)

    def __repr__(self) -> str:
        futures = self._recording.futures.values()
        calls = sum(future._spec.kind != "lift" for future in futures)  # parts are no calls
        stage = "recorded" if self._closed else "open"
        if self._failed:
            stage = "its with block has failed"
        if self._stage.begun:
            stage = "has run"
        return f"<Plan: {calls} call{'' if calls == 1 else 's'}, {stage}>"

    # -- questions ---------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        """The plan as a value: tasks named ``app-number``, what they take, and what is wanted.

        Equal calls of cached apps are one task.
        """
        return self._draw().job

    def name(self, task: Any) -> str:
        """The name of a call in :attr:`job`.

        Args:
            task: its future, or the name itself.

        Raises:
            UnknownTaskError: the plan does not have it.
        """
        names = self._draw().names
        if isinstance(task, DataFuture):
            task = task.parent
        if isinstance(task, AppFuture) and self._has(task) and task.tid in names:
            return names[task.tid]
        if isinstance(task, str) and task in self.job.tasks:
            return task
        raise UnknownTaskError(
            f"The plan has no task {shown(task) if isinstance(task, str) else repr(task)[:80]}.",
            hint="Give a future of the plan, or the name of a task (the table of all has them).",
            tasks=(),
        )

    def look(self) -> Trim:
        """What would be restored, run and cut if the plan ran now; of one that ran, what was.

        Nothing is loaded and nothing is started.
        """
        return self.trim or self._look(check=False)

    def standing(self, task: Any) -> Standing:
        """How a call stands: whether its outcome is recorded, and if not, why.

        Args, raises:
            as :meth:`name`.
        """
        name = self.name(task)
        if self.trim is None:
            self._look(check=False)
        return self._standings[self._draw().number[name]]

    def why(self, task: Any) -> Any:
        """Why a call would run, or where its outcome comes from.

        Args, raises:
            as :meth:`name`.

        Returns:
            A :class:`~parsl_ckpt.observe.reasons.Reason`; ``print()`` tells it.
        """
        self.standing(task)
        return self._reason(self.name(task))

    # -- running -----------------------------------------------------------------------------------

    def run(self, check: bool = False) -> Outcomes:
        """Restore what is there, and start what is needed.

        Args:
            check: whether all that is restored is read and verified first, and not only looked for;
                what is damaged is computed. Damage that is found later has the same effect.

        Returns:
            The futures that are wanted, and where nothing was said to be, those of calls that
            cannot be made; all futures of the plan behave as always from now on. One that was cut
            is computed if somebody asks for its outcome after all.

        Raises:
            PlanUsedError: it has run, or its with block is open or has failed.
            PersistError: what is to be persisted is not in the plan.
            KernelClosedError: the kernel has ended.
        """
        if self._all_begun:
            raise _has_run("run() was called")
        if not self._closed:
            raise PlanUsedError(
                "run() was called while the plan is recorded, or after its with block has failed.",
                hint="Call it once, after the with block.",
                tasks=(),
            )
        kernel = self._kernel
        if kernel.refusal is not None:
            raise kernel.refusal
        if self._decided is None:
            self._decided = self._decide(check)
        begun, outcomes = self._decided
        self._stage.begun = True
        for future in begun:
            if isinstance(future._lazy, Planned):
                future._look()
        self._all_begun = True
        return outcomes

    def _decide(self, whole: bool) -> tuple[Sequence[AppFuture], Outcomes]:
        """Conclude what is restored; what is to begin, and what is wanted.

        Whoever is interrupted in here comes again: what was done then is found done.
        """
        kernel, drawn = self._kernel, self._draw()
        self._run_was_called = True
        found = self._look(check=True, whole=whole)
        names = chosen(self._persist, drawn, self.name) if self._persist is not None else {}
        restored, runs = frozenset(found.restored), frozenset(found.run)
        begun = []
        for future in drawn.futures.values():
            name, lazy = drawn.names[future.tid], future._lazy
            if not isinstance(lazy, Planned):
                continue
            standing = self._standings[drawn.number[name]]
            if name in restored:
                assert standing.stored is not None
                kernel.submission._hit(future, lazy.spec, lazy.arguments, standing.stored)
            elif name in runs:
                begun.append(future)
            elif standing.state == HIT and standing.stored is not None:
                mark(future, standing.stored)
                future._conclude_lazily(Hit(kernel, lazy.spec, lazy.arguments, standing.stored))
        persisting = None
        of = self._persist.persist_id if self._persist is not None else None
        if self._sets is not None and of is not None:
            persisting = persist(kernel, self._sets, of, names, drawn, begun)
        parts = (one for tid, one in self._recording.futures.items() if tid not in drawn.futures)
        Purging(kernel, drawn, self._stage, begun, parts)
        outcomes: tuple[Future[Any], ...] = tuple(drawn.wanted)
        if self._wanted is None:  # what cannot be made is an outcome too: nobody missed its error
            outcomes += tuple(self._recording.failed)
        self.trim, self._ran = found, time.time()
        return begun, Outcomes(outcomes, found, persisting)

    # -- inside ------------------------------------------------------------------------------------

    def _refuse_failed(self, future: Any) -> None:
        """Refuse to want a call that cannot be made."""
        one = future.parent if isinstance(future, DataFuture) else future
        if not any(one is failed for failed in self._recording.failed):
            return
        error = one._exception
        raise UnknownWantError(
            f"What is wanted is a call of {one._spec.name} (task {one.tid}) that cannot be made: "
            f"{type(error).__name__}: {error}.",
            hint="Correct the call.",
            tasks=(f"{one._spec.name}-{one.tid}",),
        ) from error

    def _has(self, future: Any) -> bool:
        if isinstance(future, DataFuture):
            future = future.parent
        if not isinstance(future, AppFuture):
            return False
        return self._recording.futures.get(future.tid) is future

    def _reason(self, name: str) -> Any:
        """Why a task would run, as it stood when it was looked up last; or why it did."""
        drawn = self._draw()
        future = drawn.futures[drawn.number[name]]
        if not isinstance(future._lazy, Planned):
            return future.why()
        return self._asks.planned(future, self._standings[future.tid], self._named)

    def _retrieval(self) -> Retrieval | None:
        """The named set that is restored from, as it is now; None for whatever is recorded."""
        if self._sets is None or self._persist is None:
            return None
        self._sets.look()
        if self._persist.retrieve_id is None:
            return None
        return Retrieval(self._kernel, self._sets, self._persist.retrieve_id)

    def _draw(self) -> Drawn:
        recorded = self._recording.futures
        if self._drawn is None or self._drawn_of != len(recorded):  # it may go on being recorded
            self._drawn_of = len(recorded)
            self._drawn = draw(recorded, self._wanted)
        return self._drawn

    def _look(self, check: bool, whole: bool = False) -> Trim:
        drawn = self._draw()
        standings = Standings(self._kernel, self._retrieval())
        self._standings = standings.look(self._recording.futures.values())
        number, store = drawn.number, self._kernel.store
        persisted = {name for name, tid in number.items() if self._standings[tid].state == HIT}
        while True:
            found = trim(drawn.job, persisted)
            if not check:
                return found
            damaged = [
                name
                for name in found.restored
                if (stored := self._standings[number[name]].stored) is not None
                and not store.sound(stored, whole)
            ]
            if not damaged:
                return found
            for name in damaged:
                future = drawn.futures[number[name]]
                self._standings[future.tid] = again = standings.one(future)
                if again.state != HIT:
                    persisted.discard(name)


def _has_run(what: str) -> PlanUsedError:
    return PlanUsedError(
        f"{what} on a plan that has run.",
        hint="Record another one with dfk.plan(); what is done is not done again.",
        tasks=(),
    )
