"""Retries that wait and calls that breakers guard, with a clock and an executor that are told."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import pytest

from parsl_ckpt.errors import CircuitBreakerOpenError
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState
from parsl_ckpt.kernel.policies import ResiliencePolicy
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.retrying import RetryConfig
from tests.kernel.helpers import DEADLINE, Interruption, Rig, outcome, spec_of, until

THRICE = RetryConfig(max_attempts=3, initial_delay_seconds=1, max_delay_seconds=60, jitter=0)


def divide(a, b):
    return a / b


def other(a, b):
    return a * b


class Weak(ValueError):
    """What a weak reference can be made to."""


def guarded(rig, fn=divide, retry=None, breaker=None, **options):
    """What the kernel is told of an app with a policy."""
    options.setdefault("cache", False)
    spec = spec_of(fn, **options)
    policy = rig.kernel.retries.resolved(spec.name, spec.name, ResiliencePolicy(retry, breaker))
    return replace(spec, resilience=policy)


def gone(reference):
    """Whether nothing refers to something any more, once threads have let go of it."""
    gc.collect()
    return reference() is None


def fail(rig, error=None):
    """Report the attempt that waits in the executor as failed."""
    rig.settle()
    until(lambda: rig.manual.waiting)
    assert rig.manual.fail(error or ValueError("no"))
    rig.settle()


def resumed(rig, seconds):
    """Let time pass until the next attempt is in the executor."""
    rig.clock.advance(seconds)
    until(lambda: rig.manual.waiting)


# -- retries -----------------------------------------------------------------------------------


def test_the_next_attempt_is_made_after_its_delay_and_not_before():
    rig = Rig()
    future = rig.call(guarded(rig, retry=THRICE), 6, 3)
    fail(rig)
    assert (len(rig.manual), future.task_status()) == (0, "fail_retryable")
    rig.clock.advance(0.9)
    rig.settle()
    assert not rig.manual.waiting
    resumed(rig, 0.2)
    fail(rig)
    rig.clock.advance(1.9)
    rig.settle()
    assert not rig.manual.waiting
    resumed(rig, 0.2)
    rig.run()
    assert outcome(future) == 2


def test_a_waiting_retry_holds_no_worker():
    rig = Rig()
    bad = rig.call(guarded(rig, retry=THRICE), 6, 3)
    fail(rig)
    good = rig.call(guarded(rig, other), 6, 3)
    assert rig.run() == 1
    assert outcome(good) == 18
    assert not bad.done()


def test_attempts_that_are_due_at_once_share_a_thread_and_none_is_forgotten():
    rig = Rig()
    spec, retries, errands = guarded(rig, retry=THRICE), rig.kernel.retries, []
    futures = [rig.call(spec, n, 1) for n in range(20)]
    for _ in futures:
        fail(rig)
    rig.clock.advance(0.5)
    late = rig.call(spec, 20, 1)
    fail(rig)
    rig.kernel.errands.run = errands.append  # it waits for a thread
    rig.clock.advance(0.5)
    assert len(errands) == 1

    class Slow:
        """A lock; one more is due when all are fetched, and before the next may have a thread."""

        def __init__(self, lock):
            self.acquire, self._release = lock.acquire, lock.release

        def release(self):
            rig.clock.advance(1)
            self._release()

    retries._fetching = Slow(retries._fetching)
    errands[0]()
    rig.settle()
    assert (len(rig.manual.waiting), len(errands)) == (20, 2)
    errands[1]()
    assert rig.run() == 21
    assert [outcome(one) for one in (*futures, late)] == list(range(21))


def test_without_a_delay_the_next_attempt_is_made_at_once():
    rig = Rig()
    future = rig.call(guarded(rig, retry=RetryConfig(initial_delay_seconds=0)), 1, 0)
    assert rig.run() == 3
    assert isinstance(future.exception(), ZeroDivisionError)


def test_attempts_used_up_fail_with_the_last_error():
    rig = Rig()
    future = rig.call(guarded(rig, retry=THRICE), 1, 0)
    for seconds in (1, 2):
        fail(rig, ValueError(str(seconds)))
        resumed(rig, seconds)
    fail(rig, ValueError("last"))
    assert str(future.exception(DEADLINE)) == "last"
    assert rig.idle()


def test_an_error_of_another_name_is_not_retried():
    rig = Rig()
    picky = RetryConfig(retry_on_exceptions=["OSError"])
    future = rig.call(guarded(rig, retry=picky), 1, 0)
    assert rig.run() == 1
    assert isinstance(future.exception(DEADLINE), ZeroDivisionError)


def test_the_apps_own_retry_takes_the_place_of_the_kernels():
    asked = []
    rig = Rig(retry=RetryPolicy(5, lambda error, record: asked.append(error) or 1.0))
    future = rig.call(guarded(rig, retry=RetryConfig(max_attempts=1)), 1, 0)
    assert rig.run() == 1
    assert isinstance(future.exception(DEADLINE), ZeroDivisionError)
    assert not asked


def test_a_breaker_alone_leaves_retries_to_the_kernel():
    rig = Rig(retry=RetryPolicy(2))
    future = rig.call(guarded(rig, breaker=CircuitBreakerConfig()), 1, 0)
    ran = 0
    while not future.done():
        rig.settle()
        ran += rig.manual.run()
    assert ran == 3


def test_a_task_that_waits_for_its_next_attempt_can_be_cancelled():
    rig = Rig()
    future = rig.call(guarded(rig, retry=THRICE), 6, 3)
    fail(rig)
    assert future.cancel()
    rig.clock.advance(100)
    rig.settle()
    assert not rig.manual.waiting
    assert future.cancelled()
    assert rig.idle()


def test_equal_calls_share_attempts_and_whoever_waits_for_the_kernel_does_not_hurry_them():
    rig = Rig()
    spec = guarded(rig, retry=THRICE, cache=True)
    one = rig.call(spec, 6, 3)
    fail(rig)
    two = rig.call(spec, 6, 3)
    assert not rig.idle()
    assert not rig.manual.waiting
    resumed(rig, 1)
    assert rig.run() == 1
    assert outcome(one) == outcome(two) == 2
    (record,) = (r[2] for r in rig.store.records() if hasattr(r[2], "tries"))
    assert record.tries == 2


def test_an_ending_kernel_fails_what_waits_with_its_last_error():
    rig = Rig()
    future = rig.call(guarded(rig, retry=THRICE), 6, 3)
    fail(rig, ValueError("the last"))
    assert rig.end() == []
    assert str(future.exception(DEADLINE)) == "the last"


def test_after_the_first_failure_of_a_run_that_is_not_lazy_nothing_waits():
    rig = Rig(lazy_errors=False)
    future = rig.call(guarded(rig, retry=THRICE), 6, 3)
    bad = rig.call(guarded(rig, other), "x", "y")
    fail(rig, ValueError("first"))
    rig.run()
    assert isinstance(bad.exception(DEADLINE), TypeError)
    assert str(future.exception(DEADLINE)) == "first"


def test_nothing_is_kept_of_a_task_that_is_over():
    rig = Rig()
    spec = guarded(rig, retry=THRICE, breaker=CircuitBreakerConfig())
    future = rig.call(spec, 6, 3)
    error = Weak("no")
    seen = weakref.ref(error)
    fail(rig, error)
    del error
    resumed(rig, 1)
    rig.run()
    assert outcome(future) == 2
    rig.settle()
    until(lambda: gone(seen))
    assert not any(rig.kernel.retries._admitted.values())


# -- breakers ----------------------------------------------------------------------------------

TWICE = CircuitBreakerConfig(failure_threshold=2, success_threshold=2, timeout_seconds=10)


def opened(rig, **options):
    """A guarded app whose breaker has opened."""
    spec = guarded(rig, breaker=TWICE, **options)
    for _ in range(2):
        rig.call(spec, 1, 0)
        fail(rig)
    return spec


def test_an_open_breaker_fails_calls_at_once_and_nothing_runs():
    rig = Rig()
    spec = opened(rig)
    refused = rig.call(spec, 6, 3)
    with pytest.raises(
        CircuitBreakerOpenError, match=r"divide was not called: .* 'divide' is open"
    ):
        refused.result(DEADLINE)
    assert not rig.manual.waiting
    assert rig.idle()


def test_a_breaker_closes_again_after_enough_probes_one_at_a_time():
    rig = Rig()
    spec = opened(rig)
    rig.clock.advance(10)
    probe = rig.call(spec, 6, 3)
    refused = rig.call(spec, 6, 2)
    with pytest.raises(CircuitBreakerOpenError, match="half open"):
        refused.result(DEADLINE)
    rig.run()
    assert outcome(probe) == 2
    again = rig.call(spec, 6, 2)
    rig.run()
    assert outcome(again) == 3
    both = rig.call(spec, 6, 1), rig.call(spec, 8, 1)
    rig.run()
    assert [outcome(one) for one in both] == [6, 8]


def test_what_waits_in_an_executor_is_taken_back_when_the_breaker_opens():
    rig = Rig()
    spec = guarded(rig, breaker=TWICE)
    futures = [rig.call(spec, n, 0) for n in range(10)]
    rig.settle()
    until(lambda: len(rig.manual.waiting) == 10)
    fail(rig)
    fail(rig)
    for future in futures[2:]:
        assert isinstance(future.exception(DEADLINE), CircuitBreakerOpenError)
    assert len(rig.manual) == 8
    assert rig.manual.run() == 0
    rig.settle()
    assert rig.kernel.state_counts()["failed"] == 10


def test_an_open_breaker_costs_no_retry_and_names_the_failure_before_it():
    rig = Rig()
    spec = guarded(rig, retry=THRICE, breaker=CircuitBreakerConfig(failure_threshold=1))
    future = rig.call(spec, 6, 3)
    record = future.task_record
    fail(rig, ValueError("the cause"))
    rig.clock.advance(1)
    error = future.exception(DEADLINE)
    assert isinstance(error, CircuitBreakerOpenError)
    assert str(error.__cause__) == "the cause"
    assert (record["try_id"], record["fail_count"]) == (0, 1)
    assert not rig.manual.waiting


def test_a_retry_that_comes_when_the_breaker_lets_probes_through_is_a_probe():
    rig = Rig()
    quick = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_seconds=0.5)
    spec = guarded(rig, retry=THRICE, breaker=quick)
    future = rig.call(spec, 6, 3)
    fail(rig)
    resumed(rig, 1)
    rig.run()
    assert outcome(future) == 2
    assert spec.resilience.circuit_breaker.state is CircuitState.CLOSED


def test_a_probe_that_is_cancelled_is_given_back():
    rig = Rig()
    spec = opened(rig)
    rig.clock.advance(10)
    probe = rig.call(spec, 6, 3)
    until(lambda: rig.manual.waiting)
    assert probe.cancel()
    rig.manual.run()
    rig.settle()
    assert spec.resilience.circuit_breaker.probes == 0
    probe = rig.call(spec, 6, 3)
    rig.run()
    assert outcome(probe) == 2


def test_a_hit_asks_no_breaker():
    rig = Rig()
    spec = guarded(rig, cache=True, breaker=CircuitBreakerConfig(failure_threshold=1))
    known = rig.call(spec, 6, 3)
    rig.run()
    assert outcome(known) == 2
    rig.call(spec, 1, 0)
    fail(rig)
    assert outcome(rig.call(spec, 6, 3)) == 2
    assert isinstance(rig.call(spec, 6, 2).exception(DEADLINE), CircuitBreakerOpenError)


def test_apps_that_are_given_one_breaker_share_it_and_others_do_not():
    rig = Rig()
    shared = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1), "db")
    one, two = guarded(rig, breaker=shared), guarded(rig, other, breaker=shared)
    alone = guarded(rig, other, name="alone", breaker=CircuitBreakerConfig(failure_threshold=1))
    rig.call(one, 1, 0)
    fail(rig)
    assert shared.state is CircuitState.OPEN
    error = rig.call(two, 2, 3).exception(DEADLINE)
    assert (error.app, error.breaker) == ("other", "db")
    fine = rig.call(alone, 2, 3)
    rig.run()
    assert outcome(fine) == 6


def test_an_app_that_is_defined_anew_goes_on_with_its_breaker():
    rig = Rig()
    assert (
        guarded(rig, breaker=TWICE).resilience.circuit_breaker
        is guarded(rig, breaker=TWICE).resilience.circuit_breaker
    )
    other_settings = CircuitBreakerConfig(failure_threshold=3)
    assert (
        guarded(rig, breaker=TWICE).resilience.circuit_breaker
        is not guarded(rig, breaker=other_settings).resilience.circuit_breaker
    )


def test_listeners_of_a_breaker_may_wait_for_the_kernel():
    rig = Rig()
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1), "db")
    told = threading.Event()
    seen = []

    def listen(name, old, new):
        seen.append((name, new, rig.call(spec_of(other), 3, 4).result(DEADLINE)))
        told.set()

    breaker.subscribe(listen)
    rig.call(guarded(rig, breaker=breaker), 1, 0)
    fail(rig)
    until(lambda: rig.manual.waiting)
    rig.run()
    assert told.wait(DEADLINE)
    assert seen == [("db", CircuitState.OPEN, 12)]


def test_observers_hear_of_breakers():
    rig = Rig()
    heard, event = [], threading.Event()

    def listen(one):
        if one.kind == "breaker":
            heard.append(one)
            event.set()

    rig.kernel.events.subscribe(listen)
    opened(rig)
    assert event.wait(DEADLINE)
    assert (heard[0].app, heard[0].state) == ("divide", "open")
    assert heard[0].text == "Circuit breaker 'divide' is open."


def test_a_breaker_that_outlives_its_kernels_forgets_them():
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1), "db")
    for _ in range(3):
        rig = Rig()
        guarded(rig, breaker=breaker)
        rig.end()
        kernel = weakref.ref(rig.kernel)
        del rig
    until(lambda: gone(kernel))
    breaker.acquire().failed()
    assert breaker._listeners == ()


def test_a_caller_who_launches_late_does_not_begin_the_next_attempt_before_its_time():
    rig = Rig()
    future = rig.call(guarded(rig, retry=THRICE), 6, 3)
    task = future._task
    fail(rig)
    rig.kernel.execution.launch(task)  # as a caller does who was suspended just before it
    rig.settle()
    assert rig.manual.run() == 0
    assert future.task_status() == "fail_retryable"
    resumed(rig, 1)
    assert rig.run() == 1
    assert outcome(future) == 2


def test_a_caller_who_is_interrupted_anywhere_leaves_no_probe_behind():
    rig = Rig()
    spec = opened(rig)
    breaker = spec.resilience.circuit_breaker
    rig.clock.advance(10)
    for n in range(1, 10_000):
        interruption = Interruption(n)
        breaker.acquire().released()  # it lets a probe through
        if not interruption.call(lambda: rig.call(spec, 6, 3)):
            break
        rig.idle()  # launches what the caller has left
        rig.run()
        until(lambda: breaker.probes == 0)
        if breaker.state is CircuitState.CLOSED:
            for _ in range(2):
                breaker.acquire().failed()
            rig.clock.advance(10)
    else:
        raise AssertionError("the call never came to its end")
    rig.run()
    assert n > 20
