"""Where tasks run: threads, processes, or any executor of ``concurrent.futures``' kind.

Names are imported on first use, because worker processes import this package too and need little
of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_ckpt.executors.base import Executor
    from parsl_ckpt.executors.processes import ProcessPoolExecutor
    from parsl_ckpt.executors.threads import ThreadPoolExecutor
    from parsl_ckpt.executors.wrapped import wrap

__all__ = ["Executor", "ProcessPoolExecutor", "ThreadPoolExecutor", "wrap"]

_HOMES = {
    "Executor": "base",
    "ProcessPoolExecutor": "processes",
    "ThreadPoolExecutor": "threads",
    "wrap": "wrapped",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
