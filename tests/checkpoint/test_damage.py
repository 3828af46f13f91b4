"""Cutting or flipping any byte yields no wrong value and loses only what the byte belonged to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import FILE_HEADER_SIZE, FRAME_HEADER_SIZE
from parsl_ckpt.checkpoint.index import PAGE_SIZE
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import UnreadableRecordError

from .conftest import Place, key_number

pytestmark = pytest.mark.once

Key = Callable[[int], bytes]
PATH = "run/checkpoint"
COUNT = 12
KEYS = {address("blob"), *(key_number(n) for n in range(COUNT))}


def value(number: int) -> Any:
    return [number, None, {"n": number}, b"\xc5PF\x01" * number, float(number)][number % 5]


def build(*, seal: bool) -> tuple[MemoryBackend, str, list[int]]:
    """A segment with mixed records, and where each result ends."""
    backend = MemoryBackend()
    store = Store.open(PATH, backend=backend)
    ends = []
    for n in range(COUNT):
        store.append(
            [store.stage(store.encode(value(n)), key=key_number(n), lineage=key_number(n + 100))]
        )
        ends.append(store._writing._open.writer.offset)  # type: ignore[union-attr]
        store.append([store.stage_note(bytes(16), "n", b"x"), store.stage_run("e", {"n": n})])
    store.put("blob", b"B" * 70_000)
    if seal:
        store.close()
    (name,) = [n for n in backend.list(PATH) if n.endswith(".seg")]
    return backend, name, ends


def check(backend: MemoryBackend) -> tuple[set[int], Store]:
    """Which results are found; none may be wrong."""
    store = Store.open(None, sources=[PATH], backend=backend)
    found = set()
    for n in range(COUNT):
        for key in (key_number(n), key_number(n + 100)):
            stored = store.find(key)
            if stored is not None:
                assert store.value(stored) == value(n)
                found.add(n)
    assert store.get("blob") in (None, b"B" * 70_000)
    for _, _, record in store.records():
        assert not isinstance(record, fmt.Result) or record.key in KEYS
    return found, store


@pytest.mark.parametrize("seal", [False, True])
def test_every_cut_keeps_every_record_before_it(seal: bool) -> None:
    backend, name, ends = build(seal=seal)
    file = backend.files[f"{PATH}/{name}"]
    whole = bytes(file.data)
    cuts = range(len(whole)) if len(whole) < 6000 else [*range(3500), *range(3500, len(whole), 61)]
    for cut in cuts:
        file.data = bytearray(whole[:cut])
        found, store = check(backend)
        assert found == {n for n, end in enumerate(ends) if end <= cut}, cut
        assert [p for p in store.problems if p.kind != "index"] == [], "a torn tail is normal"


def places_of(frames: list[tuple[int, int, int]], size: int, step: int) -> list[int]:
    """The bytes of a file; of what is inside long frames only every ``step``-th."""
    spared = set()
    for start, end, kind in frames:
        inside = (
            range(start + 37, size - 200) if kind == fmt.INDEX else range(start + 300, end - 50)
        )
        spared |= {place for n, place in enumerate(inside) if n % step}
    return [place for place in range(size) if place not in spared]


@pytest.mark.parametrize("step", [499, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seal", [False, True])
def test_every_flip_loses_only_the_record_it_hits(seal: bool, step: int) -> None:
    backend, name, _ends = build(seal=seal)
    file = backend.files[f"{PATH}/{name}"]
    whole = bytes(file.data)
    walk = next(iter(Store.open(None, sources=[PATH], backend=backend).catalog.segments.values()))
    frames = [(f.offset, f.end, f.kind) for f in walk.walk()]
    results = [(start, end) for start, end, kind in frames if kind == fmt.RESULT][:COUNT]
    for place in places_of(frames, len(whole), step):
        # One bit of each byte: any flip of it is as visible to its checksum as another.
        data = bytearray(whole)
        data[place] ^= (1, 0x80)[place % 2]
        file.data = data
        found, _store = check(backend)
        lost = {n for n, (start, end) in enumerate(results) if start <= place < end}
        assert found >= set(range(COUNT)) - lost, place
        assert found == set(range(COUNT)) - lost, place


def test_damage_in_the_middle_is_reported_with_its_size_once() -> None:
    backend, name, _ = build(seal=False)
    file = backend.files[f"{PATH}/{name}"]
    second = next(
        iter(
            list(Store.open(None, sources=[PATH], backend=backend).catalog.segments[name].walk())[
                1:
            ]
        )
    )
    file.data[second.offset + 5] ^= 1
    _, store = check(backend)
    (problem,) = store.problems
    assert (problem.kind, problem.offset, problem.size) == (
        "damage",
        second.offset,
        second.end - second.offset,
    )


def test_zeros_at_the_end_as_after_a_power_cut_cost_nothing_before_them() -> None:
    backend, name, _ = build(seal=False)
    backend.files[f"{PATH}/{name}"].data += bytes(5000)
    found, _ = check(backend)
    assert found == set(range(COUNT))


def test_a_file_full_of_magic_is_not_digested_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend, name, _ = build(seal=False)
    backend.files[f"{PATH}/{name}"].data += b"x" + fmt.FRAME_MAGIC * 100_000
    monkeypatch.setattr(fmt, "header_verifies", None)
    found, _ = check(backend)
    assert found == set(range(COUNT))


def test_frames_inside_a_value_are_not_taken_for_frames() -> None:
    backend, name, _ = build(seal=False)
    copy = bytes(backend.files[f"{PATH}/{name}"].data)
    store = Store.open("other/checkpoint", backend=backend)
    store.put("copy", copy[:30_000])
    store.put("after", 1)
    (other,) = [n for n in backend.list("other/checkpoint") if n.endswith(".seg")]
    backend.files[f"other/checkpoint/{other}"].data[FILE_HEADER_SIZE + 10] ^= 1
    reader = Store.open(None, sources=["other/checkpoint"], backend=backend)
    assert reader.find(key_number(1)) is None and reader.get("after") == 1
    assert reader.problems[0].size > 1000


def test_a_segment_under_another_name_is_read(local: Place) -> None:
    with local.open() as store:
        store.put("a", 1)
    (name,) = [n for n in local.names() if n.endswith(".seg")]
    os.rename(f"{local.path()}/{name}", f"{local.path()}/000007-{'ab' * 16}.seg")
    assert local.open(None, ("000",)).get("a") == 1


@pytest.mark.parametrize("part", ["page", "head", "trailer"])
def test_a_damaged_merged_index_is_done_without(local: Place, key: Key, part: str) -> None:
    with local.open(rotate_records=100) as store:
        for n in range(1000):
            store.append([store.stage(store.encode(n), key=key(n))])
    (name,) = [n for n in local.names() if n.endswith(".idx")]
    path = f"{local.path()}/{name}"
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek({"page": PAGE_SIZE + 100, "head": size - 200, "trailer": size - 20}[part])
        file.write(b"\xee\xee\xee")
    reader = local.open(None, ("000",))
    assert [reader.get(key(n)) for n in range(1000)] == list(range(1000))
    assert {problem.kind for problem in reader.problems} == {"index"}


def test_a_damaged_page_of_a_segment_falls_back_to_a_walk(local: Place, key: Key) -> None:
    with local.open() as store:
        for n in range(1000):
            store.append([store.stage(store.encode(n), key=key(n))])
    (name,) = [n for n in local.names() if n.endswith(".seg")]
    path = f"{local.path()}/{name}"
    segment = next(iter(local.open(None, ("000",)).catalog.segments.values()))
    start = next(f.offset for f in segment.walk() if f.kind == fmt.INDEX)
    with open(path, "r+b") as file:
        file.seek(-(-(start + FRAME_HEADER_SIZE) // PAGE_SIZE) * PAGE_SIZE + 5000)
        file.write(b"\xee\xee")
    reader = local.open(None, ("000",))
    assert [reader.get(key(n)) for n in range(1000)] == list(range(1000))
    assert [problem.kind for problem in reader.problems] == ["index"]


def test_an_older_record_is_found_where_the_newest_is_damaged(place: Place, key: Key) -> None:
    for seal in (False, True):
        name = f"{seal:03d}"
        store = place.open(name)
        store.append([store.stage(store.encode("old"), key=key(1))])
        at = store._writing._open.writer.offset  # type: ignore[union-attr]
        store.append([store.stage(store.encode("new"), key=key(1))])
        if seal:
            store.seal()
        (segment,) = [n for n in place.names(name) if n.endswith(".seg")]
        flip(place, f"{place.path(name)}/{segment}", at + FRAME_HEADER_SIZE + 3)
        store._recent.clear()
        found = store.find(key(1))
        assert found is not None and store.value(found) == "old"
        assert [p.kind for p in store.problems] == ["damage"]


def flip(place: Place, path: str, offset: int) -> None:
    if isinstance(place.backend, MemoryBackend):
        place.backend.files[path].data[offset] ^= 1
        place.backend.files[path].generation += 1
        return
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def blob_paths(place: Place) -> list[str]:
    root = f"{place.path()}/blobs"
    return [
        f"{root}/{d}/{n}"
        for d in place.backend.list(root)
        for n in place.backend.list(f"{root}/{d}")
    ]


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_bad_blob_makes_its_record_a_miss_and_is_mended_by_the_next(
    place: Place, how: str
) -> None:
    store = place.open()
    store.put("a", b"a" * 200_000)
    (path,) = blob_paths(place)
    if how == "flip":
        flip(place, path, 70_000)
    elif how == "gone":
        place.backend.remove(path)
    else:
        data = place.backend.open(path).read(0, 1000)
        place.backend.remove(path)
        place.backend.create(path).write(data)
    reader = place.open(None, ("000",))
    found = reader.find(next(r.key for _, _, r in reader.records()))  # type: ignore[union-attr]
    assert found is not None
    with pytest.raises(UnreadableRecordError):
        reader.value(found)
    assert reader.get("a") is None and [p.kind for p in reader.problems] == ["blob"]
    again = place.open("000")
    again.put("a", b"a" * 200_000)
    assert again.get("a") == b"a" * 200_000


def test_other_things_in_the_directory_are_left_alone(local: Place) -> None:
    with local.open() as store:
        store.put("a", 1)
    base = Path(local.path())
    (base / "000001-zz.seg").write_bytes(b"junk")
    (base / f"000002-{'cd' * 16}.seg").write_bytes(b"junk")
    (base / f"000003-{'ef' * 16}.seg").mkdir()
    os.mkfifo(base / f"000004-{'01' * 16}.seg")
    (base / f"000001-{'cd' * 16}.idx").write_bytes(b"junk" * 5000)
    (base / f"000005-{'23' * 16}.seg").symlink_to("/nonexistent")
    (base / f"000006-{'45' * 16}.seg").write_bytes(b"")
    (base / "README").write_text("hello")
    reader = local.open("001", ("000",))
    assert reader.get("a") == 1
    reader.put("b", 2)
    reader.close()
    assert local.open(None, ("000", "001")).get("b") == 2


def test_a_later_format_is_left_aside_and_said_so(local: Place) -> None:
    with local.open() as store:
        store.put("a", 1)
    (name,) = local.names()
    data = bytearray(Path(local.path(), name).read_bytes())
    fields = fmt.FILE_HEADER.pack(fmt.SEGMENT_MAGIC, 9, 0, 0, bytes(data[16:32]), b"")[:-8]
    from blake3 import blake3

    data[:40] = fields + blake3(fields).digest(8)
    Path(local.path(), name).write_bytes(data)
    reader = local.open(None, ("000",))
    assert reader.get("a") is None
    assert any("format 9" in problem.text for problem in reader.problems)


def test_moving_all_runs_elsewhere_keeps_their_indexes(
    local: Place, tmp_path: Path, key: Key
) -> None:
    with local.open("000", rotate_records=10) as store:
        for n in range(40):
            store.append([store.stage(store.encode(n), key=key(n))])
        store.put("blob", b"x" * 100_000)
    shutil.move(str(tmp_path / "000"), str(tmp_path / "moved"))
    reader = local.open(None, ("moved",))
    assert len(reader.catalog.indexes) == 1 and reader.get(key(3)) == 3
    assert reader.get("blob") == b"x" * 100_000
