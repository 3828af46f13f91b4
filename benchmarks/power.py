"""Group commit: what it costs to be safe from a power cut, with 64 tasks in flight.

One record to a sync is what a store without group commit does. Each task returns 100 bytes, and its
future is done when they are on the disk.

Group commit saves syncs, not work: what a task costs besides bounds what it can gain. So the same
is measured with a millisecond more for each sync, which is what a disk without a protected cache,
or a file server, takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from benchmarks.append import _key
from benchmarks.harness import Contender, Goal, Measurement, Row, clock

FLIGHT = 64


MORE = 1e-3  # seconds


def slow_down() -> None:
    """Have each sync take that much longer; a contender has a process of its own."""
    from parsl_ckpt.checkpoint import local

    for module, name in ((local, "_sync"), (os, "fdatasync"), (os, "fsync")):
        setattr(module, name, _then_wait(getattr(module, name)))


def _then_wait(sync: Callable[[int], None]) -> Callable[[int], None]:
    def synced(descriptor: int) -> None:
        sync(descriptor)
        time.sleep(MORE)

    return synced


def _row(seconds: float, records: int) -> Row:
    return {"µs a record": seconds / records * 1e6, "records/s": records / seconds}


def one_sync_each(records: int) -> Row:
    """The floor without groups: write(2) and fdatasync(2) for each."""
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    value = os.urandom(132)
    sync = getattr(os, "fdatasync", os.fsync)
    with clock() as seconds:
        for _ in range(records):
            os.write(descriptor, value)
            sync(descriptor)
    os.close(descriptor)
    return _row(seconds(), records)


def put_each(records: int) -> Row:
    from parsl_ckpt.checkpoint.store import Store

    value = os.urandom(100)
    with Store.open("store", durability="power") as store:
        store.put(b"first", value)
        with clock() as seconds:
            for i in range(records):
                store.put(_key(i), value)
    return _row(seconds(), records)


def batches(records: int) -> Row:
    from parsl_ckpt.checkpoint.store import Store

    value = os.urandom(100)
    with Store.open("store", durability="power") as store:
        store.put(b"first", value)
        with clock() as seconds:
            for start in range(0, records, FLIGHT):
                numbers = range(start, min(start + FLIGHT, records))
                store.append([store.entry(_key(i), value) for i in numbers])
    return _row(seconds(), records)


def work(n: int) -> bytes:
    return n.to_bytes(100, "big")


def tasks(records: int) -> Row:
    return _tasks(records, FLIGHT)


def one_task(records: int) -> Row:
    return _tasks(records, 1)


def _tasks(records: int, flight: int) -> Row:
    import parsl_ckpt as pc

    app = pc.python_app(cache=True)(work)
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)],
        checkpoint_mode="task_exit",
        durability="power",
    )
    with pc.load(config):
        for _ in app.map(range(10**9, 10**9 + 200), max_in_flight=flight):
            pass
        with clock() as seconds:
            for _ in app.map(range(records), max_in_flight=flight):
                pass
    return _row(seconds(), records)


def slower_one_sync_each(records: int) -> Row:
    slow_down()
    return one_sync_each(records)


def slower_batches(records: int) -> Row:
    slow_down()
    return batches(records)


def slower_one_task(records: int) -> Row:
    slow_down()
    return one_task(records)


def slower_tasks(records: int) -> Row:
    slow_down()
    return tasks(records)


def sqlite_batches(records: int) -> Row:
    import sqlite3

    connection = sqlite3.connect("file.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table t (key blob primary key, value blob) without rowid")
    value = os.urandom(100)
    with clock() as seconds:
        for start in range(0, records, FLIGHT):
            connection.execute("begin")
            numbers = range(start, min(start + FLIGHT, records))
            rows = [(_key(i), value) for i in numbers]
            connection.executemany("insert into t values (?, ?)", rows)
            connection.execute("commit")
    connection.close()
    return _row(seconds(), records)


SLOW = {"records": 2_000}
SLOWER = {"records": 500}
BARE = "one fdatasync a record"
ONE = "parsl_ckpt, tasks, one at a time"
TASKS = "parsl_ckpt, tasks, 64 in flight"
STORE = "parsl_ckpt store, 64 at a time"
AND = " (1 ms more)"

MEASUREMENT = Measurement(
    title="On the disk, records of 100 bytes (one sync each: 2,000 records, others 20,000)",
    columns=["µs a record", "records/s"],
    params={"records": 20_000},
    quick={"records": 5_000},
    digits=1,
    rounds=3,
    aim="20 times the records of one sync each",
    goals=[
        Goal("power: 64 records to a sync, beside one", STORE, "records/s", at_least=20, of=BARE),
        Goal("power: 64 tasks in flight, beside one", TASKS, "records/s", at_least=20, of=ONE),
        Goal(
            "the same, 1 ms more for a sync: 64 records",
            STORE + AND,
            "records/s",
            at_least=20,
            of=BARE + AND,
        ),
        Goal(
            "the same, 1 ms more for a sync: 64 tasks",
            TASKS + AND,
            "records/s",
            at_least=20,
            of=ONE + AND,
        ),
    ],
    contenders=[
        Contender(BARE, one_sync_each, params=SLOW),
        Contender("parsl_ckpt store, one put each", put_each, params=SLOW),
        Contender(STORE, batches),
        Contender(ONE, one_task, params=SLOW),
        Contender(TASKS, tasks),
        Contender("SQLite WAL, FULL, 64 at a time", sqlite_batches),
        Contender(BARE + AND, slower_one_sync_each, params=SLOWER),
        Contender(STORE + AND, slower_batches),
        Contender(ONE + AND, slower_one_task, params=SLOWER),
        Contender(TASKS + AND, slower_tasks),
    ],
)
