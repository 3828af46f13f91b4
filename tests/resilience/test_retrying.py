"""Delays and matches of a retry, as pure decisions."""

from __future__ import annotations

import fractions
import http.client
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.errors import (
    AppTimeout,
    CallTransportError,
    CircuitBreakerOpenError,
    ConfigurationError,
    RemoteError,
    WorkerLostError,
)
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.policies import (
    CircuitBreakerConfigs,
    ResiliencePolicies,
    ResiliencePolicy,
    RetryPolicies,
    chosen,
)
from parsl_ckpt.kernel.retrying import RetryConfig


class Flaky(ConnectionError):
    class Inner(OSError):
        pass


finite = st.floats(0, 1e308, allow_nan=False)


@given(
    finite,
    finite,
    st.floats(1, 1e308),
    st.floats(0, 1),
    st.one_of(st.integers(1, 50), st.integers(1, 10**400)),
    st.floats(0, 1),
)
def test_a_delay_never_exceeds_the_maximum_and_never_overflows(
    one, other, multiplier, jitter, failures, chance
):
    first, most = sorted((one, other))
    retry = RetryConfig(3, first, most, multiplier, jitter)
    assert 0.0 <= retry.delay(failures, lambda: chance) <= most


@given(st.integers(1, 200))
def test_without_jitter_a_delay_grows_until_it_is_the_maximum(failures):
    retry = RetryConfig(jitter=False)
    assert retry.delay(failures) == min(2.0 ** (failures - 1), 60.0)


def test_jitter_shortens_a_delay_by_at_most_its_share():
    retry = RetryConfig(initial_delay_seconds=8, jitter=0.5)
    assert [retry.delay(1, lambda c=c: c) for c in (0.0, 0.5, 1.0)] == [8.0, 6.0, 4.0]
    assert RetryConfig(jitter=True).delay(1, lambda: 1.0) == 0.75


def test_jitter_spreads_those_who_wait_for_the_maximum():
    retry = RetryConfig(max_attempts=100)
    assert len({retry.delay(50) for _ in range(20)}) > 1


def test_no_initial_delay_is_no_delay():
    assert RetryConfig(initial_delay_seconds=0).delay(10**6) == 0.0


@pytest.mark.parametrize(
    ("names", "error", "found"),
    [
        (["Exception"], Flaky(), True),
        (["Flaky"], Flaky(), True),
        (["ConnectionError"], Flaky(), True),
        (["OSError"], Flaky(), True),
        (["ValueError"], Flaky(), False),
        (["ValueError", "OSError"], Flaky(), True),
        (["builtins.OSError"], Flaky(), False),
        (["builtins.OSError"], OSError(), True),
        (["http.client.RemoteDisconnected"], http.client.RemoteDisconnected(), True),
        (["http.client.BadStatusLine"], http.client.RemoteDisconnected(), False),
        (["client.RemoteDisconnected"], http.client.RemoteDisconnected(), False),
        ([f"{__name__}.Flaky.Inner"], Flaky.Inner(), True),
        (["Inner"], Flaky.Inner(), True),
        ([], Flaky(), False),
    ],
)
def test_simple_names_match_along_the_bases_and_dotted_names_exactly(names, error, found):
    assert RetryConfig(retry_on_exceptions=names).matches(error) is found


def test_an_error_that_could_not_travel_matches_by_the_names_that_are_known_of_it():
    error = RemoteError("lost", kind="db.Gone.Away", bases=("OSError", "Exception"))
    for names, found in ((["Away"], True), (["OSError"], True), (["db.Gone.Away"], True)):
        assert RetryConfig(retry_on_exceptions=names).again(1, error) is found
    assert not RetryConfig(retry_on_exceptions=["RemoteError", "Gone.Away"]).again(1, error)
    assert RetryConfig(retry_on_exceptions=["builtins.KeyError"]).matches(
        RemoteError("lost", kind="KeyError", bases=("LookupError",))
    )


def test_attempts_count_the_first_one():
    retry = RetryConfig(max_attempts=3)
    assert [retry.again(n, ValueError()) for n in (1, 2, 3, 4)] == [True, True, False, False]
    assert not RetryPolicies.NO_RETRY.again(1, ValueError())


