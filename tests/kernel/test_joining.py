"""Join apps wait for what they return."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from parsl_ckpt.errors import JoinError, JoinValueError
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of


def double(x):
    return 2 * x


def fail(x):
    raise ValueError(x)


DOUBLE, FAIL = spec_of(double), spec_of(fail)


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.end()


def join(rig, body, *args, cache=False):
    return rig.call(spec_of(body, cache=cache, kind="join", name="join"), *args)


def finish(rig, future):
    while future._phase != "FINISHED":
        rig.run()
    return outcome(future)


def test_its_value_is_that_of_the_future_it_returns(rig):
    future = join(rig, lambda: rig.call(DOUBLE, 4))
    assert finish(rig, future) == 8
    assert rig.idle()


@pytest.mark.parametrize("kind", [list, tuple])
def test_its_value_is_the_list_of_those_of_the_futures_it_returns(rig, kind):
    future = join(rig, lambda: kind(rig.call(DOUBLE, n) for n in range(3)))
    assert finish(rig, future) == [0, 2, 4]


def test_the_same_future_may_come_twice_and_no_future_at_all(rig):
    def twice():
        future = rig.call(DOUBLE, 1)
        return [future, future]

    assert finish(rig, join(rig, twice)) == [2, 2]
    assert finish(rig, join(rig, list)) == []


def test_it_is_joining_while_it_waits(rig):
    future = join(rig, lambda: rig.call(DOUBLE, 4))
    rig.settle()
    rig.internal.run()
    rig.settle()
    assert future.task_status() == "joining" and future.running()
    assert not future.cancel()
    assert finish(rig, future) == 8


def test_joins_nest(rig):
    def inner(n):
        return rig.call(DOUBLE, n)

    spec = spec_of(inner, cache=False, kind="join")
    assert finish(rig, join(rig, lambda: [rig.call(spec, n) for n in range(3)])) == [0, 2, 4]


@pytest.mark.parametrize("value", [3, None, "text", [1], {"a": Future()}])
def test_other_values_are_refused(rig, value):
    future = join(rig, lambda: value)
    rig.run()
    with pytest.raises(JoinValueError, match="join returned"):
        outcome(future)


def test_a_future_that_fails_fails_the_join(rig):
    future = join(rig, lambda: [rig.call(DOUBLE, 1), rig.call(FAIL, "inner")])
    with pytest.raises(JoinError, match="ValueError: inner") as caught:
        finish(rig, future)
    assert isinstance(caught.value.__cause__, ValueError)
    assert rig.idle()


def test_an_error_that_cannot_be_shown_fails_the_join_too(rig):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def fail():
        raise Mute

    future = join(rig, lambda: rig.call(spec_of(fail, cache=False)))
    with pytest.raises(JoinError, match="Mute"):
        finish(rig, future)


def test_a_cancelled_future_fails_the_join(rig):
    called = []

    def body():
        called.append(rig.call(DOUBLE, 4))
        return called

    future = join(rig, body)
    rig.settle()
    rig.internal.run()
    rig.settle()
    assert called[0].cancel()
    with pytest.raises(JoinError, match="CancelledError"):
        finish(rig, future)


def test_futures_of_other_libraries_are_joined(rig):
    other = Future()
    future = join(rig, lambda: [other, rig.call(DOUBLE, 1)])
    rig.run()
    assert not future.done()
    other.set_result("theirs")
    assert finish(rig, future) == ["theirs", 2]


def test_a_future_that_takes_no_callback_fails_the_join(rig):
    class Odd(Future):
        def add_done_callback(self, fn):
            raise RuntimeError("no callbacks here")

    future = join(rig, lambda: Odd())
    rig.run()
    with pytest.raises(RuntimeError, match="no callbacks here"):
        outcome(future)
    assert rig.idle()


def fan(n):
    return [RIG[0].call(DOUBLE, i) for i in range(n)]


RIG = [None]


def test_a_cached_join_is_recorded_with_its_joined_value():
    spec = spec_of(fan, kind="join", name="fan")
    rig = RIG[0] = Rig()
    future = rig.call(spec, 3)
    assert finish(rig, future) == [0, 2, 4]
    again = rig.call(spec, 3)
    assert again.from_memo and again.result(timeout=DEADLINE) == [0, 2, 4]
    rig.end()
