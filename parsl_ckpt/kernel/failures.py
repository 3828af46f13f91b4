"""What is told of failures: causes along the graph, records for retry handlers, tracebacks."""

from __future__ import annotations

import traceback
from concurrent.futures import CancelledError, Future
from typing import Any, NoReturn

from parsl_ckpt.errors import DependencyError, KernelError, NotStartedError
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.task import Task

MAX_CHAIN = 20  # a chain of a hundred thousand tasks is told by its ends


def failure_of(future: Future[Any]) -> BaseException | None:
    """What a finished future failed with, or None; a hit is decoded only if it may fail."""
    if isinstance(future, AppFuture):
        if future._path and future._lazy is not None:  # the part may not exist
            future._settle()
        return future._exception
    if future.cancelled():
        return CancelledError()
    return future.exception()


def dependency_error(
    task: Task, failed: list[tuple[Future[Any], BaseException]]
) -> DependencyError:
    """The error of a task that cannot run, with the chain of causes down to the first."""
    future, error = failed[0]
    if not isinstance(future, AppFuture):
        name = f"a future of another library ({name_of(future)})"
    elif isinstance(error, DependencyError):
        name = f"{error.fields['app']} (task {future.tid})"
    else:
        spec = getattr(future, "_spec", None)  # there since its task is over
        name = f"task {future.tid}" if spec is None else f"{spec.name} (task {future.tid})"
    root = _root(error)
    if isinstance(error, DependencyError):
        tail = error.fields["chain"]
        chain = (name, *tail) if len(tail) < MAX_CHAIN else (name, "...", *tail[-MAX_CHAIN + 2 :])
    else:
        chain = (name,)
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    dependency = DependencyError(
        f"{task.spec.name} (task {task.tid}) was not run because its input {' <- '.join(chain)}"
        f"{others} failed: {one_line(root)}",
        app=task.spec.name,
        tid=task.tid,
        chain=chain,
        causes=tuple((name_of(one), _root(cause)) for one, cause in failed),
    )
    dependency.__cause__ = root
    return dependency


def _root(error: BaseException) -> BaseException:
    """The first failure: errors that kept those before them would grow along a chain of tasks."""
    return (error.__cause__ or error) if isinstance(error, DependencyError) else error


def name_of(future: Future[Any]) -> str:
    """What a failed input is called in an error."""
    if isinstance(future, AppFuture):
        return f"task {future.tid}"
    try:
        return repr(future)
    except Exception:
        return type(future).__name__


def one_line(error: BaseException) -> str:
    """An error as one line, whatever its ``__str__`` does."""
    try:
        text = str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    except Exception:
        return type(error).__name__


def describe(error: BaseException) -> tuple[str, bytes]:
    """An error as one line and as a traceback, whatever its ``__str__`` does."""
    text = one_line(error)
    if isinstance(error, DependencyError):
        return text, b""  # it raised nowhere; the first failure has a record with a traceback
    try:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        trace = text
    return text, trace.encode("utf-8", "backslashreplace")


def not_started(task: Task) -> NotStartedError:
    """The error of a task that is not started because of a failure elsewhere."""
    return NotStartedError(
        f"Task {task.tid} ({task.spec.name}) was not started because an earlier task failed.",
        hint="Set lazyErrors to True to go on after failures.",
        app=task.spec.name,
        tid=task.tid,
    )


def unexplained(future: AppFuture) -> NoReturn:
    """Why a call ran, of a kernel that nobody has told what could know.

    Raises:
        KernelError: always.
    """
    raise KernelError(
        "This kernel cannot tell why a call ran.",
        hint="Run it with DataFlowKernel or parsl_ckpt.load().",
        tid=future.tid,
    )
