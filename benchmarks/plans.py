"""What a plan costs: a job of a million tasks and three million edges, built, cut, forecast.

Each task takes from three earlier ones, up to 500 back or, one time in ten, from anywhere: so the
numbers jump about in memory as they do in a real graph. "half of it there" has every second task
persisted at random, "sinks there" every sink (nothing else is kept), "all but the sinks there" the
opposite, and "nothing there" walks the whole job. The memory is the peak of the process, the job
and its names included.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.harness import Contender, Goal, Measurement, Row, clock, peak


def _job(tasks: int) -> Any:
    from parsl_ckpt.plan import JobBuilder

    rng = random.Random(1)
    builder = JobBuilder()
    for n in range(tasks):
        name = builder.task(f"task-{n}")
        for _ in range(min(n, 3)):
            back = n - 1 - rng.randrange(min(n, 500)) if rng.random() < 0.9 else rng.randrange(n)
            builder.edge(f"task-{back}", (name, "parts"))
    return builder


def build(tasks: int) -> Row:
    builder = _job(tasks)
    with clock() as seconds:
        builder.build()
    return {"s": seconds(), "peak MB": peak()}


def _trim(tasks: int, choose: Any) -> Row:
    from parsl_ckpt.plan import trim

    job = _job(tasks).build()
    persisted = choose(job)
    with clock() as seconds:
        found = trim(job, persisted)
    assert len(found.job) + len(found.cut) == tasks
    return {"s": seconds(), "peak MB": peak()}


def nothing(tasks: int) -> Row:
    return _trim(tasks, lambda job: [])


def half(tasks: int) -> Row:
    rng = random.Random(2)
    return _trim(tasks, lambda job: [name for name in job.tasks if rng.random() < 0.5])


def one_in_a_hundred(tasks: int) -> Row:
    rng = random.Random(2)
    return _trim(tasks, lambda job: [name for name in job.tasks if rng.random() < 0.01])


def sinks(tasks: int) -> Row:
    return _trim(tasks, lambda job: [want.task for want in job.requested])


def all_but_sinks(tasks: int) -> Row:
    def inner(job: Any) -> list[str]:
        wanted = {want.task for want in job.requested}
        return [name for name in job.tasks if name not in wanted]

    return _trim(tasks, inner)


def foreseen(tasks: int) -> Row:
    from parsl_ckpt.plan import forecast

    job = _job(tasks).build()
    with clock() as seconds:
        forecast(job, lambda name: float(len(name)), 64)
    return {"s": seconds(), "peak MB": peak()}


def to_json(tasks: int) -> Row:
    job = _job(tasks).build()
    with clock() as seconds:
        job.to_json()
    return {"s": seconds(), "peak MB": peak()}


def from_json(tasks: int) -> Row:
    from parsl_ckpt.plan import Job

    text = _job(tasks).build().to_json()
    with clock() as seconds:
        Job.from_json(text)
    return {"s": seconds(), "peak MB": peak()}


WORST = "trim, one in a hundred there"

MEASUREMENT = Measurement(
    title="A job of a million tasks and three million edges (--quick: a tenth)",
    columns=["s", "peak MB"],
    params={"tasks": 1_000_000},
    quick={"tasks": 100_000},
    rounds=3,
    aim="a million tasks and three million edges trimmed in 3 s and 1 GB",
    goals=[
        Goal("trimming a million tasks", WORST, "s", at_most=3, unit=" s"),
        Goal("memory for that", WORST, "peak MB", at_most=1000, unit=" MB"),
    ],
    contenders=[
        Contender(WORST, one_in_a_hundred),
        Contender("trim, nothing there", nothing),
        Contender("trim, half of it there", half),
        Contender("trim, sinks there", sinks),
        Contender("trim, all but the sinks there", all_but_sinks),
        Contender("build and check", build, rounds=1),
        Contender("forecast for 64 workers", foreseen, rounds=1),
        Contender("to JSON", to_json, rounds=1),
        Contender("from JSON", from_json, rounds=1),
    ],
)
