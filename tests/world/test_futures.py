"""Futures with what others wait for futures with: concurrent.futures, tqdm, callbacks."""

from __future__ import annotations

import concurrent.futures as cf
import io
import queue
import threading

import pytest

import parsl_ckpt as pc


@pc.python_app(cache=True)
def double(x):
    return 2 * x


@pc.python_app
def fail():
    raise ValueError("no")


@pytest.fixture
def dfk(tmp_path):
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)], run_dir=str(tmp_path / "runinfo")
    )
    with pc.load(config) as kernel:
        yield kernel


def test_as_completed_gives_each_once_hits_and_failures_too(dfk):
    double(0).result()
    futures = [double(n) for n in range(20)] + [fail()]
    given = list(cf.as_completed(futures, timeout=60))
    assert sorted(map(id, given)) == sorted(map(id, futures))
    assert {future.result() for future in given if future.exception() is None} == set(
        range(0, 40, 2)
    )


def test_as_completed_mixes_them_with_futures_of_other_pools(dfk):
    with cf.ThreadPoolExecutor(1) as pool:
        futures = [double(1), pool.submit(pow, 2, 5)]
        assert sorted(f.result() for f in cf.as_completed(futures, timeout=60)) == [2, 32]


def test_wait_tells_the_done_from_the_others(dfk):
    gate = threading.Event()

    @pc.python_app
    def held():
        gate.wait(60)
        return "held"

    one, two = double(1), held()
    done, others = cf.wait([one, two], timeout=60, return_when=cf.FIRST_COMPLETED)
    assert (done, others) == ({one}, {two})
    gate.set()
    done, others = cf.wait([one, two], timeout=60)
    assert (done, others) == ({one, two}, set())
    failed = fail()
    done, _ = cf.wait([failed], timeout=60, return_when=cf.FIRST_EXCEPTION)
    assert done == {failed}


def test_callbacks_are_called_once_and_may_call_apps(dfk):
    called: queue.SimpleQueue[int] = queue.SimpleQueue()
    first = double(3)
    first.add_done_callback(lambda future: called.put(double(future.result()).result()))
    assert called.get(timeout=60) == 12
    first.add_done_callback(lambda future: called.put(future.result()))  # at once
    assert called.get_nowait() == 6


def test_futures_of_apps_are_arguments_of_another_pool_as_results(dfk):
    with cf.ThreadPoolExecutor(1) as pool:
        assert pool.submit(sum, [double(n).result() for n in range(4)]).result(60) == 12
        assert double(pool.submit(pow, 2, 3)).result(60) == 16


def test_tqdm_counts_futures_as_they_complete(dfk):
    tqdm = pytest.importorskip("tqdm").tqdm
    told = io.StringIO()
    futures = [double(n) for n in range(10)]
    with tqdm(cf.as_completed(futures), total=10, file=told, mininterval=0) as bar:
        assert sorted(future.result() for future in bar) == list(range(0, 20, 2))
    assert "10/10" in told.getvalue()


def test_tqdm_counts_what_map_gives(dfk):
    tqdm = pytest.importorskip("tqdm").tqdm
    told = io.StringIO()
    assert list(tqdm(double.map(range(5)), total=5, file=told)) == [0, 2, 4, 6, 8]
    assert "5/5" in told.getvalue()


def test_a_future_is_generic_at_run_time_too():
    assert pc.AppFuture[int] is not None
    assert issubclass(pc.AppFuture, cf.Future)
