"""Values that come from records: hits, and what cached tasks hand to one another.

A cached task that takes another's result gets it as it was recorded, decoded afresh, and not the
object that the caller may hold and change: so what is filed under the lineage of a record was
computed from that record.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.store import Entry, Stored
from parsl_ckpt.identity.values import Known, leaf
from parsl_ckpt.kernel.arguments import ATOMS
from parsl_ckpt.kernel.failures import describe
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.memo import Memo, parents_of
from parsl_ckpt.kernel.task import Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.writer import Writer

VALUE_NOTE = "value"  # the note that keeps the leaf of a record's value


class Hit:
    """A recorded outcome whose value is decoded when someone looks at the future."""

    def __init__(self, kernel: Kernel, task: Task, stored: Stored) -> None:
        self.kernel = kernel
        self.task = task
        self.stored = stored

    def mark(self, future: AppFuture) -> None:
        """Tell the future which record it stands for."""
        future._value_key = self.stored.result.key
        future._record = self.stored.record_id

    def load(self, future: AppFuture) -> bool:
        """Decode the value into the future; where that fails, have the task run instead."""
        if "_result" not in future.__dict__:
            try:
                value = self.value()
            except Exception as error:
                task = self.task
                self.kernel.problems.unreadable(task.spec.name, task.tid, error)
                run_again(self, future)
                return False
            # Another thread may be here too: the first value is everyone's.
            future.__dict__.setdefault("_result", value)
        future._phase = FINISHED
        return True

    def value(self) -> Any:
        """The value, decoded afresh."""
        return self.kernel.store.value(self.stored)


def run_again(hit: Any, future: AppFuture) -> None:
    """Make a pending future of a hit that is none.

    May be interrupted anywhere, and called by several threads: the task is made once, and whoever
    comes later does the rest again.
    """
    false = hit.task
    task = Task(future.tid, false.spec, false.args, false.kwargs, future)
    task.inputs = false.inputs
    task.opaque = false.opaque
    task.refresh = True
    kept: Task = hit.__dict__.setdefault("again", task)
    if kept is task:
        hit.kernel.tasks[task.tid] = task
    if kept.state == "unsched":
        future._task = kept
        future.from_memo = future._restored = False
    hit.kernel.post_safely(hit.kernel.link, kept)
    future._lazy = None


class Inputs:
    """What tasks get from the futures among their arguments, and what they leave behind."""

    def __init__(self, memo: Memo, writer: Writer) -> None:
        self._memo = memo
        self._store = memo.store
        self._writer = writer

    def leaf(self, future: Future[Any]) -> Known:
        """The identity of a future's value, from a note where one was kept, so without the value.

        Args:
            future: a future that is done.
        """
        if not (isinstance(future, AppFuture) and future._record):
            return Known(leaf(future.result()))
        known = future._leaf
        if known is None:
            known = self._store.note(future._record, VALUE_NOTE)
            if known is None:
                value = self.pristine(future)
                known = leaf(value)
                if type(value) not in ATOMS and self._memo.record:
                    self._writer.commit(
                        None, self._store.stage_note(future._record, VALUE_NOTE, known)
                    )
            future._leaf = known
        return Known(known)

    def value(self, future: Future[Any], task: Task) -> Any:
        """The value of a future for a task; as recorded, if the task's outcome is to be filed."""
        if isinstance(future, AppFuture):
            if future._lazy is not None:
                future._settle()
            if task.key is not None and future._record:
                return self.pristine(future)
            return future._result
        return future.result()

    def pristine(self, future: AppFuture) -> Any:
        """The value as it was recorded, whatever the caller has done to the object since."""
        hit = future._lazy
        value = future._result if hit is None else None
        if hit is None and type(value) in ATOMS:
            return value
        key = future._value_key
        stored = self._store.find(key) if key is not None else None
        if stored is not None and stored.record_id == future._record:
            return self._store.value(stored)
        return future.result()

    def entry(self, task: Task, value: Any, encoded: Any) -> Entry:
        """Encode an outcome and make its record, blobs first."""
        store, address, attempt = self._store, task.address, task.attempt
        if encoded is None:
            encoded = store.encode(value)
        parents = parents_of(task.inputs) if task.inputs else ()
        return store.stage(
            encoded,
            key=task.key,
            lineage=task.lineage if parents is not None else None,
            app=task.spec.name,
            code=address.code,
            names=address.names,
            leaves=address.leaves,
            parents=parents or (),
            began=attempt.began,
            seconds=attempt.seconds,
            tries=task.tries,
            worker=attempt.worker,
        )

    def record_failure(self, tid: int, spec: Spec, error: BaseException) -> None:
        """Keep a failure for reports; it is never restored."""
        if self._memo.record:
            text, trace = describe(error)
            entry = self._store.stage_failure(app=spec.name, tid=tid, error=text, trace=trace)
            self._writer.commit(None, entry)
