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
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from parsl_ckpt.apps.bound import BoundApp
from parsl_ckpt.apps.mapping import map_calls
from parsl_ckpt.apps.options import Options
from parsl_ckpt.apps.reserved import Reserved
from parsl_ckpt.apps.typed import (
    BashDecorator,
    JoinDecorator,
    JoinOptions,
    PythonDecorator,
    PythonOptions,
    TypedApp,
)
from parsl_ckpt.errors import (
    AppDefinitionError,
    NestedAppError,
    NoDataFlowKernelError,
    RequestError,
)
from parsl_ckpt.executors.pickling import ByValue
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.commands import BashRunner
from parsl_ckpt.kernel.current import current
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.importing import imported_by_worker, not_here
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.policies import ResiliencePolicy
from parsl_ckpt.kernel.request import RESERVED
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.kernel.spans import Span
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.kernel.validity import Recorded, Validity, seconds_valid
from parsl_ckpt.kernel.watching import Observer, positional
from parsl_ckpt.signatures import AnnotationsOfWrapped

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, Unpack

    P = ParamSpec("P")
R = TypeVar("R")

_plain = RESERVED.isdisjoint


class AppBase:
    """A decorated function; calling it makes a task and returns its future.

    Users make one with :func:`python_app`, :func:`join_app` or :func:`App`.

    Attributes:
        kind: ``"python"``, ``"join"`` or ``"bash"``.
    """

    if sys.version_info >= (3, 14):  # earlier they are copied from the function
        __annotations__ = AnnotationsOfWrapped()

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        options: Options,
        kind: str = "python",
        data_flow_kernel: Any = None,
    ) -> None:
        name = getattr(fn, "__name__", type(fn).__name__)
        _check_function(fn, name)
        options.check(fn, name)
        self.kind = kind
        self.__wrapped__ = fn
        self._name = name
        self._options = options
        self._kernel = _kernel_of(data_flow_kernel, name)
        self._described: tuple[weakref.ref[Kernel], Spec] | None = None
        if kind == "bash" and options.observed:
            raise AppDefinitionError(
                f"{name}: what a command reads cannot be seen from Python.",
                hint="Leave check_mutation and watch_inputs out; pass what it reads as inputs=.",
                app=name,
                parameter="check_mutation" if options.check_mutation else "watch_inputs",
            )
        self._reserved = Reserved(fn, name, kind, options.check_walltime(name))
        self._asks = self._reserved.declared
        ignored = (*(options.ignore_for_cache or ()), *self._reserved.uncounted)
        self._binder = Binder(fn, ignored, name) if options.cache else None
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
        if self._asks or (kwargs and not _plain(kwargs)):
            return self._submit(kernel, described[1], args, kwargs)
        return kernel.submit(described[1], args, kwargs)

    def fresh(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the app and have it run whatever is recorded; the new outcome takes the old's place.

        What was computed from the old outcome is computed again from the new one, unless that is
        equal.

        Args, returns and raises as a call does.
        """
        kernel, spec = self._bound()
        return self._submit(kernel, spec, args, kwargs, refresh=True)

    def peek(self, /, *args: Any, **kwargs: Any) -> AppFuture | None:
        """The recorded outcome of a call, without running anything.

        Returns:
            A future that is done, or None if nothing is recorded, or valid, or readable.

        Raises:
            CacheKeyError: the app is not cached, or futures among the arguments have no address.
            NoDataFlowKernelError: no kernel is loaded, and the app is bound to none.
        """
        kernel, spec = self._bound()
        request, args, kwargs = self._reserved.split(args, kwargs)
        return kernel.calls.peek(spec, args, kwargs, request)

    def key(self, /, *args: Any, **kwargs: Any) -> str:
        """The key of a call in hexadecimal, as ``parsl-ckpt show`` takes it.

        Raises:
            CacheKeyError: the app is not cached, or futures among the arguments have no address.
            NoDataFlowKernelError: no kernel is loaded, and the app is bound to none.
        """
        kernel, spec = self._bound()
        _, args, kwargs = self._reserved.split(args, kwargs)
        return kernel.calls.key(spec, args, kwargs).hex()

    def forget(self, /, *args: Any, **kwargs: Any) -> int:
        """Remove what is recorded of a call, in all checkpoints that this run uses.

        Nothing is taken out of files: a record says that it is removed. What was computed from it
        is looked up by its values from then on.

        Returns:
            How many records were removed.

        Raises:
            CacheKeyError: the app is not cached, or futures among the arguments have no address.
            NoDataFlowKernelError: no kernel is loaded, and the app is bound to none.
            StoreWriteError: the removal cannot be recorded.
        """
        kernel, spec = self._bound()
        _, args, kwargs = self._reserved.split(args, kwargs)
        return kernel.calls.forget(spec, args, kwargs)

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
                hint="Leave it out to have all calls under way at once.",
                app=self._name,
                parameter="max_in_flight",
            )
        calls: Iterator[tuple[Any, ...]] = zip(*iterables)  # noqa: B905  # as the builtin map does
        return map_calls(self, calls, max_in_flight, ordered)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None or isinstance(self.__wrapped__, staticmethod):
            return self
        return BoundApp(self, instance)

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
        return _rebuild, (ByValue(self.__wrapped__), self._options, self.kind)

    def __repr__(self) -> str:
        return f"<{self.kind}_app {self._name}>"

    def spec_on(self, kernel: Kernel) -> Spec:
        """What a kernel knows of this app."""
        described = self._described
        if described is None or described[0]() is not kernel:
            described = self._describe(kernel)
        return described[1]

    def _submit(
        self,
        kernel: Kernel,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refresh: bool = False,
    ) -> AppFuture:
        """Make a task of a call that may ask for something beside its arguments."""
        try:
            request, args, kwargs = self._reserved.split(args, kwargs)
        except RequestError as error:
            return kernel.submission.fail(spec, error)
        return kernel.submit(spec, args, kwargs, refresh, request)

    def _bound(self) -> tuple[Kernel, Spec]:
        """The kernel that this app runs on, and what it knows of it."""
        kernel = self._kernel or current.kernel
        if kernel is None:
            self._refuse()
        return kernel, self.spec_on(kernel)

    def _describe(self, kernel: Kernel) -> tuple[weakref.ref[Kernel], Spec]:
        """What a kernel is told of this app: made for each, because their executors differ."""
        options, before = self._options, self._described
        fn: Callable[..., Any] = self.__wrapped__
        run: Callable[..., Any] = CoroutineRunner(fn) if inspect.iscoroutinefunction(fn) else fn
        addresser = None
        if options.cache:
            assert self._binder is not None
            known = before[1].addresser if before is not None else None
            if known is not None and before[1].code_default == kernel.code_default:  # type: ignore[index]
                identity = known.code  # it has read the app's code already
            else:
                mode: Any = options.code or kernel.code_default
                identity = CodeIdentity(fn, mode)
            addresser = Addresser(
                self._name, identity, self._binder, options.version,
                kernel.privacy.of(options.secrets), "bash" if self.kind == "bash" else "",
            )  # fmt: skip
        if self.kind == "bash":
            run = BashRunner(run, self._name)
        if options.observed:
            run = Observer(run, positional(fn), options.check_mutation, options.watch_inputs)
        spec = Spec(
            name=self._name,
            fn=run,
            kind=self.kind,
            cache=options.cache,
            executors=kernel.execution.labels_for(self._name, options.executors),
            binder=self._binder,
            addresser=addresser,
            lineage=options.lineage,
            shared=options.cache
            and options.persist is not False
            and kernel.shares(self._name, options.single_flight),
            persist=options.persist,
            tag=options.tag,
            code_default=kernel.code_default,
            valid=self._validity(kernel),
            observed=options.observed,
            keep_arguments=options.keep_arguments,
            resilience=kernel.retries.resolved(
                self._name,
                f"{self.__module__}.{getattr(fn, '__qualname__', self._name)}",
                options.policy(self._name),
            ),
            source=fn,
            ignored=tuple(options.ignore_for_cache or ()),
        )
        self._described = described = weakref.ref(kernel), spec
        return described

    def _validity(self, kernel: Kernel) -> Validity | None:
        options = self._options
        seconds = None
        if options.valid_for is not None:
            seconds = seconds_valid(self._name, options.valid_for)
        validity = Validity(
            self._name, kernel.store, seconds, options.valid_if, options.undeclared == "key",
            kernel.problems.warn_once,
        )  # fmt: skip
        return validity if validity.restricts else None

    def _refuse(self) -> NoReturn:
        module = imported_by_worker()
        if module:
            raise not_here(module, f"calls the app {self._name}")
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


def _rebuild(fn: Callable[..., Any], options: Options, kind: str) -> AppBase:
    return AppBase(fn, options=options, kind=kind)


def _check_function(fn: Any, name: str) -> None:
    if not callable(fn):
        raise AppDefinitionError(
            f"{fn!r} is not a function.",
            hint="Decorate a function; options go by keyword: @python_app(cache=True).",
            app=name,
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise AppDefinitionError(
            f"{name} is a generator function, whose outcome is no value that could be kept.",
            hint="Return a list, or split it into one app per item.",
            app=name,
        )


def _kernel_of(given: Any, name: str) -> Kernel | None:
    """The kernel that an app is bound to, or None for the loaded one."""
    kernel = getattr(given, "kernel", given)
    if kernel is None or isinstance(kernel, Kernel):
        return kernel
    raise AppDefinitionError(
        f"{name}: data_flow_kernel={given!r} is no kernel.",
        hint="Give what load() or DataFlowKernel() returned, or leave it out for the loaded one.",
        app=name,
        parameter="data_flow_kernel",
    )


@overload
def python_app(
    function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[PythonOptions]
) -> TypedApp[P, R]: ...
@overload
def python_app(function: Callable[P, R], /, **options: Unpack[PythonOptions]) -> TypedApp[P, R]: ...
@overload
def python_app(function: None = None, /, **options: Unpack[PythonOptions]) -> PythonDecorator: ...
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
    valid_for: Span | None = None,
    valid_if: Callable[[Recorded], object] | None = None,
    check_mutation: bool = False,
    watch_inputs: bool = False,
    undeclared: str = "warn",
    single_flight: str | None = None,
    walltime: Span | None = None,
    keep_arguments: bool = False,
    persist: bool | str = True,
    tag: str | None = None,
    retry: RetryConfig | None = None,
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None = None,
    resilience: ResiliencePolicy | None = None,
    retries: int | None = None,
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
        valid_for: how old a recorded outcome may be, counted from the end of its call: ``"7d"``,
            ``"12h"``, ``"HH:MM:SS"``, a timedelta or seconds; None for any age.
        valid_if: called with the :class:`~parsl_ckpt.kernel.validity.Recorded` outcome that was
            found; it runs again if the answer is false.
        check_mutation: digest the arguments again after a call, and warn if it has changed them.
        watch_inputs: note files, environment variables, connections and processes that a call
            opens and that are no arguments of it, keep the list with the record, and warn.
        undeclared: ``"warn"``; ``"key"``: also, a recorded outcome is used only while the files
            that were noted have the content that they had.
        single_flight: ``"shared"``: while another process that uses the run directory computes an
            equal call, wait for its record; ``"process"``: equal calls of this process only; None
            for the configuration's. ``"shared"`` takes a run in the mode ``"task_exit"``, and does
            nothing but warn in others.
        walltime: how long a call may take, unless it says otherwise by a keyword of that name:
            seconds, ``"30m"``, ``"HH:MM:SS"`` or a timedelta. A longer one fails with
            :class:`~parsl_ckpt.errors.AppTimeout`; on an executor of processes it is stopped.
        persist: False for a bulky intermediate: its calls have addresses as those of a cached app
            (``cache`` need not be given), and their outcomes are not recorded; a call runs again if
            something that needs its value must run. ``"auto"``: an outcome is recorded if computing
            it took longer than writing and reading one takes; the first one is, to measure that.
        tag: any text, by which a :class:`~parsl_ckpt.plan.persist.PersistSpec` may choose apps.
        keep_arguments: keep the arguments beside the record of which that has digests only, up to
            a megabyte each, so that ``dfk.results()`` has them; secret ones are never kept.
        retry: how a call that failed is tried again, in the place of the configuration's
            ``retries`` and ``retry_handler``. While it waits for that it holds no worker.
        circuit_breaker: when the app is left alone: a call that is not let through fails at once
            with :class:`~parsl_ckpt.errors.CircuitBreakerOpenError` and costs no attempt. A
            :class:`~parsl_ckpt.kernel.breaker.CircuitBreaker` in the place of a configuration is
            shared by all apps that have it.
        resilience: both, in the place of these two.
        retries: how often a call that failed is tried again at once, if nothing else is to be said.

    Returns:
        An app: call it as the function, get a future.

    Raises:
        AppDefinitionError: the function cannot be an app, or an argument is wrong.

    >>> @python_app(cache=True)
    ... def double(x):
    ...     return 2 * x
    """
    options = Options(
        cache=cache, executors=executors, ignore_for_cache=ignore_for_cache, version=version,
        code=code, lineage=lineage, secret=secret, valid_for=valid_for, valid_if=valid_if,
        check_mutation=check_mutation, watch_inputs=watch_inputs, undeclared=undeclared,
        single_flight=single_flight, walltime=walltime, keep_arguments=keep_arguments,
        persist=persist, tag=tag,
        retry=retry, circuit_breaker=circuit_breaker, resilience=resilience, retries=retries,
    )  # fmt: skip
    return _decorate("python", function, options, data_flow_kernel)


@overload
def join_app(
    function: Callable[P, Future[R]], /, **options: Unpack[JoinOptions]
) -> TypedApp[P, R]: ...
@overload
def join_app(
    function: Callable[P, Sequence[Future[R]]], /, **options: Unpack[JoinOptions]
) -> TypedApp[P, list[R]]: ...
@overload
def join_app(function: Callable[P, Any], /, **options: Unpack[JoinOptions]) -> TypedApp[P, Any]: ...
@overload
def join_app(function: None = None, /, **options: Unpack[JoinOptions]) -> JoinDecorator: ...
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
    valid_for: Span | None = None,
    valid_if: Callable[[Recorded], object] | None = None,
    single_flight: str | None = None,
    persist: bool | str = True,
    tag: str | None = None,
) -> Any:
    """Make an app of a function that calls apps and returns a future or a list of futures.

    It runs beside the kernel, not in a worker process, and its outcome is that of what it returned.

    Args:
        function, data_flow_kernel, cache, ignore_for_cache, version, code, lineage, secret,
            valid_for, valid_if, single_flight, persist, tag: as for :func:`python_app`.

    >>> @join_app
    ... def total(n):
    ...     return add([double(i) for i in range(n)])
    """
    options = Options(
        cache=cache, ignore_for_cache=ignore_for_cache, version=version, code=code,
        lineage=lineage, secret=secret, valid_for=valid_for, valid_if=valid_if,
        single_flight=single_flight, persist=persist, tag=tag,
    )  # fmt: skip
    return _decorate("join", function, options, data_flow_kernel)


