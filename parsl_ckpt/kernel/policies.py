"""A retry and a breaker under one name, and ready-made ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.retrying import RetryConfig


@dataclass(frozen=True)
class ResiliencePolicy:
    """How failures are met: a retry, a circuit breaker, both or none.

    Attributes:
        retry: how what failed is tried again; None for not at all.
        circuit_breaker: when it is left alone; None for never. A
            :class:`~parsl_ckpt.kernel.breaker.CircuitBreaker` in the place of a configuration is
            shared by all that have it.

    Raises:
        ConfigurationError: a field has a value of another type.

    >>> ResiliencePolicy(retry=RetryConfig(max_attempts=5)).circuit_breaker is None
    True
    """

    retry: RetryConfig | None = None
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None = None

    def __post_init__(self) -> None:
        check_type("retry", self.retry, (RetryConfig,))
        check_type("circuit_breaker", self.circuit_breaker, (CircuitBreakerConfig, CircuitBreaker))

    def __bool__(self) -> bool:
        return self.retry is not None or self.circuit_breaker is not None


def check_type(field: str, value: Any, types: tuple[type, ...]) -> None:
    """Whether a field of a policy has what belongs there.

    Raises:
        ConfigurationError: it has not.
    """
    if value is not None and not isinstance(value, types):
        names = " or a ".join(one.__name__ for one in types)
        raise ConfigurationError(
            f"{field}={value!r} is no {names}.",
            hint=f"Use {field}={types[0].__name__}(...).",
            field=field,
        )


def chosen(
    retry: RetryConfig | None,
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None,
    resilience: ResiliencePolicy | None,
) -> ResiliencePolicy:
    """The policy that is meant, given either whole or by its fields.

    Raises:
        ConfigurationError: it is given in both ways, or something is of another type.

    >>> chosen(RetryConfig(), None, None) == chosen(None, None, ResiliencePolicy(RetryConfig()))
    True
    """
    check_type("resilience", resilience, (ResiliencePolicy,))
    if resilience is None:
        return ResiliencePolicy(retry, circuit_breaker)
    for field, value in (("retry", retry), ("circuit_breaker", circuit_breaker)):
        if value is not None:
            raise ConfigurationError(
                f"{field} and resilience are both given, and resilience says all there is.",
                hint=f"Put {field} into the ResiliencePolicy, or leave resilience out.",
                field=field,
            )
    return resilience


class RetryPolicies:
    """Retries for common cases.

    >>> RetryPolicies.NO_RETRY.max_attempts, RetryPolicies.AGGRESSIVE.max_attempts
    (1, 5)
    """

    NO_RETRY = RetryConfig(max_attempts=1)
    DEFAULT = RetryConfig()
    #: For what fails often and comes back at once.
    AGGRESSIVE = RetryConfig(
        max_attempts=5, initial_delay_seconds=0.5, max_delay_seconds=30.0, backoff_multiplier=1.5
    )
    #: For what must not be bothered.
    CONSERVATIVE = RetryConfig(max_attempts=2, initial_delay_seconds=5.0, max_delay_seconds=30.0)


class CircuitBreakerConfigs:
    """Circuit breakers for common cases.

    >>> CircuitBreakerConfigs.SENSITIVE.failure_threshold
    3
    """

    DEFAULT = CircuitBreakerConfig()
    #: Opens early and stays open for long.
    SENSITIVE = CircuitBreakerConfig(failure_threshold=3, timeout_seconds=120.0)
    #: Bears more failures and comes back soon.
    RESILIENT = CircuitBreakerConfig(failure_threshold=10, timeout_seconds=30.0)


class ResiliencePolicies:
    """Both, for common cases.

    >>> ResiliencePolicies.CONSERVATIVE.retry is RetryPolicies.CONSERVATIVE
    True
    """

    NONE = ResiliencePolicy()
    DEFAULT = ResiliencePolicy(RetryPolicies.DEFAULT, CircuitBreakerConfigs.DEFAULT)
    AGGRESSIVE = ResiliencePolicy(RetryPolicies.AGGRESSIVE, CircuitBreakerConfigs.RESILIENT)
    CONSERVATIVE = ResiliencePolicy(RetryPolicies.CONSERVATIVE, CircuitBreakerConfigs.SENSITIVE)
