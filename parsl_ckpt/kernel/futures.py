"""What a call of an app returns: a ``concurrent.futures.Future`` that costs little and may be lazy.

*Lazy.*  A hit does not decode its value until someone looks: every look goes through ``_state``,
so the standard library's own functions (``wait``, ``as_completed``, ``asyncio.wrap_future``) look
too.  Whoever looks first decodes; a record that does not decode turns the future back into a
pending one and its task is run, so nobody ever sees a hit that is none.

*Cheap.*  Everything stands in slots: no instance dictionary, and the condition with its lists of
waiters exists only once somebody waits or asks to be called.

*Guarantees.*  A future is finished once.  Finishing hands back the callbacks instead of running
them, so that all futures of a batch are done before any callback runs.

*Assumptions.*  Reading and setting a slot is atomic.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FuturesTimeoutError  # its own class before 3.11
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from parsl_ckpt.errors import KernelError
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.strand import slices

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from parsl_ckpt.kernel.data import DataFuture
    from parsl_ckpt.kernel.records import TaskRecord
    from parsl_ckpt.kernel.request import Request
    from parsl_ckpt.kernel.task import Spec, Task

    R = TypeVar("R", default=Any)  # to a type checker, AppFuture alone is AppFuture[Any]
else:
    from typing import TypeVar

    R = TypeVar("R")

logger = logging.getLogger(__name__)
Callback = Callable[[Future[Any]], object]


#: In the place of a value that was let go of.
PURGED: Any = object()


class Lazy(Protocol):
    """Where the value of a hit comes from, or of a call that nobody has begun."""

    #: Whether nobody has begun it.
    sleeps: ClassVar[bool]

    def load(self, future: AppFuture) -> bool:
        """Finish the future with its value; False if it cannot be had and is computed instead."""


class Owner(Protocol):
    """What a future needs of the kernel it came from."""

    def cancel(self, future: AppFuture) -> bool:
        """Give up on a call that has not begun."""

    def lift(self, future: AppFuture, kind: str, item: Any) -> AppFuture:
        """A future of ``value[item]`` or ``value.item``."""

    def why(self, future: AppFuture) -> Any:
        """Why the task of a future ran, or did not have to."""


class _Waiting:
    """What a future needs once somebody waits for it."""

    __slots__ = ("callbacks", "condition", "lock", "waiters")

    def __init__(self) -> None:
        # Entered by itself: Ctrl-C inside `Condition.__enter__`, which is Python code, would leave
        # it locked, and whoever finishes the future would wait for ever.
        self.lock = threading.RLock()
        self.condition = threading.Condition(self.lock)
        self.waiters: list[Any] = []
        self.callbacks: list[Callback] = []


class AppFuture(Future[R]):
    """The future outcome of one call of an app; to type checkers, ``AppFuture[type of the value]``.

    It can be waited for, handed to other apps, and awaited in coroutines (``await future``).

    Attributes:
        tid: number of the task in its run.
        from_memo: the outcome was there already, or came from an equal call in flight.

    ``future[key]`` and ``future.name`` are futures of an item and of an attribute of the value;
    names that begin with an underscore are not lifted.
    """

    # For the kernel: `_key`, its own key (the lineage key where there is one); `_value_key` and
    # `_record`, under which its value is recorded; `_path`, the way from that value to this one,
    # for a part of it; `_leaf`, the identity of its value; `_restored`, it comes from the store.
    # Each is None until known.  `_missed` is set only where nothing else would tell why it ran,
    # `_request` only where the call asks for something, `_spec` once its task is over, `_unkept`
    # only where its value is not recorded on purpose: the record that says so.
    __slots__ = (
        "_exception", "_kernel", "_key", "_lazy", "_leaf", "_missed", "_path", "_phase", "_record",
        "_request", "_restored", "_result", "_spec", "_status", "_task", "_unkept", "_value_key",
        "_wait", "from_memo", "tid",
    )  # fmt: skip

    _missed: tuple[Any, Any, bool]  # address, app, whether it was asked to run anew
    _request: Request
    _spec: Spec
    _unkept: bytes | None

    def __init__(self, kernel: Owner, tid: int) -> None:
        # Future.__init__ is not called: what it makes is made on first use.
        self._kernel = kernel
        self.tid = tid
        self.from_memo = False
        self._phase = PENDING
        self._status = states.UNSCHED
        self._restored = False
        self._path: tuple[tuple[Callable[..., Any], Any], ...] = ()
        self._result: Any = None
        self._exception: BaseException | None = None
        self._lazy: Lazy | None = None
        self._task: Task | None = None
        self._wait: _Waiting | None = None
        self._key: bytes | None = None
        self._value_key: bytes | None = None
        self._record: bytes | None = None
        self._leaf: bytes | None = None

    # -- how it stands -----------------------------------------------------------------------------

    def _look(self) -> str:
        if self._lazy is not None:
            self._settle()
        return self._phase

    # To type checkers an attribute, as of any Future, so that `as_completed` and `wait` take it.
    _state: str = property(_look)  # type: ignore[assignment]

    def _settle(self) -> None:
        """Decode the value of a hit; two threads may do it at once, and one value is kept."""
        lazy = self._lazy
        if lazy is not None and lazy.load(self):
            self._lazy = None

    def task_status(self) -> str:
        """The state of the task, by one of Parsl's names (``pending``, ``exec_done``, ...)."""
        task = self._task
        return self._status if task is None else task.status

    @property
    def task_record(self) -> TaskRecord:
        """The task by Parsl's names, as a mapping that reads what is so at the time.

        It is made when it is asked for; what a task does is noted from then on, so ask before it
        runs for its arguments, its times and its failures.
        """
        from parsl_ckpt.kernel.records import record_of_future

        return record_of_future(self)

    @property
    def stdout(self) -> Any:
        """Where the standard output of a bash app's command is.

        As the call had it, and None if it went nowhere of its own; for a ``File``, its
        :class:`~parsl_ckpt.kernel.data.DataFuture`. Of a call that did not have to run, the path
        of the original.
        """
        from parsl_ckpt.kernel.data import stream_of

        return stream_of(self, "stdout")

    @property
    def stderr(self) -> Any:
        """Where the standard error of a bash app's command is; as :attr:`stdout`."""
        from parsl_ckpt.kernel.data import stream_of

        return stream_of(self, "stderr")

    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._state != PENDING

    def running(self) -> bool:
        """Whether a worker has begun the task."""
        return self.task_status() in (states.RUNNING, states.JOINING)

    def cancelled(self) -> bool:
        """Whether the call was given up."""
        return self._state == CANCELLED_AND_NOTIFIED

    def cancel(self) -> bool:
        """Give up this call, if no worker has begun it.

        Where equal calls joined one task, only this one is given up and the task goes on.

        Returns:
            Whether the future is cancelled.
        """
        if self._state == PENDING:
            return self._kernel.cancel(self)
        return self._phase == CANCELLED_AND_NOTIFIED

    # -- its outcome -------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> R:
        """The value; waits for it.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            TimeoutError: ``timeout`` seconds have passed.
            CancelledError: the call was cancelled.
            BaseException: whatever the app raised.
        """
        if self._lazy is not None or self._phase != FINISHED:
            self._await(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                self = None  # type: ignore[assignment]  # the traceback must not keep it alive
        value = self._result
        if value is PURGED:  # a moment ago: it is there again when it is looked at
            return self.result(timeout)
        return value  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the app raised, or None; waits like :meth:`result`."""
        self._await(timeout)
        return self._exception

    def __await__(self) -> Generator[Any, None, R]:
        """Wait in a coroutine, of whatever event loop, without keeping a thread.

        A coroutine that is cancelled gives the call up, unless another one awaits it as well.
        """
        from parsl_ckpt.kernel.awaiting import outcome_of

        return outcome_of(self).__await__()

    def _await(self, timeout: float | None) -> None:
        if self._state == PENDING:
            pool = worker.pool
            if pool is None:
                self._sleep_until(timeout)
            else:
                with pool.blocked():
                    self._sleep_until(timeout)
        if self._state == PENDING:
            raise FuturesTimeoutError
        if self._phase == CANCELLED_AND_NOTIFIED:
            raise CancelledError

    def _sleep_until(self, timeout: float | None) -> None:
        waiting = self._waiting()
        for seconds in slices(timeout):
            with _interruptible(), waiting.lock:
                if self._phase == PENDING and self._lazy is None:
                    waiting.condition.wait(seconds)
            if self._state != PENDING:  # a hit that does not decode is pending again
                break

    def add_done_callback(self, fn: Callback) -> None:
        """Have ``fn(future)`` called when the outcome is known.

        It is called on a thread of its own kind, where it may block and call apps; if the outcome
        is known already, at once and here.  What it raises is logged and ignored.
        """
        if self._state == PENDING:
            waiting = self._waiting()
            with waiting.lock:
                if self._phase == PENDING and self._lazy is None:
                    waiting.callbacks.append(fn)
                    return
            if self._state == PENDING:  # it became a hit meanwhile, and a false one
                self.add_done_callback(fn)
                return
        self._call(fn)

    def _call(self, fn: Callback) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("A callback of task %s raised; it was ignored.", self.tid)

    def why(self) -> Any:
        """Why the call ran, or where its outcome came from.

        Worked out when it is asked for, from what is recorded; does not wait.

        Returns:
            A :class:`~parsl_ckpt.observe.reasons.Reason`; ``print()`` tells it.

        Raises:
            KernelError: its kernel cannot tell (one that was made without a run directory).
        """
        return self._kernel.why(self)

    @property
    def outputs(self) -> list[DataFuture]:
        """A future for each of the files that the call is to write, in order.

        Each is done when the call is, and stands for its file among the arguments of other calls.
        """
        if not hasattr(self, "_request"):
            return []
        from parsl_ckpt.kernel.data import data_futures

        found: list[DataFuture] = self.__dict__.setdefault("_outputs", data_futures(self))
        return found

    # -- finishing, for the kernel -----------------------------------------------------------------

    def _conclude(
        self, phase: str, value: Any, error: BaseException | None, status: str
    ) -> list[Callback]:
        """Finish it and wake who waits.

        Returns:
            The callbacks to run, once every future of the batch has been finished.
        """
        self._result = value
        self._exception = error
        self._status = status
        self._phase = phase
        self._task = None
        # Who waits makes `_wait` first and looks at the phase afterwards; here it is the other way
        # round, so either the phase is seen there or the waiting is seen here.
        return [] if self._wait is None else self._wake()

    def _conclude_lazily(self, lazy: Lazy) -> bool:
        """Finish it with a value that is decoded when someone looks.

        Returns:
            Whether somebody waits, and :meth:`_awaken` is to be called, outside the kernel's turn.
        """
        self._status = states.MEMO_DONE
        self.from_memo = self._restored = True
        self._lazy = lazy
        self._task = None
        return self._wait is not None

    def _awaken(self) -> list[Callback]:
        """Decode the value of a hit that is waited for; wake who waits if it is one indeed."""
        return [] if self._state == PENDING else self._wake()

    def _conclude_looked(self, value: Any, error: BaseException | None) -> None:
        """Finish it with the decoded value of a hit; threads that look at once give the same."""
        self._result = value
        self._exception = error
        self._phase = FINISHED

    def _purge(self, lazy: Lazy) -> list[Callback]:
        """Let go of the value, which can be had again.

        Returns:
            Callbacks to be run where they may block, of who came at this very moment.
        """
        # In this order: who finds the value gone finds it pending, and from then on the lazy one.
        self._phase = PENDING
        self._result = PURGED
        self._lazy = lazy
        return [] if self._wait is None else self._awaken()

    def _wake(self) -> list[Callback]:
        with self._condition:
            for waiter in self._waiters:
                if self._phase == CANCELLED_AND_NOTIFIED:
                    waiter.add_cancelled(self)
                elif self._exception is not None:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            waiting = self._waiting()
            callbacks, waiting.callbacks = waiting.callbacks, []
            self._condition.notify_all()
        return callbacks

    def _run_callbacks(self, callbacks: list[Callback]) -> None:
        """Run callbacks, on a thread where they may block; those of a false hit wait again."""
        for callback in callbacks:
            if self._state == PENDING:
                self.add_done_callback(callback)
            else:
                self._call(callback)

    # -- what the standard library looks for, made on first use ------------------------------------

    def _waiting(self) -> _Waiting:
        waiting = self._wait
        if waiting is None:
            # Of several threads the first one's is everyone's. Without a lock, which Ctrl-C could
            # leave locked.
            waiting = self._wait = self.__dict__.setdefault("_waiting_first", _Waiting())
        return waiting

    _condition: threading.Condition = property(  # type: ignore[assignment]
        lambda self: self._waiting().condition
    )
    _waiters: list[Any] = property(lambda self: self._waiting().waiters)  # type: ignore[assignment]

    @property
    def _done_callbacks(self) -> list[Callback]:
        return self._waiting().callbacks

    # -- what it is not ----------------------------------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """Not for users: the kernel alone finishes a task's future."""
        self._refuse()

    def set_result(self, result: Any) -> None:
        """Not for users: the kernel alone finishes a task's future."""
        self._refuse()

    def set_exception(self, exception: BaseException | None) -> None:
        """Not for users: the kernel alone finishes a task's future."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidStateError(
            f"Task {self.tid} is finished by its kernel alone. Make a concurrent.futures.Future "
            "of your own if you want to finish one."
        )

    def __reduce__(self) -> NoReturn:
        raise KernelError(
            f"The future of task {self.tid} cannot be pickled.",
            hint="Pass it to another app as an argument, or pass on its result().",
            tid=self.tid,
        )

    # -- lifting -----------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> AppFuture:
        return self._kernel.lift(self, "item", key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"A future has no attribute {name!r} (such names are not lifted).")
        return self._kernel.lift(self, "attribute", name)

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"The future of task {self.tid} cannot be iterated over. Iterate over its result()."
        )

    def __repr__(self) -> str:
        return f"<AppFuture {self.tid} {self.task_status()}>"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C out as what it is.

    ``Condition.wait`` can be interrupted after it has let go of its lock and before it takes care
    of that; what comes out then is a RuntimeError about the lock.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
