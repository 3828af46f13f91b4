"""Futures: the standard library's contract, laziness, callbacks."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import pickle
import threading

import pytest

from parsl_ckpt.errors import KernelError, UnreadableRecordError
from parsl_ckpt.kernel.strand import WAKE_SECONDS
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of


def double(x):
    return x * 2


def fail(x):
    raise ValueError(x)


def table():
    return {"a": [1], "b": [2], "n": 3}


def same(x):
    return x


DOUBLE, FAIL, TABLE, SAME = spec_of(double), spec_of(fail), spec_of(table), spec_of(same)


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.end()


def restored(rig, *calls):
    """A later run in which those calls are hits, and the futures of them."""
    for spec, *args in calls:
        rig.call(spec, *args)
    rig.run()
    later = rig.again("later")
    return later, [later.call(spec, *args) for spec, *args in calls]


def decodes(rig, monkeypatch, damage=lambda n: False):
    """Count what the store decodes; ``damage(n)`` says whether the n-th is unreadable."""
    made, original = [], rig.store.value

    def value(stored):
        made.append(stored)
        if damage(len(made)):
            raise UnreadableRecordError("It is damaged.")
        return original(stored)

    monkeypatch.setattr(rig.store, "value", value)
    return made


# -- the contract of concurrent.futures ------------------------------------------------------------


def test_a_future_goes_from_pending_to_done(rig):
    future = rig.call(DOUBLE, 2)
    assert not future.done() and not future.running() and not future.cancelled()
    assert future.task_status() == "launched"
    rig.run()
    assert future.done() and future.task_status() == "exec_done"
    assert future.result() == 4 and future.exception() is None
    assert not future.from_memo


@pytest.mark.parametrize("wait", ["result", "exception"])
def test_who_waits_wakes_now_and_then_to_see_a_signal_that_came_too_early(rig, monkeypatch, wait):
    # Python notes a signal between two bytecodes; the last of these is before the thread sleeps.
    future = rig.call(DOUBLE, 2)
    asked = []

    def fall_asleep(self, timeout=None):
        asked.append(timeout)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(threading.Condition, "wait", fall_asleep)
    with pytest.raises(KeyboardInterrupt):
        getattr(future, wait)()
    assert asked == [WAKE_SECONDS] * 3
    monkeypatch.undo()
    rig.run()
    assert future.result() == 4


def test_a_wait_with_a_limit_ends_by_it(rig):
    future = rig.call(DOUBLE, 2)
    for limit in (0, -1, 0.01):
        with pytest.raises(cf.TimeoutError):
            future.result(limit)


def test_an_error_is_raised_and_given(rig):
    future = rig.call(FAIL, "no")
    rig.run()
    with pytest.raises(ValueError, match="no"):
        future.result()
    assert isinstance(future.exception(), ValueError)
    assert future.task_status() == "failed"


@pytest.mark.parametrize("look", ["result", "exception"])
def test_waiting_ends_after_the_timeout(rig, look):
    future = rig.call(DOUBLE, 2)
    with pytest.raises(cf.TimeoutError):
        getattr(future, look)(timeout=0)
    rig.run()
    assert future.result(timeout=0) == 4


def test_many_threads_may_wait_at_once(rig):
    future, values = rig.call(DOUBLE, 2), []
    threads = [threading.Thread(target=lambda: values.append(outcome(future))) for _ in range(8)]
    for thread in threads:
        thread.start()
    rig.run()
    for thread in threads:
        thread.join(DEADLINE)
    assert values == [4] * 8


def test_the_standard_librarys_wait_and_as_completed_work(rig):
    futures = [rig.call(DOUBLE, n) for n in range(5)] + [rig.call(FAIL, 9)]
    done, pending = cf.wait(futures, timeout=0)
    assert not done and len(pending) == 6
    runner = threading.Thread(target=rig.run)
    runner.start()
    assert set(cf.as_completed(futures, timeout=DEADLINE)) == set(futures)
    done, pending = cf.wait(futures, timeout=DEADLINE, return_when=cf.FIRST_EXCEPTION)
    assert futures[-1] in done
    runner.join(DEADLINE)


def test_asyncio_waits_for_it(rig):
    async def main():
        future = rig.call(DOUBLE, 21)
        wrapped = asyncio.wrap_future(future)
        await asyncio.get_running_loop().run_in_executor(None, rig.run)
        return await wrapped

    assert asyncio.run(main()) == 42


def test_it_is_the_kernels_alone_to_finish(rig):
    future = rig.call(DOUBLE, 1)
    for attempt in (
        lambda: future.set_result(1),
        lambda: future.set_exception(ValueError()),
        future.set_running_or_notify_cancel,
    ):
        with pytest.raises(cf.InvalidStateError):
            attempt()


def test_it_cannot_be_pickled_nor_iterated(rig):
    future = rig.call(DOUBLE, 1)
    with pytest.raises(KernelError, match="cannot be pickled"):
        pickle.dumps(future)
    with pytest.raises(TypeError, match=r"Iterate over its result\(\)"):
        iter(future)


# -- callbacks -------------------------------------------------------------------------------------


def test_callbacks_run_in_the_order_in_which_they_were_added(rig):
    future, order, done = rig.call(DOUBLE, 1), [], threading.Event()
    for n in range(5):
        future.add_done_callback(lambda f, n=n: order.append(n))
    future.add_done_callback(lambda f: done.set())
    rig.run()
    assert done.wait(DEADLINE)
    assert order == [0, 1, 2, 3, 4]
    future.add_done_callback(lambda f: order.append(f.result()))
    assert order[-1] == 2, "of a future that is done, at once"


def test_callbacks_may_raise_block_and_call_apps(rig, caplog):
    gate, done, later = threading.Event(), threading.Event(), []

    def bad(future):
        raise RuntimeError("in a callback")

    def calls(future):
        later.append(rig.call(DOUBLE, future.result()))
        done.set()
        gate.wait(DEADLINE)

    one, other = rig.call(DOUBLE, 1), rig.call(DOUBLE, 10)
    one.add_done_callback(bad)
    one.add_done_callback(calls)
    rig.run()
    assert done.wait(DEADLINE)
    assert outcome(other) == 20, "a callback that blocks delays no one"
    rig.run()
    assert outcome(later[0]) == 4
    gate.set()
    assert "in a callback" in caplog.text


def test_all_futures_of_a_batch_are_done_before_a_callback_runs(rig):
    one, two = rig.call(DOUBLE, 1), rig.call(DOUBLE, 1)
    seen, done = [], threading.Event()
    one.add_done_callback(lambda f: (seen.append(two._phase), done.set()))
    rig.run()
    assert done.wait(DEADLINE)
    assert seen == ["FINISHED"]


# -- cancelling ------------------------------------------------------------------------------------


def test_what_has_not_begun_can_be_cancelled(rig):
    future = rig.call(DOUBLE, 1)
    told = threading.Event()
    future.add_done_callback(lambda f: told.set())
    assert future.cancel() and future.cancel()
    assert future.cancelled() and future.done() and future.task_status() == "cancelled"
    assert told.wait(DEADLINE)
    assert rig.run() == 0
    with pytest.raises(cf.CancelledError):
        future.result()
    assert cf.wait([future], timeout=0).done == {future}
    assert rig.idle()


def test_what_waits_for_its_inputs_can_be_cancelled(rig):
    first = rig.call(DOUBLE, 1)
    second = rig.call(DOUBLE, first)
    assert second.cancel()
    assert rig.run() == 1
    assert first.result() == 2


def test_what_has_begun_or_is_done_cannot_be_cancelled(rig):
    future = rig.call(DOUBLE, 1)
    attempt, finished = rig.manual.waiting[0]
    assert attempt.claim()
    assert future.running()
    assert not future.cancel()
    finished(attempt, 2, None)
    assert future.result() == 2
    assert not future.cancel()


def test_cancelling_one_of_equal_calls_leaves_the_other(rig):
    one, two = rig.call(DOUBLE, 1), rig.call(DOUBLE, 1)
    assert one.cancel()
    assert rig.run() == 1
    assert two.result() == 2 and one.cancelled()


def test_dependants_of_what_was_cancelled_fail(rig):
    first = rig.call(DOUBLE, 1)
    second = rig.call(DOUBLE, first)
    assert first.cancel()
    rig.run()
    assert isinstance(second.exception(timeout=DEADLINE).__cause__, cf.CancelledError)


@pytest.mark.filterwarnings("ignore::parsl_ckpt.kernel.problems.CheckpointWarning")
def test_cancelling_after_the_end_answers():
    rig = Rig()
    future = rig.call(DOUBLE, 1)
    attempt, finished = rig.manual.waiting[0]
    attempt.claim()  # runs on beyond the grace
    rig.end(grace=0)
    assert not future.cancel()
    finished(attempt, 2, None)
    assert outcome(future) == 2
    assert future.cancel() is False


# -- laziness --------------------------------------------------------------------------------------


def test_a_hit_is_decoded_once_and_only_when_someone_looks(rig, monkeypatch):
    later, (future,) = restored(rig, (TABLE,))
    made = decodes(later, monkeypatch)
    assert future.from_memo and future.task_status() == "memo_done"
    assert not made
    assert future.result() == table()
    assert future.result() is future.result()
    assert len(made) == 1


def test_each_hit_has_its_own_value(rig):
    _, (one, two) = restored(rig, (TABLE,), (TABLE,))
    one.result()["a"].append("changed")
    assert two.result() == table()


@pytest.mark.parametrize(
    "look",
    [
        lambda f: f.done(),
        lambda f: f.result(),
        lambda f: f.exception(),
        lambda f: cf.wait([f], timeout=DEADLINE),
        lambda f: next(cf.as_completed([f], timeout=DEADLINE)),
        lambda f: f.add_done_callback(lambda f: None),
        lambda f: f.cancel(),
    ],
)
def test_every_look_decodes(rig, monkeypatch, look):
    later, (future,) = restored(rig, (TABLE,))
    made = decodes(later, monkeypatch)
    look(future)
    assert len(made) == 1
    assert future.result() == table() and future.from_memo
    assert len(made) == 1


def test_threads_that_look_at_once_see_one_value(rig, monkeypatch):
    later, (future,) = restored(rig, (TABLE,))
    barrier, values, original = threading.Barrier(4), [], later.store.value

    def slow(stored):
        value = original(stored)
        barrier.wait(DEADLINE)  # all four are in here at once
        return value

    monkeypatch.setattr(later.store, "value", slow)
    threads = [threading.Thread(target=lambda: values.append(future.result())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(values) == 4 and len({id(value) for value in values}) == 1


@pytest.mark.filterwarnings("ignore::parsl_ckpt.kernel.problems.CheckpointWarning")
class TestFalseHits:
    """A record that does not decode is a miss, found out before anyone sees the future done."""

    def test_it_is_pending_and_computed(self, rig, monkeypatch):
        later, (future,) = restored(rig, (TABLE,))
        decodes(later, monkeypatch, damage=lambda n: n == 1)
        assert not future.done()
        assert not future.from_memo
        assert later.run() == 1
        assert outcome(future) == table() and future.task_status() == "exec_done"
        assert later.idle()

    def test_result_waits_for_the_computation(self, rig, monkeypatch):
        later, (future,) = restored(rig, (TABLE,))
        decodes(later, monkeypatch, damage=lambda n: n == 1)
        values = []
        reader = threading.Thread(target=lambda: values.append(outcome(future)))
        reader.start()
        while reader.is_alive():
            later.run()
        assert values == [table()]

    def test_threads_that_look_at_once_compute_it_once(self, rig, monkeypatch):
        later, (future,) = restored(rig, (TABLE,))
        barrier = threading.Barrier(4)

        def damaged(stored):
            barrier.wait(DEADLINE)
            raise UnreadableRecordError("It is damaged.")

        monkeypatch.setattr(later.store, "value", damaged)
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(future.done())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert seen == [False] * 4
        assert later.run() == 1
        assert outcome(future) == table()
        assert later.idle()

    @pytest.mark.parametrize("consumer", ["cached", "plain"])
    def test_what_depends_on_it_waits_for_the_computation(self, rig, monkeypatch, consumer):
        later, (future,) = restored(rig, (TABLE,))
        decodes(later, monkeypatch, damage=lambda n: n <= 2)
        spec = SAME if consumer == "cached" else spec_of(same, cache=False)
        dependant = later.call(spec, future)
        assert later.run() == 2
        assert outcome(dependant) == outcome(future) == table()
        assert later.idle()

    def test_a_part_of_it_waits_too(self, rig, monkeypatch):
        later, (future,) = restored(rig, (TABLE,))
        decodes(later, monkeypatch, damage=lambda n: n == 1)
        part = future["n"]
        assert not part.done()
        assert later.run() == 1
        assert outcome(part) == 3
        assert later.idle()

    def test_after_the_end_it_fails_instead_of_hanging(self, rig, monkeypatch):
        later, (future,) = restored(rig, (TABLE,))
        decodes(later, monkeypatch, damage=lambda n: True)
        later.end()
        assert future.exception(timeout=DEADLINE) is not None

    def test_standard_waits_do_not_report_it_done(self, rig, monkeypatch):
        # A call that was entered turns out to be recorded, while someone waits for it already.
        first = rig.call(DOUBLE, 5)
        rig.run()
        later = rig.again("later")
        gate = later.call(spec_of(same, cache=False), 5)
        future = later.call(DOUBLE, gate)  # its key is known when the gate is
        decodes(later, monkeypatch, damage=lambda n: n == 1)
        waiter, woken = [], threading.Event()

        def wait():
            waiter.append(cf.wait([future], timeout=DEADLINE))
            woken.set()

        thread = threading.Thread(target=wait)
        thread.start()
        while not future._waiters:
            threading.Event().wait(0.001)
        ran = 0
        while not woken.is_set():
            ran += later.run()
        thread.join(DEADLINE)
        assert ran == 2, "the gate, and the call whose record is damaged"
        assert waiter[0].done == {future} and outcome(future) == first.result() == 10


# -- parts -----------------------------------------------------------------------------------------


def test_parts_are_futures_of_items_and_attributes(rig):
    future = rig.call(TABLE)
    item, nested, attribute = future["n"], future["a"][0], future["n"].real
    rig.run()
    assert (outcome(item), outcome(nested), outcome(attribute)) == (3, 1, 3)


def test_names_with_an_underscore_are_not_parts(rig):
    future = rig.call(TABLE)
    with pytest.raises(AttributeError, match="_hidden"):
        _ = future._hidden
    assert not hasattr(future, "__len__")


def test_a_part_that_does_not_exist_is_the_parts_error(rig):
    future = rig.call(TABLE)
    part = future["missing"]
    rig.run()
    assert isinstance(part.exception(timeout=DEADLINE), KeyError)
    assert outcome(future) == table()


def test_different_parts_are_different_arguments(rig):
    future = rig.call(TABLE)
    first = rig.call(SAME, future["a"])
    rig.run()
    whole, second = rig.call(SAME, future), rig.call(SAME, future["b"])
    rig.run()
    assert (outcome(first), outcome(second), outcome(whole)) == ([1], [2], table())


def test_parts_of_restored_values_are_hits_that_decode_nothing(rig, monkeypatch):
    future = rig.call(TABLE)
    rig.call(SAME, future["a"])
    rig.call(SAME, future["b"])
    rig.run()
    later = rig.again("later")
    made = decodes(later, monkeypatch)
    future = later.call(TABLE)
    first, second = later.call(SAME, future["a"]), later.call(SAME, future["b"])
    assert later.run() == 0 and not made
    assert (outcome(first), outcome(second)) == ([1], [2])


@pytest.mark.parametrize("cache", [True, False])
def test_what_takes_a_missing_part_of_a_restored_value_fails(rig, cache):
    later, (future,) = restored(rig, (TABLE,))
    dependant = later.call(spec_of(same, cache=cache), future["missing"])
    assert later.run() == 0
    assert isinstance(dependant.exception(timeout=DEADLINE).__cause__, KeyError)


def test_a_part_that_a_future_names(rig):
    later, (future, name) = restored(rig, (TABLE,), (SAME, "n"))
    assert later.run() == 0
    part, nested = future[name], later.call(SAME, {(1, 2): "x"})[(1, later.call(SAME, 2))]
    later.run()
    assert outcome(part) == 3 and outcome(nested) == "x"


def test_a_part_reaches_a_cached_task_as_it_was_recorded(rig):
    future = rig.call(TABLE)
    rig.run()
    future.result()["a"].append("by the caller")
    dependant = rig.call(SAME, future["a"])
    rig.run()
    assert outcome(dependant) == [1]
