"""Values that come from records: hits, and what cached tasks hand to one another.

A cached task that takes another's result gets it as it was recorded, decoded afresh, and not the
object that the caller may hold and change: so what is filed under the lineage of a record was
computed from that record.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures._base import PENDING
from typing import TYPE_CHECKING, Any, ClassVar, Union

import msgspec

from parsl_ckpt.checkpoint.format import Code
from parsl_ckpt.checkpoint.store import Entry, Stored
from parsl_ckpt.identity.address import Address
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.identity.walk import Known
from parsl_ckpt.kernel.arguments import ATOMS, Arguments
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.failures import describe
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.memo import Memo, parents_of
from parsl_ckpt.kernel.outputs import validity
from parsl_ckpt.kernel.task import UNSCHED, Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.attempt import Attempt
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.writer import Writer

VALUE_NOTE = "value"  # the note that keeps the leaf of a record's value


Look = Union[tuple[Any, Union[BaseException, None]], Task]  # noqa: UP007  # what a look finds


class InputPending(Exception):
    """An input of a task was taken for a hit, and has to be computed after all."""


class Call(msgspec.Struct, gc=False, eq=False):
    """A call whose value is not computed but taken from a record, while nobody has looked at it.

    It knows what to call if the record turns out to be unreadable.  Several threads may look at
    once, and be interrupted anywhere: what the first one found, by one atomic ``append``, holds for
    everyone (a lock could be left locked).  Where they meet is found under the number of the task,
    which is never used again.
    """

    # Not looked at by the garbage collector: there is one for each future that is a hit.
    kernel: Kernel
    spec: Spec
    arguments: Arguments

    sleeps: ClassVar[bool] = False

    def load(self, future: AppFuture) -> bool:
        """Take the value into the future; where there is none, have the task run instead."""
        looks = self.kernel.looks
        found = looks.setdefault(future.tid, [])
        if not found:
            if future._phase != PENDING:  # another look is over already
                looks.pop(future.tid, None)
                return True
            found.append(self.look(future))
        first = found[0]
        if isinstance(first, Task):
            self._run_again(first, future)
            return False
        future._conclude_looked(*first)
        looks.pop(future.tid, None)
        return True

    def look(self, future: AppFuture) -> Look:
        """The outcome, or the task that is to compute it."""
        raise NotImplementedError

    def task(self, future: AppFuture) -> Task:
        """The call as a task, that uses no earlier outcome."""
        task = Task(future.tid, self.spec, self.arguments, future)
        task.refresh = True
        return task

    def _run_again(self, task: Task, future: AppFuture) -> None:
        """Make a pending future of a hit that is none; whoever comes later does it again."""
        if task.state == UNSCHED:
            future._task = task
            future.from_memo = future._restored = False
            future._record = future._value_key = future._leaf = None
            future._path = ()
        self.kernel.post_safely(self.kernel.link, task)
        if future._lazy is self:
            future._lazy = None


class Hit(Call, gc=False, eq=False):
    """A recorded outcome whose value is decoded when someone looks at the future."""

    stored: Stored

    def look(self, future: AppFuture) -> Look:
        """The value, decoded afresh; where it is lost, that of an older record of the same call."""
        kernel, stored = self.kernel, self.stored
        while True:
            try:
                value = kernel.store.value(stored)
            except Exception as error:
                valid = validity(kernel, self.spec, self.arguments.request)
                older = kernel.memo.find(stored.result.key, valid)
                again = older is None or older.record_id == stored.record_id
                kernel.problems.unreadable(self.spec.name, future.tid, error, again=again)
                if older is None or again:
                    return self.task(future)
                stored = older
                continue
            if stored is not self.stored:
                mark(future, stored)
                future._leaf = None  # what was noted was noted of the other one
            return value, None


def mark(future: AppFuture, stored: Stored) -> None:
    """Tell a future which record it stands for."""
    future._value_key = stored.result.key
    future._record = stored.record_id


class Inputs:
    """What tasks get from the futures among their arguments, and what they leave behind."""

    def __init__(self, memo: Memo, writer: Writer) -> None:
        self._memo = memo
        self._store = memo.store
        self._writer = writer
        self._codes: set[bytes] = set()

    def leaf(self, future: Future[Any]) -> Known:
        """The identity of a future's value, from a note where one was kept, so without the value.

        Args:
            future: a future that is done, and has not failed.

        Raises:
            InputPending: its record cannot be read.
        """
        if isinstance(future, DataFuture):
            return Known(future.file_leaf(self._store))
        if not (isinstance(future, AppFuture) and future._record):
            return Known(leaf(_live(future)))
        known = future._leaf
        if known is None:
            # A note speaks of the whole value of a record, not of its parts.
            note = None if future._path else self._store.note(future._record, VALUE_NOTE)
            known = note or self._learn(future, future._record)
            future._leaf = known
        return Known(known)

    def _learn(self, future: AppFuture, record: bytes) -> bytes:
        value = self.pristine(future)
        known = leaf(value)
        if type(value) not in ATOMS and not future._path and self._memo.record:
            self._writer.commit(None, self._store.stage_note(record, VALUE_NOTE, known))
        return known

    def value(self, future: Future[Any], task: Task) -> Any:
        """The value of a future for a task; as recorded, if the task's outcome is to be filed.

        Raises:
            InputPending: its record cannot be read.
        """
        if isinstance(future, DataFuture):
            return future.file_obj
        if task.key is not None and isinstance(future, AppFuture) and future._record:
            return self.pristine(future)
        return _live(future)

    def pristine(self, future: AppFuture) -> Any:
        """The value as it was recorded, whatever the caller has done to the object since.

        Raises:
            InputPending: its record cannot be read.
        """
        if future._lazy is None and type(future._result) in ATOMS:
            return _live(future)
        key, record = future._value_key, future._record
        stored = self._store.find(key) if key is not None else None
        try:
            if stored is not None and stored.record_id != record:  # another run has a newer one
                stored = self._store.recorded(stored.result.key, record or b"")
            if stored is None:
                raise LookupError
            value = self._store.value(stored)
        except Exception:
            value = _live(future)
            future._record = None  # from here on it stands for itself, not for a record
            return value
        for part, item in future._path:
            value = part(value, item)
        return value

    def entry(self, task: Task, value: Any, encoded: Any) -> Entry:
        """Encode an outcome and make its record, blobs first."""
        store, spec, address, attempt = self._store, task.spec, task.address, task.attempt
        if encoded is None:
            encoded = store.encode(value)
        parents = parents_of(task.inputs) if task.inputs else ()
        if address.code not in self._codes:
            self._record_code(spec, address.code)
        assert attempt is not None and spec.addresser is not None and task.key is not None
        return store.stage(
            encoded,
            key=task.key,
            lineage=task.lineage if parents is not None else None,
            app=spec.name,
            code=address.code,
            version=spec.addresser.version,
            names=address.names,
            leaves=address.leaves,
            parents=parents or (),
            began=attempt.began,
            seconds=attempt.seconds,
            tries=task.tries,
            worker=attempt.worker,
            tid=task.tid,
            outline=address.outline,
        )

    def _record_code(self, spec: Spec, digest: bytes) -> None:
        """Keep what a code digest is made of, once, so that later changes can be explained."""
        self._codes.add(digest)
        if self._store.code(digest) is None:
            assert spec.addresser is not None
            code = spec.addresser.code
            record = Code(digest, spec.name, code.leaves(), code.sources())
            self._writer.commit(None, self._store.stage_record(record))

    def record_failure(
        self,
        tid: int,
        spec: Spec,
        error: BaseException,
        address: Address | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        """Keep a failure for reports; it is never restored."""
        if not self._memo.record:
            return
        text, trace = describe(error)
        fields: dict[str, Any] = {"began": time.time()}  # at least, it was not long ago
        if attempt is not None and attempt.began:
            fields = {
                "began": attempt.began, "seconds": attempt.seconds, "tries": attempt.number,
                "worker": attempt.worker,
            }  # fmt: skip
        if address is not None and spec.addresser is not None:
            fields |= {
                "key": address.key, "code": address.code, "version": spec.addresser.version,
                "names": address.names, "leaves": address.leaves, "outline": address.outline,
            }  # fmt: skip
            if address.code not in self._codes:
                self._record_code(spec, address.code)
        entry = self._store.stage_failure(app=spec.name, tid=tid, error=text, trace=trace, **fields)
        self._writer.commit(None, entry)


def _live(future: Future[Any]) -> Any:
    """The value that the caller sees; does not wait."""
    if isinstance(future, AppFuture) and future._state == PENDING:
        raise InputPending
    return future.result()
