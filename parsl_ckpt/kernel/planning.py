"""Calls that are recorded and not made: what a plan consists of.

    with a plan open      submit ─► Recording ─► a future that sleeps (Planned), with its keys
    once the plan runs    begin ───────────────► a task, linked to its inputs like any other
                          look, or take as input of a task that runs ─► the same

A future that sleeps is a lazy one: whoever looks at it, once its plan runs, has its call made, and
the calls that this takes.  So what a plan has cut away is computed if it turns out to be needed
after all, by a damaged record or by the user.

*Guarantees.*  Looks race, and may be interrupted anywhere: the first task that was made for a
future, by one atomic ``append``, is everyone's.  While no plan is open, calls pay nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from parsl_ckpt.errors import PlanNotRunError
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Call
from parsl_ckpt.kernel.lifting import lifted_key
from parsl_ckpt.kernel.memo import lineage_leaves
from parsl_ckpt.kernel.request import Request
from parsl_ckpt.kernel.submission import Submission
from parsl_ckpt.kernel.task import FAILED, Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel


class Stage:
    """How far a plan is; shared by it and the futures that sleep."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


class Planned(Call, gc=False, eq=False):
    """A call of a plan that nobody has begun.

    Attributes:
        stage: how far its plan is.
        key: under what it is looked up before anything runs; None if only its inputs can tell.
        refresh: it is to be run whatever is recorded.
        made: the task, in a list of one, once it is begun.
    """

    stage: Stage
    key: bytes | None = None
    refresh: bool = False
    made: list[Task] = msgspec.field(default_factory=list)

    sleeps: ClassVar[bool] = True

    def load(self, future: AppFuture) -> bool:
        """Begin the call; the future is pending from then on.

        Raises:
            PlanNotRunError: its plan does not run.
        """
        if not self.stage.begun:
            raise PlanNotRunError(
                f"The outcome of {self.spec.name} (task {future.tid}) was asked for, and the plan "
                "that it stands in has not been run.",
                hint="Call plan.run() after the with block, and ask then.",
                tasks=(f"{self.spec.name}-{future.tid}",),
            )
        if not self.made:
            self.made.append(self.task(future))
        self._run_again(self.made[0], future)
        return False

    def task(self, future: AppFuture) -> Task:
        """The call as a task."""
        task = Task(future.tid, self.spec, self.arguments, future)
        task.refresh = self.refresh
        if self.arguments.futures and self.spec.kind != "lift":
            task.lineage = self.key
        return task


def awake(future: AppFuture, task: Task) -> bool:
    """*In turn.* Have an input of a task begun, if it sleeps; the task fails if that cannot be."""
    lazy = future._lazy
    if lazy is not None and lazy.sleeps:
        try:
            lazy.load(future)
        except PlanNotRunError as error:
            kernel: Any = future._kernel
            kernel.fail(task, error, FAILED)
            return False
    return True


class Recording(Submission):
    """The callers' side of a kernel while they plan: calls are entered nowhere, and nothing begins.

    Args:
        kernel: the kernel.
        stage: how far the plan is.
    """

    def __init__(self, kernel: Kernel, stage: Stage) -> None:
        begun: Submission = kernel.submission
        super().__init__(kernel, begun._execution)
        self._tids = begun._tids  # one count for all
        self._stage = stage
        #: Calls are recorded: its block is neither to come nor over.
        self.open = False
        #: The future of each call by its number, in the order in which they were made.
        self.futures: dict[int, AppFuture] = {}
        #: The futures of calls that cannot be made: their arguments are wrong.
        self.failed: list[AppFuture] = []

    def _fail(self, spec: Spec, future: AppFuture, error: Exception) -> AppFuture:
        self.failed.append(future)
        return super()._fail(spec, future, error)

    def _submit_uncached(
        self,
        spec: Spec,
        arguments: Arguments,
        future: AppFuture,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AppFuture:
        return self._record(spec, arguments, future)

    def _submit_cached(
        self, spec: Spec, arguments: Arguments, future: AppFuture, refresh: bool
    ) -> AppFuture:
        addresser = spec.addresser
        bound = addresser.binder.bind(arguments.args, arguments.kwargs)  # type: ignore[union-attr]
        key = addresser.address(bound).key  # type: ignore[union-attr]
        return self._record(spec, arguments, future, key, refresh)

    def _submit_waiting(
        self, spec: Spec, arguments: Arguments, future: AppFuture, refresh: bool
    ) -> AppFuture:
        if spec.kind == "lift":
            key = lifted_key(spec, *arguments.args)
        elif spec.cache and self._kernel.caching:
            key = self._lineage(spec, arguments)
        else:
            key = None
        return self._record(spec, arguments, future, key, refresh)

    def _lineage(self, spec: Spec, arguments: Arguments) -> bytes | None:
        leaves = lineage_leaves(arguments.futures) if self._resolving.by_lineage else None
        if leaves is None:
            return None
        assert spec.addresser is not None and spec.binder is not None
        args, kwargs = self._resolving.substitute(arguments.args, arguments.kwargs, leaves)
        return spec.addresser.address(spec.binder.bind(args, kwargs)).key

    def _record(
        self,
        spec: Spec,
        arguments: Arguments,
        future: AppFuture,
        key: bytes | None = None,
        refresh: bool = False,
    ) -> AppFuture:
        if spec.lineage:
            future._key = key
        future._spec = spec
        future._lazy = Planned(self._kernel, spec, arguments, self._stage, key, refresh)
        self.futures[future.tid] = future
        return future


class Desk:
    """Sends calls of those who plan to their recording, and all others where they always go.

    It stands between callers and the kernel only while a plan is open.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._open = 0
        self._recording: ContextVar[Recording | None] = ContextVar("recording", default=None)

    @contextlib.contextmanager
    def recording(self, recording: Recording) -> Iterator[None]:
        """While calls that are made in this context are recorded."""
        kernel = self._kernel
        with self._lock:
            self._open += 1
            kernel.submit = self._submit
        token = self._recording.set(recording)
        recording.open = True
        try:
            yield
        finally:
            recording.open = False  # for those who have a copy of this context
            self._recording.reset(token)
            with self._lock:
                self._open -= 1
                if not self._open:
                    kernel.submit = kernel.submission.submit

    @property
    def now(self) -> Recording | None:
        """What records the calls that are made here, if anything does."""
        recording = self._recording.get()
        return recording if recording is not None and recording.open else None

    def _submit(
        self,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refresh: bool = False,
        request: Request | None = None,
    ) -> AppFuture:
        who: Submission = self.now or self._kernel.submission
        return who.submit(spec, args, kwargs, refresh, request)
