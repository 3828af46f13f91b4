"""Circuit breakers: the table, probes in flight, listeners, and threads that hammer one."""

from __future__ import annotations

import pickle
import random
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.errors import (
    CallTransportError,
    CircuitBreakerOpenError,
    ConfigurationError,
)
from parsl_ckpt.kernel.breaker import (
    TRANSITIONS,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
)
from parsl_ckpt.testing.clock import FakeClock

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
DEADLINE = 30.0


def made(**fields):
    """A breaker, its clock, and the changes that it tells of."""
    clock, told = FakeClock(), []
    breaker = CircuitBreaker(
        CircuitBreakerConfig(**fields),
        "db",
        lambda name, old, new: told.append((name, old, new)),
        clock.now,
    )
    return breaker, clock, told


def fail(breaker, times=1):
    for _ in range(times):
        breaker.acquire().failed()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: CircuitBreaker("db"), "config is 'db', no CircuitBreakerConfig; a name is given"),
        (lambda: CircuitBreaker(name=3), "name is 3, no text"),
        (lambda: CircuitBreaker(on_state_change=[]), r"on_state_change is \[\], no function"),
        (lambda: CircuitBreaker(clock=0), "clock is 0, no function"),
        (lambda: CircuitBreaker().subscribe(None), "listener is None, no function"),
        (lambda: CircuitBreaker().call(3), r"call\(\) was given 3, no function"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(call, told):
    with pytest.raises(ConfigurationError, match=told):
        call()


def test_it_opens_after_failures_in_a_row_and_not_before():
    breaker, _, told = made(failure_threshold=3)
    fail(breaker, 2)
    breaker.acquire().succeeded()
    fail(breaker, 2)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    assert told == [("db", CLOSED, OPEN)]


def test_an_open_one_refuses_and_says_for_how_long():
    breaker, clock, _ = made(failure_threshold=1, timeout_seconds=60)
    fail(breaker)
    clock.advance(20)
    with pytest.raises(CircuitBreakerOpenError, match=r"'db' is open .* 40\.0 seconds") as caught:
        breaker.acquire()
    assert (caught.value.breaker, caught.value.state) == ("db", "open")
    assert caught.value.time_until_reset == 40.0
    assert breaker.try_acquire() is None
    clock.advance(39)
    assert breaker.try_acquire() is None


def test_it_recovers_under_its_own_defaults():
    breaker, clock, told = made()
    fail(breaker, 5)
    clock.advance(60)
    assert breaker.state is HALF_OPEN and repr(breaker) == "<CircuitBreaker 'db' half_open>"
    assert breaker.call(lambda: 1) == 1
    assert breaker.state is HALF_OPEN
    assert breaker.call(lambda: 2) == 2
    assert breaker.state is CLOSED
    assert [new for _, _, new in told] == [OPEN, HALF_OPEN, CLOSED]


def test_a_failed_probe_opens_it_again_for_the_whole_time():
    breaker, clock, _ = made(failure_threshold=5, timeout_seconds=60)
    fail(breaker, 5)
    clock.advance(100)
    fail(breaker)
    assert breaker.state is OPEN
    assert breaker.time_until_reset == 60.0


def test_probes_in_flight_are_counted_and_given_back():
    breaker, clock, _ = made(failure_threshold=1, success_threshold=9, half_open_max_calls=2)
    fail(breaker)
    clock.advance(60)
    one, two = breaker.acquire(), breaker.acquire()
    assert breaker.probes == 2
    with pytest.raises(CircuitBreakerOpenError, match="half open"):
        breaker.acquire()
    one.succeeded()
    one.succeeded()  # twice is once
    three = breaker.acquire()
    assert breaker.try_acquire() is None
    two.released()
    assert breaker.acquire()
    three.succeeded()
    assert breaker.state is HALF_OPEN


def test_a_call_that_was_given_up_says_nothing():
    breaker, clock, _ = made(failure_threshold=1, success_threshold=1)
    breaker.acquire().released()
    assert breaker.state is CLOSED
    fail(breaker)
    clock.advance(60)
    breaker.acquire().released()
    assert breaker.state is HALF_OPEN


def test_a_call_that_began_before_it_opened_counts_neither_as_failure_nor_as_probe():
    breaker, clock, _ = made(failure_threshold=1, success_threshold=1)
    late, later, latest = breaker.acquire(), breaker.acquire(), breaker.acquire()
    fail(breaker)
    late.succeeded()
    assert breaker.state is OPEN
    clock.advance(60)
    assert breaker.state is HALF_OPEN
    later.succeeded()
    assert breaker.state is HALF_OPEN
    latest.failed()
    assert breaker.state is HALF_OPEN
    assert breaker.probes == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CallTransportError("refused")])
