"""Calls at their times: by the real clock's thread, and by one that is pushed by hand."""

from __future__ import annotations

import threading

import pytest

from parsl_ckpt.kernel.timer import Timer
from parsl_ckpt.testing.clock import FakeClock
from tests.kernel.helpers import DEADLINE


class Stepped(Timer):
    """A timer whose time stands where it is put; waiting for a time is being notified."""

    def __init__(self):
        super().__init__("timer")
        self.time = 100.0
        self.asked = threading.Semaphore(0)

    def now(self):
        if threading.current_thread() is self._thread:
            self.asked.release()
        return self.time

    def step(self, seconds):
        with self._changed:
            self.time += seconds
            self._changed.notify()


def test_a_call_is_made_when_its_time_has_come_and_not_before():
    timer, made = Stepped(), threading.Event()
    timer.call_later(10.0, made.set)
    assert timer.asked.acquire(timeout=DEADLINE)
    timer.step(9.0)
    early = threading.Event()
    timer.call_later(0.0, early.set)
    assert early.wait(DEADLINE), "what is due is made"
    assert not made.is_set(), "what is not due is not"
    timer.step(1.0)
    assert made.wait(DEADLINE)
    timer.close()


def test_calls_are_made_in_the_order_of_their_times():
    timer, made, done = Stepped(), [], threading.Event()
    timer.call_later(3.0, lambda: made.append(3))
    timer.call_later(1.0, lambda: made.append(1))
    timer.call_later(2.0, lambda: made.append(2))
    timer.call_later(4.0, done.set)
    timer.step(5.0)
    assert done.wait(DEADLINE)
    assert made == [1, 2, 3]
    timer.close()


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_call_that_raises_stops_no_other(kind, caplog):
    timer, done = Timer("timer"), threading.Event()

    def fail():
        raise kind

    timer.call_later(0.0, fail)
    timer.call_later(0.0, done.set)
    assert done.wait(DEADLINE)
    timer.close()


def test_a_time_beyond_all_waiting_does_not_stop_the_timer():
    timer, done = Timer("timer"), threading.Event()
    timer.call_later(1e15, lambda: None)
    timer.call_later(0.0, done.set)
    assert done.wait(DEADLINE)
    again = threading.Event()
    timer.call_later(0.0, again.set)
    assert again.wait(DEADLINE)
    timer.close()


def test_closing_ends_the_thread_and_makes_no_more_calls():
    timer, made = Timer("timer"), []
    timer.call_later(3600.0, lambda: made.append(1))
    thread = timer._thread
    timer.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    timer.call_later(0.0, lambda: made.append(2))
    assert not made


def test_no_thread_is_started_before_there_is_something_to_do():
    assert Timer("timer")._thread is None


def test_a_fake_clock_makes_calls_in_the_order_of_their_times_and_only_when_told():
    clock, made = FakeClock(), []
    clock.call_later(2.0, lambda: made.append(("b", clock.now())))
    clock.call_later(1.0, lambda: made.append(("a", clock.now())))
    assert not made and clock.waiting == 2
    clock.advance(1.5)
    assert made == [("a", 1.0)]
    clock.advance(1.5)
    assert made == [("a", 1.0), ("b", 2.0)]
    assert clock.now() == 3.0


def test_a_fake_clock_makes_calls_that_calls_ask_for():
    clock, made = FakeClock(), []

    def tick():
        made.append(clock.now())
        clock.call_later(10.0, tick)

    clock.call_later(10.0, tick)
    clock.advance(35.0)
    assert made == [10.0, 20.0, 30.0]
    clock.close()
    clock.advance(100.0)
    assert len(made) == 3
