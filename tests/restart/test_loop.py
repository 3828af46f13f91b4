"""``ckpt.loop``: the bookkeeping of a loop; and what signals and ``"auto"`` have it commit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from parsl_ckpt.errors import CheckpointedStop, CheckpointSerializationError
from parsl_ckpt.restart import Checkpoint, NullCheckpoint, bind_checkpoint_state
from parsl_ckpt.restart.pacing import Pace, record_of


@dataclass
class Seen:
    items: list = field(default_factory=list)


def checkpoint(tmp_path, **options):
    return Checkpoint("loop", path=tmp_path / "rows", mode="append", **options)


@pytest.mark.parametrize("items", [range(10), list("abcdefghij")])
@pytest.mark.parametrize("interval", [1, 4])
def test_a_loop_goes_on_after_the_last_commit(tmp_path, items, interval):
    begun = []
    for stop in (True, False):
        with contextlib.suppress(KeyError), checkpoint(tmp_path, flush_interval=interval) as ckpt:
            for item, state in ckpt.loop(items, Seen()):
                begun.append(item)
                if stop and item == items[6]:
                    raise KeyError(item)
                state.items = [*state.items, item]
    assert state.items == list(items)
    assert begun == [*items[:7], *items[6 // interval * interval :]]
    assert checkpoint(tmp_path).catalog[-1].write_count == 10


@pytest.mark.parametrize("interval", [1, 4, 100])
@pytest.mark.parametrize("opened", [True, False])
def test_a_loop_that_is_left_in_a_body_does_that_step_again_and_from_its_beginning(
    tmp_path, interval, opened
):
    for stop in (6, None):
        ckpt = checkpoint(tmp_path, flush_interval=interval)
        with ckpt if opened else contextlib.nullcontext():
            steps = ckpt.loop(range(10), Seen())
            for item, state in steps:
                state.items = [*state.items, item]
                if item == stop:
                    break
            steps.close() if not opened else None  # else it stays where it is
    assert state.items == list(range(10))


def test_what_is_written_after_a_loop_was_left_is_committed(tmp_path):
    with checkpoint(tmp_path, flush_interval=100) as ckpt:
        for item, state in ckpt.loop(range(10), Seen()):
            state.items = [*state.items, item]
            if item == 4:
                break
        ckpt.write(step=item)
    assert checkpoint(tmp_path).catalog[-1].write_count == 5
    with checkpoint(tmp_path):
        assert bind_checkpoint_state(Seen()).items == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("wrong", [{"metadata": object()}, {"state": object()}])
def test_a_step_that_could_not_be_written_is_not_committed_under_the_count_of_the_one_before(
    tmp_path, wrong
):
    with checkpoint(tmp_path, flush_interval=2) as ckpt:
        state = bind_checkpoint_state(Seen())
        for step in range(3):
            state.items = [*state.items, step]
            ckpt.write()
        state.items = [*state.items, 3, wrong.get("state", 3)]
        with contextlib.suppress(CheckpointSerializationError):
            ckpt.write(mark=wrong.get("metadata"))
        state.items = [*state.items[:4]]
    with checkpoint(tmp_path) as ckpt:
        state = bind_checkpoint_state(Seen())
        assert state.items == list(range(ckpt.write_count))


def test_what_is_no_sequence_is_asked_for_what_is_done_as_well(tmp_path):
    with checkpoint(tmp_path) as ckpt:
        for item, state in ckpt.loop(iter("abc"), Seen()):
            state.items = [*state.items, item]
    with checkpoint(tmp_path) as ckpt:
        for item, state in ckpt.loop(iter("abcde"), Seen()):
            state.items = [*state.items, item]
    assert state.items == list("abcde")


def test_a_loop_opens_its_session_where_none_is_open(tmp_path):
    for steps in (3, 5):
        for step, state in checkpoint(tmp_path).loop(range(steps), Seen()):
            state.items = [*state.items, step]
    assert state.items == [0, 1, 2, 3, 4]
    assert checkpoint(tmp_path).catalog[-1].metadata["step"] == 4


def test_the_step_is_on_record_as_it_is_or_by_its_number(tmp_path):
    with checkpoint(tmp_path) as ckpt:
        for _ in ckpt.loop(range(10, 13), Seen()):
            pass
        assert ckpt.metadata["step"] == 12
    with Checkpoint("other", tmp_path / "rows") as ckpt:
        for _ in ckpt.loop([object()] * 5, Seen()):
            pass
        assert ckpt.metadata["step"] == 4


def test_without_a_checkpoint_it_is_the_plain_loop():
    with NullCheckpoint() as ckpt:
        assert [(step, state.items) for step, state in ckpt.loop(range(2), Seen())] == [
            (0, []), (1, [])
        ]  # fmt: skip


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_after_a_signal_the_next_write_commits_whatever_the_interval(tmp_path, number):
    with checkpoint(tmp_path, flush_interval=100) as ckpt:
        bind_checkpoint_state(Seen())
        assert ckpt.write() is None
        signal.raise_signal(number)
        assert ckpt.is_flush_due
        assert ckpt.write().write_count == 2
        assert ckpt.write() is None


def test_after_a_signal_a_session_that_commits_by_hand_commits_as_well(tmp_path):
    with checkpoint(tmp_path, flush_interval=None) as ckpt:
        bind_checkpoint_state(Seen())
        signal.raise_signal(signal.SIGUSR1)
        assert ckpt.write().write_count == 1


def test_who_wants_to_stop_is_stopped_after_the_commit(tmp_path):
    done = []
    for _ in range(2):
        try:
            with checkpoint(tmp_path, flush_interval=100, stop_on_signal=True) as ckpt:
                for step, _state in ckpt.loop(range(6), Seen()):
                    done.append(step)
                    if done == [0, 1, 2]:
                        signal.raise_signal(signal.SIGTERM)
        except CheckpointedStop as stop:
            assert stop.signal == "SIGTERM"
            assert checkpoint(tmp_path).catalog[-1].write_count == 3
    assert done == [0, 1, 2, 3, 4, 5]


def test_handlers_are_given_back_when_the_session_is_over(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with checkpoint(tmp_path):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


PROGRAM = """
import os, signal, parsl_ckpt
from dataclasses import dataclass
from parsl_ckpt.restart import Checkpoint

