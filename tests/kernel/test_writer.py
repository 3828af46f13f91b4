"""Records on their way into the store: when, in which order, and what happens when that fails."""

from __future__ import annotations

import threading

import pytest

from parsl_ckpt.errors import StoreWriteError
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.kernel.writer import RETRY_SECONDS, SYNC_SECONDS, Writer
from parsl_ckpt.testing.clock import FakeClock
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of


class FaultyStore:
    """Takes down what it is told; raises what it is told to."""

    def __init__(self):
        self.written, self.held, self.synced, self.faults = [], [], 0, {}

    def _may(self, what):
        if what in self.faults:
            raise self.faults[what]

    def append(self, entries):
        self._may("append")
        self.written.extend(entries)

    def hold(self, entries):
        self._may("hold")
        self.held.extend(entries)

    def publish(self):
        self._may("publish")
        self.written.extend(self.held)
        self.held.clear()

    def sync(self):
        self._may("sync")
        self.synced += 1


class Desk:
    """A writer over a faulty store, and what came back from it."""

    def __init__(self, mode, period=60.0):
        self.store, self.clock = FaultyStore(), FakeClock()
        self.back, self.problems = [], []
        self.writer = Writer(
            self.store, mode=mode, period=period, clock=self.clock, run=lambda call: call(),
            committed=lambda batch: self.back.extend(task for task, _ in batch),
            problem=lambda text, error, incident: self.problems.append((text, error, incident)),
        )  # fmt: skip

    def commit(self, *names):
        for name in names:
            self.writer.commit(name, name)


FULL = StoreWriteError("The disk is full.")


def test_task_exit_writes_at_once_and_holds_nothing():
    desk = Desk("task_exit")
    desk.commit("a", "b")
    assert desk.store.written == desk.back == ["a", "b"]
    assert not desk.store.held and desk.writer.unsaved == 0


@pytest.mark.parametrize("mode", ["dfk_exit", "manual", None, "periodic"])
def test_the_other_modes_hold_and_do_not_make_the_task_wait(mode):
    desk = Desk(mode)
    desk.commit("a", "b")
    assert desk.store.held == desk.back == ["a", "b"]
    assert not desk.store.written and desk.writer.unsaved == 0


@pytest.mark.parametrize("mode", ["dfk_exit", "manual", None, "periodic"])
def test_they_write_when_the_user_asks(mode):
    desk = Desk(mode)
    desk.commit("a")
    assert desk.writer.flush(modes.CHECKPOINT).done.is_set()
    assert desk.store.written == ["a"]


@pytest.mark.parametrize(
    ("mode", "written"), [("dfk_exit", True), ("manual", True), ("periodic", True), (None, False)]
)
def test_what_is_written_at_an_orderly_end(mode, written):
    desk = Desk(mode)
    desk.commit("a")
    assert desk.writer.flush(modes.END).done.is_set()
    assert bool(desk.store.written) is written


def test_periodic_writes_once_a_period_without_being_asked():
    desk = Desk("periodic", period=60.0)
    desk.commit("a")
    desk.clock.advance(59.0)
    assert not desk.store.written
    desk.clock.advance(1.0)
    assert desk.store.written == ["a"]
    desk.commit("b")
    assert desk.store.held == ["b"]
    desk.clock.advance(60.0)
    assert desk.store.written == ["a", "b"]


def test_what_is_written_is_synced_within_a_second():
    desk = Desk("task_exit")
    desk.commit("a", "b", "c")
    assert desk.store.synced == 0
    desk.clock.advance(SYNC_SECONDS)
    assert desk.store.synced == 1 and SYNC_SECONDS < 1.0
    desk.clock.advance(10.0)
    assert desk.store.synced == 1, "there was nothing new"
    desk.commit("d")
    desk.clock.advance(SYNC_SECONDS)
    assert desk.store.synced == 2


@pytest.mark.parametrize("error", [FULL, OSError("disk"), MemoryError(), ValueError("a bug")])
def test_no_failure_to_append_keeps_a_task_waiting(error):
    desk = Desk("task_exit")
    desk.store.faults["append"] = error
    desk.commit("a", "b")
    assert desk.back == ["a", "b"]
    assert desk.store.held == ["a", "b"] and desk.writer.unsaved == 2
    assert desk.problems[0][1] is error


def test_the_failure_is_announced_before_the_task_goes_on():
    desk, order = Desk("task_exit"), []
    desk.store.faults["append"] = FULL
    desk.writer._problem = lambda *what: order.append("told")
    desk.writer._committed = lambda batch: order.append("committed")
    desk.commit("a")
    assert order == ["told", "committed"]