def test_a_wish_to_stop_and_a_refusal_are_no_failures(error):
    breaker, _, _ = made(failure_threshold=1)

    def stop():
        raise error

    with pytest.raises(type(error)):
        breaker.call(stop)
    assert breaker.state is CLOSED


def test_a_failure_is_raised_as_it_is():
    breaker, _, _ = made(failure_threshold=1)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    assert breaker.state is OPEN


def test_a_coroutine_that_nobody_would_see_fail_is_refused():
    breaker, clock, _ = made(failure_threshold=1)

    async def far():
        raise OSError

    with pytest.raises(ConfigurationError, match="gives a coroutine") as caught:
        breaker.call(far)
    assert "permit.ended(error)" in str(caught.value) and breaker.state is CLOSED
    fail(breaker)
    clock.advance(60)
    with pytest.raises(ConfigurationError):
        breaker.call(far)
    assert breaker.probes == 0


def test_it_can_be_closed_by_hand():
    breaker, clock, told = made(failure_threshold=2)
    fail(breaker)
    breaker.reset()
    fail(breaker)
    assert breaker.state is CLOSED
    fail(breaker)
    breaker.reset()
    assert breaker.state is CLOSED
    fail(breaker, 2)
    clock.advance(60)
    assert breaker.acquire()
    breaker.reset()
    assert [new for _, _, new in told] == [OPEN, CLOSED, OPEN, HALF_OPEN, CLOSED]


def test_listeners_are_called_outside_the_lock_in_the_order_of_the_changes():
    breaker, clock, _ = made(failure_threshold=1, success_threshold=1)
    order = []

    def nosy(name, old, new):  # with the lock held, this would wait for ever
        order.append((new, breaker.state))
        if new is OPEN:
            breaker.reset()

    breaker.subscribe(nosy)
    fail(breaker)
    assert order == [(OPEN, OPEN), (CLOSED, CLOSED)]
    assert clock.now() == 0.0


def test_a_listener_that_raises_stops_nothing(caplog):
    breaker, _, told = made(failure_threshold=1)
    breaker.subscribe(lambda *change: 1 / 0)
    more = []
    end = breaker.subscribe(lambda *change: more.append(change))
    fail(breaker)
    assert breaker.state is OPEN
    assert len(told) == len(more) == 1
    assert "A listener of circuit breaker 'db' raised" in caplog.text
    end()
    breaker.reset()
    assert len(more) == 1


def test_one_that_travels_arrives_closed():
    breaker, _, _ = made(failure_threshold=1)
    fail(breaker)
    copy = pickle.loads(pickle.dumps(breaker))
    assert (copy.name, copy.config, copy.state) == ("db", breaker.config, CLOSED)


