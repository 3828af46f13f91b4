"""What a memo hit costs: a call whose result is known, with the look at its result.

Every call is of another argument, each computed once before the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender, Measurement, Row, clock
from benchmarks.peers import parsl_threads


def double(x: int) -> int:
    return x * 2


def _timed(call: Callable[[int], Any], hits: int) -> Row:
    for i in range(hits):
        call(i)
    with clock() as seconds:
        for i in range(hits):
            call(i)
    return {"µs a hit": seconds() / hits * 1e6}


def ours(hits: int) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(double)
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode="task_exit"
    )
    with pc.load(config):
        return _timed(lambda i: app(i).result(), hits)


def prepare_restored(hits: int, prepared: str) -> None:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(double)
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)],
        checkpoint_mode="task_exit",
        run_dir=prepared,
    )
    with pc.load(config):
        for future in [app(i) for i in range(hits)]:
            future.result()


def ours_restored(hits: int, prepared: str) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(double)
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)],
        checkpoint_mode="task_exit",
        run_dir=prepared,
    )
    with pc.load(config) as dfk:
        app(0).result()
        with clock() as seconds:
            for i in range(hits):
                app(i).result()
    if dfk.counts()["exec_done"]:
        raise RuntimeError("tasks were run that should have been restored")
    return {"µs a hit": seconds() / hits * 1e6}


def with_diskcache(hits: int) -> Row:
    import diskcache

    with diskcache.Cache("cache") as cache:
        return _timed(cache.memoize()(double), hits)


def with_joblib(hits: int) -> Row:
    import joblib

    return _timed(joblib.Memory("cache", verbose=0).cache(double), hits)


def _parsl(hits: int, logging: bool) -> Row:
    with parsl_threads(2, logging=logging) as parsl:
        app = parsl.python_app(double, cache=True)
        return _timed(lambda i: app(i).result(), hits)


def parsl_as_it_comes(hits: int) -> Row:
    return _parsl(hits, logging=True)


def parsl_without_log(hits: int) -> Row:
    return _parsl(hits, logging=False)


FEWER = {"hits": 3_000}

MEASUREMENT = Measurement(
    title="Latency of a memo hit, the result included (Parsl and joblib: 3,000, others 20,000)",
    columns=["µs a hit"],
    params={"hits": 20_000},
    quick={"hits": 5_000},
    digits=1,
    aim="at most 10 µs",
    rounds=3,
    contenders=[
        Contender("parsl_ckpt", ours),
        Contender("parsl_ckpt, from an earlier run", ours_restored, prepare=prepare_restored),
        Contender("diskcache memoize", with_diskcache),
        Contender("joblib.Memory", with_joblib, params=FEWER),
        Contender("Parsl", parsl_as_it_comes, params=FEWER),
        Contender("Parsl, no log", parsl_without_log, params=FEWER),
    ],
)
