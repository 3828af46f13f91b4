"""Looking after checkpoints: verifying and compacting, beside reading the same files.

"small" are records of 260 bytes, many runs of them; "large" are values of 4 MB in blobs. The files
are in the page cache for all alike. What was not sealed, because its writer died, is verified frame
by frame. Compacting links blobs and does not read them; it ends with a sync, as what is written
beside it does. How fast that is depends most on whether the system has room in its page cache at
hand, for which each contender has to try its luck.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.harness import Contender, Goal, Measurement, Row, clock, copied

RUNS = 10


def prepare_small(prepared: str, records: int, megabytes: int) -> None:
    from parsl_ckpt.checkpoint.store import Store

    each = records // RUNS
    for run in range(RUNS):
        with Store.open(f"{prepared}/runinfo/{run:03d}/checkpoint") as store:
            value = os.urandom(100)
            for start in range(run * each, (run + 1) * each, 1000):
                store.append([store.entry(n, value) for n in range(start, start + 1000)])


def prepare_large(prepared: str, records: int, megabytes: int) -> None:
    from parsl_ckpt.checkpoint.store import Store

    for run in range(RUNS):
        with Store.open(f"{prepared}/runinfo/{run:03d}/checkpoint") as store:
            for n in range(megabytes // 4 // RUNS):
                store.put((run, n), os.urandom(4 << 20))


def _row(seconds: float, size: int, records: int) -> Row:
    return {
        "seconds": seconds, "MB/s": size / seconds / 1e6, "µs a record": seconds / records * 1e6,
    }  # fmt: skip


def _files(prepared: str) -> list[Path]:
    return [path for path in Path(prepared, "runinfo").rglob("*") if path.is_file()]


def _records(prepared: str) -> int:
    from parsl_ckpt.checkpoint import maintain

    return sum(run.results for run in maintain.runs(Path(prepared, "runinfo")))


def reading(prepared: str, **_: int) -> Row:
    files = _files(prepared)
    records = _records(prepared)
    size = 0
    with clock() as seconds:
        for path in files:
            with open(path, "rb") as file:
                while data := file.read(8 << 20):
                    size += len(data)
    return _row(seconds(), size, records)


def writing(prepared: str, **_: int) -> Row:
    """The bytes of all files, into one that is synced."""
    data = b"".join(path.read_bytes() for path in _files(prepared))
    records = _records(prepared)
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT)
    with clock() as seconds:
        for start in range(0, len(data), 4 << 20):
            os.write(descriptor, data[start : start + (4 << 20)])
        os.fsync(descriptor)
    os.close(descriptor)
    return _row(seconds(), len(data), records)


def verifying(prepared: str, **_: int) -> Row:
    from parsl_ckpt.checkpoint import maintain

    records = _records(prepared)
    with clock() as seconds:
        report = maintain.verify(Path(prepared, "runinfo"))
    assert report.good
    return _row(seconds(), report.size, records)


def verifying_unsealed(prepared: str, **_: int) -> Row:
    from parsl_ckpt.checkpoint import maintain

    shutil.copytree(Path(prepared, "runinfo"), "runinfo")  # no links: the files are changed
    for path in Path("runinfo").rglob("*.seg"):
        os.truncate(path, path.stat().st_size - 1)
    records = _records(".")
    with clock() as seconds:
        report = maintain.verify("runinfo")
    assert report.records == records and not report.lost_records
    return _row(seconds(), report.size, records)


def compacting(prepared: str, **_: int) -> Row:
    from parsl_ckpt.checkpoint import maintain

    records = _records(prepared)
    copied(prepared, "runinfo")
    with clock() as seconds:
        done = maintain.compact("runinfo")
    assert done.records == records
    return _row(seconds(), done.before, records)


def exporting(prepared: str, **_: int) -> Row:
    from parsl_ckpt.checkpoint import maintain

    records = _records(prepared)
    with clock() as seconds, open("runs.tar", "wb") as file:
        moved = maintain.export_runs(file, Path(prepared, "runinfo"))
    return _row(seconds(), moved.size, records)


MEASUREMENT = Measurement(
    title="Looking after ten runs: 200,000 small records; 800 MB of large values",
    columns=["seconds", "MB/s", "µs a record"],
    params={"records": 200_000, "megabytes": 800},
    quick={"records": 50_000, "megabytes": 200},
    digits=2,
    rounds=3,
    aim="verify and compact at disk speed",
    goals=[
        Goal("verify, records of 260 bytes, MB/s", "verify (small)", "MB/s", at_least=1000),
        Goal("compact, records of 260 bytes, MB/s", "compact (small)", "MB/s", at_least=250),
        Goal("verify, large values, MB/s", "verify (large)", "MB/s", at_least=1000),
        Goal("compact, large values, MB/s", "compact (large)", "MB/s", at_least=1000),
    ],
    contenders=[
        Contender("reading the files (small)", reading, prepare_small),
        Contender("writing and syncing one (small)", writing, prepare_small),
        Contender("verify (small)", verifying, prepare_small),
        Contender("verify, not sealed (small)", verifying_unsealed, prepare_small),
        Contender("compact (small)", compacting, prepare_small),
        Contender("export (small)", exporting, prepare_small),
        Contender("reading the files (large)", reading, prepare_large),
        Contender("verify (large)", verifying, prepare_large),
        Contender("compact (large)", compacting, prepare_large),
        Contender("export (large)", exporting, prepare_large),
    ],
)
