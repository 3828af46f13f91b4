"""Parsl's programming model under Parsl's names: ``import parsl_ckpt.compat.parsl as parsl``.

What a script on one machine imports from Parsl is here under the same name, also in modules
(``parsl_ckpt.compat.parsl.config.Config``), and where Parsl's defaults differ from ours they are
Parsl's.  For scripts that say ``from parsl.config import ...`` without a change of their own there
is :mod:`parsl_ckpt.compat.as_parsl`.

``docs/migrating-from-parsl.rst`` says what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl_ckpt.compat.finder import ROOT, install, names_of, value_of
from parsl_ckpt.compat.kernel import DataFlowKernelLoader

if TYPE_CHECKING:
    from parsl_ckpt.apps import File
    from parsl_ckpt.compat.apps import bash_app, join_app, python_app
    from parsl_ckpt.compat.config import Config
    from parsl_ckpt.compat.executors import HighThroughputExecutor, ThreadPoolExecutor
    from parsl_ckpt.compat.kernel import DataFlowKernel
    from parsl_ckpt.compat.logs import set_file_logger, set_stream_logger
    from parsl_ckpt.kernel.streams import AUTO_LOGNAME

install(ROOT)

clear = DataFlowKernelLoader.clear
dfk = DataFlowKernelLoader.dfk
load = DataFlowKernelLoader.load
wait_for_current_tasks = DataFlowKernelLoader.wait_for_current_tasks

__all__ = [
    "AUTO_LOGNAME",
    "Config",
    "DataFlowKernel",
    "File",
    "HighThroughputExecutor",
    "ThreadPoolExecutor",
    "bash_app",
    "join_app",
    "python_app",
    "set_file_logger",
    "set_stream_logger",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from parsl_ckpt import __version__

        return __version__
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = value_of("", name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *names_of("")})
