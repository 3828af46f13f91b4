"""Time limits and resource specifications: what executors do about what a call asks for."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import subprocess
import sys
import threading
import time
from random import Random

import pytest

from parsl_ckpt.errors import AppTimeout, InvalidResourceSpecification
from parsl_ckpt.executors.family import kill_family
from parsl_ckpt.executors.limits import Limited
from parsl_ckpt.executors.processes import ProcessPoolExecutor
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.executors.wrapped import wrap
from parsl_ckpt.kernel.attempt import Attempt
from tests.executors.helpers import DEADLINE, Outcomes, identity, nothing, process_id
from tests.executors.test_conformance import spawn_pool
from tests.executors.test_processes import alive, bell, gate, until, wait_at  # noqa: F401

MAKERS = {
    "threads": lambda: ThreadPoolExecutor(max_workers=1),
    "processes": lambda: ProcessPoolExecutor(max_workers=1),
    "wrapped threads": lambda: wrap(concurrent.futures.ThreadPoolExecutor(1)),
    "wrapped processes": lambda: wrap(spawn_pool()),
}


@pytest.fixture(params=MAKERS)
def pool(request):
    executor = MAKERS[request.param]()
    executor.start()
    yield Outcomes(executor)
    executor.shutdown(0)


@pytest.fixture
def processes():
    executor = ProcessPoolExecutor(max_workers=1)
    executor.start()
    yield Outcomes(executor)
    executor.shutdown(0)


def launch(pool, walltime, fn, *args, app="slow"):
    attempt = Attempt(fn, args, app=app)
    pool.executor.honour(attempt, walltime, None)
    pool.launched += 1
    pool.executor.launch(attempt, pool.finished)
    return attempt


def error_of(pool, attempt):
    return next(error for one, _, error, _ in pool.wait() if one is attempt)


def turn_round():
    while True:
        pass


# --- every executor -------------------------------------------------------------------------------


def test_a_call_over_its_walltime_fails_with_a_typed_error_that_names_the_app(pool):
    error = error_of(pool, launch(pool, 0.05, turn_round))
    assert type(error) is AppTimeout and isinstance(error, TimeoutError)
    assert (error.app, error.walltime) == ("slow", 0.05)
    assert "'slow'" in str(error) and "0.05 s" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.fields, str(again)) == (AppTimeout, error.fields, str(error))


def test_what_comes_after_it_runs_undisturbed(pool):
    launch(pool, 0.05, turn_round)
    later = [pool.launch(identity, n) for n in range(5)]
    reports = {id(attempt): (value, error) for attempt, value, error, _ in pool.wait()}
    assert [reports[id(one)] for one in later] == [(n, None) for n in range(5)]


def test_a_call_within_its_walltime_is_as_any_other(pool):
    attempt = launch(pool, 60.0, identity, 7)
    (report,) = pool.wait()
    assert report[:3] == (attempt, 7, None)


def refuse_to_work():
    raise ValueError("no")


def test_an_error_of_its_own_stays_what_it_is(pool):
    assert isinstance(error_of(pool, launch(pool, 60.0, refuse_to_work)), ValueError)


def give_up():
    raise AppTimeout("The server did not answer.")


def test_a_timeout_that_the_function_raises_by_itself_is_its_own(pool):
    assert str(error_of(pool, launch(pool, 60.0, give_up))) == "The server did not answer."


def test_resources_that_an_executor_cannot_provide_are_refused_by_name(pool):
    attempt = Attempt(nothing, app="hungry")
    with pytest.raises(InvalidResourceSpecification) as caught:
        pool.executor.honour(attempt, None, {"cores": 2, "memory": 100})
    error = caught.value
    assert error.invalid_keys == {"cores", "memory"}
    assert error.executor == pool.executor.label and "'hungry'" in str(error)
    assert repr(pool.executor.label) in str(error) and "'cores'" in str(error)


def test_an_empty_specification_asks_for_nothing(pool):
    attempt = Attempt(nothing)
    pool.executor.honour(attempt, None, {})
    assert attempt.fn is nothing and attempt.walltime is None


def test_honouring_twice_limits_once(pool):
    attempt = Attempt(nothing)
    pool.executor.honour(attempt, 5.0, None)
    once = attempt.fn
    pool.executor.honour(attempt, 5.0, None)
    assert attempt.fn is once


# --- threads, as Parsl does -----------------------------------------------------------------------


def swallow(seen):
    try:
        turn_round()
    except AppTimeout as error:
        seen.append(error)
    return "cleaned up"


def test_a_function_may_catch_the_timeout_and_return():
    seen = []
    assert Limited(swallow, 0.2, "app")(seen) == "cleaned up" and len(seen) == 1


def test_the_traceback_shows_where_it_was():
    for seconds in (0.02, 0.5, 10.0):  # a busy machine may not have begun it when the first is over
        with pytest.raises(AppTimeout) as caught:
            Limited(turn_round, seconds, "app")()
        if "turn_round" in [entry.name for entry in caught.traceback]:
            return
    pytest.fail("it does not show where it was")


def test_no_timeout_reaches_what_follows():
    # Walltimes about as long as the call: sometimes the one ends first, sometimes the other.
    for n in range(300):
        try:
            Limited(sum, 0.00001 * (n % 30), "app")(range(2000))
        except AppTimeout as error:
            assert error.app == "app"  # ours, and it has left the call
    sum(range(100_000))


TRACED = """
import sys
from queue import SimpleQueue
from parsl_ckpt.errors import AppTimeout
from parsl_ckpt.executors.limits import Limited

