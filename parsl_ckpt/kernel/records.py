"""What is known of a task, as a mapping with Parsl's keys: ``future.task_record``, ``dfk.tasks``.

Rule of this file: nothing is kept of a task before somebody asks.  From then on its
:class:`History` notes what the kernel would forget; what happened before, and what became of a task
that nobody asked about while it was under way, is told as far as its future, its app and its record
in the checkpoint know.
"""

from __future__ import annotations

import datetime
import enum
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.task import Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.attempt import Attempt
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.kernel import Kernel


class States(str, enum.Enum):
    """The states of a task: each equals its name, and its ``name`` is that name as well."""

    unsched = states.UNSCHED
    pending = states.PENDING
    launched = states.LAUNCHED
    running = states.RUNNING
    joining = states.JOINING
    exec_done = states.EXEC_DONE
    memo_done = states.MEMO_DONE
    failed = states.FAILED
    dep_fail = states.DEP_FAIL
    fail_retryable = states.FAIL_RETRYABLE
    cancelled = states.CANCELLED

    def __str__(self) -> str:
        return f"States.{self.name}"


class History:
    """What is noted of a task from the time on at which somebody asked.

    Attributes:
        asked: when that was, in seconds since the epoch.
        launched, returned: when the last attempt was launched, and when the task was over.
        executor: label of the executor of the last attempt.
        failures: what its attempts raised.
        joins: what a join app returned.
        last: what is kept of the task when it is over.
        instead: of the equal call into which the task was merged.
    """

    __slots__ = (
        "asked", "executor", "failures", "instead", "joins", "last", "launched", "returned",
    )  # fmt: skip

    def __init__(self) -> None:
        self.asked = time.time()
        self.launched: float | None = None
        self.returned: float | None = None
        self.executor: str | None = None
        self.failures: list[str] = []
        self.joins: Any = None
        self.last: dict[str, Any] | None = None
        self.instead: History | None = None

    def launch(self, executor: str) -> None:
        """An attempt is handed to an executor."""
        self.launched, self.executor = time.time(), executor

    def fail(self, error: BaseException) -> None:
        """An attempt has failed."""
        try:
            self.failures.append(repr(error))
        except Exception:
            self.failures.append(type(error).__name__)

    def close(self, task: Task) -> None:
        """The task is over; the kernel is about to forget it."""
        if self.last is None:
            self.returned = time.time()
            last = _of_task(task)
            # Weakly, or the last future of a chain would keep all of it.
            last["depends"] = [weakref.ref(future) for future in last["depends"]]
            self.last = last


class TaskRecord(Mapping[str, Any]):
    """A task as Parsl's scripts know it; reads what is so at the time.

    Keys: ``id``, ``app_fu``, ``status`` (a :class:`States`), ``func``, ``func_name``, ``args``,
    ``kwargs``, ``depends``, ``executor``, ``memoize``, ``ignore_for_cache``, ``hashsum`` (the key
    of the call), ``from_memo``, ``join``, ``joins``, ``try_id``, ``fail_count``, ``fail_cost``,
    ``fail_history``, ``time_invoked``, ``try_time_launched``, ``try_time_returned``,
    ``time_returned``, ``resource_specification``, ``dfk``.  What is not known is None or empty:
    arguments and failures of a task that was over before anyone asked.  ``time_invoked`` is the
    time at which it was asked or begun, whichever came first.
    """

    __slots__ = ("_future", "_history", "_kernel")

    def __init__(self, future: AppFuture[Any], kernel: Kernel, history: History | None) -> None:
        self._future = future
        self._kernel = kernel
        self._history = history

    def __getitem__(self, key: str) -> Any:
        return self._facts()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts())

    def __len__(self) -> int:
        return len(self._facts())

    def __repr__(self) -> str:
        facts = self._facts()
        return f"<TaskRecord {facts['id']} {facts['func_name']} {facts['status'].name}>"

    def _facts(self) -> dict[str, Any]:
        history, future = self._history, self._future
        while history is not None and history.instead is not None:
            history = history.instead
        task = future._task
        facts = history.last if history is not None else None
        if facts is not None:
            facts = {**facts, "depends": [one for ref in facts["depends"] if (one := ref())]}
        elif task is not None:
            facts = _of_task(task)
        else:
            facts = _of_future(future, self._kernel)
        facts = _shown(facts, history, self._kernel)
        facts["id"], facts["app_fu"] = future.tid, future
        facts["from_memo"] = future.from_memo if future._task is None else None
        facts["status"] = States(future.task_status())
        return facts


