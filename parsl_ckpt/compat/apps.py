"""Parsl's decorators: apps that say what Parsl's say where they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from parsl_ckpt.apps.app import AppBase
from parsl_ckpt.apps.options import Options
from parsl_ckpt.compat.memo import StrictBinder
from parsl_ckpt.errors import KernelClosedError, NestedAppError, NoDataFlowKernelError


class ParslApp(AppBase):
    """An app that takes for memoization what Parsl takes, and whose futures have their record."""

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        super().__init__(fn, **options)
        self._reserved.optional = self.kind != "bash"  # as in Parsl
        if self._binder is not None:
            self._binder = StrictBinder(fn, self._binder.ignored, self._name)

    @property
    def func(self) -> Callable[..., Any]:
        """The function; this and the next three are attributes of Parsl's apps."""
        return self.__wrapped__

    @property
    def cache(self) -> bool:
        """Whether its calls are memoized."""
        return self._options.cache

    @property
    def executors(self) -> Any:
        """Labels of the executors that may run it, or ``"all"``."""
        return self._options.executors

    @property
    def ignore_for_cache(self) -> Sequence[str] | None:
        """Names of parameters that do not count in a call's address."""
        return self._options.ignore_for_cache

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Make a task of this call; see :meth:`parsl_ckpt.apps.app.AppBase.__call__`."""
        try:
            future = super().__call__(*args, **kwargs)
        except KernelClosedError:
            text = "Cannot submit to a DFK that has been cleaned up"
            raise NoDataFlowKernelError(text, app=self._name) from None
        record = future.task_record  # from here on it is noted what happens, as in Parsl
        keep = getattr(future._kernel.owner, "keep", None)
        if keep is not None:
            keep(record)
        return future

    def _refuse(self) -> NoReturn:
        try:
            super()._refuse()
        except NestedAppError:
            raise
        except NoDataFlowKernelError:
            raise NoDataFlowKernelError("Must first load config", app=self._name) from None


def python_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Make an app of a Python function, with Parsl's parameters.

    Args:
        function: the function, where there are no parentheses.
        data_flow_kernel: the kernel to run on; None for the loaded one at the time of the call.
        cache: look calls up and record their outcomes.
        executors: labels of the executors that may run it, or ``"all"``.
        ignore_for_cache: names of parameters that do not count in a call's address.
        options: of :func:`parsl_ckpt.python_app`, which Parsl does not have.

    Raises:
        AppDefinitionError: the function cannot be an app.
    """
    made = _options(cache, ignore_for_cache, executors=executors, **options)
    return _decorate("python", function, made, data_flow_kernel)


def join_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Make an app of a function that returns what other apps give; see :func:`python_app`."""
    made = _options(cache, ignore_for_cache, **options)
    return _decorate("join", function, made, data_flow_kernel)


def bash_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Make an app of a function that returns a command line; see :func:`python_app`."""
    made = _options(cache, ignore_for_cache, executors=executors, **options)
    return _decorate("bash", function, made, data_flow_kernel)


def _options(cache: bool, ignored: Sequence[str] | None, **options: Any) -> Options:
    return Options(cache=bool(cache), ignore_for_cache=ignored, **options)


def _decorate(
    kind: str, function: Callable[..., Any] | None, options: Options, kernel: Any
) -> ParslApp | Callable[[Callable[..., Any]], ParslApp]:
    def decorate(fn: Callable[..., Any]) -> ParslApp:
        return ParslApp(fn, options=options, kind=kind, data_flow_kernel=kernel)

    return decorate if function is None else decorate(function)
