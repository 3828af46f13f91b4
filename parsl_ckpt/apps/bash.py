"""``bash_app``: a function that returns a command line, as an app that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from parsl_ckpt.apps.app import _decorate
from parsl_ckpt.apps.options import Options
from parsl_ckpt.apps.typed import BashDecorator, TypedApp
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.policies import ResiliencePolicy
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.kernel.spans import Span
from parsl_ckpt.kernel.validity import Recorded

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, Unpack

    from parsl_ckpt.apps.typed import BashOptions

    P = ParamSpec("P")
R = TypeVar("R")


@overload
def bash_app(function: Callable[P, str], /, **options: Unpack[BashOptions]) -> TypedApp[P, int]: ...
@overload
def bash_app(function: None = None, /, **options: Unpack[BashOptions]) -> BashDecorator: ...
def bash_app(
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
    single_flight: str | None = None,
    persist: bool | str = True,
    tag: str | None = None,
    walltime: Span | None = None,
    retry: RetryConfig | None = None,
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None = None,
    resilience: ResiliencePolicy | None = None,
    retries: int | None = None,
) -> Any:
    """Make an app of a function that returns a command line for bash; with or without parentheses.

    The function and the command run where the app runs; the outcome is the command's status, 0.
    A call, or a default of the function, may say by ``outputs=`` which files the command writes,
    by ``stdout=`` and ``stderr=`` where its streams go, and by ``walltime=`` how many seconds it
    may take.

    Args:
        function, data_flow_kernel, cache, executors, ignore_for_cache, version, code, lineage,
            secret, valid_for, valid_if, single_flight, persist, tag, retry, circuit_breaker,
            resilience, retries: as for :func:`~parsl_ckpt.apps.app.python_app`.
        walltime: how long the command may take, unless the call says otherwise by a keyword of that
            name: seconds, ``"30m"``, ``"HH:MM:SS"`` or a timedelta. One that takes longer is
            killed, with all that it has started.

    Returns:
        An app: call it as the function, get a future. It fails with

        * :class:`~parsl_ckpt.errors.BashExitFailure` if the status is not 0,
        * :class:`~parsl_ckpt.errors.MissingOutputs` if a file of ``outputs=`` is not there,
        * :class:`~parsl_ckpt.errors.AppTimeout` if it took too long,
        * :class:`~parsl_ckpt.errors.AppBadFormatting` if the function gave no command line,
        * :class:`~parsl_ckpt.errors.BadStdStreamFile` if a stream cannot go where it should,
        * whatever else the function raises.

    Raises:
        AppDefinitionError: the function cannot be an app, or an argument is wrong.

    >>> @bash_app(cache=True)
    ... def count_lines(inputs=(), outputs=()):
    ...     return f"wc -l < {inputs[0]} > {outputs[0]}"

    The idea and the names are Parsl's.
    """
    options = Options(
        cache=cache, executors=executors, ignore_for_cache=ignore_for_cache, version=version,
        code=code, lineage=lineage, secret=secret, valid_for=valid_for, valid_if=valid_if,
        single_flight=single_flight, persist=persist, tag=tag, walltime=walltime, retry=retry,
        circuit_breaker=circuit_breaker, resilience=resilience, retries=retries,
    )  # fmt: skip
    return _decorate("bash", function, options, data_flow_kernel)
