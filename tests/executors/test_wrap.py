"""Foreign executors: what they may do to us, and what becomes of it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys
import threading

import pytest

from parsl_ckpt.errors import ConfigurationError, ExecutorError, ExecutorShutdownError
from parsl_ckpt.executors.wrapped import wrap
from parsl_ckpt.kernel.attempt import Attempt, worker
from tests.executors.helpers import DEADLINE, Outcomes, identity, nothing


class Inline(concurrent.futures.Executor):
    """Runs calls in submit; what it is told to do wrong, it does."""

    def __init__(self):
        self.wrong = None

    def submit(self, fn, /, *args, **kwargs):
        future = concurrent.futures.Future()
        if isinstance(self.wrong, BaseException):
            raise self.wrong
        if self.wrong == "cancel":
            future.cancel()
        elif self.wrong == "break":
            future.set_exception(concurrent.futures.BrokenExecutor("pool is broken"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def inline():
    executor = wrap(Inline(), label="inline", width=3)
    executor.start()
    yield Outcomes(executor)
    executor.shutdown(0)


@pytest.mark.parametrize(
    "wrong",
    [
        "cancel",
        "break",
        RuntimeError("cannot schedule new futures after shutdown"),
        concurrent.futures.BrokenExecutor("gone"),
    ],
    ids=["cancelled", "broken", "shut down", "broken at submit"],
)
def test_what_the_executor_does_wrong_fails_the_attempt_and_not_the_wrapper(inline, wrong):
    inline.executor.executor.wrong = wrong
    _, _, error, _ = inline.run(nothing, app="victim")
    assert isinstance(error, ExecutorError)
    assert "victim" in str(error) and "inline" in str(error)
    inline.executor.executor.wrong = None
    assert inline.run(identity, 1)[1] == 1


def test_an_error_of_a_task_is_not_taken_for_one_of_the_executor(inline):
    def task():
        raise concurrent.futures.CancelledError("mine")

    assert type(inline.run(task)[2]) is concurrent.futures.CancelledError


def test_at_most_in_flight_attempts_are_claimed():
    gate = threading.Event()
    executor = wrap(concurrent.futures.ThreadPoolExecutor(1), in_flight=2)
    executor.start()
    pool = Outcomes(executor)
    attempts = [pool.launch(gate.wait, DEADLINE) for _ in range(3)]
    last = pool.launch(identity, "cancelled")
    assert last.claim()  # the kernel cancels what has not been given away
    gate.set()
    pool.wait(3)
    assert all(attempt.claimed for attempt in attempts)
    executor.shutdown()
    assert len(pool.reports) == 3


def test_shutdown_reports_what_still_runs_and_does_not_hear_it_later():
    gate, began, ended = threading.Event(), threading.Event(), threading.Event()
    inner = concurrent.futures.ThreadPoolExecutor(1)
    executor = wrap(inner)
    executor.start()
    pool = Outcomes(executor)
    pool.launch(lambda: (began.set(), gate.wait(DEADLINE), ended.set()))
    assert began.wait(DEADLINE)
    executor.shutdown(0.01)
    assert isinstance(pool.wait(1)[0][2], ExecutorShutdownError)
    gate.set()
    assert ended.wait(DEADLINE)
    inner.shutdown()
    assert len(pool.reports) == 1


def test_threads_of_a_wrapped_pool_know_it(inline):
    assert inline.run(lambda: worker.pool)[1] is inline.executor
    assert worker.pool is None


def test_the_executor_is_shut_down_with_the_wrapper():
    inner = concurrent.futures.ThreadPoolExecutor(1)
    executor = wrap(inner)
    executor.start()
    executor.shutdown()
    with pytest.raises(RuntimeError):
        inner.submit(nothing)


def test_a_lost_worker_of_a_wrapped_process_pool_is_an_error_of_the_attempt():
    context = multiprocessing.get_context("forkserver")
    inner = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    executor = wrap(inner, label="lossy")
    executor.start()
    pool = Outcomes(executor)
    _, _, error, _ = pool.run(os._exit, 3, app="killer")
    executor.shutdown(0)
    assert isinstance(error, ExecutorError)
    assert "killer" in str(error)


def test_width_is_what_the_executor_says_or_is_told():
    assert wrap(concurrent.futures.ThreadPoolExecutor(5)).width == 5
    assert wrap(Inline(), width=3).width == 3
    assert wrap(Inline()).width >= 1


@pytest.mark.parametrize(
    ("field", "args", "kwargs"),
    [
        ("executor", ("not one",), {}),
        ("label", (Inline(), ""), {}),
        ("width", (Inline(),), {"width": 0}),
        ("in_flight", (Inline(),), {"in_flight": True}),
        ("crosses_processes", (Inline(),), {"crosses_processes": "no"}),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_field(field, args, kwargs):
    with pytest.raises(ConfigurationError) as caught:
        wrap(*args, **kwargs)
    assert caught.value.field == field


@pytest.mark.skipif(sys.version_info < (3, 14), reason="there are no interpreter pools")
def test_subinterpreters_are_refused_at_once():
    pool = concurrent.futures.InterpreterPoolExecutor(1)
    with pool, pytest.raises(ConfigurationError, match="load in subinterpreters") as caught:
        wrap(pool)
    assert caught.value.field == "executor"


def test_claiming_happens_before_submission(inline):
    attempt = Attempt(nothing)
    seen = []

    class Spy(Inline):
        def submit(self, fn, /, *args, **kwargs):
            seen.append(attempt.claimed)
            return super().submit(fn, *args, **kwargs)

    executor = wrap(Spy())
    executor.start()
    executor.launch(attempt, inline.finished)
    inline.wait(1)
    executor.shutdown()
    assert seen == [True]


class Pure(Inline):
    """Takes equal calls for one, as Dask's does."""

    def __init__(self):
        super().__init__()
        self.known = {}

    def submit(self, fn, /, *args, **kwargs):
        if args not in self.known:
            self.known[args] = super().submit(fn, *args, **kwargs)
        return self.known[args]


def test_equal_calls_are_several_calls():
    executor = wrap(Pure(), crosses_processes=True)
    executor.start()
    outcomes = Outcomes(executor)
    for _ in range(3):
        outcomes.launch(os.urandom, 8)
    assert len({value for _, value, _, _ in outcomes.wait()}) == 3
    executor.shutdown()
