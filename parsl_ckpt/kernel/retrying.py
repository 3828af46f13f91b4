"""How often, after how long and after what failures something is tried again: pure decisions.

    failure ─► matches? ── no ──► it has failed
                  │ yes
                  ▼
               attempts left? ── no ──► it has failed
                  │ yes
                  ▼
               delay ─► wait ─► next attempt

Rule of this file: it decides and does nothing.  Who waits, and how, is the business of who asks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.errors import AppException, ParslCkptError, RemoteError, WorkerLostError
from parsl_ckpt.kernel.checked import Checked, number, whole

JITTER = 0.25  # the share that ``jitter=True`` stands for

# Of our own errors, those that another try may mend.
_MENDABLE = (WorkerLostError, AppException, RemoteError)


def mendable(error: BaseException) -> bool:
    """Whether an error tells of something that may be otherwise at the next try.

    A wish to stop (KeyboardInterrupt, SystemExit) does not, nor do refusals of the library, such as
    arguments that do not pickle.
    """
    if not isinstance(error, Exception):
        return False
    return not isinstance(error, ParslCkptError) or isinstance(error, _MENDABLE)


def _jitter(value: Any) -> str | None:
    return None if isinstance(value, bool) else number(0, most=1)(value)


def _names(value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return f"is {value!r}, not a list of names of exceptions"
    for one in value:
        if isinstance(one, type):
            return f"has the class {one.__name__}; give its name, as text"
        if not isinstance(one, str) or not all(map(str.isidentifier, one.split("."))):
            return f"has {one!r}, which is no name of an exception"
    return None


@dataclass(frozen=True)
class RetryConfig(Checked):
    """How something that failed is tried again.

    Attributes:
        max_attempts: how often it is tried at most, the first time included.
        initial_delay_seconds: how long is waited before the second attempt.
        max_delay_seconds: how long is waited at most, whatever the other fields say.
        backoff_multiplier: what the delay is multiplied by after each further failure.
        jitter: the share of a delay, from 0 to 1, that is left to chance, so that those who failed
            together do not come back together. A delay is shortened by it, never lengthened.
            True is a quarter, False nothing.
        retry_on_exceptions: names of the exceptions after which it is tried again. A simple name
            (``"OSError"``) stands for classes of that name and all that derive from them; a dotted
            one (``"http.client.RemoteDisconnected"``) for that class alone.

    Raises:
        ConfigurationError: a field has a value that cannot be.

    >>> retry = RetryConfig(max_attempts=5, max_delay_seconds=3, jitter=0)
    >>> [retry.delay(failures) for failures in (1, 2, 3, 1000)]
    [1.0, 2.0, 3.0, 3.0]
    >>> RetryConfig(retry_on_exceptions=["OSError"]).again(1, ConnectionResetError())
    True

    The idea and the names are pyspark-pipeline-framework's.
    """

    max_attempts: int = 3
    initial_delay_seconds: float = 1.0
    max_delay_seconds: float = 60.0
    backoff_multiplier: float = 2.0
    jitter: float | bool = JITTER
    retry_on_exceptions: Sequence[str] = ("Exception",)

    _checks = {  # noqa: RUF012
        "max_attempts": whole(1),
        "initial_delay_seconds": number(0),
        "max_delay_seconds": number(0),
        "backoff_multiplier": number(1),
        "jitter": _jitter,
        "retry_on_exceptions": _names,
    }

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "retry_on_exceptions", tuple(self.retry_on_exceptions))

    @classmethod
    def _together(cls, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        first = given.get("initial_delay_seconds", cls.initial_delay_seconds)
        most = given.get("max_delay_seconds", cls.max_delay_seconds)
        if most >= first:
            return []
        fault = f"is {most!r}, less than initial_delay_seconds, which is {first!r}"
        return [("max_delay_seconds", fault)]

    def delay(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """How long to wait after so many failures.

        Args:
            failures: how many attempts have failed; 1 after the first.
            chance: gives a number from 0 to 1 for the jitter.

        Returns:
            Seconds, at most ``max_delay_seconds``.
        """
        first, most = float(self.initial_delay_seconds), float(self.max_delay_seconds)
        try:
            grown = first * float(self.backoff_multiplier) ** max(failures - 1, 0)
        except OverflowError:
            grown = most if first else 0.0
        share = JITTER if self.jitter is True else float(self.jitter)
        waited = min(grown, most)
        return waited - waited * share * chance() if share else waited

    def matches(self, error: BaseException) -> bool:
        """Whether an error is one of those after which it is tried again.

        An exception that could not travel home from another process is known by the names that
        :class:`~parsl_ckpt.errors.RemoteError` has of it.
        """
        simple, dotted = _names_of(error)
        return any(
            (name == dotted) if "." in name else (name in simple)
            for name in self.retry_on_exceptions
        )

    def again(self, attempts: int, error: BaseException) -> bool:
        """Whether there is another attempt after so many, of which the last raised ``error``."""
        return attempts < self.max_attempts and mendable(error) and self.matches(error)


def _names_of(error: BaseException) -> tuple[set[str], str]:
    """The simple names of an error's class and its bases, and the dotted name of its class."""
    if isinstance(error, RemoteError) and error.fields.get("kind"):
        kind: str = error.fields["kind"]
        bases = error.fields.get("bases") or ("Exception", "BaseException")
        return {kind.rpartition(".")[2], *bases}, kind if "." in kind else f"builtins.{kind}"
    of = type(error)
    return {base.__name__ for base in of.__mro__[:-1]}, f"{of.__module__}.{of.__qualname__}"
