"""Parsl's ``DataFlowKernel`` and its loader.

What they say when they refuse is what Parsl says, to the letter, because scripts compare it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from parsl_ckpt import config as ours
from parsl_ckpt import dataflow
from parsl_ckpt.checkpoint.where import is_url
from parsl_ckpt.compat.config import Config
from parsl_ckpt.errors import ConfigurationError, NoDataFlowKernelError
from parsl_ckpt.executors.base import Executor


class DataFlowKernel(dataflow.DataFlowKernel):
    """A run, as Parsl has it: its ``cleanup`` lets tasks that were called come to their end.

    Args:
        config: a :class:`~parsl_ckpt.compat.config.Config`, or one of ours.

    Attributes:
        run_dir: the directory of this run, absolute.
        cleanup_called: whether the run has been ended.
    """

    def __init__(self, config: ours.Config) -> None:
        super().__init__(config)
        self.cleanup_called = False
        self._all_tasks: dict[int, Any] | None = None
        if not getattr(config, "garbage_collect", True):
            self._all_tasks = {}
        if not is_url(self.run_dir):
            self.run_dir = os.path.abspath(self.run_dir)

    @property
    def executors(self) -> Mapping[str, Executor]:
        """The executors by label."""
        return {executor.label: executor for executor in self._executors}

    @property
    def tasks(self) -> Any:
        """The records of the tasks that are not over; of all, with ``garbage_collect=False``."""
        return super().tasks if self._all_tasks is None else self._all_tasks

    def keep(self, record: Any) -> None:
        """Keep the record of a task, if records are to be kept."""
        if self._all_tasks is not None:
            self._all_tasks[record["id"]] = record

    def cleanup(self) -> None:
        """End the run when all tasks are done; further calls do nothing.

        Raises:
            CheckpointNotSavedError: some outcomes are not in the checkpoint although the mode
                asks for it.
        """
        if not self.cleanup_called:
            self.wait_for_current_tasks()
        super().cleanup()

    def _end(self, grace: float | None) -> list[BaseException]:
        self.cleanup_called = True
        return super()._end(grace)


class _Loader(type):
    @property
    def _dfk(cls) -> Any:
        """The loaded kernel, or None: scripts and tests look here too."""
        return dataflow.loaded()


class DataFlowKernelLoader(metaclass=_Loader):
    """The kernel that apps run on."""

    @classmethod
    def load(cls, config: ours.Config | None = None) -> DataFlowKernel:
        """Begin a run and make it the one that apps run on.

        Raises:
            ConfigurationError: one is loaded already, or the configuration is wrong.
        """
        if dataflow.loaded() is not None:
            raise ConfigurationError("Config has already been loaded")
        kernel = DataFlowKernel(Config() if config is None else config)
        dataflow.use(kernel)
        return kernel

    @classmethod
    def dfk(cls) -> Any:
        """The loaded kernel.

        Raises:
            NoDataFlowKernelError: none is loaded.
        """
        kernel = dataflow.loaded()
        if kernel is None:
            raise NoDataFlowKernelError("Must first load config")
        return kernel

    @classmethod
    def clear(cls) -> None:
        """Let go of the loaded kernel without ending it, so that another can be loaded."""
        dataflow.clear()

    @classmethod
    def wait_for_current_tasks(cls) -> None:
        """Wait until no task of the loaded kernel is under way."""
        cls.dfk().wait_for_current_tasks()
