"""Apps: functions whose calls are tasks.

The decorators only describe; the description (:class:`parsl_ckpt.kernel.task.Spec`) is made at
the first call, because an app may be defined before any kernel is loaded, and its code may reach
what is defined after it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, get_args

from parsl_ckpt.apps.mapping import map_calls
from parsl_ckpt.errors import AppDefinitionError, NestedAppError, NoDataFlowKernelError
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity, Mode
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.current import current
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.task import Spec

CODE_MODES = get_args(Mode)


class AppBase:
    """A decorated function; calling it makes a task and returns its future.

    Users make one with :func:`python_app`, :func:`join_app` or :func:`App`.

    Attributes:
        kind: ``"python"`` or ``"join"``.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        kind: str = "python",
        data_flow_kernel: Any = None,
        cache: bool = False,
        executors: str | Sequence[str] = "all",
        ignore_for_cache: Sequence[str] | None = None,
        version: str = "",
        code: str | None = None,
        lineage: bool = True,
        secret: Iterable[str] = (),
    ) -> None:
        name = getattr(fn, "__name__", type(fn).__name__)
        _check_function(fn, name)
        if code is not None and code not in CODE_MODES:
            raise AppDefinitionError(
                f"{name}: code={code!r} is not a known way to count code.",
                hint=f"Use one of: {', '.join(CODE_MODES)}.",
                app=name,
                parameter="code",
            )
        secrets = frozenset([secret] if isinstance(secret, str) else secret)
        _check_secrets(fn, name, secrets)
        self.kind = kind
        self.__wrapped__ = fn
        self._name = name
        self._options: dict[str, Any] = {
            "kind": kind, "cache": cache, "executors": executors,
            "ignore_for_cache": ignore_for_cache, "version": version, "code": code,
            "lineage": lineage, "secret": secrets,
        }  # fmt: skip
        self._kernel: Kernel | None = getattr(data_flow_kernel, "kernel", data_flow_kernel)
        self._described: tuple[weakref.ref[Kernel], Spec] | None = None
        ignored = tuple(ignore_for_cache or ())
        self._binder = Binder(fn, ignored, name) if cache else None
        functools.update_wrapper(self, fn)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Make a task of this call.

        Args:
            args, kwargs: what the function takes; futures may stand in them, also inside lists,
                tuples, dicts and sets, and are waited for before the function runs.

        Returns:
            An :class:`~parsl_ckpt.kernel.futures.AppFuture`.

        Raises:
            NoDataFlowKernelError: no kernel is loaded, and the app is bound to none.
            NestedAppError: this is a worker process.
            KernelClosedError: the kernel has ended.
        """
        kernel = self._kernel or current.kernel
        if kernel is None:
            self._refuse()
        described = self._described
        if described is None or described[0]() is not kernel:
            described = self._describe(kernel)
        return kernel.submit(described[1], args, kwargs)

    def map(
        self,
        *iterables: Iterable[Any],
        max_in_flight: int | None = None,
        ordered: bool = True,
    ) -> Iterator[Any]:
        """Call the app with the items of the iterables, and give the results as they come.

        Args:
            iterables: one for each positional parameter; the shortest ends it.
            max_in_flight: how many calls are under way at once; None for all.
            ordered: give the results in the order of the calls, else as they complete.

        Returns:
            An iterator over results. The calls begin with the first ``next``; those that are not
            needed any more are cancelled when it is closed.

        Raises:
            AppDefinitionError: ``max_in_flight`` is not a positive number.
            BaseException: what a call raised, at the place of its result.
        """
        if max_in_flight is not None and (type(max_in_flight) is not int or max_in_flight < 1):
            raise AppDefinitionError(
                f"{self._name}.map: max_in_flight is {max_in_flight!r}, not a positive number.",
                app=self._name,
                parameter="max_in_flight",
            )
        calls: Iterator[tuple[Any, ...]] = zip(*iterables)  # noqa: B905  # as the builtin map does
        return map_calls(self, calls, max_in_flight, ordered)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name where it can be imported; else by value, without the kernel: where it arrives
        # there is none, and a call says so.  Worker processes cannot import a script.
        place: str = getattr(self, "__qualname__", "")
        if self.__module__ != "__main__":
            found: Any = sys.modules.get(self.__module__)
            for name in place.split("."):
                found = getattr(found, name, None)
            if found is self:
                return place
        return _rebuild, (self.__wrapped__, self._options)

    def __repr__(self) -> str:
        return f"<{self.kind}_app {self._name}>"

    def _describe(self, kernel: Kernel) -> tuple[weakref.ref[Kernel], Spec]:
        """What a kernel is told of this app: made for each, because their executors differ."""
        options, before = self._options, self._described
        fn: Callable[..., Any] = self.__wrapped__
        run: Callable[..., Any] = CoroutineRunner(fn) if inspect.iscoroutinefunction(fn) else fn
        cache = bool(options["cache"])
        addresser = None
        if cache:
            assert self._binder is not None
            known = before[1].addresser if before is not None else None
            if known is not None and before[1].code_default == kernel.code_default:  # type: ignore[index]
                identity = known.code  # it has read the app's code already
            else:
                mode: Mode = options["code"] or kernel.code_default
                identity = CodeIdentity(fn, mode)
            addresser = Addresser(
                self._name, identity, self._binder, options["version"],
                kernel.privacy.of(options["secret"]),
            )  # fmt: skip
        spec = Spec(
            name=self._name,
            fn=run,
            kind=self.kind,
            cache=cache,
            executors=kernel.execution.labels_for(self._name, options["executors"]),
            binder=self._binder,
            addresser=addresser,
            lineage=bool(options["lineage"]),
            code_default=kernel.code_default,
        )
        self._described = described = weakref.ref(kernel), spec
        return described

    def _refuse(self) -> NoReturn:
        if worker.in_process_worker:
            raise NestedAppError(
                f"The app {self._name} was called inside a worker process, where there is no "
                "kernel.",
                hint="Make the calling app a join_app, which runs beside the kernel, or call the "
                f"plain function: {self._name}.__wrapped__(...).",
                app=self._name,
            )
        raise NoDataFlowKernelError(
            f"The app {self._name} was called and no kernel is loaded.",
            hint="Call parsl_ckpt.load() first, or use `with parsl_ckpt.load(...):`.",
            app=self._name,
        )


class CoroutineRunner:
    """Runs a coroutine function to its end, in the worker."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self.fn(*args, **kwargs))


