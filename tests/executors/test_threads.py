"""Threads: nesting, endings, and what their constructor says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.kernel.attempt import Attempt, worker
from tests.executors.helpers import DEADLINE, Outcomes, environment, identity, nothing


@pytest.fixture
def pool():
    executor = ThreadPoolExecutor(max_workers=2, label="t")
    executor.start()
    yield Outcomes(executor)
    executor.shutdown(0)


def nested(executor, depth):
    """Waits for a task that waits for a task ... on the same pool."""
    if depth == 0:
        return 0
    done, below = threading.Event(), []

    def finished(attempt, value, error, encoded=None):
        below.append(value if error is None else error)
        done.set()

    executor.launch(Attempt(nested, (executor, depth - 1)), finished)
    with worker.pool.blocked():
        assert done.wait(DEADLINE)
    return below[0] + 1


def test_workers_know_their_pool(pool):
    assert pool.run(lambda: worker.pool)[1] is pool.executor
    assert worker.pool is None


def test_nesting_deeper_than_the_pool_is_wide(pool):
    assert pool.run(nested, pool.executor, 40)[1] == 40


def test_workers_that_were_added_leave_again(pool):
    pool.run(nested, pool.executor, 20)
    for _ in range(5):
        pool.run(nothing)
    pool.executor.shutdown()
    assert not pool.executor._threads
    assert not [t for t in threading.enumerate() if t.name.startswith("t-")]


def test_the_pool_is_no_wider_than_it_says_after_nesting(pool):
    pool.run(nested, pool.executor, 10)
    gate, lock, running, peak = threading.Event(), threading.Lock(), [], []

    def task():
        with lock:
            running.append(1)
            peak.append(len(running))
        gate.wait(DEADLINE)
        with lock:
            running.pop()

    for _ in range(3):
        pool.run(nothing)  # whoever may leave has found out
    for _ in range(8):
        pool.launch(task)
    gate.set()
    pool.wait()
    assert max(peak) <= 3  # one may still be on its way out


def test_shutdown_may_be_called_by_a_task(pool):
    assert pool.run(lambda: pool.executor.shutdown(0))[2] is None


def test_a_stuck_worker_is_not_waited_for_beyond_the_grace(pool):
    gate = threading.Event()
    began = threading.Event()
    pool.launch(lambda: (began.set(), gate.wait(DEADLINE)))
    assert began.wait(DEADLINE)
    pool.executor.shutdown(0.01)
    assert pool.reports == []
    gate.set()
    pool.wait(1)  # it is reported even so, when it ends


def test_a_stuck_worker_does_not_hang_the_interpreter():
    script = """
import threading
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.kernel.attempt import Attempt
pool = ThreadPoolExecutor(max_workers=1)
pool.start()
began = threading.Event()
pool.launch(Attempt(lambda: (began.set(), threading.Event().wait())), print)
began.wait()
pool.shutdown(0)
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(),
    )
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


def test_threads_are_named_after_the_prefix():
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mine")
    executor.start()
    attempt, value, *_ = Outcomes(executor).run(lambda: threading.current_thread().name)
    executor.shutdown()
    assert value == attempt.worker == "mine-0"


def test_shutdown_in_a_forked_child_does_nothing(pool):
    pool.run(nothing)
    pid = os.fork()
    if pid == 0:
        pool.executor.shutdown()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert pool.run(identity, 1)[1] == 1


def test_max_threads_is_parsls_word_for_max_workers():
    assert ThreadPoolExecutor(max_threads=3).width == 3
    assert ThreadPoolExecutor(4).width == 4
    assert ThreadPoolExecutor().width >= 1


@pytest.mark.parametrize(
    ("field", "kwargs"),
    [
        ("max_workers", {"max_workers": 0}),
        ("max_workers", {"max_workers": True}),
        ("max_workers", {"max_workers": "2"}),
        ("max_workers", {"max_workers": 1.5}),
        ("max_threads", {"max_threads": -1}),
        ("max_threads", {"max_workers": 2, "max_threads": 3}),
        ("label", {"label": ""}),
        ("label", {"label": 3}),
        ("thread_name_prefix", {"thread_name_prefix": 3}),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_field(field, kwargs):
    with pytest.raises(ConfigurationError) as caught:
        ThreadPoolExecutor(**kwargs)
    assert caught.value.field == field
    assert field in str(caught.value)
