"""Parallel apps whose results survive: memoized, checkpointed, resumed.

>>> import parsl_ckpt as pc
>>> @pc.python_app(cache=True)
... def double(x):
...     return 2 * x
>>> with pc.load(pc.Config(checkpoint_mode="task_exit")):  # doctest: +SKIP
...     print(double(21).result())
42
"""

from parsl_ckpt.apps import App, join_app, python_app
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints, get_last_checkpoint
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.config import Config
from parsl_ckpt.dataflow import DataFlowKernel, clear, dfk, load
from parsl_ckpt.errors import (
    CheckpointNotSavedError,
    ConfigurationError,
    DependencyError,
    JoinError,
    KernelClosedError,
    NoDataFlowKernelError,
    ParslCkptError,
)
from parsl_ckpt.executors import ProcessPoolExecutor, ThreadPoolExecutor, wrap
from parsl_ckpt.identity.values import id_for_memo
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.problems import CheckpointWarning

__version__ = "0.1.0"

__all__ = [
    "App",
    "AppFuture",
    "CheckpointNotSavedError",
    "CheckpointWarning",
    "Config",
    "ConfigurationError",
    "DataFlowKernel",
    "DependencyError",
    "JoinError",
    "KernelClosedError",
    "NoDataFlowKernelError",
    "ParslCkptError",
    "ProcessPoolExecutor",
    "Store",
    "ThreadPoolExecutor",
    "clear",
    "dfk",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "id_for_memo",
    "join_app",
    "load",
    "python_app",
    "wrap",
]