def _decorate(
    kind: str, function: Callable[..., Any] | None, options: Options, kernel: Any
) -> AppBase | Callable[[Callable[..., Any]], AppBase]:
    def decorate(fn: Callable[..., Any]) -> AppBase:
        return AppBase(fn, options=options, kind=kind, data_flow_kernel=kernel)

    return decorate if function is None else decorate(function)


@overload
def App(apptype: Literal["python"], *args: Any, **options: Any) -> PythonDecorator: ...
@overload
def App(apptype: Literal["join"], *args: Any, **options: Any) -> JoinDecorator: ...
@overload
def App(apptype: Literal["bash"], *args: Any, **options: Any) -> BashDecorator: ...
@overload
def App(apptype: str, *args: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]: ...
def App(  # the original API's name
    apptype: str,
    dfk: Any = None,
    cache: bool = False,
    sites: str | Sequence[str] = "all",
    executors: str | Sequence[str] | None = None,
    ignore_for_cache: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Make an app, in the original API's way: ``@App('python', dfk, cache=True)``.

    Args:
        apptype: ``"python"``, ``"bash"`` or ``"join"``.
        dfk: the kernel to run on; None for the loaded one at the time of the call.
        cache: look calls up and record their outcomes.
        sites: the older name of ``executors``.
        executors: label or labels of the executors that may run it, or ``"all"``.
        ignore_for_cache: names of parameters that do not count in a call's address.
        options: as for :func:`python_app`.

    Raises:
        AppDefinitionError: there is no such kind of app.
    """
    if apptype not in ("python", "bash", "join"):
        raise AppDefinitionError(
            f"There is no kind of app called {apptype!r}.",
            hint="Use 'python', 'bash' or 'join'.",
            parameter="apptype",
        )
    unknown = sorted(options.keys() - {one.name for one in fields(Options)})
    if unknown:
        raise AppDefinitionError(
            f"Apps have no option {unknown[0]!r}.",
            hint=f"They have: {', '.join(one.name for one in fields(Options))}.",
            parameter=unknown[0],
        )
    made = Options(
        cache=cache, executors=sites if executors is None else executors,
        ignore_for_cache=ignore_for_cache, **options,
    )  # fmt: skip
    return lambda fn: AppBase(fn, options=made, kind=apptype, data_flow_kernel=dfk)


__all__ = ["App", "AppBase", "AppFuture", "join_app", "python_app"]
