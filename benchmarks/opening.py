"""What it costs to open what earlier runs have left: one that died, and a hundred that ended.

A run that dies leaves a segment without its index, which the next run walks once. "a hundred runs"
are of ten thousand records each. Beside it, what Parsl does with as many records.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

from benchmarks.harness import Contender, Goal, Measurement, Row, clock, copied, memory
from benchmarks.peers import parsl_threads

RUNS = 100


def prepare_died(records: int, prepared: str) -> None:
    from parsl_ckpt.checkpoint.store import Store

    child = os.fork()
    if child == 0:
        try:
            store = Store.open(
                f"{prepared}/runinfo/000/checkpoint", rotate_records=1 << 40, rotate_bytes=1 << 60
            )
            value = os.urandom(100)
            for start in range(0, records, 1000):
                store.append([store.entry(n, value) for n in range(start, start + 1000)])
        finally:
            os._exit(0)  # nothing is sealed
    os.waitpid(child, 0)


def prepare_many(records: int, prepared: str) -> None:
    from parsl_ckpt.checkpoint.store import Store

    each = records // RUNS
    value = os.urandom(100)
    for run in range(RUNS):
        with Store.open(f"{prepared}/runinfo/{run:03d}/checkpoint") as store:
            for start in range(run * each, (run + 1) * each, 1000):
                numbers = range(start, min(start + 1000, (run + 1) * each))
                store.append([store.entry(n, value) for n in numbers])


def prepare_parsl(records: int, prepared: str) -> None:
    import parsl  # noqa: F401  (absent: say so before writing a million records)

    with (Path(prepared) / "tasks.pkl").open("wb") as file:
        for i in range(records):
            key = hashlib.md5(str(i).encode()).hexdigest()
            pickle.dump({"hash": key, "exception": None, "result": i * 2}, file)


def died(records: int, prepared: str) -> Row:
    from parsl_ckpt.checkpoint.store import Store

    copied(prepared, "runinfo")
    before = memory()
    with clock() as seconds:
        store = Store.open("runinfo/001/checkpoint", sources=["runinfo/000/checkpoint"])
    with store:
        store.put("mine", 1)
        return _row(seconds(), before, store.get(records // 2))


def died_again(records: int, prepared: str) -> Row:
    """The run after the one that walked: the index was kept."""
    from parsl_ckpt.checkpoint.store import Store

    died(records, prepared)
    before = memory()
    sources = ["runinfo/000/checkpoint", "runinfo/001/checkpoint"]
    with clock() as seconds:
        store = Store.open("runinfo/002/checkpoint", sources=sources)
    with store:
        return _row(seconds(), before, store.get(records // 2))


def many(records: int, prepared: str) -> Row:
    """A whole program's start: its configuration loaded, all runs found and opened."""
    import parsl_ckpt as pc

    with pc.load(pc.Config(run_dir="empty", checkpoint_mode="task_exit")):
        pass
    copied(prepared, "runinfo")
    before = memory()
    with clock() as seconds:
        dfk = pc.load(pc.Config(run_dir="runinfo", checkpoint_mode="task_exit"))
    with dfk:
        return _row(seconds(), before, dfk.kernel.store.get(records // 2))


def _row(seconds: float, before: float, found: object) -> Row:
    if found is None:
        raise RuntimeError("the record was not found")
    return {"ms": seconds * 1e3, "MB": memory() - before}


def with_parsl(records: int, prepared: str) -> Row:
    with parsl_threads(2, logging=False):
        pass
    before = memory()
    with clock() as seconds, parsl_threads(2, logging=False, files=[prepared]):
        elapsed = seconds()
        loaded = memory() - before
    return {"ms": elapsed * 1e3, "MB": loaded}


DIED = "parsl_ckpt, one run that died"
MANY = "parsl_ckpt, a hundred runs"

MEASUREMENT = Measurement(
    title="Opening a million records of earlier runs (--quick: 100,000)",
    columns=["ms", "MB"],
    params={"records": 1_000_000},
    quick={"records": 100_000},
    digits=1,
    rounds=3,
    aim="a million records without an index in 2 s; a hundred runs of ten thousand in 0.2 s",
    goals=[
        Goal("scanning a million records without an index, ms", DIED, "ms", at_most=2000),
        Goal("starting after a hundred runs of ten thousand records, ms", MANY, "ms",
             at_most=200),
    ],
    contenders=[
        Contender(DIED, died, prepare=prepare_died),
        Contender("the same, once more", died_again, prepare=prepare_died),
        Contender(MANY, many, prepare=prepare_many),
        Contender("Parsl's tasks.pkl", with_parsl, prepare=prepare_parsl, rounds=1),
    ],
)  # fmt: skip
