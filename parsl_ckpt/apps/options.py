"""What an app is declared with, checked when it is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

from parsl_ckpt.errors import AppDefinitionError, ConfigurationError
from parsl_ckpt.identity.code import Mode
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.policies import ResiliencePolicy, chosen
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.kernel.spans import Span, seconds_of
from parsl_ckpt.kernel.unkept import AUTO
from parsl_ckpt.kernel.validity import Recorded, seconds_valid
from parsl_ckpt.signatures import signature

Undeclared = Literal["warn", "key"]
CODE_MODES = get_args(Mode)
UNDECLARED_MODES = get_args(Undeclared)
FLIGHTS = ("process", "shared")


@dataclass(frozen=True)
class Options:
    """How the calls of an app are looked up, recorded and run; see :func:`python_app`."""

    cache: bool = False
    executors: str | Sequence[str] = "all"
    ignore_for_cache: Sequence[str] | None = None
    version: str = ""
    code: str | None = None
    lineage: bool = True
    secret: Iterable[str] = ()
    valid_for: Span | None = None
    valid_if: Callable[[Recorded], object] | None = None
    check_mutation: bool = False
    watch_inputs: bool = False
    undeclared: str = "warn"
    single_flight: str | None = None
    walltime: Span | None = None
    keep_arguments: bool = False
    persist: bool | str = True
    tag: str | None = None
    retry: RetryConfig | None = None
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None = None
    resilience: ResiliencePolicy | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        if self.persist is not True:  # what is not kept, or not always, has an address all the same
            object.__setattr__(self, "cache", True)

    def check(self, fn: Callable[..., Any], name: str) -> None:
        """Whether these can be the options of a function.

        Raises:
            AppDefinitionError: they cannot; it names the option.
        """
        for option, hint in _SWITCHES.items():
            if not isinstance(getattr(self, option), bool):
                raise self._wrong(name, option, "is neither True nor False", hint)
        if not isinstance(self.version, str):
            raise self._wrong(name, "version", "is no text", "Give a string, such as '2'.")
        self._check_names(name)
        _check_choice(name, "code", self.code, (None, *CODE_MODES))
        _check_choice(name, "undeclared", self.undeclared, UNDECLARED_MODES)
        _check_choice(name, "single_flight", self.single_flight, (None, *FLIGHTS))
        self._check_persist(name)
        _check_secrets(fn, name, self.secrets)
        if self.valid_for is not None:
            seconds_valid(name, self.valid_for)
        if self.walltime is not None:
            self.check_walltime(name)
        self.policy(name)
        if self.valid_if is not None and not callable(self.valid_if):
            raise AppDefinitionError(
                f"{name}: valid_if={self.valid_if!r} is not a function.",
                hint="Give a function of a record that says whether it may be used.",
                app=name,
                parameter="valid_if",
            )
        for option in (
            "valid_for", "valid_if", "check_mutation", "watch_inputs", "single_flight",
            "keep_arguments",
        ):  # fmt: skip
            if getattr(self, option) not in (None, False) and not self.cache:
                raise AppDefinitionError(
                    f"{name}: {option} is about recorded outcomes, and the app is not cached.",
                    hint="Declare it with cache=True.",
                    app=name,
                    parameter=option,
                )
        if self.undeclared == "key" and not self.watch_inputs:
            raise AppDefinitionError(
                f"{name}: undeclared='key' needs to know what the app reads.",
                hint="Declare it with watch_inputs=True as well.",
                app=name,
                parameter="undeclared",
            )

    def _check_names(self, name: str) -> None:
        """Lists of names are lists of texts, and not one text that would be read as its letters."""
        if not _is_names(self.executors, one=True):
            raise self._wrong(
                name, "executors", "is no label of an executor, nor a list of labels",
                "Give labels, as in executors=['threads'], or 'all'.",
            )  # fmt: skip
        if self.ignore_for_cache is not None and not _is_names(self.ignore_for_cache, empty=True):
            raise self._wrong(
                name, "ignore_for_cache", "is no list of names of parameters",
                "Give a list, as in ignore_for_cache=['verbose'], or leave it out.",
            )  # fmt: skip
        if not _is_names(self.secret, one=True, empty=True):
            raise self._wrong(
                name, "secret", "is no set of names of parameters",
                "Give a set, as in secret={'token'}, or leave it out.",
            )  # fmt: skip

    def _wrong(self, name: str, option: str, what: str, hint: str) -> AppDefinitionError:
        return AppDefinitionError(
            f"{name}: {option}={getattr(self, option)!r} {what}.",
            hint=hint,
            app=name,
            parameter=option,
        )

    def _check_persist(self, name: str) -> None:
        if not isinstance(self.persist, bool) and self.persist != AUTO:
            raise AppDefinitionError(
                f"{name}: persist={self.persist!r} is not known.",
                hint="Use True, False or 'auto'.",
                app=name,
                parameter="persist",
            )
        if not isinstance(self.tag, (str, type(None))):
            raise AppDefinitionError(
                f"{name}: tag={self.tag!r} is no text.",
                hint="Give a string; any characters will do.",
                app=name,
                parameter="tag",
            )
        if self.persist is False:
            for option in ("single_flight", "keep_arguments"):
                if getattr(self, option) not in (None, False, "process"):
                    raise AppDefinitionError(
                        f"{name}: {option} is about recorded outcomes, and persist=False records "
                        "none.",
                        hint="Leave one of the two out, or use persist='auto'.",
                        app=name,
                        parameter=option,
                    )

    def check_walltime(self, name: str) -> float | None:
        """The walltime in seconds; None for no limit.

        Raises:
            AppDefinitionError: it is no span of time, or not positive.
        """
        if self.walltime is None:
            return None
        seconds = seconds_of(self.walltime)
        if seconds is None or not 0 < seconds < float("inf"):
            raise AppDefinitionError(
                f"{name}: walltime={self.walltime!r} is not a span of time.",
                hint="Use a number of seconds, '45s', '30m', '12h', 'HH:MM:SS', or a timedelta.",
                app=name,
                parameter="walltime",
            )
        return seconds

    def policy(self, name: str) -> ResiliencePolicy:
        """How failures are met.

        Raises:
            AppDefinitionError: an option is no such thing, or says what another one says.
        """
        retry = self.retry if self.retries is None else self._at_once(name, self.retries)
        try:
            return chosen(retry, self.circuit_breaker, self.resilience)
        except ConfigurationError as error:
            raise AppDefinitionError(
                f"{name}: {error.message}",
                hint=error.hint,
                app=name,
                parameter=error.fields["field"],
            ) from None

    def _at_once(self, name: str, retries: Any) -> RetryConfig:
        """So many more tries, each as soon as the one before has failed."""
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            fault = f"retries={retries!r} is no number of tries."
        elif self.retry is not None:
            fault = "retries and retry are both given, and retry says all there is."
        else:
            return RetryConfig(
                max_attempts=retries + 1, initial_delay_seconds=0, max_delay_seconds=0, jitter=0
            )
        raise AppDefinitionError(
            f"{name}: {fault}",
            hint="Give a number of 0 or more, or a RetryConfig as retry=.",
            app=name,
            parameter="retries",
        )

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the parameters that are secret."""
        return frozenset([self.secret] if isinstance(self.secret, str) else self.secret)

    @property
    def observed(self) -> bool:
        """Whether the app is watched while it runs."""
        return self.check_mutation or self.watch_inputs


_SWITCHES = {
    "cache": "Use cache=True to look calls up and record their outcomes.",
    "lineage": "Use False for an app that is not a function of its arguments.",
    "check_mutation": "Use True to be warned of arguments that a call has changed.",
    "watch_inputs": "Use True to have noted what a call reads.",
    "keep_arguments": "Use True to have the arguments kept beside the record.",
}


def _is_names(value: Any, *, one: bool = False, empty: bool = False) -> bool:
    """Whether something is names: several, or one alone where that is taken; none where it is."""
    if isinstance(value, str):
        return one and bool(value)
    if not isinstance(value, (Sequence, Set)) or isinstance(value, bytes):
        return False
    if not value:
        return empty
    return all(isinstance(each, str) for each in value)


def _check_choice(app: str, option: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise AppDefinitionError(
            f"{app}: {option}={value!r} is not known.",
            hint=f"Use one of: {', '.join(repr(one) for one in allowed if one is not None)}.",
            app=app,
            parameter=option,
        )


def _check_secrets(fn: Any, name: str, secrets: frozenset[str]) -> None:
    """A misspelt secret would be recorded in clear."""
    if not secrets:
        return
    try:
        parameters = signature(fn).parameters
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
