"""Tasks that are killed in the middle go on there: counted by iterations that were executed.

Each iteration is a line in a file, so that what was computed twice is seen, whichever process, try
or run computed it.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import AppDefinitionError, CheckpointedStop
from parsl_ckpt.executors.wrapped import wrap
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.restart import (
    Checkpoint,
    NullCheckpoint,
    bind_checkpoint_state,
    task_checkpoint,
    tasks,
)

STEPS = 12


def elsewhere():
    """An executor of processes that is not ours; this process has threads, so none is forked."""
    context = multiprocessing.get_context("forkserver")
    return wrap(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))


EXECUTORS = {
    "threads": lambda: pc.ThreadPoolExecutor(max_workers=1),
    "processes": lambda: pc.ProcessPoolExecutor(max_workers=1),
    "wrapped processes": elsewhere,
}


@dataclass
class Walk:
    x: float = 1.0


def walk(seed, log, interval, die_at, how):
    """A chaotic sum; at its first try it dies in that step."""
    import os
    import signal

    from parsl_ckpt.restart import bind_checkpoint_state, task_checkpoint

    with task_checkpoint(flush_interval=interval) as ckpt:
        state = bind_checkpoint_state(Walk(float(seed)))
        for step in range(ckpt.write_count, 12):
            with open(log, "a") as file:
                file.write(f"{seed} {step}\n")
            if step == die_at and not os.path.exists(log + ".died"):
                with open(log + ".died", "w"):
                    pass
                if how == "raise":
                    raise RuntimeError("it was not to be")
                os.kill(os.getpid(), signal.SIGKILL)
            state.x = 3.9 * state.x * (1 - state.x / 10) + step
            ckpt.write(step=step)
        return state.x


def plain(seed):
    x = float(seed)
    for step in range(STEPS):
        x = 3.9 * x * (1 - x / 10) + step
    return x


def steps(log, seed=1):
    lines = Path(log).read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.split()[0] == str(seed)]


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def run_of(tmp_path, executor, **options):
    options = {"checkpoint_mode": "task_exit", "retries": 3, **options}
    return pc.DataFlowKernel(
        pc.Config(executors=[EXECUTORS[executor]()], run_dir=str(tmp_path / "runs"), **options)
    )


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("interval", [1, 3])
def test_a_retry_continues_after_the_last_commit(tmp_path, log, executor, interval):
    with run_of(tmp_path, executor) as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        assert app(1, log, interval, 7, "raise").result() == plain(1)
    done = 7 // interval * interval
    assert steps(log) == [*range(8), *range(done, STEPS)]


@pytest.mark.parametrize("tries", [0, 1])
def test_an_app_may_say_itself_how_often_it_is_tried_again(tmp_path, log, tries):
    with run_of(tmp_path, "threads", retries=0) as dfk:
        app = pc.python_app(walk, cache=True, retries=tries, data_flow_kernel=dfk)
        future = app(1, log, 1, 7, "raise")
        if tries:
            assert future.result() == plain(1)
        else:
            with pytest.raises(RuntimeError, match="not to be"):
                future.result()


@pytest.mark.parametrize(
    "wrong",
    [
        {"retries": True},
        {"retries": -1},
        {"retries": "3"},
        {"retries": 1, "retry": pc.RetryConfig()},
    ],
)
def test_a_wrong_number_of_tries_is_refused_by_name(wrong):
    with pytest.raises(AppDefinitionError, match="retries") as refused:
        pc.python_app(walk, **wrong)
    assert refused.value.parameter == "retries"


def stopped(log):
    """It is told to end in its fourth step, once."""
    with task_checkpoint(flush_interval=100, stop_on_signal=True) as ckpt:
        for step, state in ckpt.loop(range(8), Walk()):
            with open(log, "a") as file:
                file.write(f"1 {step}\n")
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            state.x += step
        return state.x


def test_a_worker_that_is_told_to_end_commits_first(tmp_path, log):
    with run_of(tmp_path, "processes") as dfk:
        app = pc.python_app(stopped, cache=True, data_flow_kernel=dfk)
        with pytest.raises(CheckpointedStop, match="SIGTERM"):  # which is no failure to be mended
            app(log).result()
        assert steps(log) == [0, 1, 2, 3]
        assert app(log).result() == 1.0 + sum(range(8))
    assert steps(log) == list(range(8))


def test_another_worker_continues_what_a_killed_one_had_begun(tmp_path, log):
    with run_of(tmp_path, "processes") as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        assert app(1, log, 1, 7, "kill").result() == plain(1)
    assert steps(log) == [*range(8), *range(7, STEPS)]


def test_other_arguments_never_see_it(tmp_path, log):
    with run_of(tmp_path, "threads") as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        first, second = app(1, log, 1, 7, "raise"), app(2, log, 1, 7, "raise")
        assert (first.result(), second.result()) == (plain(1), plain(2))
    assert steps(log, 2) == list(range(STEPS))


def test_other_code_never_sees_it(tmp_path, log):
    def make(factor):
        def app(log):
            with task_checkpoint() as ckpt:
                state = bind_checkpoint_state(Walk())
                for step in range(ckpt.write_count, 4):
                    with open(log, "a") as file:
                        file.write(f"{factor} {step}\n")
                    state.x *= factor
                    ckpt.write()
                if factor == 2:
                    raise RuntimeError("after the loop")
                return state.x

        return app

    with run_of(tmp_path, "threads", retries=0) as dfk:
        two, three = (pc.python_app(make(n), cache=True, data_flow_kernel=dfk) for n in (2, 3))
        with pytest.raises(RuntimeError):
            two(log).result()
        assert three(log).result() == 81.0
    assert steps(log, 3) == list(range(4))


DRIVER = """
import os, signal, sys, threading
from dataclasses import dataclass
import parsl_ckpt as pc
from parsl_ckpt.restart import bind_checkpoint_state, task_checkpoint

