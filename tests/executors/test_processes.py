"""Worker processes: deaths, endings, large data, environment, and what the constructor says."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import pytest

from parsl_ckpt.errors import (
    CallTransportError,
    ConfigurationError,
    ExecutorShutdownError,
    RemoteError,
    ResultTransportError,
    WorkerLostError,
    WorkerStartError,
)
from parsl_ckpt.executors.processes import ProcessPoolExecutor
from parsl_ckpt.kernel.attempt import Attempt
from tests.executors.helpers import (
    DEADLINE,
    Outcomes,
    environment,
    identity,
    is_process_worker,
    nothing,
    process_id,
    throw,
)


@pytest.fixture(scope="module")
def shared():
    executor = ProcessPoolExecutor(max_workers=2)
    executor.start()
    yield executor
    executor.shutdown(0)


@pytest.fixture
def pool(shared):
    return Outcomes(shared)


@pytest.fixture
def make():
    made = []

    def maker(**kwargs):
        executor = ProcessPoolExecutor(**{"max_workers": 2, **kwargs})
        executor.start()
        made.append(executor)
        return Outcomes(executor)

    yield maker
    for executor in made:
        executor.shutdown(0)


@pytest.fixture
def gate(tmp_path):
    """A pipe that tasks wait on: (path, open it for all)."""
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    holder = os.open(path, os.O_RDWR)
    yield path, lambda: os.write(holder, b"x" * 64)
    os.close(holder)


def wait_at(path, began=None):
    """Say that the task has begun, then wait for one byte."""
    if began is not None:
        tell(began)
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1)
    finally:
        os.close(fd)


def tell(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, str(os.getpid()).encode() + b"\n")
    os.close(fd)


@pytest.fixture
def bell(tmp_path):
    """A pipe that tasks write their process id to: (path, read one)."""
    path = str(tmp_path / "bell")
    os.mkfifo(path)
    file = os.fdopen(os.open(path, os.O_RDWR), "r")
    yield path, lambda: int(file.readline())
    file.close()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def until(condition):
    """Poll for what nobody tells us: that a process that is not our child has ended."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- where tasks run ------------------------------------------------------------------------------


def test_tasks_run_in_worker_processes_that_say_so(pool):
    attempt, value, *_ = pool.run(process_id)
    assert value != os.getpid()
    assert str(value) in attempt.worker
    assert pool.run(is_process_worker)[1] is True
    assert not is_process_worker()


def test_workers_are_started_when_there_is_work_for_them(make):
    pool = make(max_workers=8)
    assert not pool.executor._pool._workers
    for _ in range(20):
        pool.run(nothing)
    assert len(pool.executor._pool._workers) == 1


def test_environment_initializer_and_rank(make, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")

    def initialize(value):
        os.environ["FROM_INITIALIZER"] = value

    pool = make(env={"MINE": "x"}, initializer=initialize, initargs=("y",))
    env = pool.run(lambda: dict(os.environ))[1]
    assert env["MINE"] == "x" and env["FROM_INITIALIZER"] == "y"
    assert int(env["OMP_NUM_THREADS"]) >= 1 and env["MKL_NUM_THREADS"] == "7"
    assert env["PARSL_WORKER_RANK"] == "0" and env["PARSL_WORKER_COUNT"] == "2"


def test_each_worker_is_pinned_to_an_accelerator_of_its_own(make, gate, bell):
    pool = make(max_workers=8, available_accelerators=["gpu-a", "gpu-b"])
    assert pool.executor.width == 2
    (path, open_gate), (began, ring) = gate, bell

    def where():
        wait_at(path, began)
        return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["ROCR_VISIBLE_DEVICES"]

    pool.launch(where)
    pool.launch(where)
    ring(), ring()
    open_gate()
    assert sorted(value for _, value, _, _ in pool.wait()) == [
        ("gpu-a", "gpu-a"),
        ("gpu-b", "gpu-b"),
    ]


def test_accelerators_may_be_counted():
    assert ProcessPoolExecutor(available_accelerators=3).width == 3


def test_an_initializer_that_fails_breaks_the_pool_with_its_cause(make):
    pool = make(initializer=throw, initargs=(ValueError("no licence"),))
    for _ in range(3):
        _, _, error, _ = pool.run(nothing, app="first")
        assert isinstance(error, WorkerStartError)
        assert "no licence" in str(error) and error.app == "first"
        assert isinstance(error.__cause__, ValueError)


def test_an_initializer_that_does_not_pickle_breaks_the_pool(make):
    pool = make(initializer=identity, initargs=(threading.Lock(),))
    assert isinstance(pool.run(nothing)[2], WorkerStartError)


def test_workers_that_cannot_start_are_given_up(make, monkeypatch):
    pool = make(initializer=os._exit, initargs=(9,))
    _, _, error, _ = pool.run(nothing)
    assert isinstance(error, WorkerStartError)
    assert "status 9" in str(error)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert isinstance(make().run(nothing)[2], WorkerStartError)


# --- values ---------------------------------------------------------------------------------------


def test_an_encoded_value_comes_with_its_encoding(pool):
    from parsl_ckpt.checkpoint.codec import decode

    for value in (3, "x", [1, {"a": (2.5, None)}], {1, 2}, b"y" * 100_000):
        _, got, error, encoded = pool.run(identity, value, encode=True)
        assert (got, error) == (value, None)
        assert decode(encoded.codec, encoded.data, encoded.buffers) == value
    assert pool.run(identity, 3)[3] is None


def test_large_arrays_travel_both_ways_and_are_writable(pool):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1_000_000, dtype=float).reshape(1000, 1000)
    for encode in (False, True):
        _, value, error, encoded = pool.run(lambda a: [a, a.T, a[:2], "x"], array, encode=encode)
        assert error is None
        assert (value[0] == array).all() and (value[1] == array.T).all()
        value[0][0, 0] = -1.0
        assert (encoded is not None) is encode


