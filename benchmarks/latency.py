"""What one call at a time costs: call, wait for the result, call the next; two threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender, Measurement, Row, clock
from benchmarks.peers import parsl_threads


def noop(x: int) -> int:
    return x


def _timed(call: Callable[[int], Any], calls: int) -> Row:
    for i in range(100):
        call(-1 - i)
    with clock() as seconds:
        for i in range(calls):
            call(i)
    return {"µs a call": seconds() / calls * 1e6}


def bare(calls: int) -> Row:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        return _timed(lambda i: pool.submit(noop, i).result(), calls)


def _ours(calls: int, cache: bool, mode: str | None) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=cache)(noop)
    config = pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode=mode)
    with pc.load(config):
        return _timed(lambda i: app(i).result(), calls)


def ours_uncached(calls: int) -> Row:
    return _ours(calls, cache=False, mode=None)


def ours_task_exit(calls: int) -> Row:
    return _ours(calls, cache=True, mode="task_exit")


def parsl_without_log(calls: int) -> Row:
    with parsl_threads(2, logging=False) as parsl:
        app = parsl.python_app(noop)
        return _timed(lambda i: app(i).result(), calls)


def parsl_task_exit(calls: int) -> Row:
    with parsl_threads(2, logging=False, checkpoint="task_exit") as parsl:
        app = parsl.python_app(noop, cache=True)
        return _timed(lambda i: app(i).result(), calls)


FEWER = {"calls": 2_000}

MEASUREMENT = Measurement(
    title="One call at a time, each waited for (Parsl: 2,000 calls, others 10,000)",
    columns=["µs a call"],
    params={"calls": 10_000},
    quick={"calls": 3_000},
    digits=1,
    rounds=3,
    contenders=[
        Contender("bare ThreadPoolExecutor", bare),
        Contender("parsl_ckpt, no cache", ours_uncached),
        Contender("parsl_ckpt, cache, task_exit", ours_task_exit),
        Contender("Parsl, no cache, no log", parsl_without_log, params=FEWER),
        Contender("Parsl, cache, task_exit, no log", parsl_task_exit, params=FEWER),
    ],
)
