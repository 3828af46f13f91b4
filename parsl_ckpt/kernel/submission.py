"""From a call to a task, in the caller's thread: bind, address, look up, enter, launch.

    submit ─┬─ futures among the arguments ── lineage known? ─┬─ hit ──► finished future
            │                                                 └─ miss ─► link (in turn)
            ├─ cached ── address ─┬─ hit ──► finished future
            │                     └─ miss ─► join an equal call, or launch
            └─ not cached ──────────────────────────────────────────────► launch

*Guarantees.*  The caller may be interrupted between any two bytecodes.  What it leaves behind is a
table entry whose attempt nobody has begun; whoever joins it or waits for the kernel launches it
(:meth:`Submission.nudge`), and since an attempt is claimed once, launching it twice does no harm.

*Assumptions.*  ``dict.setdefault``, ``dict.__setitem__`` and queue operations are atomic.
"""

from __future__ import annotations

import itertools
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

import msgspec

from parsl_ckpt.checkpoint.store import Stored
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.data import fetches
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Hit, mark
from parsl_ckpt.kernel.lifting import LiftedHit, lifted_key, mark_part
from parsl_ckpt.kernel.memo import all_restored, lineage_of, unkept_id
from parsl_ckpt.kernel.outputs import FileObject, remember, validity
from parsl_ckpt.kernel.request import NOTHING, Request
from parsl_ckpt.kernel.streams import AUTO_LOGNAME, STREAMS
from parsl_ckpt.kernel.task import Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.execution import Execution
    from parsl_ckpt.kernel.kernel import Kernel


