"""What it costs to keep an array of 100 MB: time, and memory beyond the array's own.

"peak" is by how much the peak of the process grew: a store that copies the array shows its size
there. Nothing is synced by anyone.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Contender, Goal, Measurement, Row, clock, peak

COPIES = 3  # arrays that are kept, each with other bytes


def _timed(keep: Callable[[int, Any], object], megabytes: int) -> Row:
    import numpy

    size = megabytes * 1_000_000 // 8
    array = numpy.empty(size)
    for start in range(0, size, 125_000):
        part = array[start : start + 125_000]
        part[:] = numpy.frombuffer(os.urandom(part.nbytes), dtype=part.dtype)
    keep(-1, array[:1000])
    before = peak()
    best = None
    for number in range(COPIES):
        array[::512] = number  # each page
        with clock() as seconds:
            keep(number, array)
        best = min(seconds(), best or seconds())
    assert best is not None
    return {"ms": best * 1e3, "MB/s": megabytes / best, "peak, MB": peak() - before}


def plain_write(megabytes: int) -> Row:
    def keep(number: int, array: Any) -> None:
        with open(f"file-{number}", "wb", buffering=0) as file:
            view = memoryview(array).cast("B")
            while view:
                view = view[file.write(view) :]

    return _timed(keep, megabytes)


def ours(megabytes: int) -> Row:
    from parsl_ckpt.checkpoint.store import Store

    with Store.open("store") as store:
        return _timed(store.put, megabytes)


def numpy_save(megabytes: int) -> Row:
    import numpy

    return _timed(lambda number, array: numpy.save(f"{number}.npy", array), megabytes)


def with_joblib(megabytes: int) -> Row:
    """joblib.Memory's store: the cached function returns the array."""
    import joblib

    held: dict[int, Any] = {}

    def value(number: int) -> Any:
        return held[number]

    cached = joblib.Memory("cache", verbose=0).cache(value)

    def keep(number: int, array: Any) -> None:
        held[number] = array
        cached(number)

    return _timed(keep, megabytes)


def with_diskcache(megabytes: int) -> Row:
    import diskcache

    with diskcache.Cache("cache", size_limit=1 << 40) as cache:
        return _timed(cache.set, megabytes)


def parsl_pickle(megabytes: int) -> Row:
    import parsl  # noqa: F401

    def keep(number: int, array: Any) -> None:
        with open("tasks.pkl", "ab") as file:
            pickle.dump({"hash": str(number), "exception": None, "result": array}, file)

    return _timed(keep, megabytes)


def sqlite(megabytes: int) -> Row:
    import sqlite3

    connection = sqlite3.connect("file.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
    connection.execute("create table t (key integer primary key, value blob)")
    statement = "insert or replace into t values (?, ?)"

    def keep(number: int, array: Any) -> None:
        connection.execute(statement, (number, memoryview(array).cast("B")))

    try:
        return _timed(keep, megabytes)
    finally:
        connection.close()


def with_lmdb(megabytes: int) -> Row:
    import lmdb

    with lmdb.open("lmdb", map_size=1 << 33, sync=False) as environment:

        def keep(number: int, array: Any) -> None:
            with environment.begin(write=True) as transaction:
                transaction.put(b"%d" % number, memoryview(array).cast("B"))

        return _timed(keep, megabytes)


OURS = "parsl_ckpt"
PLAIN = "a plain write"

MEASUREMENT = Measurement(
    title="Keeping an array of 100 MB (the best of three, the median of the rounds)",
    columns=["ms", "MB/s", "peak, MB"],
    params={"megabytes": 100},
    digits=1,
    rounds=3,
    aim="80 % of a plain write, and never copied in memory",
    goals=[
        Goal("an array of 100 MB, speed beside a plain write", OURS, "MB/s", at_least=0.8,
             of=PLAIN),
        Goal("an array of 100 MB, memory beyond it", OURS, "peak, MB", at_most=20, unit=" MB"),
    ],
    contenders=[
        Contender(PLAIN, plain_write),
        Contender(OURS, ours),
        Contender("numpy.save", numpy_save),
        Contender("joblib.Memory", with_joblib),
        Contender("diskcache", with_diskcache),
        Contender("SQLite WAL, NORMAL", sqlite),
        Contender("LMDB, nosync", with_lmdb),
        Contender("Parsl's tasks.pkl", parsl_pickle),
    ],
)  # fmt: skip