@dataclass
class Walk:
    x: float = 1.0

driver = int(sys.argv[3]) if len(sys.argv) > 3 else os.getpid()

@pc.python_app(cache=True)
def walk(seed):
    with task_checkpoint(flush_interval=2) as ckpt:
        state = bind_checkpoint_state(Walk(float(seed)))
        for step in range(ckpt.write_count, 12):
            with open("log", "a") as file:
                file.write(f"{seed} {step}\\n")
            if step == 7 and not os.path.exists("died"):
                open("died", "w").close()
                os.kill(int(open("pid").read()), signal.SIGKILL)
                threading.Event().wait()  # a worker dies with its driver
            state.x = 3.9 * state.x * (1 - state.x / 10) + step
            ckpt.write(step=step)
        return state.x

with open("pid", "w") as file:
    file.write(str(os.getpid()))
make = {"threads": pc.ThreadPoolExecutor, "processes": pc.ProcessPoolExecutor}[sys.argv[1]]
with pc.load(pc.Config(executors=[make(max_workers=1)], checkpoint_mode="task_exit")):
    print(repr(walk(1).result()), flush=True)
"""


def drive(tmp_path, *arguments):
    path = os.pathsep.join(part for part in sys.path if part)
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("executor", ["processes", pytest.param("threads", marks=pytest.mark.slow)])
def test_a_new_run_continues_what_a_killed_driver_had_begun(tmp_path, executor):
    killed = drive(tmp_path, executor)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = drive(tmp_path, executor)
    assert again.stdout == f"{plain(1)!r}\n", again.stderr
    assert steps(tmp_path / "log") == [*range(8), *range(6, STEPS)]


# --- attempts -------------------------------------------------------------------------------------


@pytest.fixture
def as_task(tmp_path):
    """Have this thread pass for a task of that address."""

    def begin(key=b"k" * 32):
        worker.seed = key
        worker.sessions = str(tmp_path / "sessions")

    begin()
    yield begin
    worker.seed = b""
    worker.sessions = None


def test_an_earlier_attempt_that_is_still_alive_is_not_listened_to(as_task):
    slow = task_checkpoint()
    with slow as ckpt:
        state = bind_checkpoint_state(Walk())
        for _ in range(3):
            ckpt.write()
        written = []

        def another_attempt():
            as_task()
            with task_checkpoint() as other:
                again = bind_checkpoint_state(Walk())
                written.append(other.write_count)
                again.x = 50.0
                other.write()
                written.append(other.write_count)
                theirs.set()
                finished.wait(60)
                other.write()

        theirs, finished = threading.Event(), threading.Event()
        thread = threading.Thread(target=another_attempt)
        thread.start()
        theirs.wait(60)
        state.x = -1.0
        for _ in range(5):
            assert ckpt.write() is None
        finished.set()
        thread.join()
        assert written == [3, 4]
    with task_checkpoint() as third:
        state = bind_checkpoint_state(Walk())
        assert (third.write_count, state.x) == (5, 50.0)


def test_attempts_are_numbered(as_task):
    for number in (1, 2, 3):
        with task_checkpoint() as ckpt:
            bind_checkpoint_state(Walk())
            ckpt.write()
            assert ckpt.attempt == number


def test_several_sessions_of_one_task_have_names(as_task):
    for name, count in (("spin-up", 2), ("main", 3)):
        with task_checkpoint(name) as ckpt:
            bind_checkpoint_state(Walk())
            for _ in range(count):
                ckpt.write()
    for name, count in (("spin-up", 2), ("main", 3)):
        with task_checkpoint(name) as ckpt:
            bind_checkpoint_state(Walk())
            assert ckpt.write_count == count


@dataclass
class Field:
    u: Any = None
    step: int = 0


def test_what_dropped_rows_take_is_freed_while_the_task_runs(as_task, tmp_path, monkeypatch):
    np = pytest.importorskip("numpy")
    monkeypatch.setattr(tasks, "ROOM_BYTES", 1 << 20)
    taken = []
    with task_checkpoint() as ckpt:
        state = bind_checkpoint_state(Field(np.zeros(1 << 15)))
        for step in range(60):  # of a quarter of a megabyte each
            state.u, state.step = state.u + 1, step
            ckpt.write()
            files = [path for path in (tmp_path / "sessions").rglob("*") if path.is_file()]
            taken.append(sum(path.stat().st_size for path in files))
    assert max(taken) < 5 << 20
    with task_checkpoint() as ckpt:
        state = bind_checkpoint_state(Field())
        assert (ckpt.write_count, state.step) == (60, 59)
        assert (state.u == 60).all()


def test_outside_any_task_it_is_nothing():
    with task_checkpoint(flush_interval=6) as ckpt:
        state = bind_checkpoint_state(Walk())
        assert isinstance(ckpt, NullCheckpoint)
        assert not ckpt
        assert ckpt.write(step=1) is None
        assert ckpt.write_count == 0
        assert state.x == 1.0


@pytest.mark.parametrize(
    ("option", "wrong"), [("flush_interval", 0), ("name", 3), ("strict", "no"), ("level", True)]
)
def test_a_wrong_option_is_refused_outside_of_tasks_too(option, wrong):
    with pytest.raises(ValueError, match=option):
        task_checkpoint(**{option: wrong})


def test_in_a_task_without_an_address_it_is_nothing_and_that_is_said(tmp_path):
    def app():
        with task_checkpoint() as ckpt:
            return bool(ckpt)

    with run_of(tmp_path, "threads") as dfk, pytest.warns(UserWarning, match="cache=True"):
        assert pc.python_app(app, data_flow_kernel=dfk)().result() is False


def test_in_a_run_that_records_nothing_it_is_nothing_and_that_is_said(tmp_path, monkeypatch):
    def app():
        with task_checkpoint() as ckpt:
            return bool(ckpt)

    monkeypatch.setenv("PARSL_CKPT", "read-only")
    with run_of(tmp_path, "threads") as dfk, pytest.warns(UserWarning, match="records nothing"):
        assert pc.python_app(app, cache=True, data_flow_kernel=dfk)().result() is False


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("flush_interval", 0), ("level", 3), ("history_size", 0), ("on_exception", "retry")],
)
def test_a_wrong_option_is_refused_by_name(as_task, option, wrong):
    with pytest.raises(ValueError, match=option):
        task_checkpoint(**{option: wrong})


def test_states_of_the_next_task_do_not_wait_for_the_checkpoint_of_the_one_before(tmp_path):
    def kept():
        with task_checkpoint() as ckpt:
            bind_checkpoint_state(Walk())
            ckpt.write()

    def own(path):
        with Checkpoint("mine", path) as ckpt:
            bind_checkpoint_state(Walk())
            ckpt.write()

    def bare(number):
        return bind_checkpoint_state(Walk()).checkpoint_enabled

    with run_of(tmp_path, "threads") as dfk:
        kept, own, bare = (
            pc.python_app(fn, cache=fn is kept, data_flow_kernel=dfk) for fn in (kept, own, bare)
        )
        for before in (kept(), own(str(tmp_path / "own"))):
            before.result()
            assert [bare(number).result() for number in range(3)] == [False] * 3


# --- what becomes of it ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_when_the_result_is_recorded_nothing_is_left(tmp_path, log, kind):
    with run_of(tmp_path, kind) as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        app(1, log, 1, 7, "raise").result()
    assert not (tmp_path / "runs" / "sessions").exists()


def test_of_outcomes_that_are_not_kept_nothing_is_left_either(tmp_path, log):
    with run_of(tmp_path, "threads") as dfk:
        app = pc.python_app(walk, persist=False, data_flow_kernel=dfk)
        assert app(1, log, 1, 7, "raise").result() == plain(1)
    assert steps(log) == [*range(8), *range(7, STEPS)]
    assert not (tmp_path / "runs" / "sessions").exists()


def test_what_has_failed_for_good_goes_on_in_the_next_run(tmp_path, log):
    with run_of(tmp_path, "threads", retries=0) as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        with pytest.raises(RuntimeError):
            app(1, log, 1, 7, "raise").result()
    with run_of(tmp_path, "threads", retries=0) as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        assert app(1, log, 1, 7, "raise").result() == plain(1)
    assert steps(log) == [*range(8), *range(7, STEPS)]


def test_what_is_to_be_computed_afresh_begins_at_the_beginning(tmp_path, log):
    with run_of(tmp_path, "threads", retries=0) as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        with pytest.raises(RuntimeError):
            app(1, log, 1, 7, "raise").result()
        assert app.fresh(1, log, 1, 7, "raise").result() == plain(1)
        assert steps(log) == [*range(8), *range(STEPS)]
        assert app.fresh(1, log, 1, 7, "raise").result() == plain(1)
        assert app.forget(1, log, 1, 7, "raise") == 2
        app(1, log, 1, 7, "raise").result()
    assert steps(log) == [*range(8), *list(range(STEPS)) * 3]


def test_results_that_are_not_written_yet_do_not_cost_a_session(tmp_path, log):
    with run_of(tmp_path, "threads", checkpoint_mode="dfk_exit") as dfk:
        app = pc.python_app(walk, cache=True, data_flow_kernel=dfk)
        app(1, log, 1, 7, "raise").result()
        dfk.wait_for_current_tasks()  # what is being computed is left alone
        dfk._midway.sweep()
        assert len(os.listdir(tmp_path / "runs" / "sessions")) == 1
        dfk._diary.wait()  # else a record of the run itself may come to be held after the others
        dfk.checkpoint()
        dfk._midway.sweep()
        assert not (tmp_path / "runs" / "sessions").exists()


def test_two_runs_at_one_call_end_with_the_same_value(tmp_path, log):
    with run_of(tmp_path, "threads") as one, run_of(tmp_path, "threads") as two:
        apps = [pc.python_app(walk, cache=True, data_flow_kernel=dfk) for dfk in (one, two)]
        futures = [app(1, log, 1, -1, "") for app in apps]
        assert [future.result() for future in futures] == [plain(1)] * 2