def test_many_sizes_of_frames_both_ways(pool):
    sizes = [0, 1, 63, 16383, 16384, 16385, 65535, 65536, 262143, 262144, 262145, 1 << 20]
    numpy = pytest.importorskip("numpy")
    for n in sizes:
        pool.launch(identity, b"b" * n)
        pool.launch(lambda *a: a, numpy.zeros(n, "u1"), b"c" * n, numpy.ones(n, "u1"))
    for attempt, value, error, _ in pool.wait():
        assert error is None
        if isinstance(value, tuple):
            assert [len(v) for v in value] == [len(a) for a in attempt.args]
            assert value[0].sum() == 0 and value[2].sum() == len(value[2])
        else:
            assert value == attempt.args[0]


def test_thousands_of_buffers_both_ways(pool):
    numpy = pytest.importorskip("numpy")
    arrays = [numpy.full(2200, n) for n in range(1500)]
    for encode in (False, True):
        _, value, error, _ = pool.run(identity, arrays, encode=encode)
        assert error is None
        assert [int(a[0]) for a in value] == list(range(1500))


def test_an_argument_that_does_not_pickle_is_named(pool):
    _, _, error, _ = pool.run(lambda a, b: a, 1, threading.Lock(), app="locks")
    assert isinstance(error, CallTransportError)
    assert (error.app, error.parameter) == ("locks", "b")
    assert "'b'" in str(error) and "locks" in str(error)
    _, _, error, _ = pool.run(lambda *, deep: 1, deep=[{"x": threading.Lock()}])
    assert error.parameter == "deep"
    assert pool.run(identity, 1)[1] == 1


def test_a_closure_that_does_not_pickle_is_an_error_of_the_call(pool):
    lock = threading.Lock()
    _, _, error, _ = pool.run(lambda: lock, app="closure")
    assert isinstance(error, CallTransportError)
    assert error.parameter == "" and "app 'closure' uses 'lock' (lock), and" in str(error)


class Hostile:
    """Does what it is told when it is pickled, or unpickled."""

    def __init__(self, dumps=None, loads=None):
        self.dumps, self.loads = dumps, loads

    def __reduce__(self):
        if self.dumps:
            raise self.dumps
        return throw, (self.loads,)


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_pickling_raises_fails_that_call_only(pool, error):
    assert isinstance(pool.run(identity, Hostile(dumps=error))[2], CallTransportError)
    assert isinstance(pool.run(identity, Hostile(loads=error))[2], CallTransportError)
    assert pool.run(identity, 1)[1] == 1


@pytest.mark.parametrize("encode", [False, True])
def test_a_value_that_does_not_pickle_is_an_error_that_names_the_app(pool, encode):
    _, _, error, encoded = pool.run(lambda: (n for n in ()), app="lazy", encode=encode)
    assert isinstance(error, ResultTransportError)
    assert error.app == "lazy" and "generator" in str(error)
    assert encoded is None


