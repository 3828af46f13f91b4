"""One execution of a task, as the kernel hands it to an executor.

An attempt may be launched more than once: the caller of an app can be interrupted by Ctrl-C between
entering a task and queueing it, and whoever finds the task later simply launches it again.  That is
harmless because of :meth:`Attempt.claim`, which answers True exactly once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Attempt:
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
        guard: if not None, the executor calls it when the arguments can no longer change: right
            before ``fn`` where caller and worker share memory, right after serialising them where
            they do not. It notices arguments that changed since the call; it does not raise.
    """

    __slots__ = (
        "_ticket", "app", "args", "began", "encode", "fn", "guard", "kwargs", "number", "seconds",
        "task", "tid", "worker",
    )  # fmt: skip

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        app: str = "",
        tid: int = 0,
        number: int = 1,
        encode: bool = False,
        task: Any = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs or {}
        self.app = app
        self.tid = tid
        self.number = number
        self.encode = encode
        self.task = task
        self.guard = guard
        self.began = 0.0
        self.seconds = 0.0
        self.worker = ""
        self._ticket = [None]

    def claim(self) -> bool:
        """Take the exclusive right to begin, or to cancel, this attempt.

        Returns:
            True for exactly one caller, from whichever thread; everyone else drops the attempt.

        >>> attempt = Attempt(print)
        >>> attempt.claim(), attempt.claim()
        (True, False)
        """
        try:
            self._ticket.pop()  # one atomic operation decides
        except IndexError:
            return False
        return True

    @property
    def claimed(self) -> bool:
        """Whether someone has begun or cancelled it."""
        return not self._ticket


class Finished(Protocol):
    """What an executor calls, exactly once for each claimed attempt, from any thread."""

    def __call__(
        self, attempt: Attempt, value: Any, error: BaseException | None, encoded: Any = None
    ) -> None: ...


class Launcher(Protocol):
    """What the kernel needs of an executor."""

    label: str

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        """Have the attempt run by a worker, and ``finished`` called when it has ended."""


class Worker(threading.local):
    """What the calling thread is, if it is a worker: set by executors, read by waiting futures.

    Attributes:
        pool: the executor whose worker this thread is; it has ``blocked()``, a context in which it
            makes up for the thread that waits.
        in_process_worker: this is a worker process, where there is no kernel.
    """

    pool: Any = None
    in_process_worker: bool = False


worker = Worker()
