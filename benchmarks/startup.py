"""What it costs to start from a large checkpoint: time and memory until the first call can be made.

Ours is made by a run of that many tasks, sealed at its end; Parsl's ``tasks.pkl`` is written record
by record as Parsl writes it. Nothing but the load is on the clock: the libraries are imported, and
have been started once on an empty directory, before.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from benchmarks.harness import Contender, Measurement, Row, clock, memory
from benchmarks.peers import parsl_threads


def double(x: int) -> int:
    return x * 2


def prepare_ours(records: int, prepared: str) -> None:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(double)
    with pc.load(_config(prepared)):
        for _ in app.map(range(records), max_in_flight=1000):
            pass


def ours(records: int, prepared: str) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(double)
    with pc.load(_config("empty")):
        app(0).result()
    before = memory()
    with clock() as seconds:
        dfk = pc.load(_config(prepared))
    loaded = memory() - before
    with dfk:
        with clock() as first:
            future = app(records // 2)
            future.result()
        if not future.from_memo:
            raise RuntimeError("the record was not found")
    return {"ms": seconds() * 1e3, "MB": loaded, "first hit, ms": first() * 1e3}


def ours_empty(records: int) -> Row:
    import parsl_ckpt as pc

    with pc.load(_config("empty")):
        pass
    before = memory()
    with clock() as seconds:
        dfk = pc.load(_config("also-empty"))
    loaded = memory() - before
    with dfk:
        pass
    return {"ms": seconds() * 1e3, "MB": loaded}


def _config(run_dir: str) -> object:
    import parsl_ckpt as pc

    return pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)],
        checkpoint_mode="task_exit",
        run_dir=run_dir,
    )


def prepare_parsl(records: int, prepared: str) -> None:
    import parsl  # noqa: F401  (absent: say so before writing a million records)

    with (Path(prepared) / "tasks.pkl").open("wb") as file:
        for i in range(records):
            key = hashlib.md5(str(i).encode()).hexdigest()
            pickle.dump({"hash": key, "exception": None, "result": i * 2}, file)


def with_parsl(records: int, prepared: str) -> Row:
    with parsl_threads(2, logging=False):
        pass
    before = memory()
    with clock() as seconds, parsl_threads(2, logging=False, files=[prepared]):
        elapsed = seconds()
        loaded = memory() - before
    return {"ms": elapsed * 1e3, "MB": loaded}


MEASUREMENT = Measurement(
    title="Start from a checkpoint of a million records (--quick: 50,000)",
    columns=["ms", "MB", "first hit, ms"],
    params={"records": 1_000_000},
    quick={"records": 50_000},
    aim="under 20 ms and under 20 MB",
    rounds=3,
    contenders=[
        Contender("parsl_ckpt", ours, prepare=prepare_ours),
        Contender("parsl_ckpt, nothing to load", ours_empty),
        Contender("Parsl, no log", with_parsl, prepare=prepare_parsl, rounds=1),
    ],
)
