"""What a task costs that does nothing: many at once, two threads.

All calls are made, then all results are waited for.
"""

from __future__ import annotations

from benchmarks.harness import Contender, Goal, Measurement, Row, clock
from benchmarks.peers import parsl_threads


def noop(x: int) -> int:
    return x


def bare(tasks: int, threads: int) -> Row:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(noop, i) for i in range(200)]:
            future.result()
        with clock() as seconds:
            for future in [pool.submit(noop, i) for i in range(tasks)]:
                future.result()
    return {"µs a task": seconds() / tasks * 1e6}


def _ours(tasks: int, threads: int, cache: bool, mode: str | None, logging: bool = True) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=cache)(noop)
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=threads)], checkpoint_mode=mode,
        initialize_logging=logging,
    )  # fmt: skip
    with pc.load(config):
        for future in [app(-i) for i in range(1, 200)]:
            future.result()
        with clock() as seconds:
            for future in [app(i) for i in range(tasks)]:
                future.result()
    return {"µs a task": seconds() / tasks * 1e6}


def ours_uncached(tasks: int, threads: int) -> Row:
    return _ours(tasks, threads, cache=False, mode=None)


def ours_without_log(tasks: int, threads: int) -> Row:
    return _ours(tasks, threads, cache=False, mode=None, logging=False)


def ours_under_parsls_names(tasks: int, threads: int) -> Row:
    import parsl_ckpt.compat.parsl as parsl

    executor = parsl.ThreadPoolExecutor(max_threads=threads)
    with parsl.load(parsl.Config(executors=[executor])):
        app = parsl.python_app(noop)
        for future in [app(-i) for i in range(1, 200)]:
            future.result()
        with clock() as seconds:
            for future in [app(i) for i in range(tasks)]:
                future.result()
    return {"µs a task": seconds() / tasks * 1e6}


def ours_cached(tasks: int, threads: int) -> Row:
    return _ours(tasks, threads, cache=True, mode=None)


def ours_task_exit(tasks: int, threads: int) -> Row:
    return _ours(tasks, threads, cache=True, mode="task_exit")


def _parsl(tasks: int, threads: int, cache: bool, mode: str | None, logging: bool) -> Row:
    with parsl_threads(threads, logging=logging, checkpoint=mode) as parsl:
        app = parsl.python_app(noop, cache=cache)
        for future in [app(-i) for i in range(1, 200)]:
            future.result()
        with clock() as seconds:
            for future in [app(i) for i in range(tasks)]:
                future.result()
    return {"µs a task": seconds() / tasks * 1e6}


def parsl_as_it_comes(tasks: int, threads: int) -> Row:
    return _parsl(tasks, threads, cache=False, mode=None, logging=True)


def parsl_without_log(tasks: int, threads: int) -> Row:
    return _parsl(tasks, threads, cache=False, mode=None, logging=False)


def parsl_task_exit(tasks: int, threads: int) -> Row:
    return _parsl(tasks, threads, cache=True, mode="task_exit", logging=False)


FEWER = {"tasks": 5_000}

MEASUREMENT = Measurement(
    title="Overhead of a no-op task on two threads (Parsl: 5,000 tasks, others 50,000)",
    columns=["µs a task"],
    params={"tasks": 50_000, "threads": 2},
    quick={"tasks": 10_000},
    digits=1,
    aim="without cache no dearer than the bare pool; with cache and task_exit at most 1.5 times",
    goals=[
        Goal(
            "the log of a run costs a task",
            "parsl_ckpt, no cache",
            "µs a task",
            at_most=1.05,
            of="parsl_ckpt, no cache, no log",
        ),
    ],
    rounds=3,
    contenders=[
        Contender("bare ThreadPoolExecutor", bare),
        Contender("parsl_ckpt, no cache", ours_uncached),
        Contender("parsl_ckpt, no cache, no log", ours_without_log),
        Contender("parsl_ckpt.compat.parsl, no cache", ours_under_parsls_names),
        Contender("parsl_ckpt, cache", ours_cached),
        Contender("parsl_ckpt, cache, task_exit", ours_task_exit),
        Contender("Parsl, no cache", parsl_as_it_comes, params=FEWER),
        Contender("Parsl, no cache, no log", parsl_without_log, params=FEWER),
        Contender("Parsl, cache, task_exit, no log", parsl_task_exit, params=FEWER),
    ],
)
