"""Copying whole segments keeps what going through them frame by frame keeps."""

from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, Store, frames, source
from parsl_ckpt.checkpoint.backend import Readable
from parsl_ckpt.checkpoint.codec import encode
from parsl_ckpt.checkpoint.compact import Compaction, compact
from parsl_ckpt.checkpoint.format import Pin
from parsl_ckpt.checkpoint.index import PAGE_SIZE, Covered, write_index
from parsl_ckpt.checkpoint.inventory import find
from parsl_ckpt.checkpoint.items import Filter
from parsl_ckpt.checkpoint.prune import prune
from parsl_ckpt.checkpoint.segment import SegmentWriter, segment_name
from parsl_ckpt.checkpoint.verify import verify
from parsl_ckpt.errors import FormatError

LARGE = b"L" * 200_000
#: what is recorded: kind, number of the call, number of another one
RECORDS = st.tuples(
    st.sampled_from([
        "result", "result", "result", "twin", "large", "alias", "note", "failure", "lost", "run",
        "removed", "pin",
    ]),
    st.integers(0, 9),
    st.integers(0, 9),
)  # fmt: skip


def key(number: int) -> bytes:
    # Calls of even numbers share the prefix of their keys with the next, and nothing more.
    return bytes([number // 2]) * 8 + bytes([number]) * 24


def record(store: Store, kind: str, one: int, other: int) -> None:
    value = LARGE if kind == "large" else (one, other)
    if kind in ("result", "large", "twin"):
        lineage = key(20 + other % 2) if kind == "twin" else None
        encoded = encode(value)
        store.append([store.stage(encoded, key=key(one), lineage=lineage, app=f"app{one % 2}")])
    elif kind == "failure":
        store.append([store.stage_failure(app="f", tid=1, error="E", trace=b"", key=key(one))])
    elif kind == "lost":
        store.append([store.stage_failure(app="f", tid=one, error="E", trace=b"")])
    elif kind == "run":
        store.append([store.stage_run("begin", {"n": one})])
    else:
        found = store.find(key(one))
        if found is None:
            return
        if kind == "alias":
            alias = store.stage_alias(
                key=key(other), record_id=found.record_id, target=found.result.key
            )
            store.append([alias])
        elif kind == "note":
            store.append([store.stage_note(found.record_id, f"n{other}", b"x")])
        elif kind == "pin":
            pin = Pin(b"set", b"%d" % other, found.result.key, found.record_id, one)
            store.append([store.stage_record(pin)])
        else:
            store.remove(found.record_id)


def runs_of(
    recorded: list[list[tuple[str, int, int]]], backend: MemoryBackend | None = None, first: int = 0
) -> MemoryBackend:
    backend = backend or MemoryBackend()
    backend.make_directory("runs")
    places = [place.directory for place in find(backend, "runs")]
    for number, run in enumerate(recorded, first):
        path = f"runs/{number:03d}/checkpoint"
        options: Any = {"backend": backend, "named": False, "rotate_records": 4}
        with Store.open(path, sources=places, **options) as store:
            for one in run:
                record(store, *one)
        places.append(path)
    return backend


def copied(backend: MemoryBackend) -> MemoryBackend:
    other = MemoryBackend()
    for directory in sorted(backend.directories):
        other.make_directory(directory)
    for path, file in backend.files.items():
        other.create(path).write(file.data)
    return other


def told(backend: MemoryBackend) -> dict[str, Any]:
    """Everything that can be found, and the records in their order."""
    paths = [place.directory for place in find(backend, "runs")]
    with Store.open(None, sources=paths, backend=backend, named=False) as store:
        found = {n: store.find(key(n)) for n in range(30)}
        assert store.problems == []
        return {
            "found": {
                n: (stored.record_id, store.value(stored)) for n, stored in found.items() if stored
            },
            "records": [record_id for _, record_id, _ in store.records()],
            "failures": {n: store.failures(key(n)) for n in range(10)},
        }


def compacted(backend: MemoryBackend) -> Compaction:
    done = compact(backend, find(backend, "runs"))
    report = verify(backend, find(backend, "runs"))
    assert report.good, report
    done.into.clear()  # names are random
    done.after = 0  # and indexes may have more pages
    return done


def in_every_way(backend: MemoryBackend) -> None:
    """Compact the same runs by extents, by records and frame by frame: there is no difference."""
    slow, apart, earlier = copied(backend), copied(backend), copied(backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_SHORT", 1)  # nothing is too short for an extent of its own
        done = compacted(backend)
        patch.setattr(source, "_SHORT", 1 << 30)  # everything is
        patch.setattr(source, "_AT_ONCE", 2)
        assert compacted(apart) == done
        patch.setattr(source.Source, "_believe", lambda _: False)  # as earlier versions sealed
        assert compacted(earlier) == done
        patch.setattr(frames, "verified", lambda *_: None)
        assert compacted(slow) == done
    assert told(slow) == told(apart) == told(earlier) == told(backend)


RUNS = st.lists(st.lists(RECORDS, max_size=9), min_size=1, max_size=4)


@pytest.mark.once
@settings(max_examples=200, deadline=None)
@given(RUNS)
@example([[("twin", 2, 0)], [("twin", 4, 0), ("result", 2, 7)]])  # one lineage, two keys
@example([[("result", 0, 0), ("alias", 0, 4)], [("result", 4, 1)]])
def test_it_makes_no_difference(recorded: list[list[tuple[str, int, int]]]) -> None:
    in_every_way(runs_of(recorded))


@pytest.mark.once
@settings(max_examples=100, deadline=None)
@given(RUNS, RUNS)
def test_it_makes_none_where_there_are_extents_already(
    first: list[list[tuple[str, int, int]]], then: list[list[tuple[str, int, int]]]
) -> None:
    backend = runs_of(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_SHORT", 1)
        compacted(backend)
    in_every_way(runs_of(then, backend, len(first)))


PLACES = itertools.product(["index", "seal"], [0, 39, 1 << 39, 1 << 41])
COUNTS = itertools.product(["records", "results"], [-1, 1 << 41, (1 << 64) - 1])


@pytest.mark.parametrize(("where", "wrong"), [*PLACES, *COUNTS])
def test_an_index_that_points_outside_is_not_believed(where: str, wrong: int) -> None:
    """Such a file cannot come of an accident: its digests are good."""
    backend = MemoryBackend()
    directory = "runs/000/checkpoint"
    backend.make_directory(directory)
    writer = SegmentWriter(backend, directory, lambda identity: segment_name(0, identity))
    with Store.open("elsewhere", backend=backend) as store:
        entries = [store.entry(n, n) for n in range(9)]
        offsets = writer.append(entries)
    places = [wrong, *offsets[1:]] if where == "index" else offsets
    index = sorted(
        int.from_bytes(entry.keys[0][:8], "little") << 64 | at
        for entry, at in zip(entries, places, strict=True)
    )
    results = wrong if where == "results" else 9
    covered = Covered(writer.name, writer.identity, writer.offset, writer.offset, True, results)

    def make(offset: int) -> bytes:
        padding = -offset % PAGE_SIZE
        parts = write_index([index], [covered], [], writer.identity, offset + padding)
        return bytes(padding) + b"".join(parts)

    records = wrong if where == "records" else 9
    writer.append_index(make, records, (), [wrong] if where == "seal" else ())
    with Store.open("runs/001/checkpoint", backend=backend) as store:
        store.put(5, "newer")
    done = compact(backend, find(backend, "runs"))
    assert (done.records, done.superseded) == (9, 1)
    with Store.open(None, sources=["runs/001/checkpoint"], backend=backend) as store:
        assert [store.get(n) for n in range(9)] == [0, 1, 2, 3, 4, "newer", 6, 7, 8]


def test_what_is_longer_than_a_piece_is_copied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PIECE", 300)
    backend = runs_of([[("result", n, run) for n in range(9)] for run in range(2)])
    before = told(backend)["found"]
    done = compacted(backend)
    assert (done.records, done.superseded) == (9, 9)
    assert told(backend)["found"] == before


def test_a_segment_that_changes_while_it_is_copied_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = runs_of([[("result", n, 0) for n in range(3)], [("result", 5, 0)]])
    real = frames.Frames.bytes_of

    def rotting(self: frames.Frames, begin: int, end: int) -> bytes:
        data = real(self, begin, end)
        file = backend.files[self.segment.path]
        file.data[begin + 70] ^= 1
        return data

    monkeypatch.setattr(source, "_SHORT", 1)
    monkeypatch.setattr(frames.Frames, "bytes_of", rotting)
    names = set(backend.files)
    with pytest.raises(FormatError, match="changed while it was read"):
        compact(backend, find(backend, "runs"))
    assert set(backend.files) == names, "nothing is removed, and nothing unfinished is left"


class Counting(LocalBackend):
    """Knows how many files were open at once."""

    def __init__(self) -> None:
        self.opened: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most = 0

    def open(self, path: str) -> Readable:
        reader = super().open(path)
        self.opened.add(reader)
        self.most = max(self.most, sum(one._fd >= 0 for one in self.opened))
        return reader


@pytest.mark.parametrize("does", [compact, lambda *all_: prune(*all_, only=Filter(apps=["app1"]))])
def test_few_files_are_open_however_many_runs_there_are(does: Any, tmp_path: Path) -> None:
    for run in range(12):
        with Store.open(tmp_path / f"{run:03d}/checkpoint") as store:
            for n in range(3):
                store.append([store.stage(encode(n), key=bytes([run, n]) * 16, app=f"app{n}")])
    backend = Counting()
    done = does(backend, find(backend, tmp_path))
    assert done.records == (36 if does is compact else 12)
    assert 0 < backend.most < 8
