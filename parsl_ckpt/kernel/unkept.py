"""Outcomes that are not recorded: ``persist=False``, and ``persist="auto"`` where it does not pay.

    value ─┬─ persist=False ────────────────► a record without it (Unkept) ─► what takes it
           └─ "auto" ─ worth keeping? ─┬─ no ─► the same
                                       └─ yes, or not known yet ─► recorded, and measured

Such a call has an address as any cached call has.  What is computed from its value names the record
without it, as it would name the record with it: so a consumer is restored by lineage though the
value between is nowhere, and not restored once that call was forgotten, invalidated, made anew, or
computed from other inputs.

What takes the value gets the object itself: there is no record to decode a copy from.  It is
digested when it is there, and again before and after each recorded call that takes it; if somebody
has changed it, that call is not recorded.

*Guarantees.*  Calls of other apps pay one comparison for all this.  Whatever goes wrong with the
record, the call has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.store import Entry, Stored
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel.arguments import ATOMS
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.lifting import WHOLE
from parsl_ckpt.kernel.memo import parents_of, unkept_id
from parsl_ckpt.kernel.task import Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

AUTO = "auto"
AGAIN = "_again"  # in the dictionary of a future: its call had come to a value before
_MEMORY = 0.25  # weight of the newest measurement


class Costs(NamedTuple):
    """What keeping an outcome of an app costs.

    Args:
        write: seconds from the value to the record, blobs included.
        read: seconds from the record to the value.
    """

    write: float
    read: float


def worth_keeping(computed: float, costs: Costs | None) -> bool:
    """Whether an outcome is recorded, of an app with ``persist="auto"``.

    It is, if computing it took longer than writing it and reading it once: then it pays with the
    first time that it is wanted again.

    Args:
        computed: seconds that the call took.
        costs: what was measured of outcomes of the app; None if nothing was: then it is recorded,
            to be measured.

    >>> worth_keeping(0.5, Costs(0.3, 0.1)), worth_keeping(0.5, Costs(0.3, 0.3))
    (True, False)
    >>> worth_keeping(0.0, None)
    True
    """
    return costs is None or computed > costs.write + costs.read


class Passing:
    """Decides what is recorded, for one kernel, and leaves word of what is not."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        #: What keeping costs, by app.
        self.costs: dict[str, Costs] = {}

    # -- before it runs ----------------------------------------------------------------------------

    def promise(self, future: AppFuture, key: bytes, inputs: Sequence[Future[Any]] = ()) -> None:
        """Note what a call stands for that came to a value before, from these inputs.

        Args:
            future: of the call.
            key: its lineage key, or its only one.
            inputs: the futures among its arguments.
        """
        if not self._kernel.memo.lookup:
            return
        found = self._kernel.store.unkept(key)
        if found is not None and found[1].parents == (parents_of(inputs) if inputs else ()):
            future._unkept = found[0]

    # -- once it has run ---------------------------------------------------------------------------

    def passes(self, task: Task, value: Any) -> bool:
        """Whether a value is not to be recorded; then word is left of it."""
        spec, attempt = task.spec, task.attempt
        if spec.persist == AUTO:
            computed = attempt.seconds if attempt is not None else 0.0
            if worth_keeping(computed, self.costs.get(spec.name)):
                return False
        known = b"" if type(value) in ATOMS else _digest(value)
        if known is None:
            self._kernel.problems.warn_once(
                f"unkept {spec.name}",
                spec.name,
                f"A value of {spec.name} is not recorded, and has no identity; so what is computed "
                "from it is not recorded either. Declare the app without persist, or return what "
                "can be identified.",
            )
            return True
        try:
            task.unkept = self._record(task), known
        except Exception as error:  # the store's: it must not cost the task its value
            self._kernel.problems.unsaved(spec.name, task.tid, error)
        return True

    def _record(self, task: Task) -> bytes:
        """Leave word that a call came to a value; once, as long as nothing about it changes."""
        kernel, attempt, key = self._kernel, task.attempt, task.key
        assert key is not None and attempt is not None
        parents = parents_of(task.inputs) if task.inputs else ()
        lineage = task.lineage if parents is not None else None
        before = kernel.store.unkept(key)
        if task.refresh:
            kernel.store.forget(key)
        elif before is not None and (before[1].lineage, before[1].parents) == (lineage, parents):
            for future in task.futures:
                future.__dict__[AGAIN] = True
            return before[0]
        record = fmt.Unkept(
            key, lineage, task.spec.name, task.address.code, parents or (), attempt.began,
            attempt.seconds, task.tries, attempt.worker, task.tid,
        )  # fmt: skip
        entry = kernel.store.stage_record(record)
        kernel.writer.commit(None, entry)
        return entry.record_id

    def measured(self, task: Task, value: Any, encoded: Any) -> Entry:
        """Make the record of an outcome, and measure what that costs.

        Raises:
            Exception: as :meth:`Inputs.entry <parsl_ckpt.kernel.hits.Inputs.entry>`.
        """
        kernel, name = self._kernel, task.spec.name
        now = kernel.clock.now
        began = now()
        entry = kernel.inputs.entry(task, value, encoded)
        write = now() - began
        before = self.costs.get(name)
        if before is None:
            self.costs[name] = Costs(write, self._reading(entry))
        else:
            smoothed = before.write + _MEMORY * (write - before.write)
            self.costs[name] = Costs(smoothed, before.read)
        return entry

    def _reading(self, entry: Entry) -> float:
        """How long it takes to read what was written; a value that cannot be read takes no time."""
        kernel, record = self._kernel, entry.record
        assert isinstance(record, fmt.Result)
        began = kernel.clock.now()
        try:
            stored = Stored(record, entry.record_id, record.parents, kernel.store.path or "")
            kernel.store.value(stored)
        except Exception:
            return 0.0
        return kernel.clock.now() - began

    # -- what takes it -----------------------------------------------------------------------------

    def borrow(self, task: Task) -> None:
        """Note which inputs of a task are objects that are not recorded, and were not changed."""
        borrowed = []
        for one in task.inputs:
            if not isinstance(one, AppFuture) or one._record or unkept_id(one) is None:
                continue
            whole = one.__dict__[WHOLE]() if WHOLE in one.__dict__ else one
            if whole is None:  # nobody can tell any more whether the part is what it was
                one._unkept = None
            elif whole._leaf and whole._lazy is None:
                borrowed.append((whole._spec.name, whole._result, whole._leaf))
        if borrowed:
            task.borrowed = tuple(borrowed)
            self.look_again(task)

    def look_again(self, task: Task) -> None:
        """Notice inputs that somebody has changed: what is computed from them is not recorded."""
        for app, value, known in task.borrowed:
            if _digest(value) != known:
                task.pristine = False
                self._kernel.problems.warn_once(
                    f"changed {app} {task.spec.name}",
                    task.spec.name,
                    f"A value of {app}, which is not recorded, was changed by the time that "
                    f"{task.spec.name} (task {task.tid}) ended, so the result is not recorded. "
                    "Have whoever changes it change a copy.",
                )


def _digest(value: Any) -> bytes | None:
    try:
        return leaf(value)
    except Exception:
        return None
