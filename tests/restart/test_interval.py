"""``flush_interval="auto"``: arithmetic, told everything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.restart.interval import (
    LONGEST_SECONDS,
    PRIOR_SECONDS,
    AutoInterval,
    mean_time_between,
    seconds_between,
    steps_between,
)

costs = st.floats(1e-6, 100.0)
times = st.floats(600.0, 1e7)


def waste(interval: float, cost: float, mtbf: float) -> float:
    """Share of the time that is lost: Daly's model of the whole, exponential interruptions."""
    return (mtbf / interval) * math.expm1((interval + cost) / mtbf) - 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(costs, times)
def test_no_interval_nearby_loses_less(cost, mtbf):
    best = seconds_between(cost, mtbf)
    least = waste(best, cost, mtbf)
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert waste(best * factor, cost, mtbf) >= least * (1 - 1e-3)


def test_cheap_commits_follow_young():
    assert seconds_between(0.01, 86400.0) == pytest.approx(math.sqrt(2 * 0.01 * 86400), rel=0.01)


def test_commits_that_take_longer_than_work_lasts_are_made_once_in_that_time():
    assert seconds_between(100.0, 10.0) == 10.0


def test_what_costs_nothing_is_done_each_step():
    assert steps_between(0.0, 3600.0, 0.5) == 1


@given(costs, times, st.floats(1e-6, 1e4))
def test_steps_are_a_power_of_two_near_what_is_wanted(cost, mtbf, step):
    steps = steps_between(cost, mtbf, step)
    assert steps >= 1
    assert steps & (steps - 1) == 0
    wanted = min(seconds_between(cost, mtbf), LONGEST_SECONDS)
    if 1 < steps < 1 << 20:
        assert wanted / 1.5 <= steps * step <= wanted * 1.5


def test_interruptions_on_record_make_it_commit_more_often():
    day = 86400.0
    assert mean_time_between(day, 0) > mean_time_between(day, 5) > mean_time_between(day, 50)
    assert mean_time_between(0.0, 0) == PRIOR_SECONDS
    assert mean_time_between(1000 * day, 1000) == pytest.approx(day, rel=0.01)


def test_the_first_step_is_committed_and_what_it_costs_decides():
    clock = Clock()
    auto = AutoInterval(clock=clock)
    assert auto.interval == 1
    clock.now = 1.0
    auto.wrote()
    assert auto.interval == 1  # nothing is known of commits yet
    auto.committed(0.1)
    assert auto.interval == steps_between(0.1, mean_time_between(1.0, 0), 1.0) > 1


def test_the_time_of_commits_is_not_taken_for_that_of_steps():
    clock = Clock()
    auto = AutoInterval(clock=clock)
    for _ in range(5):
        clock.now += 1.0
        auto.wrote()
        clock.now += 9.0
        auto.committed(9.0)
    assert auto.interval == steps_between(9.0, mean_time_between(41.0, 0), 1.0)


def test_a_history_of_interruptions_is_taken_into_account():
    intervals = []
    for interruptions in (0, 100):
        clock = Clock()
        auto = AutoInterval(3600.0, interruptions, clock=clock)
        clock.now = 1.0
        auto.wrote()
        auto.committed(0.1)
        intervals.append(auto.interval)
    assert intervals[1] < intervals[0]
