"""Parallel apps whose results survive: memoized, checkpointed, resumed.

>>> import parsl_ckpt as pc
>>> @pc.python_app(cache=True)
... def double(x):
...     return 2 * x
>>> with pc.load(pc.Config(checkpoint_mode="task_exit")):  # doctest: +SKIP
...     print(double(21).result())
42

Names are imported on first use: worker processes import this package too and need little of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_ckpt import errors as errors
    from parsl_ckpt import pipeline as pipeline
    from parsl_ckpt import plan as plan
    from parsl_ckpt import restart as restart
    from parsl_ckpt import testing as testing
    from parsl_ckpt.apps import App, File, bash_app, join_app, python_app
    from parsl_ckpt.apps.typed import TypedApp, as_value
    from parsl_ckpt.checkpoint.rundir import get_all_checkpoints, get_last_checkpoint
    from parsl_ckpt.checkpoint.store import Store
    from parsl_ckpt.config import Config
    from parsl_ckpt.dataflow import DataFlowKernel, clear, dfk, load
    from parsl_ckpt.errors import (
        CheckpointNotSavedError,
        CircuitBreakerOpenError,
        ConfigurationError,
        DependencyError,
        JoinError,
        KernelClosedError,
        NoDataFlowKernelError,
        ParslCkptError,
    )
    from parsl_ckpt.executors import ProcessPoolExecutor, ThreadPoolExecutor, wrap
    from parsl_ckpt.identity.values import id_for_memo
    from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.memoizer import BasicMemoizer, Memoizer
    from parsl_ckpt.kernel.policies import (
        CircuitBreakerConfigs,
        ResiliencePolicies,
        ResiliencePolicy,
        RetryPolicies,
    )
    from parsl_ckpt.kernel.problems import CheckpointWarning
    from parsl_ckpt.kernel.randomness import task_rng
    from parsl_ckpt.kernel.retrying import RetryConfig
    from parsl_ckpt.kernel.streams import AUTO_LOGNAME
    from parsl_ckpt.observe.results import results

__version__ = "0.1.0"

__all__ = [
    "AUTO_LOGNAME",
    "App",
    "AppFuture",
    "BasicMemoizer",
    "CheckpointNotSavedError",
    "CheckpointWarning",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerConfigs",
    "CircuitBreakerOpenError",
    "Config",
    "ConfigurationError",
    "DataFlowKernel",
    "DependencyError",
    "File",
    "JoinError",
    "KernelClosedError",
    "Memoizer",
    "NoDataFlowKernelError",
    "ParslCkptError",
    "ProcessPoolExecutor",
    "ResiliencePolicies",
    "ResiliencePolicy",
    "RetryConfig",
    "RetryPolicies",
    "Store",
    "ThreadPoolExecutor",
    "TypedApp",
    "as_value",
    "bash_app",
    "clear",
    "dfk",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "id_for_memo",
    "join_app",
    "load",
    "python_app",
    "results",
    "task_rng",
    "wrap",
]

_HOMES = {
    "apps": ("App", "File", "bash_app", "join_app", "python_app"),
    "apps.typed": ("TypedApp", "as_value"),
    "checkpoint.rundir": ("get_all_checkpoints", "get_last_checkpoint"),
    "checkpoint.store": ("Store",),
    "config": ("Config",),
    "dataflow": ("DataFlowKernel", "clear", "dfk", "load"),
    "errors": (
        "CheckpointNotSavedError", "CircuitBreakerOpenError", "ConfigurationError",
        "DependencyError", "JoinError", "KernelClosedError", "NoDataFlowKernelError",
        "ParslCkptError",
    ),
    "executors": ("ProcessPoolExecutor", "ThreadPoolExecutor", "wrap"),
    "identity.values": ("id_for_memo",),
    "kernel.breaker": ("CircuitBreaker", "CircuitBreakerConfig"),
    "kernel.futures": ("AppFuture",),
    "kernel.memoizer": ("BasicMemoizer", "Memoizer"),
    "kernel.policies": (
        "CircuitBreakerConfigs", "ResiliencePolicies", "ResiliencePolicy", "RetryPolicies",
    ),
    "kernel.problems": ("CheckpointWarning",),
    "kernel.randomness": ("task_rng",),
    "kernel.retrying": ("RetryConfig",),
    "observe.results": ("results",),
    "kernel.streams": ("AUTO_LOGNAME",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("errors", "pipeline", "plan", "restart", "testing")  # pc.restart.Checkpoint


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"parsl_ckpt.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'parsl_ckpt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"parsl_ckpt.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
