"""How long a job takes: against a slow simulation, and case by case."""

from __future__ import annotations

import doctest
import importlib
import math
from fractions import Fraction
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.errors import ForecastError, JobFormatError, PlanError
from parsl_ckpt.plan import Job, forecast, to_dot, trim, validate
from tests.plan.strategies import jobs_and_persisted

pytestmark = pytest.mark.once

SECONDS = st.integers(0, 5).map(float)


def played(trimmed, lasting, width):
    """By the second (all durations are whole): who is ready longest is taken first."""
    job, restored = trimmed.job, set(trimmed.restored)
    done = set(restored)
    queue: list[str] = []
    running: dict[str, float] = {}
    now = last = 0.0
    while True:
        while True:
            new = [
                name
                for name in job.tasks
                if name not in done | running.keys() | set(queue)
                and all(edge.source in done for edge in job.inputs(name))
            ]
            queue += new
            while queue and len(running) < width:
                name = queue.pop(0)
                running[name] = now + lasting[name]
            over = [name for name, end in running.items() if end <= now]
            for name in over:
                del running[name]
                last = now
            done.update(over)
            if not over:
                break
        if len(done) == len(job):
            return last
        now += 1


@settings(max_examples=100, deadline=None)
@given(jobs_and_persisted(), st.data(), st.integers(1, 4))
def test_it_is_what_workers_do_who_take_what_is_ready_longest(both, data, width):
    job, persisted = both
    lasting = {name: data.draw(SECONDS) for name in job.tasks}
    trimmed = trim(job, persisted)
    found = forecast(trimmed, lasting, width)
    assert found.seconds == played(trimmed, lasting, width)
    assert found.work == sum(lasting[name] for name in trimmed.run)
    assert found.tasks == len(trimmed.run)
    assert max(found.chain, found.work / width) <= found.seconds + 1e-9
    assert found.seconds <= found.work / width + found.chain * (1 - 1 / width) + 1e-9  # Graham
    assert forecast(trimmed, lasting, len(job) + 1).seconds == found.chain


def diamond():
    return Job.of("abcd", [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])


@pytest.mark.parametrize(("width", "seconds"), [(1, 10), (2, 8), (9, 8)])
def test_a_diamond(width, seconds):
    found = forecast(diamond(), {"a": 1, "b": 2, "c": 3, "d": 4}, width)
    assert (found.seconds, found.chain, found.work, found.unknown) == (seconds, 8, 10, 0)


def test_what_is_restored_takes_no_time():
    found = forecast(trim(diamond(), ["b"]), {"a": 1, "c": 3, "d": 4}, 1)
    assert (found.seconds, found.tasks, found.unknown) == (8, 3, 0)


def test_unknown_durations_are_counted_and_said():
    found = forecast(diamond(), {"a": 1, "b": None}.get, 2, otherwise=0.5)
    assert (found.seconds, found.unknown) == (2, 3)
    assert "3 have no known duration and count as 0.5 s each" in str(found)


def test_an_empty_job_takes_no_time():
    assert forecast(Job.of([]), {}, 1).seconds == 0


@pytest.mark.parametrize("width", [0, -1, 1.5, True, "2", None], ids=repr)
def test_a_width_that_is_none(width):
    with pytest.raises(ForecastError, match="number of workers is") as caught:
        forecast(diamond(), {}, width)
    assert caught.value.hint


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "1", True], ids=repr)
def test_a_duration_that_is_none(seconds):
    with pytest.raises(ForecastError, match="Task 'b' is said to last") as caught:
        forecast(diamond(), {"b": seconds}, 1)
    assert caught.value.tasks == ("b",)
    with pytest.raises(ForecastError, match="unknown duration is said to last"):
        forecast(diamond(), {}, 1, otherwise=seconds)


def test_numbers_of_other_kinds_are_numbers():
    numpy = pytest.importorskip("numpy")
    found = forecast(diamond(), {"a": Fraction(1, 2), "b": numpy.int64(2)}, numpy.int32(2))
    assert found == forecast(diamond(), {"a": 0.5, "b": 2.0}, 2)
    assert type(found.width) is int and type(found.seconds) is float


@pytest.mark.parametrize("wrong", [None, [1.0], "abc"], ids=repr)
def test_durations_that_are_none(wrong):
    with pytest.raises(ForecastError, match="The durations are"):
        forecast(diamond(), wrong, 1)


@pytest.mark.parametrize("wrong", [None, "abc", 7], ids=repr)
def test_what_is_no_job_is_refused(wrong):
    asks = (partial(trim, persisted=[]), partial(forecast, seconds={}, width=1))
    for ask in (validate, to_dot, *asks):
        with pytest.raises(JobFormatError, match="is no job"):
            ask(wrong)
    with pytest.raises(PlanError, match="no trimming gives"):
        to_dot(diamond(), diamond())


MODULES = ["builder", "dot", "form", "job", "schedule", "trim", "validate"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_this_room_run(name):
    module = importlib.import_module(f"parsl_ckpt.plan.{name}")
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 0
