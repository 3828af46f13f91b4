"""Join apps: apps whose value is a future, or a list of futures, to be waited for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import JoinError, JoinValueError
from parsl_ckpt.kernel.failures import failure_of, name_of, one_line
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
    if not futures:
        kernel.joined(task, value, None)
        return
    remaining = len(futures)

    def count() -> None:  # on the porter's thread alone, so without a lock
        nonlocal remaining
        remaining -= 1
        if not remaining:
            kernel.errands.run(lambda: _conclude(kernel, task, futures, isinstance(value, Future)))

    def one_done(_: Future[Any]) -> None:
        # Whoever finishes a future of another library may be the main thread, where Ctrl-C strikes.
        kernel.porter.carry(count)

    try:
        for future in futures:
            future.add_done_callback(one_done)
    except BaseException as error:
        kernel.joined(task, None, error)


def _conclude(kernel: Kernel, task: Task, futures: Sequence[Future[Any]], single: bool) -> None:
    """All are done; their values may have to be decoded, on a thread where that may take long."""
    try:
        failed = [(future, failure) for future in futures if (failure := failure_of(future))]
        if failed:
            kernel.joined(task, None, _join_error(task, failed))
            return
        values = [future.result() for future in futures]
    except BaseException as error:  # another library's future may raise anything
        kernel.joined(task, None, error)
    else:
        kernel.joined(task, values[0] if single else values, None)


def _join_error(task: Task, failed: Sequence[tuple[Future[Any], BaseException]]) -> JoinError:
    failure = failed[0][1]
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    error = JoinError(
        f"The join app {task.spec.name} (task {task.tid}) failed because a future that it "
        f"returned failed{others}: {one_line(failure)}.",
        app=task.spec.name,
        tid=task.tid,
        causes=tuple((name_of(future), cause) for future, cause in failed),
    )
    error.__cause__ = failure
    return error
