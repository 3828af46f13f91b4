"""What a plan of a hundred thousand calls costs: recording it, and starting it again.

Half of the calls are sources and half take two of them, so that every sink has its own way back.
"recorded" is the time inside the with block for each call; "run()" is what it takes to look all of
them up, cut the graph and begin or restore what is needed; "results" is the time until the value of
every sink has been taken. The second plan finds every sink recorded, and starts nothing.
"""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.harness import Contender, Goal, Measurement, Row, clock


def _plan(dfk: Any, calls: int) -> Row:
    import parsl_ckpt as pc

    @pc.python_app(cache=True)
    def source(n: int) -> int:
        return n

    @pc.python_app(cache=True)
    def add(a: int, b: int) -> int:
        return a + b

    row: Row = {}
    with clock() as seconds, dfk.plan() as plan:
        sources = [source(n) for n in range(calls // 2)]
        for at, one in enumerate(sources):
            add(one, sources[at - 1])
    row["recorded µs"] = seconds() / calls * 1e6
    with clock() as seconds:
        outcomes = plan.run()
    row["run() s"] = seconds()
    with clock() as seconds:
        outcomes.results()
    row["results s"] = seconds()
    row["tasks run"] = dfk.counts()["exec_done"]
    return row


def _run(directory: str, calls: int) -> Row:
    import parsl_ckpt as pc

    threads = [pc.ThreadPoolExecutor(max_workers=2)]
    config = pc.Config(run_dir=directory, checkpoint_mode="task_exit", executors=threads)
    with pc.load(config) as dfk:
        return _plan(dfk, calls)


def first(calls: int) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        return _run(directory, calls)


def again(calls: int) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        _run(directory, calls)
        row = _run(directory, calls)
    assert row["tasks run"] == 0
    return row


RESTART = "again, every sink recorded"

MEASUREMENT = Measurement(
    title="A plan of 100,000 calls on a kernel (--quick: a tenth)",
    columns=["recorded µs", "run() s", "results s", "tasks run"],
    params={"calls": 100_000},
    quick={"calls": 10_000},
    rounds=3,
    aim="recorded at 30 µs a call; a restart begins nothing and returns within 2 s",
    goals=[
        Goal("recording a call", RESTART, "recorded µs", at_most=30, unit=" µs"),
        Goal("restarting the plan", RESTART, "run() s", at_most=2, unit=" s"),
    ],
    contenders=[Contender("first, nothing recorded", first), Contender(RESTART, again)],
)
