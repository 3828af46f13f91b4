"""One execution of a task, as the kernel hands it to an executor.

An attempt may be launched more than once: the caller of an app can be interrupted by Ctrl-C between
entering a task and queueing it, and whoever finds the task later simply launches it again.  That is
harmless because of :meth:`Attempt.claim`, which answers True exactly once.
"""

from __future__ import annotations

import threading
from _thread import LockType as Lock
from _thread import allocate_lock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field


class Attempt(Struct, gc=False, eq=False):
    """One execution of a task.

    Attributes:
        fn: the function to call.
        args: positional arguments, without futures.
        kwargs: keyword arguments, without futures.
        app: name of the app, for messages.
        tid: number of the task.
        number: 1 for the first try.
        encode: an executor that crosses a process boundary encodes the value over there
            (:func:`parsl_ckpt.checkpoint.codec.encode`) and hands the encoding over with it.
        began: time of the start in seconds since the epoch, written by the executor.
        seconds: duration in seconds, written by the executor.
        worker: name of what ran it, written by the executor.
        seed: address of the task, for ``task_rng()``; empty where it has none.
        walltime: seconds that it may take, of an executor that can stop it; see
            :meth:`~parsl_ckpt.executors.base.Executor.honour`.
        guard: if not None, the executor calls it when the arguments can no longer change: right
            before ``fn`` where caller and worker share memory, right after serialising them where
            they do not. It notices arguments that changed since the call; it does not raise.
    """

    # Not looked at by the garbage collector, because there is one for each task under way: the
    # kernel itself breaks the circle of task and attempt when the task is over.

    fn: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    app: str = ""
    tid: int = 0
    number: int = 1
    encode: bool = False
    task: Any = None
    guard: Callable[[], None] | None = None
    seed: bytes = b""
    walltime: float | None = None
    began: float = 0.0
    seconds: float = 0.0
    worker: str = ""
    _begun: Lock = field(default_factory=allocate_lock)

    def claim(self) -> bool:
        """Take the exclusive right to begin, or to cancel, this attempt.

        Returns:
            True for exactly one caller, from whichever thread; everyone else drops the attempt.

        >>> attempt = Attempt(print)
        >>> attempt.claim(), attempt.claim()
        (True, False)
        """
        return self._begun.acquire(False)

    @property
    def claimed(self) -> bool:
        """Whether someone has begun or cancelled it."""
        return self._begun.locked()


#: Tells worker processes the directory of what tasks commit in the middle.
SESSIONS_VARIABLE = "PARSL_CKPT_SESSIONS"


class Finished(Protocol):
    """What an executor calls, exactly once for each claimed attempt, from any thread."""

    def __call__(
        self, attempt: Attempt, value: Any, error: BaseException | None, encoded: Any = None
    ) -> None: ...


class Launcher(Protocol):
    """What the kernel needs of an executor."""

    label: str

    def honour(
        self, attempt: Attempt, walltime: float | None, resources: Mapping[str, Any] | None
    ) -> None:
        """See to what a call asks for, before it is launched; not called where it asks nothing."""

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        """Have the attempt run by a worker, and ``finished`` called when it has ended."""


class Worker(threading.local):
    """What the calling thread is, if it is a worker: set by executors, read by waiting futures.

    Attributes:
        pool: the executor whose worker this thread is; it has ``blocked()``, a context in which it
            makes up for the thread that waits.
        in_process_worker: this is a worker process, where there is no kernel.
        seed: of the task that this thread runs, or its random generators; see ``randomness.py``.
        sessions: directory of what tasks commit in the middle, where there is no pool to ask.
    """

    pool: Any = None
    in_process_worker: bool = False
    seed: Any = b""
    sessions: str | None = None

    @property
    def address(self) -> bytes:
        """Of the task that this thread runs; empty where there is none, or it has none."""
        seed = self.seed
        return seed if type(seed) is bytes else bytes(seed.key)


worker = Worker()
