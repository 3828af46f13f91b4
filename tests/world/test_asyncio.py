"""Futures in coroutines: awaited by any number of them, in any loop, without a waiting thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

import parsl_ckpt as pc
from parsl_ckpt.testing.executors import ManualExecutor


@pc.python_app
def double(x):
    return 2 * x


@pc.python_app(cache=True)
def kept(x):
    return [x] * 3


@pc.python_app
def fail(kind):
    raise kind("no")


@pytest.fixture
def threads(tmp_path):
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=1)], run_dir=str(tmp_path / "runinfo")
    )
    with pc.load(config) as dfk:
        yield dfk


@pytest.fixture
def manual(tmp_path):
    executor = ManualExecutor()
    config = pc.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"))
    with pc.load(config):
        yield executor
        executor.run()


def test_a_future_is_awaited(threads):
    async def main():
        return await double(21)

    assert asyncio.run(main()) == 42


def test_futures_are_gathered_waited_for_and_given_as_they_complete(threads):
    async def main():
        gathered = await asyncio.gather(*[double(n) for n in range(100)])
        timely = await asyncio.wait_for(double(5), 60)
        wrapped = await asyncio.wrap_future(double(6))
        completed = [await one for one in asyncio.as_completed([double(7), double(8)])]
        return gathered, timely, wrapped, sorted(completed)

    assert asyncio.run(main()) == ([2 * n for n in range(100)], 10, 12, [14, 16])


def test_what_the_app_raised_comes_out_of_the_await(threads):
    async def main():
        with pytest.raises(ValueError, match="no"):
            await fail(ValueError)
        with pytest.raises(RuntimeError, match="StopIteration"):  # no coroutine can raise it
            await fail(StopIteration)

    asyncio.run(main())


def test_waiting_takes_no_thread(manual):
    async def main():
        futures = [double(n) for n in range(50)]
        tasks = [asyncio.ensure_future(future) for future in futures]
        await asyncio.sleep(0)  # they have begun to wait
        before = threading.active_count()
        await asyncio.sleep(0)
        assert threading.active_count() == before
        assert not any(task.done() for task in tasks)
        manual.run()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [2 * n for n in range(50)]


def test_a_hit_that_nobody_has_looked_at_is_decoded_beside_the_loop(threads, monkeypatch):
    kept(1).result()
    decoders = []
    value = threads.kernel.store.value
    monkeypatch.setattr(
        threads.kernel.store, "value", lambda s: decoders.append(threading.get_ident()) or value(s)
    )

    async def main():
        return await kept(1)

    assert asyncio.run(main()) == [1, 1, 1]
    assert decoders and threading.get_ident() not in decoders


def test_a_cancelled_coroutine_gives_up_a_call_that_has_not_begun(manual):
    async def main():
        future = double(1)
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return future

    assert asyncio.run(main()).cancelled()


def test_a_cancelled_coroutine_takes_nothing_from_another_one(manual):
    async def main():
        future = double(1)
        one, other = asyncio.ensure_future(future), asyncio.ensure_future(future)
        await asyncio.sleep(0)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        manual.run()
        return await other

    assert asyncio.run(main()) == 2


def test_a_shielded_call_goes_on(manual):
    async def main():
        future = double(4)
        task = asyncio.ensure_future(asyncio.shield(asyncio.ensure_future(future)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        manual.run()
        return await future

    assert asyncio.run(main()) == 8


def test_awaiting_a_call_that_was_cancelled_is_being_cancelled(manual):
    async def main():
        future = double(1)
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())


def test_one_future_is_awaited_in_several_loops(manual):
    future, answers = double(3), []
    begun = threading.Barrier(4)

    async def wait():
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        begun.wait(30)
        answers.append(await task)

    loops = [threading.Thread(target=asyncio.run, args=[wait()]) for _ in range(3)]
    for loop in loops:
        loop.start()
    begun.wait(30)
    manual.run()
    for loop in loops:
        loop.join(30)
    assert answers == [6, 6, 6]


def test_a_loop_that_was_closed_does_not_disturb_the_run(manual, caplog):
    future = double(3)
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.wait_for(future, None))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    manual.run()
    assert future.result(60) == 6
    assert "raised" not in caplog.text
    task.get_coro().close()


def test_a_coroutine_app_awaits_other_apps_on_the_only_worker(threads):
    @pc.python_app
    async def total(n):
        return sum(await asyncio.gather(*[double(i) for i in range(n)]))

    assert total(10).result(60) == 90


def test_a_future_of_a_future_is_not_awaited_by_mistake(threads):
    outer: Future = double(1)
    assert not asyncio.isfuture(outer)
    assert not asyncio.iscoroutine(outer)
