"""Frames that were written in another segment are found as if they had been written here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import (
    MemoryBackend,
    Store,
    catalog,
    extents,
    inventory,
    maintain,
    source,
)
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.extents import Extent
from parsl_ckpt.checkpoint.frames import Frames
from parsl_ckpt.checkpoint.index import covered_by_itself
from parsl_ckpt.checkpoint.memory import _File
from parsl_ckpt.checkpoint.segment import OpenFiles, Walk

ROOT = "runs"
RUNS, EACH = 3, 8


@pytest.fixture
def compacted(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBackend, str]:
    """Three runs that were put together, with a record taken out of each; and their segment."""
    monkeypatch.setattr(source, "_SHORT", 1)
    backend = MemoryBackend()
    backend.make_directory(ROOT)
    for run in range(RUNS):
        with Store.open(f"{ROOT}/{run:03d}/checkpoint", backend=backend) as store:
            for n in range(EACH):
                store.put((run, n), f"value {run} {n}")
            store.put("newest", run)
            store.append([store.stage_run("event", {"run": run})])
            store.put((run, EACH), f"value {run} {EACH}")
    maintain.compact(ROOT, backend=backend)
    (path,) = [path for path in backend.files if path.endswith(".seg")]
    for path in [path for path in backend.files if path.endswith(".idx")]:
        del backend.files[path]
    (path,) = backend.files
    return backend, path


def extents_of(backend: MemoryBackend, path: str) -> list[Extent]:
    cover = covered_by_itself(backend.open(path), len(backend.files[path].data))
    assert cover is not None
    return extents.decoded(cover.extents)


def missing(backend: MemoryBackend) -> set[Any]:
    """What is not found; nothing else is found in its place."""
    store = Store.open(None, sources=[f"{ROOT}/{RUNS - 1:03d}/checkpoint"], backend=backend)
    lost: set[Any] = set()
    for run in range(RUNS):
        for n in range(EACH + 1):
            got = store.get((run, n))
            assert got in (None, f"value {run} {n}")
            if got is None:
                lost.add((run, n))
    newest = store.get("newest")
    assert newest in (None, RUNS - 1)
    return lost if newest is not None else {*lost, "newest"}


def without_index(backend: MemoryBackend, path: str) -> None:
    file = backend.files[path]
    cover = covered_by_itself(backend.open(path), len(file.data))
    assert cover is not None
    del file.data[cover.length + 20 :]


def test_each_extent_is_told_twice(compacted: tuple[MemoryBackend, str]) -> None:
    backend, path = compacted
    found = extents_of(backend, path)
    assert len(found) > RUNS
    data = bytes(backend.files[path].data)
    identity = fmt.read_file_header(data[:40], fmt.SEGMENT_MAGIC)
    assert identity is not None and identity not in {one.identity for one in found}
    known: list[Extent] = []
    list(Walk(backend.open(path), identity, fmt.FILE_HEADER_SIZE, len(data), known))
    assert known == found
    assert missing(backend) == set()


def test_without_the_index_nothing_is_lost(compacted: tuple[MemoryBackend, str]) -> None:
    backend, path = compacted
    without_index(backend, path)
    assert missing(backend) == set()
    assert maintain.verify(ROOT, backend=backend).good


def test_the_index_that_a_reader_keeps_of_it_knows_its_extents(
    compacted: tuple[MemoryBackend, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, path = compacted
    backend.files[path].data[-10] ^= 1  # its own index has no whole trailer
    monkeypatch.setattr(catalog, "KEEP_SCAN", 1)
    sources = [path.rpartition("/")[0]]
    for run in range(RUNS, RUNS + 3):
        own = f"{ROOT}/{run:03d}/checkpoint"
        with Store.open(own, sources=sources, backend=backend) as store:
            assert store.get((0, 0)) == "value 0 0"
            assert [problem.kind for problem in store.problems] in ([], ["index"])
            store.put(run, run)
        sources.append(own)
    assert any(path.endswith(".idx") for path in backend.files)


def test_without_the_frame_before_an_extent_nothing_is_lost(
    compacted: tuple[MemoryBackend, str],
) -> None:
    backend, path = compacted
    for extent in extents_of(backend, path):
        backend.files[path].data[extent.start - 56 : extent.start] = bytes(56)
    assert missing(backend) == set()
    assert not maintain.verify(ROOT, backend=backend).good
    maintain.repair(ROOT, backend=backend)
    assert missing(backend) == set()
    assert maintain.verify(ROOT, backend=backend).good


@pytest.mark.parametrize("growing", [False, True])
def test_who_goes_through_all_frames_knows_extents_by_the_index_too(
    compacted: tuple[MemoryBackend, str], growing: bool
) -> None:
    backend, path = compacted
    (place,) = inventory.find(backend, ROOT)

    def seen() -> set[bytes]:
        (segment,) = inventory.segments(backend, [place], OpenFiles())
        found = Frames(segment, growing=growing).whole()
        return {frame.record_id for frame in found if frame.kind != fmt.INDEX}

    before = seen()
    for extent in extents_of(backend, path):
        backend.files[path].data[extent.start - 56 : extent.start] = bytes(56)
    assert seen() == before


def test_without_both_what_stands_in_the_extent_is_lost(
    compacted: tuple[MemoryBackend, str],
) -> None:
    backend, path = compacted
    first = extents_of(backend, path)[0]
    without_index(backend, path)
    backend.files[path].data[first.start - 1] ^= 1
    lost = missing(backend)
    assert lost and lost < {(0, n) for n in range(EACH + 1)}
    assert not maintain.verify(ROOT, backend=backend).good
    maintain.repair(ROOT, backend=backend)
    assert missing(backend) == lost
    assert maintain.verify(ROOT, backend=backend).good


def test_a_file_that_ends_in_an_extent_has_what_is_before(
    compacted: tuple[MemoryBackend, str],
) -> None:
    backend, path = compacted
    whole = bytes(backend.files[path].data)
    before = len(missing(backend))
    for extent in reversed(extents_of(backend, path)):
        for end in (extent.end - 1, extent.start + 10, extent.start, extent.start - 30):
            backend.files[path].data = bytearray(whole[:end])
            backend.files[path].generation += 1
            lost = missing(backend)
            assert len(lost) >= before
            before = len(lost)
    assert before == RUNS * (EACH + 1) + 1


# -- what cannot come of an accident ---------------------------------------------------------------

OFFSETS = st.integers(0, 2000) | st.sampled_from([2**62 - 1, 2**62, 2**63, 2**64 - 1])


@given(st.binary(max_size=300), st.lists(st.tuples(OFFSETS, OFFSETS, OFFSETS), max_size=6))
def test_any_bytes_are_extents_in_order(junk: bytes, some: list[tuple[int, int, int]]) -> None:
    joined = b"".join(extents.encoded([Extent(a, b, bytes(16), c)]) for a, b, c in some)
    for data in (junk, joined, joined + junk):
        found = extents.decoded(data)
        at = 40
        for extent in found:
            assert at + 56 <= extent.start <= extent.end
            at = extent.end


IDENTITY, OTHER = b"i" * 16, b"o" * 16


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("frame"), st.sampled_from([IDENTITY, OTHER]), OFFSETS, OFFSETS),
            st.tuples(st.just("extent"), st.sampled_from([IDENTITY, OTHER]), OFFSETS, OFFSETS),
            st.tuples(st.just("junk"), st.just(b"x" * 30), OFFSETS, OFFSETS),
        ),
        max_size=12,
    ),
    st.lists(st.tuples(OFFSETS, OFFSETS, OFFSETS), max_size=4),
)
def test_any_segment_is_walked_to_its_end(
    pieces: list[tuple[str, bytes, int, int]], told: list[tuple[int, int, int]]
) -> None:
    data = bytearray(fmt.file_header(fmt.SEGMENT_MAGIC, IDENTITY, version=fmt.GATHERED))
    for what, identity, length, origin in pieces:
        at = len(data)
        if what == "extent":
            data += extents.header(IDENTITY, at, identity, origin, length)
        elif what == "frame":
            payload = bytes(length % 50)
            record_id = fmt.record_id_of(payload)
            place = at if identity == IDENTITY else origin
            data += fmt.frame_header(identity, place, fmt.RESULT, len(payload), record_id)
            data += payload
        else:
            data += identity
    file = _File()
    file.data = data
    backend = MemoryBackend()
    backend.make_directory("run")
    backend.files["run/file"] = file
    known = extents.decoded(
        b"".join(extents.encoded([Extent(a, b, OTHER, c)]) for a, b, c in sorted(told))
    )
    walk = Walk(backend.open("run/file"), IDENTITY, 40, len(data), known)
    seen = [frame.offset for frame in walk]
    assert seen == sorted(set(seen)) and all(40 <= at < len(data) for at in seen)
    assert 0 <= walk.torn <= len(data)
    assert all(40 <= at < at + size <= len(data) for at, size in walk.damage)


def test_a_place_that_is_damaged_is_not_paid_for_by_the_megabyte() -> None:
    junk, count = bytes(56), 500
    data = bytearray(fmt.file_header(fmt.SEGMENT_MAGIC, IDENTITY))
    for _ in range(count):
        data += fmt.frame_header(IDENTITY, len(data), fmt.RESULT, 0, fmt.record_id_of(b"")) + junk
    file = _File()
    file.data = data
    backend = MemoryBackend()
    backend.make_directory("run")
    backend.files["run/file"] = file
    reader = backend.open("run/file")
    lengths: list[int] = []
    real = reader.read
    reader.read = lambda at, length: lengths.append(length) or real(at, length)  # type: ignore
    walk = Walk(reader, IDENTITY, 40, len(data))
    assert len(list(walk)) == len(walk.damage) == count
    assert sum(sorted(lengths)[:-2]) < count * 4096
