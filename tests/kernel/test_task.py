"""The table of states is what the code obeys."""

from __future__ import annotations

import itertools

import pytest

from parsl_ckpt.errors import IllegalTransitionError
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.arguments import gather
from parsl_ckpt.kernel.task import FINAL_STATES, STATES, TRANSITIONS, Spec, Task, diagram

PAIRS = list(itertools.product(STATES, STATES))
LEGAL = [(one, other) for one, other in PAIRS if other in TRANSITIONS[one]]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]


def a_task(state):
    task = Task(7, Spec("app", print), gather((), {}), None)
    task.state = state
    return task


@pytest.mark.parametrize(("state", "following"), LEGAL)
def test_a_legal_transition_is_made(state, following):
    task = a_task(state)
    task.to(following)
    assert task.state == following


@pytest.mark.parametrize(("state", "following"), ILLEGAL)
def test_an_illegal_transition_raises_and_changes_nothing(state, following):
    task = a_task(state)
    with pytest.raises(IllegalTransitionError, match=r"Task 7 \(app\)") as caught:
        task.to(following)
    assert task.state == state
    assert (caught.value.app, caught.value.tid) == ("app", 7)


def test_the_names_are_parsls_and_cancelled():
    assert set(STATES) == {
        "unsched", "pending", "launched", "running", "joining", "exec_done", "memo_done", "failed",
        "dep_fail", "fail_retryable", "cancelled",
    }  # fmt: skip


def test_final_states_have_no_way_out_and_all_others_lead_to_one():
    assert {"exec_done", "memo_done", "failed", "dep_fail", "cancelled"} == FINAL_STATES
    for state in STATES:
        reached, todo = set(), [state]
        while todo:
            here = todo.pop()
            if here not in reached:
                reached.add(here)
                todo.extend(TRANSITIONS[here])
        assert reached & FINAL_STATES


def test_every_state_can_be_reached_from_the_first():
    reached, todo = set(), [states.UNSCHED]
    while todo:
        here = todo.pop()
        if here not in reached:
            reached.add(here)
            todo.extend(TRANSITIONS[here])
    assert reached == set(STATES)


def test_the_diagram_shows_every_transition_of_the_table():
    lines = dict(line.split(" -> ") for line in diagram().splitlines())
    assert list(lines) == list(STATES)
    for state, shown in lines.items():
        expected = set() if shown == "(final)" else set(shown.split(", "))
        assert expected == TRANSITIONS[state]


def test_a_launched_task_that_a_worker_has_begun_is_running():
    from parsl_ckpt.kernel.attempt import Attempt

    task = a_task(states.LAUNCHED)
    task.attempt = Attempt(print)
    assert task.status == "launched"
    task.attempt.claim()
    assert task.status == "running"