class Tasks(Mapping[int, TaskRecord]):
    """The tasks that are not over, by number; records are made when they are looked at."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def __getitem__(self, tid: int) -> TaskRecord:
        return record_of_future(self._kernel.tasks[tid].future)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._kernel.tasks))

    def __len__(self) -> int:
        return len(self._kernel.tasks)

    def values(self) -> Any:
        """The records of the tasks that are under way now."""
        return [record_of_future(task.future) for task in list(self._kernel.tasks.values())]

    def items(self) -> Any:
        """Number and record of the tasks that are under way now."""
        return [(record["id"], record) for record in self.values()]


def record_of_future(future: AppFuture[Any]) -> TaskRecord:
    """The record of a future; from now on what happens to its task is noted."""
    kernel: Any = future._kernel
    task, history = future._task, future.__dict__.get("_history")
    if task is not None and history is None:
        # Of several who ask at once one history is kept, or the other one stays as it is.
        history = task.history
        if history is None:
            history = task.history = History()
        if task.state in states.FINAL_STATES and task.merged is None:
            history.close(task)  # the owner may not have seen it
        future.__dict__["_history"] = history  # not the record, which has the future
    return TaskRecord(future, kernel, history)


def record_of(task: Task, kernel: Kernel | None = None) -> dict[str, Any]:
    """A task that has failed, as Parsl's retry handlers know it, before the cost is added."""
    return _shown(_of_task(task), task.history, kernel) | {"app_fu": task.future}


def _of_task(task: Task) -> dict[str, Any]:
    """What a task under way knows of itself."""
    attempt: Attempt | None = task.attempt
    done = task.state == states.EXEC_DONE
    return {
        "id": task.tid,
        "spec": task.spec,
        "args": task.args if attempt is None else attempt.args,
        "kwargs": task.kwargs if attempt is None else attempt.kwargs,
        "depends": list(task.inputs),
        "hashsum": None if task.key is None else task.key.hex(),
        "try_id": max(task.tries - 1, 0),
        "fail_count": max(task.tries - 1, 0) if done else _failed(task, attempt),
        "fail_cost": task.cost,
        "began": attempt.began if attempt is not None and attempt.began else None,
        "seconds": attempt.seconds if attempt is not None else 0.0,
        "request": task.request,
        "status": States(task.status),
    }


def _failed(task: Task, attempt: Attempt | None) -> int:
    """How many attempts have failed: all but one that is under way."""
    under_way = attempt is not None and task.tries > 0 and not attempt.seconds
    return task.tries - 1 if under_way else task.tries


def _of_future(future: AppFuture[Any], kernel: Kernel) -> dict[str, Any]:
    """What can be told of a task that is over; its record in the checkpoint may know more."""
    spec: Spec | None = getattr(future, "_spec", None)
    facts: dict[str, Any] = {
        "id": None, "spec": spec, "args": (), "kwargs": {}, "depends": [], "hashsum": None,
        "try_id": 0, "fail_count": 0, "fail_cost": 0, "began": None, "seconds": 0.0,
        "request": None, "status": States.exec_done,
    }  # fmt: skip
    facts["request"] = getattr(future, "_request", None)
    if future._exception is not None:
        facts["fail_count"] = 1
    key = future._value_key
    if key is not None:
        facts["hashsum"] = key.hex()
        try:
            stored = kernel.store.recorded(key, future._record or b"")
        except Exception:  # the store is closed, or the record cannot be read: it told what it knew
            stored = None
        if stored is not None and not future.from_memo:
            result = stored.result
            facts["began"], facts["seconds"] = result.began, result.seconds
            facts["try_id"] = facts["fail_count"] = max(result.tries - 1, 0)
    return facts


def _shown(facts: dict[str, Any], history: History | None, kernel: Kernel | None) -> dict[str, Any]:
    """Facts under Parsl's keys."""
    facts = dict(facts)
    spec: Spec | None = facts.pop("spec")
    began, seconds, request = facts.pop("began"), facts.pop("seconds"), facts.pop("request")
    history = history or _NOTHING
    asked = history.asked if history is not _NOTHING else None
    labels: Sequence[str] = spec.executors if spec is not None else ()
    only = kernel.execution.only if kernel is not None and not labels else None
    known = history.executor or (labels[0] if len(labels) == 1 else only)
    failures = list(history.failures)
    return facts | {
        "dfk": getattr(kernel, "owner", None),
        "func": None if spec is None else spec.fn,
        "func_name": None if spec is None else spec.name,
        "memoize": spec is not None and spec.cache,
        "ignore_for_cache": list(getattr(spec and spec.binder, "ignored", ())),
        "join": spec is not None and spec.kind == "join",
        "joins": history.joins,
        "executor": known,
        "exec_fu": None,
        "fail_count": max(facts["fail_count"], len(failures)),
        "fail_history": failures,
        "from_memo": None,
        "time_invoked": _time(min(filter(None, (asked, began)), default=None)),
        "time_returned": _time(history.returned),
        "try_time_launched": _time(history.launched or began),
        "try_time_returned": _time(began + seconds if began and seconds else None),
        "resource_specification": dict(getattr(request, "resources", None) or {}),
    }


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds)


_NOTHING = History()