@pytest.mark.parametrize("error", [AppTimeout("late"), WorkerLostError("gone")])
def test_what_another_try_may_mend_is_tried_again(error):
    assert RetryConfig().again(1, error)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        CallTransportError("no"),
        CircuitBreakerOpenError("no"),
    ],
)
def test_a_wish_to_stop_and_refusals_are_never_tried_again(error):
    names = ["Exception", "BaseException", type(error).__name__]
    assert not RetryConfig(retry_on_exceptions=names).again(1, error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 2.5),
        ("max_attempts", True),
        ("initial_delay_seconds", -1),
        ("initial_delay_seconds", "1"),
        ("max_delay_seconds", math.inf),
        ("max_delay_seconds", math.nan),
        ("max_delay_seconds", 0.5),
        ("max_delay_seconds", 10**400),
        ("backoff_multiplier", 0.5),
        ("jitter", 1.5),
        ("jitter", None),
        ("retry_on_exceptions", "Exception"),
        ("retry_on_exceptions", [ValueError]),
        ("retry_on_exceptions", ["no name"]),
        ("retry_on_exceptions", ["a..b"]),
        ("retry_on_exceptions", None),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(ConfigurationError, match=field) as caught:
        RetryConfig(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_threshold", 0),
        ("success_threshold", 0),
        ("timeout_seconds", 0),
        ("half_open_max_calls", 0),
        ("half_open_max_calls", None),
    ],
)
def test_a_wrong_field_of_a_breaker_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        CircuitBreakerConfig(**{field: value})


def test_all_faults_of_given_settings_are_told_at_once():
    given = {"max_attempts": 0, "jitter": 2, "tries": 1, "backoff_multiplier": 2}
    assert [field for field, _ in RetryConfig.faults(given)] == ["max_attempts", "jitter", "tries"]
    assert RetryConfig.faults({"max_delay_seconds": 0.1})[0][0] == "max_delay_seconds"
    assert RetryConfig.faults({"retry_on_exceptions": ["OSError"]}) == []
    with pytest.raises(ConfigurationError, match=r"max_attempts .*; jitter "):
        RetryConfig(max_attempts=0, jitter=2)


def test_numbers_may_be_those_of_other_libraries():
    numpy = pytest.importorskip("numpy")
    retry = RetryConfig(numpy.int64(4), numpy.float32(0.5), fractions.Fraction(3), numpy.int32(2))
    assert [retry.delay(n, lambda: 0.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]
    assert retry.again(3, OSError()) and not retry.again(4, OSError())
    with pytest.raises(ConfigurationError, match="not a whole number of at least 1"):
        RetryConfig(numpy.int64(0))
    with pytest.raises(ConfigurationError, match="not a number of at least 0"):
        RetryConfig(initial_delay_seconds=numpy.float64("nan"))


def test_settings_are_values():
    assert RetryConfig(retry_on_exceptions=["Exception"]) == RetryConfig()
    assert len({RetryConfig(), RetryConfig(), RetryConfig(max_attempts=4)}) == 2


def test_a_policy_stands_for_its_fields_and_excludes_them():
    policy = ResiliencePolicy(RetryConfig(), CircuitBreakerConfig())
    assert chosen(None, None, policy) is policy
    assert chosen(RetryConfig(), CircuitBreakerConfig(), None) == policy
    assert not chosen(None, None, None)
    for fields in ((RetryConfig(), None), (None, CircuitBreakerConfig())):
        with pytest.raises(ConfigurationError, match="both given"):
            chosen(*fields, policy)


@pytest.mark.parametrize("wrong", [{"retry": 3}, {"circuit_breaker": RetryConfig()}])
def test_a_policy_of_something_else_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ResiliencePolicy(**wrong)
    with pytest.raises(ConfigurationError, match="resilience"):
        chosen(None, None, wrong)


def test_presets_differ_as_their_names_say():
    tries = [
        getattr(RetryPolicies, name).max_attempts
        for name in ("NO_RETRY", "CONSERVATIVE", "DEFAULT", "AGGRESSIVE")
    ]
    assert tries == sorted(tries) == [1, 2, 3, 5]
    sensitive, resilient = CircuitBreakerConfigs.SENSITIVE, CircuitBreakerConfigs.RESILIENT
    assert sensitive.failure_threshold < 5 < resilient.failure_threshold
    assert CircuitBreakerConfig() == CircuitBreakerConfigs.DEFAULT
    assert not ResiliencePolicies.NONE
    assert ResiliencePolicies.DEFAULT.retry == RetryConfig()
    assert ResiliencePolicy(circuit_breaker=CircuitBreaker())
