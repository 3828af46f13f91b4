"""What users see of a plan: how long it will take, what it would do and why, pictures.

Rule of this file: the questions, as users find them on a plan; the answers are worked out in the
files beside it, and nothing is computed before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from parsl_ckpt.errors import PlanError, StoreError
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.planning import Planned, Recording
from parsl_ckpt.kernel.task import FINAL_STATES

from .dot import to_dot
from .drawing import flat
from .earlier import Sample, sample
from .explain import TASKS, Explanation
from .finding import Asks, View, explained
from .job import shown
from .schedule import Forecast, forecast
from .trim import Trim, trim

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.task import Spec

    from .drawing import Drawn
    from .standing import Standing


class Telling:
    """The questions to a plan; a part of :class:`~parsl_ckpt.plan.plan.Plan`."""

    _kernel: Kernel
    _recording: Recording
    _asks: Asks
    _standings: dict[int, Standing]
    _ran: float | None
    trim: Trim | None

    if TYPE_CHECKING:

        def look(self) -> Trim: ...
        def name(self, task: Any) -> str: ...
        def _reason(self, name: str) -> Any: ...
        def _draw(self) -> Drawn: ...

    def explain(self, tasks: int | Literal["all"] | Any = TASKS) -> Explanation:
        """What the plan would do, or did: counts by app, why tasks run, and for how long.

        Nothing is loaded and nothing is started.

        Args:
            tasks: how many tasks are told of one by one (of each app some), or ``"all"``; or
                futures or names of tasks, alone or in lists, of which all is told that
                :meth:`why` knows.

        Returns:
            An :class:`~parsl_ckpt.plan.explain.Explanation`; ``print()`` tells it.

        Raises:
            UnknownTaskError: the plan does not have a task that was asked for.
            PlanError: a negative number of tasks was asked for.

        >>> print(plan.explain())  # doctest: +SKIP
        Plan of 7 tasks: 4 run, 3 are restored, none is cut away.
        ...
        """
        most, asked = _asked(tasks)
        names = [self.name(one) for one in asked]
        return self._explained(self._found(), most, names)

    def forecast(self, width: int | None = None, otherwise: float = 0.0) -> Forecast:
        """How long the plan would take, from what its calls took earlier; once it runs, the rest.

        A call counts as long as its own record says, if there is one that does not hold any more;
        else as long as calls of its app took on average. Of those, some thousand of the newest
        records are looked at.

        Args:
            width: how many tasks run at once; by default as many as the executors take.
            otherwise: seconds that a task counts as of which nothing is known.

        Raises:
            ForecastError: the width is no positive number, or the seconds are none.
        """
        found = self._rest(self._found())
        seconds = self._durations(self._sample(found))
        width = self._width() if width is None else width
        return forecast(found, seconds, width, otherwise=otherwise)

    def to_dot(self) -> str:
        """The plan as a graph for Graphviz (``dot -Tsvg``): what runs, is restored, and is cut."""
        return to_dot(self._draw().job, self._found())

    def to_html(self) -> str:
        """The plan as one page that needs nothing else: counts, reasons, and the graph.

        Raises:
            as :meth:`explain`.
        """
        from .html import page

        found = self._found()
        told = self._explained(found, TASKS)
        return page(told, self._draw().job, found, lambda name: self._spec(name).name)

    def _repr_html_(self) -> str:
        return self.explain()._repr_html_()

    # -- inside ------------------------------------------------------------------------------------

    def _explained(self, found: Trim, most: int | None, names: Sequence[str] = ()) -> Explanation:
        """Explain what was found by the last look."""
        samples = self._sample(found, self._ran)
        seconds = self._durations(samples)
        ran = self.trim is not None and all(map(self._over, found.run))
        told = None if ran else forecast(self._rest(found), seconds, self._width())
        view = View(
            found, self._draw().job.tasks, self._spec, self._standing_of, self._inputs, samples,
            told, ran, self._kernel.memo.lookup, self._wrong(),
        )  # fmt: skip
        reasons = tuple((name, self._reason(name)) for name in names)
        return explained(view, self._asks, seconds, most, reasons)

    def _wrong(self) -> tuple[tuple[str, str], ...]:
        """The calls that cannot be made, and why."""
        return tuple(
            (future._spec.name, f"{type(error).__name__}: {error}")
            for future in self._recording.failed
            if (error := future._exception) is not None
        )

    def _found(self) -> Trim:
        """What there is to tell of; of a plan that has run, what turned out to be a hit counts so.

        It was to run, and what it takes came to what it was, or to what an equal call takes.
        """
        found = self.look()
        if self.trim is None:
            return found
        hits = (name for name in found.run if self._future(name).from_memo)
        return replace(found, restored=(*found.restored, *hits))

    def _rest(self, found: Trim) -> Trim:
        """What is still to be done: all of a plan that has not run."""
        if self.trim is None:
            return found
        return trim(found.job, {*found.restored, *filter(self._over, found.run)})

    def _over(self, name: str) -> bool:
        """Whether a task that runs has come to its end."""
        return self._future(name).task_status() in FINAL_STATES

    def _sample(self, found: Trim, before: float | None = None) -> Sample:
        """What is recorded of the apps that run."""
        apps = frozenset(self._spec(name).name for name in found.run)
        try:
            return sample(self._kernel.store, apps, before=before)
        except StoreError:  # the run is over
            return Sample({}, False)

    def _durations(self, samples: Sample) -> Callable[[str], float | None]:
        def seconds(name: str) -> float | None:
            stored = self._standing_of(name).stored
            if stored is not None:
                return max(stored.result.seconds, 0.0)
            return samples.mean(self._spec(name).name)

        return seconds

    def _width(self) -> int:
        return max(self._kernel.execution.width_of(()), 1)

    def _future(self, name: str) -> AppFuture:
        drawn = self._draw()
        return drawn.futures[drawn.number[name]]

    def _spec(self, name: str) -> Spec:
        return self._future(name)._spec

    def _standing_of(self, name: str) -> Standing:
        return self._standings[self._draw().number[name]]

    def _inputs(self, name: str) -> Iterator[str]:
        job = self._draw().job
        tasks, edges = job.tasks, job.edges
        at = tasks.number[name]
        for source in edges.source[edges.first[at] : edges.first[at + 1]]:
            yield tasks.names[tasks.owner[source]]

    def _named(self, future: Future[Any]) -> tuple[str, Standing] | None:
        """The name and the standing of a call of this plan, for a future of it or of a part."""
        drawn = self._draw()
        if isinstance(future, DataFuture):
            future = future.parent
        while isinstance(future, AppFuture):
            name = drawn.names.get(future.tid)
            if name is not None:
                known = drawn.futures.get(future.tid) is future
                return (name, self._standing_of(name)) if known else None
            lazy = future._lazy
            if not isinstance(lazy, Planned) or lazy.spec.kind != "lift":
                return None
            future = lazy.arguments.args[0]
        return None


def _asked(tasks: Any) -> tuple[int | None, list[Any]]:
    """How many tasks are told of, and which in full."""
    if tasks == "all" and isinstance(tasks, str):
        return None, []
    if isinstance(tasks, int) and not isinstance(tasks, bool):
        if tasks < 0:
            raise PlanError(
                f"explain(tasks={tasks}): that is no number of tasks.",
                hint="Give a number, 'all', or futures of the plan.",
                tasks=(),
            )
        return tasks, []
    if tasks is None:
        raise PlanError(
            f"explain(tasks={shown(tasks)}): those are no tasks.",
            hint="Give a number, 'all', or futures of the plan.",
            tasks=(),
        )
    return 0, list(flat(tasks))