def spin():
    while True:
        pass

try:
    Limited(spin, 0.02, "app")()
except AppTimeout:
    pass

def trace(frame, event, arg):
    frame.f_trace_opcodes = True
    return trace

def traced(queue):
    queue.put("went on")

queue = SimpleQueue()
sys.settrace(trace)
traced(queue)
sys.settrace(None)
print(queue.get())
"""


def test_the_interpreter_goes_on_as_before():
    """If it went on looking for what is to be raised, a traced call would never come to an end."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.stdout == "went on\n", done.stderr


def test_no_thread_is_left_behind():
    before = threading.active_count()
    Limited(nothing, 3600.0, "app")()
    until(lambda: threading.active_count() <= before)


# --- processes: a real limit ----------------------------------------------------------------------


def test_code_in_c_is_stopped_and_its_worker_replaced(processes):
    _, before, *_ = processes.run(process_id)
    error = error_of(processes, launch(processes, 0.05, time.sleep, 3600))
    assert isinstance(error, AppTimeout)
    assert not alive(before)
    _, after, error, _ = processes.run(process_id)
    assert after != before and error is None


def stubborn():
    while True:
        try:
            turn_round()
        except BaseException:
            continue


def test_a_function_that_catches_everything_is_stopped(processes):
    assert isinstance(error_of(processes, launch(processes, 0.05, stubborn)), AppTimeout)


def test_the_rest_of_the_workers_batch_runs_once_each_and_in_order(processes, tmp_path):
    for n in range(300):  # short ones: the worker is now given many at a time
        processes.launch(identity, n)
    processes.wait()
    log = tmp_path / "log"
    launch(processes, 0.05, turn_round)
    for n in range(50):
        processes.launch(append, log, n)
    reports = processes.wait()
    assert sum(error is not None for _, _, error, _ in reports) == 1
    assert log.read_text().split() == [str(n) for n in range(50)]


def append(path, n):
    with open(path, "a") as file:
        file.write(f"{n}\n")


def start_children(bell):  # noqa: F811
    script = f"sleep 3600 & echo $! > {bell}; echo $$ > {bell}; wait"
    subprocess.Popen(["/bin/bash", "-c", script]).wait()


def test_the_processes_that_it_started_are_stopped_too(processes, bell):  # noqa: F811
    path, ring = bell
    attempt = launch(processes, 2.0, start_children, path)
    pids = {ring(), ring()}
    assert isinstance(error_of(processes, attempt), AppTimeout)
    until(lambda: not any(map(alive, pids)))


def pass_seconds(seconds):
    """Time that is known to have passed, because the limit of another call is over."""
    with pytest.raises(AppTimeout):
        Limited(turn_round, seconds, "another call")()


def test_the_time_before_its_turn_does_not_count(processes, gate, bell):  # noqa: F811
    (path, open_gate), (began, ring) = gate, bell
    processes.run(nothing)
    processes.launch(wait_at, path, began)
    limited = launch(processes, 0.5, nothing, app="queued")
    ring()
    pass_seconds(0.6)  # longer than its walltime
    open_gate()
    assert error_of(processes, limited) is None


