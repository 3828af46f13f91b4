"""Outcomes that come from elsewhere: who is asked when nothing is recorded of a call.

::

    entering ─ own miss ─► ask ─► check_memo ─┬─ a value ──► recorded as if computed ──► committed
                            (out of turn)     ├─ an error ─► the call fails with it
                                              └─ nothing, or trouble ──► lease, or launch

Parsl's memoizers are written so, and so is what was carried over from Parsl's checkpoints
(``carried.py``).  Who is asked is also told what calls came to.

*Guarantees.*  Where nobody is to be asked, a miss costs one test more.  What is found is in the
checkpoint before its future is done, like any outcome.  No exception and no wrong answer of who is
asked fails a call: it is told once, and the call is computed.  Of equal calls one is asked about.

*Assumptions.*  ``check_memo`` may take its time: unless it is said to be quick, it is called on one
of a few threads of its own.  It does not wait for calls that it would itself be asked about.
``ask`` is called out of turn, for tasks that the memo table knows.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from parsl_ckpt.checkpoint.carrying import NOTE
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.failures import one_line
from parsl_ckpt.kernel.hits import InputPending
from parsl_ckpt.kernel.records import record_of
from parsl_ckpt.kernel.task import Task

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Entry
    from parsl_ckpt.kernel.kernel import Kernel

logger = logging.getLogger(__name__)

THREADS = 16  # on which a source is asked at once


class CallRecord(dict[str, Any]):
    """A call as memoizers know it, under Parsl's names: ``func``, ``args``, ``kwargs``, ``id``...

    ``hashsum`` is the key of the call in hexadecimal, ``app_fu`` its future.

    Args:
        task: the task.
        args, kwargs: its arguments, without futures.
        kernel: its kernel.
        whole: False leaves out what only users ask for.

    Attributes:
        task: the task itself.
        parsl_key: what is to be noted as Parsl's key of the call; None if nothing is.
    """

    __slots__ = ("parsl_key", "task")

    def __init__(
        self,
        task: Task,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        kernel: Kernel,
        whole: bool = True,
    ) -> None:
        super().__init__(record_of(task, kernel) if whole else ())
        spec, key = task.spec, task.key
        self.task = task
        self.parsl_key: bytes | None = None
        self["func"] = spec.source or spec.fn
        self["args"], self["kwargs"] = args, kwargs
        self["ignore_for_cache"] = list(spec.ignored)
        self["hashsum"] = None if key is None else key.hex()


class Source(Protocol):
    """Who may be asked; see :class:`parsl_ckpt.kernel.memoizer.Memoizer`."""

    def check_memo(self, task: Any) -> Future[Any] | None:
        """The outcome of a call, if it is known."""

    def update_memo_result(self, task: Any, r: Any) -> None:
        """A call has come to a value."""

    def update_memo_exception(self, task: Any, e: BaseException) -> None:
        """A call has failed."""


class Elsewhere:
    """Asks a source on behalf of one kernel.

    Args:
        kernel: the kernel.
        source: who is asked.
        quick: what the source does takes no time, so it is called in place.
        identify: gives Parsl's key of a call, which is noted beside its record; None for no notes.
    """

    def __init__(
        self,
        kernel: Kernel,
        source: Source,
        *,
        quick: bool = False,
        identify: Callable[[CallRecord], bytes | None] | None = None,
    ) -> None:
        self._kernel = kernel
        self._source = source
        self._quick = quick
        self._identify = identify
        self._waiting: deque[Callable[[], object]] = deque()
        self._free = threading.Semaphore(THREADS)

    def ask(self, task: Task) -> None:
        """Ask about a task; it goes on by itself, as a hit or as a miss."""
        self._call(lambda: self._ask(task))

    def succeeded(self, task: Task, value: Any) -> None:
        """A task has come to a value, which is not recorded yet; called where it ran."""
        self._tell(task, lambda record: self._source.update_memo_result(record, value))

    def note(self, task: Task, entry: Entry) -> None:
        """The outcome of a task is about to be recorded."""
        key = task.told.parsl_key if task.told is not None else None
        if key is not None:
            note = self._kernel.store.stage_note(entry.record_id, NOTE, key)
            self._kernel.writer.commit(None, note)

    def failed(self, task: Task, error: BaseException) -> None:
        """A task has failed for good; its future is told afterwards."""

        def tell() -> None:
            self._tell(task, lambda record: self._source.update_memo_exception(record, error))
            self._kernel.strand.post((self._kernel.fail, task, error, states.FAILED))

        self._call(tell)

    def _call(self, call: Callable[[], object]) -> None:
        """Make a call that may take its time, a bounded number of them at once."""
        if self._quick:
            call()
            return
        self._waiting.append(call)
        self._serve()

    def _serve(self) -> None:
        if self._waiting and self._free.acquire(blocking=False):
            self._kernel.errands.run(self._work)

    def _work(self) -> None:
        try:
            while True:
                try:
                    call = self._waiting.popleft()
                except IndexError:
                    break
                call()
        finally:
            self._free.release()
            self._serve()  # for what came between the last look and the release

    # -- asking ------------------------------------------------------------------------------------

    def _ask(self, task: Task) -> None:
        kernel = self._kernel
        if task.state in states.FINAL_STATES:  # given up meanwhile
            kernel.strand.post((kernel.forget, task))
            return
        try:
            args, kwargs = kernel.entering.values(task)
            task.told = record = CallRecord(task, args, kwargs, kernel, not self._quick)
        except InputPending:
            kernel.strand.post((kernel.relink, task))
            return
        except BaseException as error:
            kernel.strand.post((kernel.fail, task, error, states.FAILED))
            return
        try:
            if self._identify is not None:
                record.parsl_key = self._identify(record)
            answer = self._source.check_memo(record)
            if answer is None:
                kernel.entering.missed(task)
                return
            if not isinstance(answer, Future):
                raise TypeError(f"check_memo gave {answer!r:.60}, which is no future")
            answer.add_done_callback(lambda future: self._answered(task, future))
        except BaseException as error:
            self._complain("check_memo", task, error)
            kernel.entering.missed(task)

    def _answered(self, task: Task, answer: Future[Any]) -> None:
        """The future that was given is done; called by whoever has finished it."""
        kernel = self._kernel
        request = task.request
        unwritten = (
            request is not None
            and request.outputs
            and (kernel.execution.look_at_outputs(task) is not None)
        )
        if answer.cancelled() or unwritten:  # what is known is worth nothing without its files
            kernel.entering.missed(task)
            return
        error = answer.exception()
        if error is not None:
            kernel.strand.post((self._take_failure, task, error))
        else:
            kernel.strand.post((self._take, task, answer.result()))

    def _take(self, task: Task, value: Any) -> None:
        """*In turn.* A value was found for a task."""
        kernel = self._kernel
        if task.state in states.FINAL_STATES:
            kernel.forget(task)
            return
        task.ends = states.MEMO_DONE
        for future in task.futures:
            future.from_memo = future._restored = True
        record = task.told
        kernel.effect(lambda: kernel.execution.found(task, value, record["args"], record["kwargs"]))

    def _take_failure(self, task: Task, error: BaseException) -> None:
        """*In turn.* The call is known to fail."""
        for future in task.futures:
            future.from_memo = True
        self._kernel.fail(task, error, states.FAILED)

    # -- telling -----------------------------------------------------------------------------------

    def _tell(self, task: Task, tell: Callable[[CallRecord], object]) -> None:
        record = task.told
        if record is None:  # nobody was asked: it is to run whatever is known
            attempt = task.attempt
            if attempt is None:
                return
            record = CallRecord(task, tuple(attempt.args), dict(attempt.kwargs), self._kernel)
        try:
            tell(record)
        except BaseException as error:
            self._complain("update_memo", task, error)

    def _complain(self, method: str, task: Task, error: BaseException) -> None:
        app, kind = task.spec.name, type(self._source).__name__
        logger.error("%s.%s failed for %s.", kind, method, app, exc_info=error)
        so = "its calls are computed" if method == "check_memo" else "it goes on without"
        self._kernel.problems.warn_once(
            f"memoizer {kind} {method} {app}: {type(error).__name__}",
            app,
            f"{kind}.{method} failed for {app}, so {so}: {one_line(error)}",
        )
