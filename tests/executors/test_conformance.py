"""One body of tests that every executor passes: what the kernel relies on."""

from __future__ import annotations

import concurrent.futures
import gc
import sys
import threading
import time
import traceback
import weakref

import pytest

from parsl_ckpt.errors import ExecutorShutdownError
from parsl_ckpt.executors.processes import ProcessPoolExecutor
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.executors.wrapped import wrap
from parsl_ckpt.kernel.attempt import Attempt
from parsl_ckpt.testing.executors import ManualExecutor
from tests.executors.helpers import (
    DEADLINE,
    Outcomes,
    call,
    divide,
    identity,
    nothing,
    throw,
    total,
)

MAKERS = {
    "threads": lambda: ThreadPoolExecutor(max_workers=2),
    "processes": lambda: ProcessPoolExecutor(max_workers=2),
    "wrapped threads": lambda: wrap(concurrent.futures.ThreadPoolExecutor(2)),
    "wrapped processes": lambda: wrap(spawn_pool(), in_flight=8),
    "manual": lambda: ManualExecutor(width=2),
}


def spawn_pool():
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    return concurrent.futures.ProcessPoolExecutor(2, mp_context=context)


@pytest.fixture(scope="module", params=MAKERS)
def shared(request):
    """An executor that lives as long as the module: what ends one is tested with ``fresh``."""
    executor = MAKERS[request.param]()
    executor.start()
    yield executor
    executor.shutdown(0)


@pytest.fixture
def pool(shared):
    return Outcomes(shared, getattr(shared, "run", lambda: None))


@pytest.fixture(params=MAKERS)
def fresh(request):
    executor = MAKERS[request.param]()
    yield Outcomes(executor, getattr(executor, "run", lambda: None))
    executor.shutdown(0)


class Base(BaseException):
    """Not an Exception."""


class Picky(Exception):
    """Its constructor wants more than its message."""

    def __init__(self, code, *, where):
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


def test_value_comes_back_with_the_attempt(pool):
    attempt, value, error, _ = pool.run(total, 1, 2, x=3)
    assert (value, error) == (6, None)
    assert attempt.claimed


def test_when_how_long_and_where_are_measured(pool):
    attempt, *_ = pool.run(nothing)
    assert attempt.began > 1.6e9
    assert 0 <= attempt.seconds < DEADLINE
    assert attempt.worker


class Noted:
    """An argument that knows when it was loaded."""

    def __init__(self):
        self.loaded = 0.0

    def __reduce__(self):
        return loaded_now, ()


def loaded_now():
    noted = Noted()
    noted.loaded = time.time()
    return noted


def when_loaded(noted):
    return noted.loaded


def test_a_task_begins_when_its_function_and_its_arguments_are_loaded(pool):
    # What has happened in a task is not later than its beginning and its seconds together.
    attempt, loaded, error, _ = pool.run(when_loaded, Noted())
    assert error is None
    assert attempt.began >= loaded


def test_exception_comes_back_with_the_frames_of_the_task(pool):
    _, value, error, _ = pool.run(divide, 1, 0)
    assert value is None
    assert type(error) is ZeroDivisionError
    assert [f.name for f in traceback.extract_tb(error.__traceback__)] == ["divide"]


def test_exception_with_a_constructor_of_its_own(pool):
    _, _, error, _ = pool.run(throw, Picky(7, where="here"))
    assert type(error) is Picky
    assert (str(error), error.code, error.where) == ("7 at here", 7, "here")


def test_cause_context_and_notes_come_along(pool):
    def task():
        try:
            divide(1, 0)
        except ZeroDivisionError as exc:
            raise ValueError("outer") from exc

    _, _, error, _ = pool.run(task)
    assert type(error) is ValueError
    assert type(error.__cause__) is ZeroDivisionError
    assert traceback.extract_tb(error.__cause__.__traceback__)[-1].name == "divide"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Base])
def test_whatever_is_raised_fails_that_attempt_only(pool, kind):
    _, _, error, _ = pool.run(throw, kind("x"))
    assert type(error) is kind
    assert pool.run(identity, 5)[1] == 5


def test_an_attempt_that_someone_else_claimed_is_dropped_silently(pool):
    attempt = Attempt(nothing, app="cancelled")
    assert attempt.claim()
    pool.executor.launch(attempt, pool.finished)
    reports = [pool.run(identity, n) for n in range(4)]
    assert all(report[0] is not attempt for report in reports)
    assert len(pool.reports) == 4


def test_launching_twice_runs_once(pool):
    attempt = pool.launch(identity, 1)
    pool.executor.launch(attempt, pool.finished)
    pool.run(identity, 2)
    assert sorted(report[1] for report in pool.wait(2)) == [1, 2]


def test_each_of_many_is_reported_once(pool):
    for n in range(500):
        pool.launch(identity, n)
    reports = pool.wait()
    assert sorted(value for _, value, _, _ in reports) == list(range(500))
    assert all(attempt.args == (value,) for attempt, value, _, _ in reports)