def test_every_state_of_the_table_is_reached_and_left():
    assert set(TRANSITIONS) == set(CircuitState)
    reached = {new for row in TRANSITIONS.values() for new in row.values()}
    assert reached == set(CircuitState)
    assert all(TRANSITIONS.values())


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["enter", "enter", "wait"]),
        st.tuples(st.sampled_from([True, False, False, None]), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_any_sequence_of_calls_and_time_is_as_the_rules_say(steps, failures, successes, probes):
    breaker, clock, told = made(
        failure_threshold=failures, success_threshold=successes, half_open_max_calls=probes,
        timeout_seconds=10,
    )  # fmt: skip
    # The rules once more, told by what is in flight instead of by counters and eras.
    state, row, good, opened, flying = CLOSED, 0, 0, 0.0, []
    for step in steps:
        if step == "wait":
            clock.advance(6)
            if state is OPEN and clock.now() - opened >= 10:
                state, good, flying = HALF_OPEN, 0, [(p, None) for p, _ in flying]
        elif step == "enter":
            allowed = state is CLOSED or (
                state is HALF_OPEN and sum(kind is HALF_OPEN for _, kind in flying) < probes
            )
            permit = breaker.try_acquire()
            assert (permit is not None) == allowed
            if allowed:
                flying.append((permit, state))
        elif flying:
            ended, which = step
            permit, kind = flying.pop(which % len(flying))
            {True: permit.succeeded, False: permit.failed, None: permit.released}[ended]()
            before = state
            if kind is state is CLOSED and ended is not None:
                row = 0 if ended else row + 1
                if row >= failures:
                    state = OPEN
            elif kind is state is HALF_OPEN and ended is not None:
                good += ended
                if not ended:
                    state = OPEN
                elif good >= successes:
                    state, row = CLOSED, 0
            if state is not before:
                opened, flying = clock.now(), [(p, None) for p, _ in flying]
        assert breaker.state is state
        if state is HALF_OPEN:
            assert breaker.probes == sum(kind is HALF_OPEN for _, kind in flying)
    for _, old, new in told:
        assert new in TRANSITIONS[old].values()


def hammered(work, threads=8):
    """Have ``work(chance)`` done by threads that begin together; every one must end."""
    start = threading.Barrier(threads)
    raised = []

    def run(seed):
        start.wait(DEADLINE)
        try:
            work(random.Random(seed))
        except BaseException as error:
            raised.append(error)

    workers = [threading.Thread(target=run, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE)
    assert not any(worker.is_alive() for worker in workers)
    assert not raised


def test_threads_that_hammer_a_half_open_one_never_have_more_probes_than_it_lets_through():
    breaker, clock, _ = made(failure_threshold=1, success_threshold=10**6, half_open_max_calls=3)
    fail(breaker)
    clock.advance(60)
    flying, lock, most = [0], threading.Lock(), [0]

    def work(chance):
        for _ in range(300):
            permit = breaker.try_acquire()
            if permit is not None:
                with lock:
                    flying[0] += 1
                    most[0] = max(most[0], flying[0])
                for _ in range(chance.randrange(3)):
                    assert breaker.probes <= 3
                with lock:
                    flying[0] -= 1
                (permit.succeeded if chance.random() < 0.5 else permit.released)()

    hammered(work)
    assert 1 <= most[0] <= 3
    assert (breaker.probes, breaker.state) == (0, HALF_OPEN)


def test_threads_that_hammer_one_see_its_changes_in_order_and_leak_nothing():
    breaker, clock, told = made(failure_threshold=2, timeout_seconds=1, half_open_max_calls=2)
    lock = threading.Lock()

    def work(chance):
        for _ in range(300):
            permit = breaker.try_acquire()
            if permit is None:
                with lock:
                    clock.advance(0.3)
            else:
                ends = permit.succeeded, permit.failed, permit.released
                chance.choices(ends, (5, 4, 1))[0]()

    hammered(work)
    assert told[0] == ("db", CLOSED, OPEN)
    assert all(one[2] is other[1] for one, other in pairwise(told))
    assert all(new in TRANSITIONS[old].values() for _, old, new in told)
    clock.advance(2.0)  # and it still recovers; sums of 0.3 and 1.0 may lack the last bit of 1
    for _ in range(2):
        if breaker.state is not CLOSED:
            breaker.acquire().succeeded()
    assert breaker.state is CLOSED