@pytest.mark.parametrize("encode", [False, True])
def test_a_value_that_does_not_load_here_is_an_error_that_names_the_app(pool, encode):
    def task():
        return Hostile(loads=ValueError("not here"))

    _, _, error, _ = pool.run(task, app="app", encode=encode)
    assert isinstance(error, ResultTransportError) and error.app == "app"
    assert "cannot be loaded here: ValueError: not here. Return a value" in str(error)


def test_a_value_that_only_travels_encoded_or_only_unencoded_is_no_failure(pool):
    numpy = pytest.importorskip("numpy")
    _, value, error, encoded = pool.run(lambda: [lambda: 5, numpy.ones(9)], encode=True)
    assert error is None and value[0]() == 5 and encoded is not None


def test_deep_recursion_comes_home_with_its_traceback(pool):
    def deep():
        return deep()

    _, _, error, _ = pool.run(deep)
    assert type(error) is RecursionError
    assert len(traceback.extract_tb(error.__traceback__)) > 500


class Group(Exception):
    pass


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups")
def test_groups_notes_and_causes_come_home(pool):
    def task():
        try:
            raise KeyError("k")
        except KeyError as exc:
            exc.add_note("a note")
            raise ExceptionGroup("several", [ValueError(1), exc]) from None  # noqa: F821

    error = pool.run(task)[2]
    assert type(error).__name__ == "ExceptionGroup" and error.message == "several"
    assert error.exceptions[1].__notes__ == ["a note"]
    assert error.exceptions[1].__traceback__ is not None
    assert error.__suppress_context__


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file", "a.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        StopIteration(5),
        SystemExit(4),
        ImportError("no", name="n", path="p"),
        KeyError(("a", 1)),
        subprocess.CalledProcessError(3, ["a"], b"out"),
        CallTransportError("m", hint="h", app="a", parameter="p"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_builtin_exceptions_come_home_whole(pool, error):
    got = pool.run(throw, error)[2]
    assert type(got) is type(error)
    assert str(got) == str(error) and got.args == error.args
    for name in ("filename", "errno", "value", "code", "name", "cmd", "output", "app", "reason"):
        assert getattr(got, name, None) == getattr(error, name, None)


def test_an_exception_with_cyclic_context(pool):
    def task():
        a, b = ValueError("a"), ValueError("b")
        a.__context__, b.__cause__ = b, a
        raise a

    error = pool.run(task)[2]
    assert error.__context__.__cause__ is error


def test_an_exception_whose_message_raises(pool):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

        def __reduce__(self):
            raise RuntimeError

    error = pool.run(lambda: throw(Mute()), app="mute")[2]
    assert isinstance(error, RemoteError) and "Mute" in error.kind
    assert pickle.loads(pickle.dumps(error)).kind == error.kind


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("die", "words"),
    [
        (lambda: os._exit(7), "exited with status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "killed by SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "killed by SIGTERM"),
        (lambda: os.closerange(3, 256), ""),
    ],
    ids=["exit", "SIGKILL", "segfault", "SIGTERM", "closes everything"],
)
def test_the_death_of_a_worker_costs_only_what_it_ran(make, die, words):
    pool = make()
    before = [pool.launch(identity, n) for n in range(50)]
    victim = pool.launch(die, app="victim")
    after = [pool.launch(identity, n) for n in range(50, 100)]
    reports = {id(attempt): (value, error) for attempt, value, error, _ in pool.wait()}
    _, error = reports.pop(id(victim))
    assert isinstance(error, WorkerLostError)
    assert error.app == "victim" and words in str(error)
    assert sorted(reports.values()) == [(n, None) for n in range(100)]
    assert len(before + after) == len(reports) == 100


def test_a_task_that_kills_every_worker_costs_the_others_nothing(make):
    pool = make()
    kills = [pool.launch(os._exit, 1, app="killer") for _ in range(6)]
    good = [pool.launch(identity, n) for n in range(20)]
    lost = [a for a, _, error, _ in pool.wait() if isinstance(error, WorkerLostError)]
    assert {id(a) for a in lost} == {id(a) for a in kills}
    assert len(good) == 20


def test_a_worker_that_dies_idle_costs_nothing(make):
    pool = make(max_workers=1)
    first = pool.run(process_id)[1]
    os.kill(first, signal.SIGKILL)
    second = pool.run(process_id)
    # It may have been given the call before its death was known; it had not begun it.
    assert second[2] is None and second[1] != first


