"""Parsl's ready-made configurations and constants; a configuration is made when it is imported."""

from __future__ import annotations

from typing import Any

from parsl_ckpt import __version__ as VERSION
from parsl_ckpt.compat.config import Config
from parsl_ckpt.compat.executors import HighThroughputExecutor, LocalProvider, ThreadPoolExecutor

DISABLED, LEVEL_1, LEVEL_2, LEVEL_3 = range(4)

__all__ = ["DISABLED", "LEVEL_1", "LEVEL_2", "LEVEL_3", "VERSION"]


def __getattr__(name: str) -> Any:
    if name == "local_threads":
        return Config(executors=[ThreadPoolExecutor()])
    if name == "htex_local":
        provider = LocalProvider(init_blocks=1, max_blocks=1)
        htex = HighThroughputExecutor(label="htex_local", cores_per_worker=1, provider=provider)
        return Config(executors=[htex])
    raise AttributeError(name)