def test_what_failed_is_written_later_in_order_though_no_result_follows():
    desk = Desk("task_exit")
    desk.store.faults["append"] = desk.store.faults["publish"] = FULL
    desk.commit("a")
    desk.commit("b")
    desk.clock.advance(RETRY_SECONDS)
    assert not desk.store.written
    desk.store.faults.clear()
    desk.clock.advance(RETRY_SECONDS)
    assert desk.store.written == ["a", "b"] and desk.writer.unsaved == 0
    desk.commit("c")
    assert desk.store.written == ["a", "b", "c"] and not desk.store.held


def test_a_flush_that_fails_answers_and_is_counted():
    desk = Desk("dfk_exit")
    desk.commit("a", "b")
    desk.store.faults["publish"] = FULL
    assert desk.writer.flush(modes.END).done.is_set()
    assert desk.writer.unsaved == 2 and desk.problems


def test_what_cannot_be_spooled_is_held_and_what_cannot_be_held_is_lost_and_counted():
    desk = Desk("manual")
    desk.store.faults["hold"] = FULL
    desk.commit("a")
    assert (desk.writer.lost, desk.back) == (0, ["a"])
    desk.store.faults["hold"] = MemoryError()
    desk.commit("b")
    assert (desk.writer.lost, desk.back) == (1, ["a", "b"])
    assert len(desk.problems) == 2


def test_a_sync_that_fails_is_a_problem_and_no_more():
    desk = Desk("task_exit")
    desk.store.faults["sync"] = OSError("io")
    desk.commit("a")
    desk.clock.advance(SYNC_SECONDS)
    assert desk.problems and desk.back == ["a"]
    desk.store.faults.clear()
    desk.commit("b")
    desk.clock.advance(SYNC_SECONDS)
    assert desk.store.synced == 1


def test_entries_of_many_threads_are_each_written_once():
    desk = Desk("task_exit")
    threads = [
        threading.Thread(target=desk.commit, args=[(i, n) for n in range(500)]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(desk.store.written) == [(i, n) for i in range(4) for n in range(500)]
    for i in range(4):
        assert [n for j, n in desk.store.written if j == i] == list(range(500))


# -- through a kernel ------------------------------------------------------------------------------


def double(x):
    return 2 * x


def a_stream():
    return (one for one in (1, 2))


def test_a_result_that_cannot_be_recorded_is_a_success_and_is_told():
    rig = Rig()
    with pytest.warns(CheckpointWarning, match=r"A result of a_stream \(task 0\) is not recorded"):
        future = rig.call(spec_of(a_stream))
        rig.run()
    assert list(outcome(future)) == [1, 2]
    assert rig.kernel.problems.not_saved("d", 0, 0, new=False).unsaved == 1
    rig.end()


def test_a_store_that_fails_neither_fails_nor_hangs_a_task(monkeypatch):
    rig = Rig()

    def full(entries):
        raise StoreWriteError("The disk is full.")

    monkeypatch.setattr(rig.store._writing, "append", full)
    with pytest.warns(CheckpointWarning, match="could not be written"):
        futures = [rig.call(spec_of(double), n) for n in range(5)]
        rig.run()
    assert [outcome(future) for future in futures] == [0, 2, 4, 6, 8]
    assert rig.kernel.writer.unsaved == 5
    monkeypatch.undo()
    rig.clock.advance(10.0)
    later = rig.again("later")
    assert [later.call(spec_of(double), n).result() for n in range(5)] == [0, 2, 4, 6, 8]
    assert later.run() == 0


def test_what_the_caller_does_to_a_value_is_not_recorded():
    def fresh():
        return [1]

    spec = spec_of(fresh)
    rig = Rig(mode="manual")
    future = rig.call(spec)
    rig.run()
    future.result().append("by the caller")
    again = rig.call(spec)
    assert again.result() == [1]
    later = rig.again("later")
    assert later.call(spec).result() == [1]


def test_periodic_through_a_kernel():
    rig = Rig(mode="periodic", period=60.0)
    rig.call(spec_of(double), 1)
    rig.run()
    assert rig.store.held > 0
    done = threading.Event()
    rig.clock.advance(60.0)
    rig.kernel.errands.run(lambda: (rig.kernel.writer.flush(modes.TICK), done.set()))
    assert done.wait(DEADLINE)
    while rig.store.held:
        threading.Event().wait(0.001)
    assert rig.store.held == 0
    rig.end()