def test_results_before_a_death_are_not_lost(make):
    pool = make(max_workers=1)
    for n in range(100):
        pool.launch(identity, n)
    pool.launch(os._exit, 1)
    errors = [error for _, _, error, _ in pool.wait() if error is not None]
    assert len(errors) == 1


def test_a_child_of_a_task_that_outlives_the_worker_does_not_hide_its_death(make, bell):
    path, ring = bell
    pool = make(max_workers=1)

    def task():
        if os.fork() == 0:
            tell(path)
            signal.pause()
        os._exit(5)

    pool.launch(task)
    child = ring()
    _, _, error, _ = pool.wait()[0]
    os.kill(child, signal.SIGKILL)
    assert isinstance(error, WorkerLostError)


# --- balance --------------------------------------------------------------------------------------


def test_nothing_waits_behind_a_long_task_while_another_worker_idles(make, gate, bell):
    pool = make()
    (path, open_gate), (began, ring) = gate, bell
    for n in range(300):  # short ones: workers are now given many at a time
        pool.launch(identity, n)
    pool.wait()
    pool.launch(wait_at, path, began)
    for n in range(200):
        pool.launch(identity, n)
    ring()
    pool.wait(500)  # all short ones, while the long one runs
    open_gate()
    pool.wait(501)


def test_long_tasks_run_on_all_workers_at_once(make, gate, bell):
    pool = make(max_workers=3)
    (path, open_gate), (began, ring) = gate, bell
    for _ in range(3):
        pool.launch(wait_at, path, began)
    assert len({ring() for _ in range(3)}) == 3
    open_gate()
    pool.wait()


def test_what_has_not_been_given_away_can_still_be_claimed(make, gate, bell):
    pool = make(max_workers=1, in_flight=1)
    (path, open_gate), (began, ring) = gate, bell
    pool.launch(wait_at, path, began)
    later = pool.launch(identity, 1)
    ring()
    assert later.claim()
    open_gate()
    pool.wait(1)
    assert len(pool.reports) == 1


# --- killing one ----------------------------------------------------------------------------------


def test_a_running_attempt_can_be_killed_and_costs_only_itself(make, gate, bell):
    pool = make(max_workers=1)
    (path, _), (began, ring) = gate, bell
    for n in range(300):
        pool.launch(identity, n)
    pool.wait()
    slow = pool.launch(wait_at, path, began)
    behind = [pool.launch(identity, n) for n in range(20)]
    pid = ring()
    why = TimeoutError("too slow")
    pool.executor.kill(behind[5], why)  # has not begun
    pool.executor.kill(slow, why)
    pool.executor.kill(slow, why)  # twice is harmless
    reports = {id(attempt): error for attempt, _, error, _ in pool.wait()}
    assert reports[id(slow)] is why and reports[id(behind[5])] is why
    assert sum(error is not None for error in reports.values()) == 2
    assert not alive(pid)


# --- endings --------------------------------------------------------------------------------------


def test_shutdown_kills_what_runs_when_the_grace_has_run_out(make, gate, bell):
    pool = make(max_workers=1)
    (path, _), (began, ring) = gate, bell
    pool.launch(wait_at, path, began, app="slow")
    queued = pool.launch(identity, 1)
    pid = ring()
    pool.executor.shutdown(0.05)
    errors = {id(attempt): error for attempt, _, error, _ in pool.wait()}
    assert all(isinstance(error, ExecutorShutdownError) for error in errors.values())
    assert "before" in str(errors[id(queued)])
    assert not alive(pid)


def test_shutdown_lets_what_runs_end_within_the_grace(make, gate, bell):
    pool = make(max_workers=1)
    (path, open_gate), (began, ring) = gate, bell
    slow = pool.launch(wait_at, path, began)
    pool.launch(identity, 1)
    ring()
    ender = threading.Thread(target=pool.executor.shutdown, args=(DEADLINE,))
    ender.start()
    pool.wait(1)  # the queued one is refused at once
    open_gate()
    ender.join(DEADLINE)
    reports = {id(attempt): (value, error) for attempt, value, error, _ in pool.wait()}
    assert reports[id(slow)] == (b"x", None)


def test_a_second_shutdown_may_be_less_patient(make, gate, bell):
    pool = make(max_workers=1)
    (path, _), (began, ring) = gate, bell
    pool.launch(wait_at, path, began)
    pid = ring()
    patient = threading.Thread(target=pool.executor.shutdown)
    patient.start()
    pool.executor.shutdown(0)
    patient.join(DEADLINE)
    assert not patient.is_alive() and not alive(pid)


