"""Parsl's ``ParslPoolExecutor``: an executor of :mod:`concurrent.futures` whose calls are tasks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any

from parsl_ckpt import config as ours
from parsl_ckpt.compat.apps import ParslApp, python_app
from parsl_ckpt.compat.kernel import DataFlowKernelLoader


class ParslPoolExecutor(Executor):
    """Runs calls as tasks of a kernel; their futures may be handed to others, and to apps.

    Args:
        config: what a kernel is begun with, which ends with this executor.
        dfk: a kernel that runs already, and goes on running.
        executors: labels of the kernel's executors that may be used, or ``"all"``.

    Raises:
        ValueError: both are given, or neither.
    """

    def __init__(
        self,
        config: ours.Config | None = None,
        dfk: Any = None,
        executors: str | Sequence[str] = "all",
    ) -> None:
        if config is not None and dfk is not None:
            raise ValueError("Specify only one of config or dfk")
        if config is None and dfk is None:
            raise ValueError("Must specify one of config or dfk")
        self.executors = executors
        self._own = config is not None
        self._dfk = DataFlowKernelLoader.load(config) if self._own else dfk
        self._apps: dict[Callable[..., Any], ParslApp] = {}
        self._futures: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def app_count(self) -> int:
        """How many functions have been called."""
        return len(self._apps)

    def get_app(self, fn: Callable[..., Any]) -> ParslApp:
        """The app of a function.

        Raises:
            AppDefinitionError: it cannot be one.
        """
        app = self._apps.get(fn)
        if app is None:
            app = python_app(fn, data_flow_kernel=self._dfk, executors=self.executors)
            self._apps[fn] = app
        return app

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Make a task of a call.

        Returns:
            Its :class:`~parsl_ckpt.AppFuture`.

        Raises:
            RuntimeError: it has been shut down.
        """
        if self._dfk is None:
            raise RuntimeError("Executor has been shut down.")
        future = self.get_app(fn)(*args, **kwargs)
        self._futures.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end the kernel, if it was begun here.

        Args:
            wait: until all calls are done; a kernel that ends waits for them in any case.
            cancel_futures: cancel those that have not begun, which Parsl does not do.
        """
        dfk, self._dfk = self._dfk, None
        if dfk is None:
            return
        if cancel_futures:
            for future in list(self._futures):
                future.cancel()
        if wait:
            dfk.wait_for_current_tasks()
        if self._own:
            dfk.cleanup()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._own:
            self.shutdown()
