"""How a task learns its address and where it may commit, and when what it committed goes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import time

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint.maintain import prune
from parsl_ckpt.checkpoint.sessions import IDLE_SECONDS, SLACK_SECONDS, Turn, collect, may_go, place
from parsl_ckpt.executors.wrapped import wrap
from parsl_ckpt.kernel.attempt import worker


def whoami(n, draw):
    if draw:
        pc.task_rng("standard").random()
    pool = worker.pool
    return worker.address, worker.sessions or getattr(pool, "sessions", None)


def executors():
    yield "threads", lambda: pc.ThreadPoolExecutor(max_workers=2)
    yield "processes", lambda: pc.ProcessPoolExecutor(max_workers=1)
    yield "wrapped threads", lambda: wrap(concurrent.futures.ThreadPoolExecutor(1))
    context = multiprocessing.get_context("forkserver")  # this process has threads
    processes = concurrent.futures.ProcessPoolExecutor
    yield "wrapped processes", lambda: wrap(processes(1, mp_context=context))


@pytest.mark.parametrize(
    "make", [make for _, make in executors()], ids=[name for name, _ in executors()]
)
def test_a_task_knows_its_address_and_the_directory_wherever_it_runs(tmp_path, make):
    config = pc.Config(
        executors=[make()], checkpoint_mode="task_exit", run_dir=str(tmp_path / "runs")
    )
    with pc.DataFlowKernel(config) as dfk:
        app = pc.python_app(whoami, cache=True, data_flow_kernel=dfk)
        for draw in (False, True):  # a task that draws numbers has put its address elsewhere
            address, directory = app(1, draw).result()
            assert address.hex() == app.key(1, draw)
            assert directory == str(tmp_path / "runs" / "sessions")
        assert app(1, False).result()[0] != app(2, False).result()[0]


def test_a_task_that_is_not_cached_has_no_address(tmp_path):
    with pc.DataFlowKernel(pc.Config(run_dir=str(tmp_path))) as dfk:
        assert pc.python_app(whoami, data_flow_kernel=dfk)(1, False).result()[0] == b""
    assert worker.address == b""


# --- turns ----------------------------------------------------------------------------------------


def test_the_last_that_began_has_the_turn(tmp_path):
    turns = [Turn(str(tmp_path / "it")) for _ in range(4)]
    assert [turn.number for turn in turns] == [1, 2, 3, 4]
    assert [turn.held for turn in turns] == [False, False, False, True]


def test_of_many_that_begin_at_once_one_has_the_turn(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda n: Turn(str(tmp_path / "it")), range(40)))
    assert sorted(turn.number for turn in turns) == list(range(1, 41))
    assert [turn.number for turn in turns if turn.held] == [40]


def test_a_turn_ends_when_the_session_is_removed_even_if_another_begins(tmp_path):
    root = str(tmp_path)
    mine = Turn(place(root, b"k" * 32))
    collect(root, lambda key: 1e12)
    assert not mine.held
    other = Turn(place(root, b"k" * 32))
    assert (other.number, other.held, mine.held) == (1, True, False)


# --- what goes ------------------------------------------------------------------------------------


def session(root, key, when):
    """A session of three bytes that was last changed then."""
    directory = place(str(root), key)
    Turn(directory)
    row = os.path.join(directory, "row")
    with open(row, "wb") as file:
        file.write(b"row")
    for path in (row, os.path.join(directory, "turns", "1")):
        os.utime(path, (when, when))


def test_what_belongs_to_a_recorded_result_goes_and_nothing_else(tmp_path):
    done, unfinished, again, busy = (bytes([n]) * 32 for n in range(4))
    for key, when in ((done, 90), (unfinished, 90), (again, 110), (busy, 90)):
        session(tmp_path / "s", key, when)
    ends = {done: 100.0, again: 100.0, busy: 100.0}
    root = str(tmp_path / "s")
    dry = collect(root, ends.get, busy.__eq__, now=lambda: 120.0, dry_run=True)
    assert dry == 3
    assert collect(root, ends.get, busy.__eq__, now=lambda: 120.0) == 3
    assert sorted(os.listdir(root)) == sorted(key.hex() for key in (unfinished, again, busy))


def test_prune_removes_the_sessions_of_what_is_recorded(tmp_path):
    with pc.DataFlowKernel(pc.Config(checkpoint_mode="task_exit", run_dir=str(tmp_path))) as dfk:
        app = pc.python_app(len, cache=True, data_flow_kernel=dfk)
        app("recorded").result()
        keys = [bytes.fromhex(app.key(text)) for text in ("recorded", "not")]
    for key in keys:
        session(tmp_path / "sessions", key, 1.0)
    prune(tmp_path, keep_runs=9, dry_run=True)
    assert len(os.listdir(tmp_path / "sessions")) == 2
    assert prune(tmp_path, keep_runs=9).reclaimed == 3
    assert os.listdir(tmp_path / "sessions") == [keys[1].hex()]
    prune(tmp_path, older_than=3600.0, apps=["len"])
    assert os.listdir(tmp_path / "sessions") == [keys[1].hex()]
    session(tmp_path / "sessions", b"n" * 32, time.time())
    assert prune(tmp_path, older_than=3600.0).reclaimed >= 3
    assert os.listdir(tmp_path / "sessions") == [(b"n" * 32).hex()]


def test_a_run_removes_what_one_that_was_killed_could_not(tmp_path):
    key = None
    for _ in range(2):
        config = pc.Config(checkpoint_mode="task_exit", run_dir=str(tmp_path))
        with pc.DataFlowKernel(config) as dfk:
            app = pc.python_app(len, cache=True, data_flow_kernel=dfk)
            app("recorded").result()
            key = bytes.fromhex(app.key("recorded"))
        left = (tmp_path / "sessions").exists()
        session(tmp_path / "sessions", key, 1.0)
    assert not left


def test_an_idle_session_of_a_recorded_result_goes_whatever_the_clocks_of_hosts_say():
    late = 100.0 + 2 * SLACK_SECONDS
    assert not may_go(ended=100.0, newest=late, now=late + 1.0)
    assert may_go(ended=100.0, newest=late, now=late + 1.0 + IDLE_SECONDS)


def test_what_a_kill_left_half_removed_goes_as_well(tmp_path):
    root = tmp_path / "s"
    session(root, b"a" * 32, 0)
    (root / (b"a" * 32).hex()).rename(root / ".gone-0123")
    collect(str(root), lambda key: None)
    assert not root.exists()


def test_what_is_no_session_is_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    collect(str(tmp_path), lambda key: 1e12)
    assert (tmp_path / "notes").exists()


def told():
    return os.environ.get("PARSL_CKPT_SESSIONS"), worker.sessions


def test_what_a_task_starts_is_told_of_no_directory(tmp_path):
    executors = [pc.ProcessPoolExecutor(max_workers=1)]
    with pc.DataFlowKernel(pc.Config(executors=executors, run_dir=str(tmp_path))) as dfk:
        variable, directory = pc.python_app(told, data_flow_kernel=dfk)().result()
    assert (variable, directory) == (None, str(tmp_path / "sessions"))


def test_a_run_that_records_nothing_has_no_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("PARSL_CKPT", "read-only")
    executors = [pc.ThreadPoolExecutor(max_workers=1)]
    with pc.DataFlowKernel(pc.Config(executors=executors, run_dir=str(tmp_path))) as dfk:
        app = pc.python_app(whoami, cache=True, data_flow_kernel=dfk)
        assert app(1, False).result()[1] is None