def test_closures_and_lambdas_as_function_and_argument(pool):
    offset = 10
    assert pool.run(lambda x: x + offset, 1)[1] == 11
    assert pool.run(call, lambda x: x * offset, 2)[1] == 20


def test_a_wrong_call_is_an_error_of_the_task(pool):
    _, _, error, _ = pool.run(divide, 1)
    assert type(error) is TypeError
    assert "'b'" in str(error)


def test_a_report_that_raises_harms_nothing(pool):
    called = threading.Event()

    def bad(attempt, value, error, encoded=None):
        called.set()
        raise RuntimeError("from the report")

    pool.executor.launch(Attempt(nothing, app="app"), bad)
    assert pool.run(identity, 3)[1] == 3
    assert called.wait(DEADLINE)


def test_a_report_may_launch_the_next(pool):
    end = threading.Event()

    def finished(attempt, value, error, encoded=None):
        if error is not None or value == 200:
            end.set()
        else:
            pool.executor.launch(Attempt(total, (value, 1)), finished)

    pool.executor.launch(Attempt(identity, (0,)), finished)
    pool.drive()
    assert end.wait(DEADLINE)


def test_launching_from_several_threads(pool):
    def launch_some():
        for n in range(50):
            pool.executor.launch(Attempt(identity, (n,)), pool.finished)

    threads = [threading.Thread(target=launch_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(value for _, value, _, _ in pool.wait(200)) == 4 * sum(range(50))


class Thing:
    pass


def test_nothing_is_kept_alive_after_the_report(pool):
    gone = []
    done = threading.Event()

    def finished(attempt, value, error, encoded=None):
        assert error is None
        gone.extend([weakref.ref(value), weakref.ref(attempt.args[0])])
        done.set()

    pool.executor.launch(Attempt(identity, (Thing(),)), finished)
    pool.drive()
    assert done.wait(DEADLINE)
    for n in range(4):  # each worker has since done something else
        pool.run(identity, n)
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="3.12 does not trace opcodes so")
def test_ctrl_c_between_any_two_bytecodes_of_launch(pool):
    """The attempt is queued or it is not; launching it again is harmless; the executor works."""
    launch = type(pool.executor).launch.__code__

    def interrupt_at(step):
        def local(frame, event, arg):
            nonlocal step
            frame.f_trace_opcodes = True
            if event == "opcode":
                step -= 1
                if step < 0:
                    raise KeyboardInterrupt
            return local

        return lambda frame, event, arg: (
            local(frame, event, arg) if frame.f_code is launch else None
        )

    before, step, interrupted = sys.gettrace(), 0, True
    while interrupted:
        attempt = Attempt(identity, (step,))
        sys.settrace(interrupt_at(step))
        try:
            pool.executor.launch(attempt, pool.finished)
            interrupted = False
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        pool.executor.launch(attempt, pool.finished)
        step += 1
    assert step > 5
    assert sorted(value for _, value, _, _ in pool.wait(step)) == list(range(step))


def test_it_has_a_label_a_width_and_a_repr(pool):
    assert pool.executor.label and pool.executor.width == 2
    assert repr(pool.executor.label) in repr(pool.executor)


# --- beginnings and endings -----------------------------------------------------------------------


def test_what_is_launched_before_start_waits_for_it(fresh):
    fresh.launch(identity, 1)
    fresh.executor.start()
    fresh.executor.start()  # twice is harmless
    assert fresh.wait()[0][1] == 1


def test_shutdown_runs_what_was_launched(fresh):
    fresh.executor.start()
    for n in range(40):
        fresh.launch(identity, n)
    fresh.executor.shutdown()
    assert sorted(value for _, value, _, _ in fresh.reports) == list(range(40))


def test_shutdown_without_grace_finishes_everything_once(fresh):
    fresh.executor.start()
    for n in range(200):
        fresh.launch(identity, n)
    fresh.executor.shutdown(0)
    reports = fresh.wait()
    assert len({id(attempt) for attempt, *_ in reports}) == len(reports) == 200
    for attempt, value, error, _ in reports:
        assert isinstance(error, ExecutorShutdownError) or value == attempt.args[0]


def test_launch_after_shutdown_is_an_error_of_the_attempt(fresh):
    fresh.executor.start()
    fresh.executor.shutdown()
    fresh.executor.shutdown()  # twice is harmless
    _, _, error, _ = fresh.run(nothing, app="late")
    assert isinstance(error, ExecutorShutdownError)
    assert error.app == "late" and error.executor == fresh.executor.label


def test_shutdown_without_start(fresh):
    fresh.launch(nothing)
    fresh.executor.shutdown(0)
    _, _, error, _ = fresh.wait()[0]
    assert isinstance(error, ExecutorShutdownError)
