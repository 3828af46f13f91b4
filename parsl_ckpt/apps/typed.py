"""How apps look to a type checker: parameters and result of the function, with futures between.

A call takes what the function takes and gives an ``AppFuture`` of what it returns.  Futures may
stand for arguments anywhere at run time; a checker is told so for positional arguments (a future,
or a list, tuple, set or dictionary of futures, among the first five), and for calls whose keywords
are all futures.  Everything else is checked against the function.  Where a checker cannot see that
a future is meant, :func:`as_value` says it.  (A call without any argument is not complained of.)

Rule of this file: it is for type checkers; of what it defines only :func:`as_value` and names for
annotations exist at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
    overload,
)

from parsl_ckpt.kernel.futures import AppFuture

if TYPE_CHECKING:
    from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
    from parsl_ckpt.kernel.policies import ResiliencePolicy
    from parsl_ckpt.kernel.retrying import RetryConfig
    from parsl_ckpt.kernel.spans import Span
    from parsl_ckpt.kernel.validity import Recorded

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

F = TypeVar("F", bound=Future[Any])
# What may stand for an argument until its value is known. (Not any Sequence: a text is one, and a
# wrong text would be reported as a wrong future.)
Later = Union[F, list[F], tuple[F, ...], set[F], dict[Any, F]]  # noqa: UP007


def as_value(future: Future[T]) -> T:
    """The future itself, for a type checker its value: to hand it to an app where a value is due.

    Args:
        future: any future.

    >>> from concurrent.futures import Future
    >>> future = Future()
    >>> as_value(future) is future
    True
    """
    return future  # type: ignore[return-value]


class TypedApp(Protocol[P, R]):
    """An app of a function with parameters ``P`` that returns an ``R``: ``TypedApp[[int], str]``.

    What it does at run time is described in :class:`~parsl_ckpt.apps.app.AppBase`.
    """

    @property
    def __wrapped__(self) -> Callable[P, Any]: ...
    @property
    def __name__(self) -> str: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AppFuture[R]: ...
    @overload
    def __call__(self, a: Later[F], /, *args: Any, **kwargs: Any) -> AppFuture[R]: ...
    @overload
    def __call__(self, a: Any, b: Later[F], /, *args: Any, **kwargs: Any) -> AppFuture[R]: ...
    @overload
    def __call__(
        self, a: Any, b: Any, c: Later[F], /, *args: Any, **kwargs: Any
    ) -> AppFuture[R]: ...
    @overload
    def __call__(
        self, a: Any, b: Any, c: Any, d: Later[F], /, *args: Any, **kwargs: Any
    ) -> AppFuture[R]: ...
    @overload
    def __call__(
        self, a: Any, b: Any, c: Any, d: Any, e: Later[F], /, *args: Any, **kwargs: Any
    ) -> AppFuture[R]: ...
    @overload
    def __call__(self, /, **kwargs: Later[F]) -> AppFuture[R]: ...

    @overload
    def fresh(self, /, *args: P.args, **kwargs: P.kwargs) -> AppFuture[R]: ...
    @overload
    def fresh(self, /, *args: Later[F], **kwargs: Later[F]) -> AppFuture[R]: ...

    @overload
    def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> AppFuture[R] | None: ...
    @overload
    def peek(self, /, *args: Later[F], **kwargs: Later[F]) -> AppFuture[R] | None: ...

    @overload
    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    def key(self, /, *args: Later[F], **kwargs: Later[F]) -> str: ...

    @overload
    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> int: ...
    @overload
    def forget(self, /, *args: Later[F], **kwargs: Later[F]) -> int: ...

    def map(
        self, *iterables: Iterable[Any], max_in_flight: int | None = None, ordered: bool = True
    ) -> Iterator[R]: ...

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> TypedApp[P, R]: ...
    @overload
    def __get__(
        self: TypedApp[Concatenate[Any, Q], S], instance: object, owner: type | None = None
    ) -> TypedApp[Q, S]: ...


class JoinOptions(TypedDict, total=False):
    """The options of :func:`~parsl_ckpt.apps.app.join_app`."""

    data_flow_kernel: Any
    cache: bool
    ignore_for_cache: Sequence[str] | None
    version: str
    code: str | None
    lineage: bool
    secret: Iterable[str]
    valid_for: Span | None
    valid_if: Callable[[Recorded], object] | None
    single_flight: str | None
    persist: bool | str
    tag: str | None


class PythonOptions(JoinOptions, total=False):
    """The options of :func:`~parsl_ckpt.apps.app.python_app`."""

    executors: str | Sequence[str]
    walltime: Span | None
    check_mutation: bool
    watch_inputs: bool
    undeclared: str
    keep_arguments: bool
    retry: RetryConfig | None
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None
    resilience: ResiliencePolicy | None
    retries: int | None


class BashOptions(JoinOptions, total=False):
    """The options of :func:`~parsl_ckpt.apps.bash.bash_app`."""

    executors: str | Sequence[str]
    walltime: Span | None
    retry: RetryConfig | None
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None
    resilience: ResiliencePolicy | None
    retries: int | None


class PythonDecorator(Protocol):
    """What ``python_app(...)`` gives: it makes an app of a function."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> TypedApp[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> TypedApp[P, R]: ...


class JoinDecorator(Protocol):
    """What ``join_app(...)`` gives."""

    @overload
    def __call__(self, fn: Callable[P, Future[R]], /) -> TypedApp[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Sequence[Future[R]]], /) -> TypedApp[P, list[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Any], /) -> TypedApp[P, Any]: ...


class BashDecorator(Protocol):
    """What ``bash_app(...)`` gives: the function returns the command line, the app its status."""

    def __call__(self, fn: Callable[P, str], /) -> TypedApp[P, int]: ...