class Submission:
    """The callers' side of one kernel."""

    def __init__(self, kernel: Kernel, execution: Execution) -> None:
        self._kernel = kernel
        self._execution = execution
        self._resolving = kernel.resolving
        self._gather = kernel.resolving.gather
        self._tids = itertools.count()

    @property
    def count(self) -> int:
        """How many calls have been made."""
        return int(repr(self._tids)[len("count(") : -1])  # the one way to look without taking

    def submit(
        self,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refresh: bool = False,
        request: Request | None = None,
    ) -> AppFuture:
        """Enter a call of an app.

        Args:
            spec: the app.
            args, kwargs: its arguments; futures may stand in them, at any depth of builtin
                containers.
            refresh: run it whatever is recorded; its outcome takes the recorded one's place.
            request: what it asks for beside its arguments.

        Returns:
            The future of its outcome. Whatever is wrong with the arguments is the future's error.

        Raises:
            KernelClosedError: the kernel is ending and the caller is not one of its tasks.
            Exception: with ``lazyErrors: False``, the first failure of an earlier task.
        """
        kernel = self._kernel
        if kernel.refusal is not None or kernel.failure is not None:
            self._refuse()
        future = AppFuture(kernel, next(self._tids))
        try:
            arguments = self._gather(args, kwargs)
            if FileObject.any_elsewhere and fetches(arguments):
                request = msgspec.structs.replace(request or NOTHING, fetches=True)
            if request is not None:
                if AUTO_LOGNAME in (request.stdout, request.stderr):
                    request = self._named(request, future.tid, spec, args, kwargs)
                arguments.request = future._request = request
            if arguments.futures:
                return self._submit_waiting(spec, arguments, future, refresh)
            if spec.cache and kernel.caching:
                return self._submit_cached(spec, arguments, future, refresh)
        except Exception as error:
            return self._fail(spec, future, error)
        return self._submit_uncached(spec, arguments, future, args, kwargs)

    def fail(self, spec: Spec, error: Exception) -> AppFuture:
        """A future for a call that cannot be made.

        Raises:
            as :meth:`submit`.
        """
        kernel = self._kernel
        if kernel.refusal is not None or kernel.failure is not None:
            self._refuse()
        return self._fail(spec, AppFuture(kernel, next(self._tids)), error)

    def _fail(self, spec: Spec, future: AppFuture, error: Exception) -> AppFuture:
        future._spec = spec
        future._conclude(FINISHED, None, error, states.FAILED)
        self._kernel.post_safely(self._kernel.count_unentered, future.tid, spec, error)
        return future

    def _named(
        self, request: Request, tid: int, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Request:
        """The request of a call, with files for the streams that it leaves to the run."""
        record = {
            "id": tid, "func_name": spec.name, "func": spec.source or spec.fn, "args": args,
            "kwargs": kwargs, "memoize": spec.cache, "try_id": 0, "fail_count": 0,
        }  # fmt: skip
        streams = [name for name in STREAMS if getattr(request, name) is AUTO_LOGNAME]
        logs = {name: self._kernel.log_name(record, name) for name in streams}
        files = [one for one in logs.values() if isinstance(one, FileObject)]
        return msgspec.structs.replace(
            request, logs=logs, outputs=(*request.outputs, *files),
            streams=request.streams + len(files), named=len(files),
        )  # fmt: skip

    def rehearse(self, spec: Spec, arguments: Arguments) -> AppFuture:
        """Run a call once more, beside what is recorded and without recording it."""
        future = AppFuture(self._kernel, next(self._tids))
        task = Task(future.tid, spec, arguments, future)
        task.refresh = task.alone = True
        task.pristine = False
        return self._wait(task, future)

    def _submit_uncached(
        self,
        spec: Spec,
        arguments: Arguments,
        future: AppFuture,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AppFuture:
        """A call that is not cached and whose inputs are all known."""
        if not self._resolving.by_lineage:  # else as the caller has them
            args, kwargs = arguments.args, arguments.kwargs
        kernel = self._kernel
        task = Task(future.tid, spec, arguments, future)
        future._task = task
        self._execution.attempt(task, args, kwargs)
        kernel.tasks[task.tid] = task
        self._execution.launch(task)
        return future

    def _submit_cached(
        self, spec: Spec, arguments: Arguments, future: AppFuture, refresh: bool
    ) -> AppFuture:
        """A cached call whose inputs are all known: a hit, or one to join, or to run."""
        kernel, memo = self._kernel, self._kernel.memo
        addresser = spec.addresser
        bound = addresser.binder.bind(arguments.args, arguments.kwargs)  # type: ignore[union-attr]
        address = addresser.address(bound)  # type: ignore[union-attr]
        key = address.key
        if spec.lineage:
            future._key = key
        request, valid = arguments.request, spec.valid
        if request is not None:
            valid = validity(kernel, spec, request)
        commits = memo.commits
        stored = None if refresh else memo.find(key, valid)
        if stored is not None:
            return self._hit(future, spec, arguments, stored)
        if request is not None:
            remember(valid, future)
        if spec.persist is not True and not refresh:
            kernel.unkept.promise(future, key)
        task = Task(future.tid, spec, arguments, future)
        task.address = address
        task.key = key
        task.refresh = refresh
        future._task = task
        if (spec.shared or kernel.elsewhere is not None) and not refresh:
            return self._submit_shared(task, key, future)
        self._execution.attempt(task, arguments.args, arguments.kwargs)
        other = memo.enter(key, task)
        if other is not task:
            if other.admits(task):
                task.attempt = None  # no circle that nobody would break
                return self._join(other, future)
            task.alone = True
        elif commits != memo.commits and not refresh:  # it may have been committed meanwhile
            stored = memo.find(key, valid)
            if stored is not None:
                kernel.post_safely(kernel.memo_hit, task, stored)
                return future
        kernel.tasks[task.tid] = task
        self._execution.launch(task)
        return future

    def _submit_shared(self, task: Task, key: bytes, future: AppFuture) -> AppFuture:
        """A miss that others may know or be computing, who are not asked on this thread."""
        other = self._kernel.memo.enter(key, task)
        if other is not task:
            if other.admits(task):
                return self._join(other, future)
            task.alone = True
        return self._wait(task, future)

    def _submit_waiting(
        self, spec: Spec, arguments: Arguments, future: AppFuture, refresh: bool
    ) -> AppFuture:
        """A call with futures among its arguments: looked up by lineage, else linked to them."""
        kernel, memo = self._kernel, self._kernel.memo
        if spec.kind == "lift":
            return self._submit_lifted(spec, arguments, future)
        task = Task(future.tid, spec, arguments, future)
        task.refresh = refresh
        if spec.cache and kernel.caching:
            task.lineage = lineage_of(task, self._resolving)
        if task.lineage is not None:
            future._key = task.lineage if spec.lineage else None
            if all_restored(task.inputs) and not refresh:
                valid = validity(kernel, spec, task.request)
                stored = memo.find_by_lineage(task.lineage, task.inputs, valid)
                if stored is not None:
                    return self._hit(future, spec, arguments, stored)
                if spec.persist is not True:
                    kernel.unkept.promise(future, task.lineage, task.inputs)
            future._task = task
            other = memo.enter(task.lineage, task)
            if other is not task:
                if other.admits(task):
                    return self._join(other, future)
                task.alone = True
        return self._wait(task, future)

    def _submit_lifted(self, spec: Spec, arguments: Arguments, future: AppFuture) -> AppFuture:
        """A part of another future's value: lazy if that is, else computed when that is known."""
        parent, item = arguments.args
        future._key = lifted_key(spec, parent, item)
        if unkept_id(parent) is not None:
            mark_part(spec, parent, item, future)
        if len(arguments.futures) == 1 and all_restored(arguments.futures, unkept=False):
            mark_part(spec, parent, item, future)
            future._spec = spec
            future._conclude_lazily(LiftedHit(self._kernel, spec, arguments))
            return future
        return self._wait(Task(future.tid, spec, arguments, future), future)

    def _wait(self, task: Task, future: AppFuture) -> AppFuture:
        future._task = task
        self._kernel.tasks[task.tid] = task
        self._kernel.post_safely(self._kernel.link, task)
        return future

    def _hit(
        self, future: AppFuture, spec: Spec, arguments: Arguments, stored: Stored
    ) -> AppFuture:
        kernel = self._kernel
        kernel.hits.add()
        if kernel.auditing is not None:
            kernel.auditing.look(spec, arguments, stored)
        mark(future, stored)
        future._spec = spec
        future._conclude_lazily(Hit(kernel, spec, arguments, stored))
        if kernel.events.listening:
            kernel.events.emit(Event("task", spec.name, future.tid, states.MEMO_DONE))
        return future

    def _join(self, other: Task, future: AppFuture) -> AppFuture:
        """Wait for the equal call that is under way instead of running a second one."""
        future._task = other
        if other.request is not None:
            future._request = other.request  # its streams are where the other's are
        future.from_memo = True
        self._kernel.post_safely(self._kernel.join_future, other, future)
        self.nudge(other)
        return future

    def nudge(self, task: Task) -> None:
        """Launch, or link, a task again whose caller may have been interrupted before it did."""
        if task.launched or task.linked:
            return
        if task.attempt is not None:
            self._execution.launch(task)
        else:
            self._kernel.post_safely(self._kernel.link, task)

    def _refuse(self) -> None:
        kernel = self._kernel
        if kernel.failure is not None:
            raise kernel.failure
        if kernel.refusal is not None and worker.pool is None:
            raise kernel.refusal
