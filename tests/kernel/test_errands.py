"""Threads for what may block."""

from __future__ import annotations

import threading

import pytest

from parsl_ckpt.kernel import errands as module
from parsl_ckpt.kernel.errands import Errands
from tests.kernel.helpers import DEADLINE


def test_an_errand_that_blocks_delays_no_other():
    errands = Errands("errand")
    gate, began = threading.Event(), threading.Event()
    errands.run(lambda: (began.set(), gate.wait(DEADLINE)))
    assert began.wait(DEADLINE)
    for _ in range(5):
        done = threading.Event()
        errands.run(done.set)
        assert done.wait(DEADLINE)
    assert not gate.is_set()
    gate.set()


def idle(errands, count):
    """Wait until that many threads are idle."""
    while len(errands._idle) < count:
        step = threading.Event()
        step.wait(0.001)


def test_an_idle_thread_is_used_again():
    errands = Errands("errand")
    threads = []
    for n in range(10):
        done = threading.Event()
        errands.run(lambda done=done: (threads.append(threading.get_ident()), done.set()))
        assert done.wait(DEADLINE)
        idle(errands, 1)
        assert len(threads) == n + 1
    assert len(set(threads)) == 1


def test_an_idle_thread_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    errands = Errands("errand that ends")
    found = []
    done = threading.Event()
    errands.run(lambda: (found.append(threading.current_thread()), done.set()))
    assert done.wait(DEADLINE)
    found[0].join(DEADLINE)
    assert not found[0].is_alive()
    assert not errands._idle


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_exception_is_logged_and_the_thread_serves_on(kind, caplog):
    errands = Errands("errand")

    def fail():
        raise kind("of a callback")

    errands.run(fail)
    idle(errands, 1)
    done = threading.Event()
    errands.run(done.set)
    assert done.wait(DEADLINE)
    assert "of a callback" in caplog.text


def test_where_no_thread_can_be_started_the_call_is_made_in_place(monkeypatch, caplog):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = []
    Errands("errand").run(lambda: made.append(threading.current_thread()))
    assert made == [threading.current_thread()]


def test_many_errands_at_once_are_all_run(monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)  # threads end while errands are given out
    errands = Errands("errand")
    left, lock, done = [500], threading.Lock(), threading.Event()

    def count():
        with lock:
            left[0] -= 1
            if not left[0]:
                done.set()

    for _ in range(500):
        errands.run(count)
    assert done.wait(DEADLINE)
