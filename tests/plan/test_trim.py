"""The rule of trimming: against a definition that tries every set of tasks, and case by case."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.errors import PlanError
from parsl_ckpt.plan import Job, JobBuilder, Output, trim
from tests.plan.strategies import every_output, jobs, jobs_and_persisted

pytestmark = pytest.mark.once

# --- the definition -------------------------------------------------------------------------------


def needs(job, run):
    """What must be had if these tasks run."""
    return {*job.requested} | {Output(e.source, e.output) for e in job.edges if e.target in run}


def suffices(job, persisted, run):
    """Everything needed is there or computed, and groups run whole."""
    return all(need in persisted or need.task in run for need in needs(job, run)) and all(
        run.issuperset(group) or run.isdisjoint(group) for group in job.groups
    )


def least(job, persisted):
    """The smallest set of tasks that suffices; all that suffice contain it."""
    sets = [
        set(chosen)
        for size in range(len(job) + 1)
        for chosen in itertools.combinations(job.tasks, size)
        if suffices(job, persisted, set(chosen))
    ]
    assert all(sets[0] <= other for other in sets)
    return sets[0]


@settings(max_examples=200, deadline=None)
@given(jobs_and_persisted())
def test_what_runs_is_the_least_that_suffices(both):
    job, persisted = both
    found = trim(job, persisted)
    run = least(job, persisted)
    restored = {need.task for need in needs(job, run)} - run
    assert set(found.run) == run
    assert set(found.restored) == restored
    assert set(found.cut) == set(job.tasks) - run - restored
    assert {item.task for item in found.ignored} == {o.task for o in persisted if o.task in run}


@settings(max_examples=100, deadline=None)
@given(jobs_and_persisted())
def test_what_is_kept_is_as_it_was_and_the_restored_are_leaves(both):
    job, persisted = both
    found = trim(job, persisted)
    kept = set(found.job.tasks)
    assert [name for name in job.tasks if name in kept] == list(found.job.tasks)
    assert kept | set(found.cut) == set(job.tasks)
    assert kept.isdisjoint(found.cut)
    for name in kept:
        assert found.job.outputs(name) == job.outputs(name)
        assert found.job.inputs(name) == (() if name in found.restored else job.inputs(name))
    assert found.job.requested == job.requested
    assert found.job.groups == tuple(g for g in job.groups if set(g) <= set(found.run))


@settings(max_examples=100, deadline=None)
@given(jobs_and_persisted())
def test_trimming_what_was_trimmed_changes_nothing(both):
    job, persisted = both
    once = trim(job, persisted)
    twice = trim(once.job, persisted)
    assert (twice.job, twice.restored, twice.cut) == (once.job, once.restored, ())


@settings(max_examples=100, deadline=None)
@given(jobs_and_persisted(groups=False, outputs=1))
def test_without_groups_it_is_the_walk_that_does_not_go_past_what_is_persisted(both):
    job, persisted = both
    there = {task for task, _ in persisted}
    reached, todo = set(), [task for task, _ in job.requested]
    while todo:
        task = todo.pop()
        if task not in reached:
            reached.add(task)
            todo += [] if task in there else [edge.source for edge in job.inputs(task)]
    found = trim(job, there)
    assert set(found.job.tasks) == reached
    assert set(found.restored) == reached & there


@settings(max_examples=60, deadline=None)
@given(jobs_and_persisted(), st.randoms())
def test_order_and_form_of_what_is_persisted_do_not_matter(both, rng):
    job, persisted = both
    listed = [*persisted, *map(tuple, persisted)]
    rng.shuffle(listed)
    assert trim(job, listed) == trim(job, persisted)


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_nothing_persisted_keeps_what_is_requested_and_its_ancestors(job):
    found = trim(job, ())
    assert found.restored == found.ignored == ()
    assert set(found.run) == least(job, set())


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_all_persisted_runs_nothing(job):
    found = trim(job, job.tasks)
    assert found.run == ()
    assert set(found.restored) == {task for task, _ in job.requested}
    assert trim(job, every_output(job)) == found


# --- case by case ---------------------------------------------------------------------------------


def chain(*names, wanted=None):
    return Job.of(names, itertools.pairwise(names), requested=wanted)


def test_a_persisted_task_is_a_leaf_and_hides_what_is_behind_it():
    found = trim(chain("a", "b", "c", "d"), {"c"})
    assert (found.restored, found.run, found.cut) == (("c",), ("d",), ("a", "b"))


def test_a_persisted_sink_does_not_hide_what_a_live_one_needs():
    job = Job.of(["root", "kept", "live"], [("root", "kept"), ("root", "live")])
    found = trim(job, {"kept"})
    assert (found.restored, found.run, found.cut) == (("kept",), ("root", "live"), ())


def test_a_requested_inner_output_is_a_sink_too():
    found = trim(chain("a", "b", "c", wanted=["a", "c"]), {"c"})
    assert (found.restored, found.run, found.cut) == (("c",), ("a",), ("b",))


def test_what_nobody_wants_is_cut_without_anything_persisted():
    assert trim(chain("a", "b", "c", wanted=["b"]), ()).cut == ("c",)
    assert trim(chain("a", "b", wanted=[]), ()).cut == ("a", "b")


def two_outputs(*wanted):
    builder = JobBuilder()
    builder.task("split", outputs=("left", "right"))
    builder.task("l")
    builder.task("r")
    builder.edge(("split", "left"), "l")
    builder.edge(("split", "right"), "r")
    builder.want(*wanted)
    return builder.build()


def test_a_task_that_is_partly_there_is_ignored_and_it_is_said_why():
    found = trim(two_outputs("l", "r"), {("split", "left")})
    assert found.run == ("split", "l", "r")
    assert found.ignored == (("split", "output 'right' is needed too, and is not persisted", True),)


def test_an_output_that_nobody_needs_need_not_be_there():
    found = trim(two_outputs("l"), {("split", "left")})
    assert (found.restored, found.run, found.ignored) == (("split",), ("l",), ())


def test_an_output_that_only_a_restored_task_takes_need_not_be_there():
    found = trim(two_outputs("l", "r"), {("split", "left"), "r"})
    assert (found.restored, found.run) == (("split", "r"), ("l",))


def grouped():
    edges = [("in", "a"), ("in", "b"), ("a", "out a"), ("b", "out b")]
    return Job.of(["in", "a", "b", "out a", "out b"], edges, groups=[["a", "b"]])


def test_a_group_of_which_all_that_is_needed_is_there_is_restored():
    found = trim(grouped(), {"a", "b"})
    assert (found.restored, found.run, found.cut) == (("a", "b"), ("out a", "out b"), ("in",))
    assert found.job.groups == ()


def test_a_group_of_which_one_must_run_runs_and_it_is_said_why():
    found = trim(grouped(), {"a"})
    assert found.run == ("in", "a", "b", "out a", "out b")
    assert found.job.groups == (("a", "b"),)
    why = "it runs together with 'b', of which output 'result' is needed and not persisted"
    assert found.ignored == (("a", why, True),)


def test_a_group_of_which_nobody_needs_the_missing_one_is_restored():
    found = trim(grouped(), {"a", "out b"})
    assert (found.restored, found.cut) == (("a", "out b"), ("in", "b"))


def test_a_member_that_nobody_needs_runs_with_its_group():
    job = Job.of(["x", "a", "b"], [("x", "b")], groups=[["a", "b"]], requested=["a"])
    assert trim(job, ()).run == ("x", "a", "b")


@pytest.mark.parametrize(
    "odd",
    ["nobody", ("a", "nothing"), ("a",), ("a", "result", 1), 7, None, ("a", []), ([], "result")],
    ids=repr,
)
def test_what_the_job_does_not_know_is_ignored(odd):
    found = trim(chain("a", "b"), [odd])
    assert found.run == ("a", "b")
    assert [(item.task, item.known) for item in found.ignored] == [(odd, False)]


def test_what_is_persisted_is_not_a_string():
    with pytest.raises(PlanError, match=r"is the string 'ab'\. Put it into a list"):
        trim(chain("a", "b"), "ab")


def test_a_restored_task_need_not_be_given_what_it_declared():
    builder = JobBuilder()
    builder.task("a")
    builder.task("b", parameters=("x",))
    builder.task("c", parameters=("y",))
    builder.edge("a", ("b", "x"))
    builder.edge("b", ("c", "y"))
    found = trim(builder.build(), {"b"})
    assert Job.from_json(found.job.to_json()) == found.job
    assert found.job.parameters("b") == ()
    assert found.job.parameters("c") == ("y",)


def test_a_chain_of_a_hundred_thousand_is_no_deeper_than_one_of_two():
    names = [str(n) for n in range(100_000)]
    found = trim(chain(*names), {"1"})
    assert (found.restored, found.cut, len(found.run)) == (("1",), ("0",), 99_998)


def test_pairs_may_be_lists_as_json_has_them():
    job = Job.of("ab", [("a", "b")])
    assert trim(job, [["a", "result"]]) == trim(job, [("a", "result")])
    assert trim(job, job.requested).run == trim(job, json.loads('[["b", "result"]]')).run == ()
