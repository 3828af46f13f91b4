"""The way of a call through the kernel, races on it, and what is left behind: nothing."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future

import numpy
import pytest

from parsl_ckpt.errors import UnidentifiableValueError
from parsl_ckpt.executors.threads import ThreadPoolExecutor
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.memo import Memo
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.kernel.task import Task
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of


def add(x, y=1):
    return x + y


def same(x):
    return x


def array(n):
    return numpy.zeros(n)


ADD, SAME, PLAIN = spec_of(add), spec_of(same), spec_of(same, cache=False)


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    assert rig.end() == []


# -- memo ------------------------------------------------------------------------------------------


def test_equal_calls_under_way_are_one_task(rig):
    futures = [rig.call(ADD, 1), rig.call(ADD, x=1), rig.call(ADD, 1, y=1)]
    assert rig.run() == 1
    assert [outcome(future) for future in futures] == [2, 2, 2]
    assert [future.from_memo for future in futures] == [False, True, True]


def test_calls_whose_inputs_turn_out_equal_are_one_task(rig):
    one, two = rig.call(PLAIN, 5), rig.call(PLAIN, 5)  # not cached: no lineage, only values
    first, second = rig.call(ADD, one), rig.call(ADD, two)
    after = rig.call(ADD, second)
    assert rig.run() == 4
    assert (outcome(first), outcome(second), outcome(after)) == (6, 6, 7)
    assert rig.idle()


def test_a_chain_is_restored_without_running_or_decoding_anything(rig, monkeypatch):
    def chain(rig):
        future = rig.call(ADD, 0)
        for _ in range(200):
            future = rig.call(ADD, future)
        return future

    chain(rig)
    assert rig.run() == 201
    later = rig.again("later")
    decoded, original = [], later.store.value
    monkeypatch.setattr(later.store, "value", lambda s: decoded.append(s) or original(s))
    future = chain(later)
    assert outcome(future) == 201
    assert later.run() == 0 and len(decoded) == 1


def test_a_hit_by_value_where_the_lineage_is_new(rig):
    rig.call(ADD, 5)
    rig.run()
    later = rig.again("later")
    future = later.call(ADD, later.call(PLAIN, 5))
    assert later.run() == 1
    assert outcome(future) == 6 and future.from_memo


def test_lookup_and_recording_can_be_switched_off_each():
    rig = Rig()
    rig.call(ADD, 1)
    rig.run()
    refreshed = rig.again("refreshed", lookup=False)
    future = refreshed.call(ADD, 1)
    assert refreshed.run() == 1 and not future.from_memo
    read_only = refreshed.again("read-only", record=False)
    read_only.call(ADD, 1)
    assert read_only.run() == 0
    read_only.call(ADD, 2)
    read_only.call(ADD, 2)
    assert read_only.run() == 1
    assert not [key for key in read_only.store if key == "x"]
    read_only.end()


def test_a_changed_argument_is_noticed_and_nothing_is_filed(rig):
    value = numpy.arange(3)
    future = rig.call(SAME, value)
    value[0] = 100
    with pytest.warns(CheckpointWarning, match="changed between the call and its execution"):
        rig.run()
    assert outcome(future)[0] == 100
    again = rig.call(SAME, numpy.arange(3))
    assert rig.run() == 1
    assert list(outcome(again)) == [0, 1, 2]


def test_a_list_changed_after_the_call_is_not_seen(rig):
    value = [1]
    future = rig.call(SAME, value)
    value.append(2)
    rig.run()
    assert outcome(future) == [1]


# -- bad input -------------------------------------------------------------------------------------


class Shy:
    def __reduce__(self):
        raise TypeError("no")


class Rude:
    def __reduce__(self):
        raise SystemExit("leaving")


def test_an_argument_that_cannot_be_identified_fails_the_future(rig):
    future = rig.call(SAME, Shy())
    assert future.done()
    with pytest.raises(UnidentifiableValueError) as caught:
        outcome(future)
    assert caught.value.app == "same" and caught.value.parameter == "x"
    assert rig.kernel.state_counts()["failed"] in (0, 1)
    rig.settle()
    assert rig.kernel.state_counts()["failed"] == 1
    assert rig.idle()


@pytest.mark.parametrize("kind", [Shy, Rude])
def test_an_input_that_cannot_be_identified_fails_the_future(rig, kind):
    source = Future()
    source.set_result(kind())
    future = rig.call(SAME, source)
    rig.run()
    assert future.exception(timeout=DEADLINE) is not None
    assert rig.idle()


def test_a_wrong_call_is_the_futures_error(rig):
    future = rig.call(ADD, 1, 2, 3)
    with pytest.raises(TypeError, match="too many positional arguments"):
        outcome(future)


def test_futures_of_other_libraries_are_waited_for(rig):
    done, later, cancelled = Future(), Future(), Future()
    done.set_result(1)
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    one, two, three = (
        rig.call(ADD, done),
        rig.call(ADD, [later][0], y=done),
        rig.call(ADD, cancelled),
    )
    assert rig.run() == 1
    assert outcome(one) == 2 and not two.done()
    assert three.exception(timeout=DEADLINE) is not None
    later.set_result(10)
    assert rig.run() == 1
    assert outcome(two) == 11


def test_a_future_that_takes_no_callback_fails_what_depends_on_it(rig):
    class Odd(Future):
        def add_done_callback(self, fn):
            raise RuntimeError("no callbacks here")

    future = rig.call(ADD, Odd())
    rig.run()
    assert "no callbacks here" in str(future.exception(timeout=DEADLINE))
    assert rig.idle()


def test_an_executor_that_cannot_launch_fails_the_task(rig, monkeypatch):
    def refuse(attempt, finished):
        raise RuntimeError("no room")

    monkeypatch.setattr(rig.manual, "launch", refuse)
    for spec in (ADD, PLAIN):
        future = rig.call(spec, 1)
        rig.settle()
        assert "no room" in str(future.exception(timeout=DEADLINE))
    assert rig.idle()


# -- depth -----------------------------------------------------------------------------------------


def test_a_chain_of_a_hundred_thousand_takes_no_stack():
    rig = Rig(mode=None)
    future = rig.call(PLAIN, 1)
    for _ in range(100_000):
        future = rig.call(PLAIN, future)
    assert rig.run() == 100_001
    assert outcome(future) == 1
    assert rig.idle()
    rig.end()


# -- races -----------------------------------------------------------------------------------------


def test_a_task_that_is_over_before_its_caller_has_entered_it_leaves_nothing(rig, monkeypatch):
    # Between entering the memo and the table another caller joins, launches and sees it finished.
    enter, others = Memo.enter, []

    def slow(memo, key, task):
        monkeypatch.undo()
        found = enter(memo, key, task)

        def other():
            others.append(rig.call(ADD, 1))
            rig.run()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(DEADLINE)
        return found

    monkeypatch.setattr(Memo, "enter", slow)
    future = rig.call(ADD, 1)
    assert outcome(future) == 2 and outcome(others[0]) == 2
    rig.settle()
    assert rig.idle() and not rig.kernel.tasks


def test_the_same_of_a_call_that_waits_for_inputs(rig, monkeypatch):
    gate = rig.call(ADD, 5)
    enter, others = Memo.enter, []

    def slow(memo, key, task):
        monkeypatch.undo()
        found = enter(memo, key, task)

        def other():
            others.append(rig.call(ADD, gate))
            rig.run()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(DEADLINE)
        return found

    monkeypatch.setattr(Memo, "enter", slow)
    future = rig.call(ADD, gate)
    assert outcome(future) == 7 and outcome(others[0]) == 7
    rig.settle()
    assert rig.idle() and not rig.kernel.tasks


def test_a_call_that_merges_with_one_that_is_over_does_not_hide_that_all_is_idle(rig, monkeypatch):
    one, two = rig.call(PLAIN, 5), rig.call(PLAIN, 5)
    first, second = rig.call(ADD, one), rig.call(ADD, two)
    rig.manual.step()
    rig.settle()
    enter = Memo.enter
    waiter = threading.Event()

    def late(memo, key, task):
        found = enter(memo, key, task)
        if found is not task:
            monkeypatch.undo()
            thread = threading.Thread(target=rig.manual.run)  # the other one finishes meanwhile
            thread.start()
            thread.join(DEADLINE)
        return found

    rig.settle()
    assert not first.done()
    rig.kernel.when_idle(waiter)
    rig.settle()
    monkeypatch.setattr(Memo, "enter", late)
    rig.manual.step()
    rig.run()
    assert (outcome(first), outcome(second)) == (6, 6)
    assert waiter.wait(DEADLINE), "nobody told it that all is done"
    assert rig.idle()


def test_joining_a_call_that_has_been_merged_gives_the_value(rig, monkeypatch):
    # It is found by lineage at the very moment when its value key shows that it is another's.
    source, other = rig.call(SAME, 5), rig.call(PLAIN, 5)
    rig.manual.step()
    rig.settle()
    rig.manual.step()
    rig.settle()
    first = rig.call(ADD, other)  # under way by value
    rig.settle()
    second = rig.call(ADD, source)  # by lineage, merges with it
    merged = second._task
    rig.settle()
    assert merged.state == "memo_done"
    joined = AppFuture(rig.kernel, 1000)
    rig.kernel.submission._join(merged, joined)
    after = rig.call(PLAIN, joined)
    rig.run()
    assert [outcome(one) for one in (first, second, joined, after)] == [6, 6, 6, 6]
    assert rig.idle()


def test_joining_a_call_that_was_cancelled_meanwhile_runs_it(rig):
    first = rig.call(ADD, 1)
    task = first._task
    assert first.cancel()
    joined = AppFuture(rig.kernel, 1000)  # another caller had found it in flight just before
    rig.kernel.submission._join(task, joined)
    rig.run()
    assert outcome(joined) == 2
    assert rig.idle()


def test_equal_calls_from_many_threads_run_once_each():
    pool = ThreadPoolExecutor(max_workers=4)
    pool.start()
    rig = Rig(executors={"threads": pool})
    ran, barrier, futures = [], threading.Barrier(4), []

    def body():
        barrier.wait(DEADLINE)
        for n in range(300):
            futures.append((n, rig.call(ADD, n)))
            futures.append((n + 1, rig.call(ADD, rig.call(ADD, n))))

    rig.kernel.events.subscribe(lambda event: ran.append((event.tid, event.state)))
    threads = [threading.Thread(target=body) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    for n, future in futures:
        assert outcome(future) == n + 1
    assert rig.ending.wait_for_tasks(DEADLINE)
    assert rig.end() == []
    done = [tid for tid, state in ran if state == "exec_done"]
    assert len(done) == len(set(done)) == 301


def test_a_task_that_calls_apps_and_waits_gets_another_worker():
    pool = ThreadPoolExecutor(max_workers=1)
    pool.start()
    rig = Rig(executors={"threads": pool})

    def nest(depth):
        return 0 if depth == 0 else 1 + rig.call(spec, depth - 1).result(timeout=DEADLINE)

    spec = spec_of(nest, cache=False)
    assert outcome(rig.call(spec, 20)) == 20
    assert rig.end() == []


# -- what is left behind ---------------------------------------------------------------------------


class Big:
    """Something that shows when it is gone."""

    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        return Big, (self.n,)


def big(n):
    return Big(n)


def alive(*kinds):
    """Ids of the objects of these types that are not garbage."""
    gc.collect()
    return {id(one) for one in gc.get_objects() if type(one) in kinds}


def ended(x):
    return None


def test_nothing_of_a_finished_task_is_kept_alive(rig):
    before = alive(Task, Big)
    spec, plain = spec_of(ended), spec_of(ended, cache=False)
    argument = Big(1)
    futures = [rig.call(spec, argument), rig.call(plain, argument), rig.call(plain, [argument])]
    futures.append(rig.call(plain, rig.call(spec_of(big), 2)))
    rig.run()
    for future in futures:
        assert outcome(future) is None
    gone = weakref.ref(argument)
    del argument
    rig.settle()
    gc.collect()
    assert gone() is None
    assert alive(Task, Big) <= before
    assert not rig.kernel.memo.inflight and not rig.kernel.tasks


def test_nothing_of_a_failed_task_but_its_error_is_kept_alive(rig):
    def fail(x):
        del x
        raise ValueError

    before = alive(Task)
    argument = Big(1)
    future = rig.call(spec_of(fail, cache=False), argument)
    after = rig.call(PLAIN, future)
    rig.run()
    assert future.exception() and after.exception()
    gone = weakref.ref(argument)
    del argument
    gc.collect()
    rig.settle()
    assert gone() is None
    assert alive(Task) <= before


@pytest.mark.parametrize("mode", ["task_exit", "manual"])
def test_results_dropped_by_the_caller_are_gone(mode):
    rig = Rig(mode=mode)
    spec, last = spec_of(big), None
    for n in range(20):
        future = rig.call(spec, n)
        rig.run()
        assert outcome(future).n == n
        last = weakref.ref(outcome(future))
        del future
    rig.settle()
    gc.collect()
    assert last() is None
    assert not [one for one in gc.get_objects() if type(one) is Big]
    rig.end()


def test_a_kernel_that_has_ended_and_is_dropped_is_gone():
    rig = Rig()
    future = rig.call(ADD, 1)
    rig.run()
    assert outcome(future) == 2
    rig.end()
    kernel = weakref.ref(rig.kernel)
    before = threading.active_count()
    del rig, future
    gc.collect()
    for _ in range(1000):
        if kernel() is None:
            break
        threading.Event().wait(0.01)
        gc.collect()
    assert kernel() is None
    assert threading.active_count() <= before
