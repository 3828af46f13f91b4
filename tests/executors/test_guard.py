"""Every executor calls an attempt's guard once, when its arguments can no longer change."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from parsl_ckpt.executors import Executor, ProcessPoolExecutor, ThreadPoolExecutor, wrap
from parsl_ckpt.kernel.attempt import Attempt

MAKERS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(max_workers=1),
    "processes": lambda: ProcessPoolExecutor(max_workers=1),
    "wrapped threads": lambda: wrap(concurrent.futures.ThreadPoolExecutor(1)),
    "wrapped processes": lambda: wrap(concurrent.futures.ProcessPoolExecutor(1)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_guard_is_called_once_before_the_outcome(kind: str) -> None:
    told: SimpleQueue[Any] = SimpleQueue()
    executor = MAKERS[kind]()
    executor.start()
    try:
        attempt = Attempt(abs, (-1,), app="abs", guard=lambda: told.put("guard"))
        executor.launch(attempt, lambda attempt, value, error, encoded=None: told.put(value))
        assert [told.get(timeout=60), told.get(timeout=60)] == ["guard", 1]
        assert told.empty()
    finally:
        executor.shutdown(0.0)
