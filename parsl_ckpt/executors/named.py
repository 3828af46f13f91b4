"""Executors that a configuration asks for by name, and the executors that a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors.base import Executor, NamedExecutor


def made(executors: Sequence[Any]) -> list[Executor]:
    """The executors of a configuration; a pool of threads if it names none.

    Raises:
        ConfigurationError: one of them is no executor, or belongs to another run for good.
    """
    found = []
    for executor in executors:
        if isinstance(executor, NamedExecutor):
            executor = _made(executor)
        if not isinstance(executor, Executor):
            raise ConfigurationError(
                f"Config.executors: {executor!r} is not one of our executors.",
                hint="Use ThreadPoolExecutor, ProcessPoolExecutor, or wrap() any other.",
                field="executors",
            )
        if executor.taken:
            executor = executor.again()
        executor.taken = True
        found.append(executor)
    return found or [threads("threads", None)]


def threads(label: str, workers: int | None) -> Executor:
    """A pool of threads."""
    from parsl_ckpt.executors.threads import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=workers, label=label)


def _made(named: NamedExecutor) -> Executor:
    if named.kind == "threads":
        return threads(named.label, named.max_workers)
    from parsl_ckpt.executors.processes import ProcessPoolExecutor

    return ProcessPoolExecutor(max_workers=named.max_workers, label=named.label)
