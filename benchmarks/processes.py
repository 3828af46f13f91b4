"""What a task costs that does nothing: many at once, two processes.

The pools are warm before the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender, Measurement, Row, clock
from benchmarks.peers import parsl_processes


def noop(x: int) -> int:
    return x


def _timed(submit: Callable[[int], Any], tasks: int) -> Row:
    for future in [submit(-1 - i) for i in range(50)]:
        future.result()
    with clock() as seconds:
        for future in [submit(i) for i in range(tasks)]:
            future.result()
    return {"µs a task": seconds() / tasks * 1e6}


def bare(tasks: int, workers: int) -> Row:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        return _timed(lambda i: pool.submit(noop, i), tasks)


def with_loky(tasks: int, workers: int) -> Row:
    import loky

    with loky.ProcessPoolExecutor(workers) as pool:
        return _timed(lambda i: pool.submit(noop, i), tasks)


def with_dask(tasks: int, workers: int) -> Row:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        return _timed(lambda i: client.submit(noop, i, pure=False), tasks)


def _ours(tasks: int, workers: int, cache: bool, mode: str | None) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=cache)(noop)
    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=workers)], checkpoint_mode=mode
    )
    with pc.load(config):
        return _timed(app, tasks)


def ours_uncached(tasks: int, workers: int) -> Row:
    return _ours(tasks, workers, cache=False, mode=None)


def ours_task_exit(tasks: int, workers: int) -> Row:
    return _ours(tasks, workers, cache=True, mode="task_exit")


def parsl_without_log(tasks: int, workers: int) -> Row:
    with parsl_processes(workers, logging=False) as parsl:
        return _timed(parsl.python_app(noop), tasks)


FEWER = {"tasks": 3_000}

MEASUREMENT = Measurement(
    title="Overhead of a no-op task on two processes (Parsl and Dask: 3,000 tasks, others 20,000)",
    columns=["µs a task"],
    params={"tasks": 20_000, "workers": 2},
    quick={"tasks": 4_000},
    digits=1,
    rounds=3,
    contenders=[
        Contender("bare ProcessPoolExecutor", bare),
        Contender("loky", with_loky),
        Contender("parsl_ckpt, no cache", ours_uncached),
        Contender("parsl_ckpt, cache, task_exit", ours_task_exit),
        Contender("Dask distributed", with_dask, params=FEWER),
        Contender("Parsl HighThroughputExecutor, no log", parsl_without_log, params=FEWER),
    ],
)
