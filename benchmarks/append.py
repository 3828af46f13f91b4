"""What it costs to keep a value under a key: records of 100 bytes, one after the other.

Each store is used by itself, without tasks. Beside each name stands what survives: the death of the
process, or of the machine's power as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks.harness import Contender, Goal, Measurement, Row, clock


def _key(i: int) -> bytes:
    return i.to_bytes(32, "big")


def _timed(put: Callable[[bytes, bytes], object], records: int) -> Row:
    value = os.urandom(100)
    for i in range(100):
        put(_key(1 << 40 | i), value)
    with clock() as seconds:
        for i in range(records):
            put(_key(i), value)
    return {"µs a record": seconds() / records * 1e6, "records/s": records / seconds()}


def _ours(records: int, durability: str) -> Row:
    from parsl_ckpt.checkpoint.store import Store

    with Store.open("store", durability=durability) as store:
        return _timed(store.put, records)


def ours(records: int) -> Row:
    return _ours(records, "process")


def ours_power(records: int) -> Row:
    return _ours(records, "power")


def bare_write(records: int) -> Row:
    """The floor: one write(2) a record, without framing, checksum or index."""
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return _timed(lambda key, value: os.write(descriptor, key + value), records)
    finally:
        os.close(descriptor)


def _sqlite(records: int, synchronous: str) -> Row:
    import sqlite3

    connection = sqlite3.connect("file.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute(f"pragma synchronous={synchronous}")
    connection.execute("create table t (key blob primary key, value blob) without rowid")
    statement = "insert or replace into t values (?, ?)"
    try:
        return _timed(lambda key, value: connection.execute(statement, (key, value)), records)
    finally:
        connection.close()


def sqlite_normal(records: int) -> Row:
    return _sqlite(records, "normal")


def sqlite_full(records: int) -> Row:
    return _sqlite(records, "full")


def _lmdb(records: int, sync: bool) -> Row:
    import lmdb

    with lmdb.open("lmdb", map_size=1 << 32, sync=sync) as environment:

        def put(key: bytes, value: bytes) -> None:
            with environment.begin(write=True) as transaction:
                transaction.put(key, value)

        return _timed(put, records)


def lmdb_nosync(records: int) -> Row:
    return _lmdb(records, sync=False)


def lmdb_sync(records: int) -> Row:
    return _lmdb(records, sync=True)


def with_diskcache(records: int) -> Row:
    import diskcache

    with diskcache.Cache("cache") as cache:
        return _timed(cache.set, records)


def with_joblib(records: int) -> Row:
    """A cached call for each record, as there is no other way to put one."""
    import joblib

    made: dict[int, bytes] = {}

    def value(number: int) -> bytes:
        return made[number]

    cached = joblib.Memory("cache", verbose=0).cache(value)

    def put(key: bytes, value: bytes) -> None:
        number = int.from_bytes(key, "big")
        made[number] = value
        cached(number)

    return _timed(put, records)


def parsl_pickle(records: int) -> Row:
    """As Parsl appends to tasks.pkl in task_exit mode: open, dump, close for each task."""
    import pickle

    import parsl  # noqa: F401

    def put(key: bytes, value: bytes) -> None:
        with open("tasks.pkl", "ab") as file:
            pickle.dump({"hash": key.hex(), "exception": None, "result": value}, file)

    return _timed(put, records)


SLOW = {"records": 2_000}

MEASUREMENT = Measurement(
    title="Keeping 100 bytes (joblib, and who syncs each: 2,000 times, others 10,000 or 50,000)",
    columns=["µs a record", "records/s"],
    params={"records": 50_000},
    quick={"records": 10_000},
    digits=1,
    rounds=3,
    aim="150,000 records a second",
    goals=[
        Goal(
            "put of 100 bytes, records a second",
            "parsl_ckpt (process)",
            "records/s",
            at_least=150_000,
        ),
    ],
    contenders=[
        Contender("parsl_ckpt (process)", ours),
        Contender("a bare write (process)", bare_write),
        Contender("SQLite WAL, NORMAL (process)", sqlite_normal),
        Contender("LMDB, nosync (process)", lmdb_nosync),
        Contender("diskcache (process)", with_diskcache, params={"records": 10_000}),
        Contender("joblib.Memory (process)", with_joblib, params={"records": 2_000}),
        Contender("Parsl's tasks.pkl (process)", parsl_pickle, params={"records": 10_000}),
        Contender("parsl_ckpt (power)", ours_power, params=SLOW),
        Contender("SQLite WAL, FULL (power)", sqlite_full, params=SLOW),
        Contender("LMDB (power)", lmdb_sync, params=SLOW),
    ],
)