def _rebuild(fn: Callable[..., Any], options: dict[str, Any]) -> AppBase:
    return AppBase(fn, **options)


def _check_secrets(fn: Any, name: str, secrets: frozenset[str]) -> None:
    """A misspelt secret would be recorded in clear."""
    if not secrets:
        return
    try:
        parameters = inspect.signature(fn).parameters
    except (ValueError, TypeError):
        return
    unknown = sorted(secrets - set(parameters))
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise AppDefinitionError(
            f"{name} has no parameter {unknown[0]!r} that could be secret.",
            hint=f"Its parameters are: {', '.join(parameters) or 'none'}.",
            app=name,
            parameter=unknown[0],
        )


def _check_function(fn: Any, name: str) -> None:
    if not callable(fn):
        raise AppDefinitionError(
            f"{fn!r} is not a function.", hint="Decorate a function.", app=name
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise AppDefinitionError(
            f"{name} is a generator function, whose outcome is no value that could be kept.",
            hint="Return a list, or split it into one app per item.",
            app=name,
        )


def python_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    executors: str | Sequence[str] = "all",
    ignore_for_cache: Sequence[str] | None = None,
    *,
    version: str = "",
    code: str | None = None,
    lineage: bool = True,
    secret: Iterable[str] = (),
) -> Any:
    """Make an app of a Python function; with or without parentheses.

    Args:
        function: the function, where there are no parentheses.
        data_flow_kernel: the kernel to run on; None for the loaded one at the time of the call.
        cache: look calls up and record their outcomes.
        executors: label or labels of the executors that may run it, or ``"all"``.
        ignore_for_cache: names of parameters that do not count in a call's address.
        version: counts in a call's address; change it to compute everything anew.
        code: what of the code counts: ``"closure"``, ``"function"`` or ``"name"``; None for the
            configuration's.
        lineage: False if the outcome is not a function of the arguments, so that it must be seen
            before anything that depends on it is looked up.
        secret: names of parameters whose values must not be told from the checkpoint; they count
            in a call's address, by a digest that is keyed.

    Returns:
        An app: call it as the function, get a future.

    Raises:
        AppDefinitionError: the function cannot be an app, or an argument is wrong.

    >>> @python_app(cache=True)
    ... def double(x):
    ...     return 2 * x
    """
    options = {
        "data_flow_kernel": data_flow_kernel, "cache": cache, "executors": executors,
        "ignore_for_cache": ignore_for_cache, "version": version, "code": code,
        "lineage": lineage, "secret": secret,
    }  # fmt: skip
    return _decorate("python", function, options)