def test_shutdown_from_a_report(make):
    pool = make(max_workers=1)
    done = threading.Event()

    def finished(attempt, value, error, encoded=None):
        pool.executor.shutdown()
        done.set()

    pool.executor.launch(Attempt(nothing), finished)
    assert done.wait(DEADLINE)
    pool.executor.shutdown()
    assert isinstance(pool.run(nothing)[2], ExecutorShutdownError)


def test_workers_run_their_exit_handlers_at_an_orderly_end(make, tmp_path):
    path = tmp_path / "said"
    pool = make(max_workers=1)

    def task():
        import atexit

        atexit.register(lambda: path.write_text("goodbye"))

    assert pool.run(task)[2] is None
    pool.executor.shutdown()
    assert path.read_text() == "goodbye"


SCRIPT = """
import os, signal, sys, threading
from parsl_ckpt.executors.processes import ProcessPoolExecutor
from parsl_ckpt.kernel.attempt import Attempt

pool = ProcessPoolExecutor(max_workers=2)
pool.start()
done = threading.Semaphore(0)
results = []

def finished(attempt, value, error, encoded=None):
    results.append((value, error))
    done.release()

def say():
    os.write(1, (str(os.getpid()) + "\\n").encode())

def wait(fd=None):
    say()
    os.read(os.open(sys.argv[1], os.O_RDONLY), 1)
    return "waited"

for _ in range(2):
    pool.launch(Attempt(wait), finished)
"""


def start_script(tmp_path, gate_path, tail, **kwargs):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + textwrap.dedent(tail))
    return subprocess.Popen(
        [sys.executable, str(script), gate_path],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        **kwargs,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_workers_die_with_their_parent_even_while_they_run(tmp_path, gate, how):
    script = start_script(tmp_path, gate[0], "done.acquire()")
    workers = [int(script.stdout.readline()) for _ in range(2)]
    script.send_signal(how)
    script.wait(DEADLINE)
    until(lambda: not any(alive(pid) for pid in workers))
    script.stdout.close()


def test_a_script_that_forgets_to_shut_down_ends(tmp_path, gate):
    script = start_script(tmp_path, gate[0], "")
    assert script.wait(DEADLINE) == 0
    script.stdout.close()


def test_ctrl_c_in_the_terminal_does_not_reach_the_tasks(tmp_path, gate):
    tail = """
    try:
        while True:
            threading.Event().wait(0.01)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    for _ in range(2):
        done.acquire()
    print(results, flush=True)
    pool.shutdown()
    """
    script = start_script(tmp_path, gate[0], tail, start_new_session=True)
    workers = [int(script.stdout.readline()) for _ in range(2)]
    until(lambda: all(alive(pid) for pid in workers))
    os.killpg(script.pid, signal.SIGINT)  # what the terminal does
    assert script.stdout.readline() == "interrupted\n"
    gate[1]()
    assert script.stdout.readline() == "[('waited', None), ('waited', None)]\n"
    assert script.wait(DEADLINE) == 0
    script.stdout.close()


def test_a_forked_child_of_this_process_leaves_the_pool_alone(pool):
    pool.run(nothing)
    pid = os.fork()
    if pid == 0:
        pool.executor.shutdown()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert pool.run(identity, 1)[1] == 1


# --- the constructor ------------------------------------------------------------------------------


def test_max_threads_is_parsls_word_for_max_workers():
    assert ProcessPoolExecutor(max_threads=3).width == 3
    assert ProcessPoolExecutor().width >= 1


@pytest.mark.parametrize(
    ("field", "kwargs"),
    [
        ("max_workers", {"max_workers": 0}),
        ("max_threads", {"max_threads": "many"}),
        ("label", {"label": None}),
        ("initializer", {"initializer": 3}),
        ("initargs", {"initargs": "abc"}),
        ("initargs", {"initargs": 3}),
        ("initargs", {"initargs": b"abc"}),
        ("env", {"env": {"A": 1}}),
        ("env", {"env": ["A"]}),
        ("available_accelerators", {"available_accelerators": "gpu"}),
        ("available_accelerators", {"available_accelerators": [0, 1]}),
        ("available_accelerators", {"available_accelerators": -1}),
        ("in_flight", {"in_flight": 0}),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_field(field, kwargs):
    with pytest.raises(ConfigurationError) as caught:
        ProcessPoolExecutor(**kwargs)
    assert caught.value.field == field and field in str(caught.value)