def test_a_limit_that_is_over_is_no_limit_of_the_next_call(processes, gate, bell):  # noqa: F811
    (path, open_gate), (began, ring) = gate, bell
    launch(processes, 0.5, nothing)
    processes.wait()
    processes.launch(wait_at, path, began)
    ring()
    pass_seconds(0.6)  # beyond the limit of the call before
    open_gate()
    assert all(error is None for _, _, error, _ in processes.wait())


def test_results_before_it_are_not_lost(processes):
    before = [processes.launch(identity, n) for n in range(20)]
    launch(processes, 0.05, turn_round)
    reports = {id(attempt): error for attempt, _, error, _ in processes.wait()}
    assert all(reports[id(one)] is None for one in before)


def test_a_family_is_ended_to_the_last_of_it(tmp_path, bell):  # noqa: F811
    path, ring = bell
    script = f"sleep 3600 & echo $! > {path}; (sleep 3600 & echo $! > {path}; wait)"
    parent = subprocess.Popen(["/bin/bash", "-c", script])
    pids = [ring(), ring()]
    kill_family(parent.pid)
    assert parent.wait(DEADLINE) == -9
    until(lambda: not any(map(alive, pids)))


def test_a_family_that_has_ended_is_no_error():
    parent = subprocess.Popen(["true"])
    parent.wait()
    kill_family(parent.pid)


# --- a limit that is over as its call ends --------------------------------------------------------


def passed(fifo):
    """Wait until the other end of a named pipe is opened as well."""
    with open(fifo):
        return "passed"


def begin_and_pass(begun, fifo):
    with open(begun, "w"):
        pass
    return passed(fifo)


@pytest.fixture
def by_hand(tmp_path):
    """A pool of one worker that does what its thread would do when it is told to."""
    pool = ProcessPoolExecutor(max_workers=1)._pool
    pool._seconds = 0.0  # calls are short, so that the next one is given ahead
    yield pool
    pool._close()


def step_until(pool, condition):
    while not condition():
        pool._take_in()
        pool._hand_out()
        pool._wait()


@pytest.mark.parametrize("stop", ["limit", "kill"])
def test_a_call_is_not_stopped_for_one_that_has_just_ended(by_hand, tmp_path, stop):
    fifos = [str(tmp_path / name) for name in ("ends", "begun", "goes on")]
    for fifo in fifos:
        os.mkfifo(fifo)
    ends, begun, goes_on = fifos
    reports = {}

    def finished(attempt, value, error, encoded=None):
        reports[attempt.app] = value, error

    late = Attempt(passed, (ends,), app="late")
    late.walltime = 600.0
    innocent = Attempt(begin_and_pass, (begun, goes_on), app="innocent")
    by_hand.inbox.extend([(late, finished), (innocent, finished)])
    step_until(by_hand, lambda: by_hand._limits)
    with open(ends, "w"), open(begun):
        pass  # from here on it has answered, and the next call runs; the pool has seen neither
    if stop == "limit":
        by_hand._limits = {worker: (0.0, id) for worker, (_, id) in by_hand._limits.items()}
        by_hand._enforce()
    else:
        by_hand._kill(late, RuntimeError("stopped"))
    assert reports == {"late": ("passed", None)}
    with open(goes_on, "w"):
        step_until(by_hand, lambda: len(reports) == 2)
    assert reports["innocent"] == ("passed", None)


# --- many at once ---------------------------------------------------------------------------------


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.slow
def test_under_a_mixed_load_each_call_ends_once_and_only_limited_ones_are_stopped():
    random = Random(1)
    executor = ProcessPoolExecutor(max_workers=3)
    executor.start()
    pool = Outcomes(executor)
    over, near, free = set(), set(), set()
    for _ in range(800):
        kind = random.random()
        if kind < 0.01:
            over.add(id(launch(pool, 0.001 + 0.03 * random.random(), spin, 60.0)))
        elif kind < 0.04:  # about as long as it takes
            near.add(id(launch(pool, 0.0001 + 0.02 * random.random(), spin, 0.01)))
        elif kind < 0.2:
            free.add(id(launch(pool, 600.0, nothing)))
        else:
            free.add(id(pool.launch(nothing)))
    reports = pool.wait()
    executor.shutdown(0)
    errors = {id(attempt): error for attempt, _, error, _ in reports}
    assert len(reports) == len(errors) == 800
    assert all(isinstance(errors[one], AppTimeout) for one in over)
    assert all(errors[one] is None for one in free)
    assert {type(errors[one]) for one in near} <= {AppTimeout, type(None)}
