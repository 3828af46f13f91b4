"""Join apps: apps whose value is a future, or a list of futures, to be waited for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import JoinError, JoinValueError
from parsl_ckpt.kernel.task import Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel


def await_joined(kernel: Kernel, task: Task, value: Any) -> None:
    """Have the kernel told what a join app's futures come to; returns at once.

    Args:
        kernel: ``kernel.joined(task, value, error)`` is called when all are done.
        task: the join app's task.
        value: what the app returned.
    """
    if isinstance(value, Future):
        futures: Sequence[Future[Any]] = (value,)
    elif isinstance(value, (list, tuple)) and all(isinstance(item, Future) for item in value):
        futures = value
    else:
        error = JoinValueError(
            f"The join app {task.spec.name} returned {type(value).__name__}, not a future or a "
            "list of futures.",
            hint="Return what the apps it calls return, without waiting; or make it a python_app.",
            app=task.spec.name,
        )
        kernel.joined(task, None, error)
        return
    remaining = len(futures)
    lock = threading.Lock()

    def one_done(_: Future[Any]) -> None:
        nonlocal remaining
        with lock:
            remaining -= 1
            if remaining:
                return
        _all_done(kernel, task, futures, isinstance(value, Future))

    if not futures:
        kernel.joined(task, value, None)
    for future in futures:
        future.add_done_callback(one_done)


def _all_done(kernel: Kernel, task: Task, futures: Sequence[Future[Any]], single: bool) -> None:
    for future in futures:
        failure = CancelledError() if future.cancelled() else future.exception()
        if failure is not None:
            error = JoinError(
                f"The join app {task.spec.name} (task {task.tid}) failed because a future that it "
                f"returned failed: {type(failure).__name__}: {failure}.",
                app=task.spec.name,
                tid=task.tid,
            )
            error.__cause__ = failure
            kernel.joined(task, None, error)
            return
    values = [future.result() for future in futures]
    kernel.joined(task, values[0] if single else values, None)
