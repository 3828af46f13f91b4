"""Observers are told in order and cannot break a run."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from parsl_ckpt.kernel.events import Event, Events
from tests.kernel.helpers import DEADLINE, Rig, spec_of


def double(x):
    return 2 * x


def test_listeners_are_told_in_the_order_of_events():
    events, told = Events("observer"), []
    events.subscribe(told.append)
    for n in range(100):
        events.emit(Event("task", tid=n))
    events.close()
    assert [event.tid for event in told] == list(range(100))


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_listener_that_raises_is_logged_once_and_called_on(kind, caplog):
    events, told, calls = Events("observer"), [], []

    def bad(event):
        calls.append(event)
        raise kind

    events.subscribe(bad)
    events.subscribe(told.append)
    for n in range(3):
        events.emit(Event("task", tid=n))
    events.close()
    assert len(calls) == len(told) == 3
    assert caplog.text.count("A listener raised") == 1


def test_a_listener_need_not_be_hashable(caplog):
    @dataclass
    class Listener:  # eq without hash
        calls: int = 0

        def __call__(self, event):
            self.calls += 1
            raise ValueError

    events, listener = Events("observer"), Listener()
    events.subscribe(listener)
    events.emit(Event("task"))
    events.emit(Event("task"))
    events.close()
    assert listener.calls == 2


def test_without_a_listener_nothing_is_made_and_no_thread_lives():
    events = Events("observer nobody")
    assert not events.listening
    events.emit(Event("task"))
    assert events._queue.empty()
    assert "observer nobody" not in {thread.name for thread in threading.enumerate()}
    events.close()


def test_a_subscription_ends():
    events, one, other = Events("observer"), [], []
    stop = events.subscribe(one.append)
    events.subscribe(other.append)
    events.emit(Event("task", tid=1))
    events.emit(Event("task", tid=2))
    seen = threading.Event()
    events.subscribe(lambda event: seen.set())
    events.emit(Event("task", tid=3))
    assert seen.wait(DEADLINE)
    stop()
    events.emit(Event("task", tid=4))
    events.close()
    assert [event.tid for event in one] == [1, 2, 3]
    assert [event.tid for event in other] == [1, 2, 3, 4]


def test_a_listener_that_blocks_does_not_delay_the_run():
    rig, gate = Rig(), threading.Event()
    rig.kernel.events.subscribe(lambda event: gate.wait(DEADLINE))
    future = rig.call(spec_of(double), 2)
    rig.run()
    assert future.done()
    gate.set()
    assert rig.end() == []


def test_a_run_tells_of_each_state_of_a_task_in_order():
    rig, told = Rig(), []
    rig.kernel.events.subscribe(told.append)
    spec = spec_of(double)
    first = rig.call(spec, 1)
    rig.run()
    rig.call(spec, 1)
    rig.call(spec_of(fail, cache=False))
    rig.run()
    assert first.done()
    rig.end()
    assert [(event.app, event.state) for event in told if event.kind == "task"] == [
        ("double", "launched"),
        ("double", "exec_done"),
        ("double", "memo_done"),
        ("fail", "launched"),
        ("fail", "failed"),
    ]
    assert told[-1].kind == "end"


def fail():
    raise ValueError("no")
