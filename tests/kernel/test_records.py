"""What can be asked of a task: ``future.task_record`` and ``dfk.tasks``, by Parsl's names."""

from __future__ import annotations

import datetime
import gc
import weakref

import numpy
import pytest

from parsl_ckpt.kernel.records import States, Tasks
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.task import STATES
from tests.kernel.helpers import Rig, outcome, spec_of

#: What Parsl 2026.10 keeps of a task, but for two locks.
KEYS = {
    "app_fu", "args", "depends", "dfk", "exec_fu", "executor", "fail_cost", "fail_count",
    "fail_history", "from_memo", "func", "func_name", "hashsum", "id", "ignore_for_cache", "join",
    "joins", "kwargs", "memoize", "resource_specification", "status", "time_invoked",
    "time_returned", "try_id", "try_time_launched", "try_time_returned",
}  # fmt: skip


def add(x, y=1):
    return x + y


def fail(x):
    raise ValueError(f"first {x}")


ADD, PLAIN, FAIL = spec_of(add), spec_of(add, cache=False), spec_of(fail, cache=False)


@pytest.fixture
def rig():
    rig = Rig(retry=RetryPolicy(retries=1))
    yield rig
    rig.end()


@pytest.mark.parametrize("asked", ["before", "after"])
def test_a_record_has_parsls_keys(rig, asked):
    future = rig.call(ADD, 1, y=2)
    if asked == "before":
        assert future.task_record
    rig.run()
    record = future.task_record
    assert set(record) == KEYS and len(record) == len(KEYS)
    assert (record["id"], record["func_name"], record["memoize"]) == (future.tid, "add", True)
    assert record["status"] == "exec_done" and record["status"].name == "exec_done"
    assert record["app_fu"] is future
    assert record["from_memo"] is False
    assert record["hashsum"] == future._value_key.hex()
    assert "0 add exec_done" in repr(record)
    with pytest.raises(KeyError):
        record["task_launch_lock"]


def test_a_record_reads_what_is_so_at_the_time(rig):
    future = rig.call(PLAIN, 1)
    record = future.task_record
    assert future.task_record == record
    assert (record["status"], record["from_memo"]) == (States.launched, None)
    assert record["time_returned"] is None
    rig.run()
    assert record["status"] is States.exec_done
    times = [record[key] for key in ("time_invoked", "try_time_launched", "try_time_returned")]
    assert all(type(time) is datetime.datetime for time in times[:2])
    assert record["time_invoked"] <= record["time_returned"]


def test_asked_for_in_time_a_record_keeps_arguments_and_failures(rig):
    one = rig.call(PLAIN, 1)
    future, failing = rig.call(PLAIN, one, y=5), rig.call(FAIL, 7)
    records = [future.task_record, failing.task_record]
    rig.run()
    assert outcome(future) == 7
    assert (records[0]["args"], records[0]["kwargs"]) == ((2,), {"y": 5})
    assert records[0]["depends"] == [one]
    assert records[0]["executor"] == "manual"
    assert records[0]["fail_count"] == 0
    assert records[1]["fail_history"] == ["ValueError('first 7')"] * 2
    assert (records[1]["fail_count"], records[1]["fail_cost"], records[1]["try_id"]) == (2, 2, 1)
    assert records[1]["status"] is States.failed


def test_asked_for_too_late_the_checkpoint_tells_of_times_and_tries(rig):
    future = rig.call(ADD, 1)
    rig.manual.fail(ValueError("once"))
    rig.run()
    record = future.task_record
    assert record["time_invoked"] is not None and record["time_returned"] is None
    assert (record["try_id"], record["fail_count"], record["fail_history"]) == (1, 1, [])


def test_a_hit_says_so(rig):
    rig.call(ADD, 1)
    rig.run()
    record = rig.call(ADD, 1).task_record
    assert (record["from_memo"], record["status"]) == (True, States.memo_done)
    assert record["func_name"] == "add"


def test_a_task_that_turns_out_equal_to_another_shares_its_history(rig):
    one, two = rig.call(PLAIN, 5), rig.call(PLAIN, 5)
    first, second = rig.call(ADD, one), rig.call(ADD, two)
    records = [first.task_record, second.task_record]
    rig.run()
    assert [record["from_memo"] for record in records] == [False, True]
    assert [record["id"] for record in records] == [first.tid, second.tid]
    assert records[0]["args"] == records[1]["args"] == (6,)


def test_a_call_that_cannot_be_made_has_a_record(rig):
    record = rig.call(ADD).task_record
    assert (record["status"], record["func_name"]) == (States.failed, "add")


def test_a_join_app_knows_what_it_waits_for(rig):
    inner = rig.call(PLAIN, 1)
    future = rig.call(spec_of(lambda: inner, cache=False, kind="join", name="outer"))
    record = future.task_record
    assert record["join"] is True
    rig.run()
    assert record["joins"] is inner


def test_nothing_is_kept_of_a_task_that_nobody_asked_about(rig):
    value = numpy.zeros(3)
    seen = weakref.ref(value)
    future = rig.call(PLAIN, value)
    rig.run()
    del value
    gc.collect()
    assert outcome(future) is not None
    assert seen() is None
    assert "_history" not in future.__dict__


def test_a_record_does_not_keep_the_chain_before_it(rig):
    first = future = rig.call(PLAIN, 1)
    for _ in range(10):
        future = rig.call(PLAIN, future)
        assert future.task_record
    seen = weakref.ref(first)
    rig.run()
    del first
    gc.collect()
    assert seen() is None
    assert future.task_record["depends"] == []


def test_the_table_of_tasks_holds_those_under_way(rig):
    tasks = Tasks(rig.kernel)
    one = rig.call(PLAIN, 1)
    two = rig.call(PLAIN, one)
    rig.settle()
    assert len(tasks) == 2 and set(tasks) == {one.tid, two.tid}
    assert [record["id"] for record in tasks.values()] == [one.tid, two.tid]
    assert dict(tasks.items())[two.tid]["status"] is States.pending
    assert tasks[one.tid]["app_fu"] is one
    rig.run()
    assert len(tasks) == 0 and one.tid not in tasks


def test_calls_are_counted(rig):
    assert rig.kernel.submission.count == 0
    rig.call(ADD, 1)
    rig.call(ADD, 1)
    assert rig.kernel.submission.count == 2
    assert rig.call(ADD, 1).tid == 2


def test_states_are_their_names():
    assert [state.name for state in States] == [state.value for state in States]
    assert {state.value for state in States} == set(STATES)
    assert {"exec_done": 1}[States.exec_done] == 1
    assert str(States.exec_done) == "States.exec_done"