def join_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: Any = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    *,
    version: str = "",
    code: str | None = None,
    lineage: bool = True,
    secret: Iterable[str] = (),
) -> Any:
    """Make an app of a function that calls apps and returns a future or a list of futures.

    It runs beside the kernel, not in a worker process, and its outcome is that of what it returned.

    Args:
        function, data_flow_kernel, cache, ignore_for_cache, version, code, lineage, secret: as
            for
            :func:`python_app`.

    >>> @join_app
    ... def total(n):
    ...     return add([double(i) for i in range(n)])
    """
    options = {
        "data_flow_kernel": data_flow_kernel, "cache": cache,
        "ignore_for_cache": ignore_for_cache, "version": version, "code": code,
        "lineage": lineage, "secret": secret,
    }  # fmt: skip
    return _decorate("join", function, options)


def _decorate(
    kind: str, function: Callable[..., Any] | None, options: dict[str, Any]
) -> AppBase | Callable[[Callable[..., Any]], AppBase]:
    def decorate(fn: Callable[..., Any]) -> AppBase:
        return AppBase(fn, kind=kind, **options)

    return decorate if function is None else decorate(function)


def App(  # the original API's name
    apptype: str,
    dfk: Any = None,
    cache: bool = False,
    sites: str | Sequence[str] = "all",
    executors: str | Sequence[str] | None = None,
    ignore_for_cache: Sequence[str] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], AppBase]:
    """Make an app, in the original API's way: ``@App('python', dfk, cache=True)``.

    Args:
        apptype: ``"python"`` or ``"join"``.
        dfk: the kernel to run on; None for the loaded one at the time of the call.
        cache: look calls up and record their outcomes.
        sites: the older name of ``executors``.
        executors: label or labels of the executors that may run it, or ``"all"``.
        ignore_for_cache: names of parameters that do not count in a call's address.
        options: as for :func:`python_app`.

    Raises:
        AppDefinitionError: there is no such kind of app.
    """
    if apptype not in ("python", "join"):
        raise AppDefinitionError(
            f"There is no kind of app called {apptype!r}.",
            hint="Use 'python' or 'join'.",
            parameter="apptype",
        )
    labels = sites if executors is None else executors

    def decorate(fn: Callable[..., Any]) -> AppBase:
        return AppBase(
            fn, kind=apptype, data_flow_kernel=dfk, cache=cache, executors=labels,
            ignore_for_cache=ignore_for_cache, **options,
        )  # fmt: skip

    return decorate


__all__ = ["App", "AppBase", "AppFuture", "join_app", "python_app"]
