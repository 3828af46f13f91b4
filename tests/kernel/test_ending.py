"""The orderly end: every step is made, nothing hangs, whatever fails."""

from __future__ import annotations

import threading

import pytest

from parsl_ckpt.errors import KernelClosedError, StoreWriteError
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.strand import Signal
from tests.kernel.helpers import DEADLINE, Interruption, Rig, outcome, spec_of


def double(x):
    return 2 * x


DOUBLE, PLAIN = spec_of(double), spec_of(double, cache=False)


def in_time(call):
    """Make a call that must return, on a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), "it hangs"
    return results[0]


def test_what_has_not_begun_is_cancelled():
    rig = Rig()
    first = rig.call(DOUBLE, 1)
    second = rig.call(DOUBLE, first)
    assert in_time(rig.end) == []
    assert first.cancelled() and second.done()


def test_what_runs_is_waited_for_and_recorded():
    pool = ThreadPoolExecutor(max_workers=1)
    pool.start()
    rig = Rig(executors={"threads": pool})
    began, gate = threading.Event(), threading.Event()

    def slow():
        began.set()
        gate.wait(DEADLINE)
        return [1]

    spec = spec_of(slow, name="slow")
    future = rig.call(spec)
    assert began.wait(DEADLINE)
    waiting = rig.call(DOUBLE, 1)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(rig.end()))
    thread.start()
    assert outcome_or_error(waiting) is not None, "cancelled before the drain"
    assert not ended
    gate.set()
    thread.join(DEADLINE)
    assert ended == [[]]
    assert outcome(future) == [1]
    assert {app for app, _ in applications(rig)} == {"slow"}


def applications(rig):
    later = Rig(backend=rig.backend, run="later", sources=[rig.path])
    found = [(r.app, r.key) for _, _, r in later.store.records() if hasattr(r, "blobs")]
    later.end()
    return found


def outcome_or_error(future):
    try:
        return future.result(timeout=DEADLINE)
    except BaseException as error:
        return error


def test_a_grace_that_runs_out_ends_the_end():
    rig = Rig()
    future = rig.call(DOUBLE, 1)
    attempt, _ = rig.manual.waiting[0]
    attempt.claim()  # a task that never ends
    assert in_time(lambda: rig.end(grace=0)) == []
    assert not future.done()


def test_calls_from_outside_are_refused_and_those_of_tasks_that_run_accepted():
    pool = ThreadPoolExecutor(max_workers=1)
    pool.start()
    rig = Rig(executors={"threads": pool})
    began, gate = threading.Event(), threading.Event()

    def calls():
        began.set()
        gate.wait(DEADLINE)
        return rig.call(PLAIN, 4).result(timeout=DEADLINE)

    future = rig.call(spec_of(calls, cache=False))
    assert began.wait(DEADLINE)
    thread = threading.Thread(target=rig.end)
    thread.start()
    while rig.kernel.refusal is None:
        threading.Event().wait(0.001)
    with pytest.raises(KernelClosedError, match="ending or has ended"):
        rig.call(PLAIN, 1)
    gate.set()
    assert outcome(future) == 8
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_second_end_waits_for_the_first_and_does_nothing():
    rig = Rig()
    rig.call(DOUBLE, 1)
    results = []
    threads = [threading.Thread(target=lambda: results.append(rig.end())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert results == [[]] * 4
    assert in_time(rig.end) == []


@pytest.mark.parametrize("broken", ["executor", "store", "porter"])
def test_every_step_is_made_though_another_fails(monkeypatch, broken):
    rig = Rig()

    def fail(*args, **kwargs):
        raise RuntimeError("broken")

    if broken == "executor":
        monkeypatch.setattr(rig.manual, "shutdown", fail)
    elif broken == "store":
        monkeypatch.setattr(rig.store, "close", fail)
    else:
        monkeypatch.setattr(rig.kernel.events, "close", fail)
    rig.call(DOUBLE, 1)
    rig.run()
    errors = in_time(rig.end)
    assert [str(error) for error in errors] == ["broken"]
    if broken != "store":
        assert len(applications(rig)) == 1


@pytest.mark.filterwarnings("ignore::parsl_ckpt.kernel.problems.CheckpointWarning")
def test_a_disk_that_is_full_at_the_end_is_told(monkeypatch):
    rig = Rig(mode="dfk_exit")
    rig.call(DOUBLE, 1)
    rig.run()

    def full():
        raise StoreWriteError("The disk is full.")

    monkeypatch.setattr(rig.store._writing, "publish", full)
    errors = in_time(rig.end)
    assert any("full" in str(error) for error in errors)
    assert rig.kernel.writer.unsaved == 1


@pytest.mark.parametrize("mode", ["task_exit", "periodic", "dfk_exit", "manual"])
def test_every_mode_saves_at_the_end(mode):
    rig = Rig(mode=mode)
    for n in range(5):
        rig.call(DOUBLE, n)
    rig.run()
    assert in_time(rig.end) == []
    assert len(applications(rig)) == 5


def test_without_a_mode_only_what_was_asked_for_is_saved():
    rig = Rig(mode=None)
    rig.call(DOUBLE, 1)
    rig.run()
    rig.ending.flush(modes.CHECKPOINT)
    rig.call(DOUBLE, 2)
    rig.run()
    assert in_time(rig.end) == []
    assert len(applications(rig)) == 1


def test_waiting_for_tasks_after_the_end_returns():
    rig = Rig()
    rig.call(DOUBLE, 1)
    rig.end()
    assert in_time(lambda: rig.ending.wait_for_tasks(DEADLINE))


def test_an_interruption_hurries_the_end_which_still_saves(monkeypatch):
    rig = Rig(mode="dfk_exit")
    rig.call(DOUBLE, 1)
    rig.run()
    future = rig.call(DOUBLE, 2)
    attempt, _ = rig.manual.waiting[0]
    attempt.claim()  # it runs, and the user will not wait

    class Interrupted(Signal):
        def wait(self, timeout=None):
            if not rig.ending.hurry:
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(rig.kernel.runtime, "signal", Interrupted)
    assert rig.end() == []
    assert not future.done()
    assert len(applications(rig)) == 1


def test_a_later_end_may_leave_less_time():
    rig = Rig()
    future = rig.call(DOUBLE, 1)
    attempt, _ = rig.manual.waiting[0]
    attempt.claim()  # a task that never ends
    thread = threading.Thread(target=rig.end, daemon=True)
    thread.start()
    while rig.kernel.refusal is None:
        threading.Event().wait(0.001)
    assert in_time(lambda: rig.end(grace=0)) == []
    thread.join(DEADLINE)
    assert not thread.is_alive() and not future.done()


def test_an_end_interrupted_anywhere_is_brought_to_its_end():
    n, interrupted = 0, True
    while interrupted:
        n += 1
        rig = Rig(mode="dfk_exit")
        rig.call(DOUBLE, 1)
        rig.run()
        rig.call(DOUBLE, 2)
        interrupted = Interruption(n).call(rig.end, swallowed=True)
        in_time(rig.end)
        assert rig.kernel.tasks == {}
        assert len(applications(rig)) == 1, f"lost after an interruption at bytecode {n}"