@dataclass
class Sum:
    value: int = 0

with parsl_ckpt.load(), Checkpoint("it", "rows", mode="append", flush_interval=1000) as ckpt:
    for step, state in ckpt.loop(range(10**9), Sum()):
        state.value += step
        if step == 50:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def test_beside_a_kernel_that_sigterm_ends_the_loop_is_committed_first(tmp_path):
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGTERM, done.stderr
    counts = [entry.write_count for entry in Checkpoint("it", tmp_path / "rows", "append").catalog]
    assert any(count % 1000 for count in counts)


# --- as it pays -----------------------------------------------------------------------------------


def test_auto_commits_the_first_step_and_then_as_it_pays(tmp_path):
    with checkpoint(tmp_path, flush_interval="auto") as ckpt:
        bind_checkpoint_state(Seen())
        assert ckpt.write() is not None
        committed = sum(ckpt.write() is not None for _ in range(200))
    assert committed < 200
    assert checkpoint(tmp_path).catalog[-1].write_count == 201  # the rest at the end


@pytest.mark.parametrize("interval", ["sometimes", True, 0, -1, 1.5])
def test_other_intervals_are_refused_by_name(tmp_path, interval):
    with pytest.raises(ValueError, match="flush_interval"):
        checkpoint(tmp_path, flush_interval=interval)


def test_openings_on_record_count_as_interruptions(tmp_path):
    for _ in range(4):
        with checkpoint(tmp_path) as ckpt:
            bind_checkpoint_state(Seen())
            ckpt.write()
            ckpt.write()
    again = checkpoint(tmp_path)
    again.refresh()
    seconds, interruptions = record_of(again._history.live())
    assert interruptions == 3
    assert seconds > 0


def test_a_pace_that_is_told_of_dear_commits_asks_for_few():
    now = [0.0]
    pace = Pace("auto", clock=lambda: now[0])
    pace.open(lambda: ())
    now[0] = 0.01
    pace.wrote()
    assert pace.due(1)
    pace.committed(1.0)
    assert not any(pace.due(count) for count in range(1, 4096))
    pace.close()


def test_a_checkpoint_that_is_none_has_all_that_one_has(tmp_path):
    with checkpoint(tmp_path) as session:
        for real in (session, session.checkpoint):
            names = [name for name in dir(real) if not name.startswith("_")]
            assert [name for name in names if not hasattr(NullCheckpoint(), name)] == []
