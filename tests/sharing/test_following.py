"""What live runs append is found by the next look, at the cost of what is new."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, Store, heartbeat
from parsl_ckpt.checkpoint.backend import Backend
from parsl_ckpt.checkpoint.catalog import Catalog
from parsl_ckpt.checkpoint.follow import COARSE_TICK, TICK, Watch
from parsl_ckpt.checkpoint.mapping import address
from parsl_ckpt.checkpoint.segment import Segment
from parsl_ckpt.checkpoint.tail import FOLD
from parsl_ckpt.kernel.memo import Memo
from parsl_ckpt.testing.clock import FakeClock

from .helpers import beat_in


class Place:
    """A run directory; stores are closed at the end."""

    def __init__(self, backend: Backend, root: str) -> None:
        self.backend = backend
        self.root = root
        self.clock = FakeClock()
        self.joined: list[str] = []
        self._stores: list[Store] = []
        backend.make_directory(root)

    def path(self, run: str) -> str:
        return f"{self.root}/{run}/checkpoint"

    def writer(self, run: str, **options: Any) -> Store:
        store = Store.open(self.path(run), backend=self.backend, **options)
        self._stores.append(store)
        return store

    def reader(self, *runs: str, root: bool = True, **options: Any) -> Store:
        """A store that follows these runs, and with ``root`` those that begin later."""
        store = Store.open(
            self.path("900"), sources=[self.path(run) for run in runs], backend=self.backend,
            named=False, **options,
        )  # fmt: skip
        store.follow(self.root if root else None, now=self.clock.now, joined=self.joined.append)
        self._stores.append(store)
        return store

    def following(self, store: Store) -> list[str]:
        assert store._follower is not None
        return [path.split("/")[-2] for path in store._follower.following]

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    backend = LocalBackend() if request.param == "local" else MemoryBackend()
    place = Place(backend, str(tmp_path / "runs"))
    yield place
    place.close()


def get(store: Store, name: Any) -> Any:
    """As a kernel looks up: look again where nothing is found."""
    found = store.get(name)
    return store.get(name) if found is None and store.look() else found


def test_a_look_finds_what_was_appended_before_it(place: Place) -> None:
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    for n in range(200):
        writer.put(n, n)
        assert get(reader, n) == n
    assert get(reader, "none") is None and reader.problems == []


def test_nothing_is_new_where_nothing_was_appended(place: Place) -> None:
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    reader.look()
    assert not reader.look()
    writer.put("b", 2)
    assert reader.look() and not reader.look()


def test_segments_that_are_sealed_and_begun_meanwhile_are_followed(place: Place) -> None:
    writer = place.writer("000", rotate_records=7)
    writer.put("a", 1)
    reader = place.reader("000")
    for n in range(100):
        writer.put(n, n)
        assert get(reader, n) == n
    assert all(reader.get(n) == n for n in range(100)) and reader.problems == []
    assert len(reader.catalog.grown) <= 1, "a sealed segment is looked up by its own index"


def test_a_sealed_segment_is_mapped(tmp_path: Path) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    writer = place.writer("000")
    reader = place.reader("000")
    writer.put("a", "a" * 5000)
    assert get(reader, "a") == "a" * 5000
    for n in range(300):
        writer.put(n, f"{n}" * 2000)
    writer.seal()
    assert get(reader, 299) == "299" * 2000
    (segment,) = [
        one for one in reader.catalog.segments.values() if one.directory.endswith("000/checkpoint")
    ]
    assert segment.sealed and segment.view() is not None
    place.close()


def test_a_tail_is_read_on_and_not_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = place.writer("000")
    reader = place.reader("000")
    starts: list[int] = []
    walk = Segment.walk

    def counted(self: Segment, start: int = 0, size: int | None = None) -> Any:
        starts.append(start)
        return walk(self, start, size)

    monkeypatch.setattr(Segment, "walk", counted)
    for n in range(50):
        writer.put(n, n)
        reader.look()
    assert len(starts) == 50 and starts == sorted(set(starts))


def test_a_tail_that_is_cut_at_any_byte_is_tried_again(tmp_path: Path) -> None:
    backend = MemoryBackend()
    place = Place(backend, "runs")
    writer = place.writer("000")
    writer.put("a", 1)
    file = next(file for name, file in backend.files.items() if name.endswith(".seg"))
    writer.put("b", 2)
    writer.remove(writer.find(writer_key("a")).record_id)  # type: ignore[union-attr]
    whole = bytes(file.data)
    for cut in range(len(whole) + 1):
        file.data[:] = whole[:cut]
        reader = place.reader("000")
        reader.look()
        assert get(reader, "b") in (None, 2)
        file.data[:] = whole
        reader.look()
        assert reader.get("b") == 2 and reader.get("a") is None, cut
        assert reader.problems == [], cut


def test_a_tail_that_is_seen_byte_by_byte_is_whole_in_the_end(place: Place) -> None:
    if not isinstance(place.backend, MemoryBackend):
        pytest.skip("the file is cut by hand")
    writer = place.writer("000")
    for n in range(5):
        writer.put(n, n)
    file = next(file for name, file in place.backend.files.items() if name.endswith(".seg"))
    whole = bytes(file.data)
    file.data[:] = b""
    reader = place.reader("000")
    found: list[int] = []
    for cut in range(len(whole) + 1):
        file.data[:] = whole[:cut]
        reader.look()
        found.append(sum(reader.get(n) == n for n in range(5)))
    assert found == sorted(found) and found[0] == 0 and found[-1] == 5
    assert reader.problems == []


def test_zeros_that_become_a_frame_later_are_no_damage(place: Place) -> None:
    """A network file system may show that a file is longer before it shows what is in it."""
    if not isinstance(place.backend, MemoryBackend):
        pytest.skip("the file is changed by hand")
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    reader.look()
    file = next(file for name, file in place.backend.files.items() if name.endswith(".seg"))
    before = len(file.data)
    writer.put("b", 2)
    whole = bytes(file.data)
    file.data[before:] = bytes(len(whole) - before)
    assert get(reader, "b") is None
    file.data[:] = whole
    assert get(reader, "b") == 2 and reader.problems == []


def test_damage_is_told_once_whole_frames_follow_it(place: Place) -> None:
    if not isinstance(place.backend, MemoryBackend):
        pytest.skip("the file is changed by hand")
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    reader.look()
    file = next(file for name, file in place.backend.files.items() if name.endswith(".seg"))
    at = len(file.data)
    writer.put("b", 2)
    file.data[at + 3] ^= 1
    assert get(reader, "b") is None and reader.problems == []
    writer.put("c", 3)
    assert get(reader, "c") == 3
    assert [(p.kind, p.offset) for p in reader.problems] == [("damage", at)]
    reader.look()
    assert len(reader.problems) == 1


def test_tombstones_notes_and_aliases_in_a_tail_count(place: Place) -> None:
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    stored = writer.find(writer_key("a"))
    assert stored is not None
    writer.append([
        writer.stage_note(stored.record_id, "value", b"leaf"),
        writer.stage_alias(key=b"k" * 32, record_id=stored.record_id, target=stored.result.key),
    ])  # fmt: skip
    reader.look()
    assert reader.note(stored.record_id, "value") == b"leaf"
    assert reader.value(reader.find(b"k" * 32)) == 1  # type: ignore[arg-type]
    writer.remove(stored.record_id)
    reader.look()
    assert reader.get("a") is None and reader.find(b"k" * 32) is None


def test_a_run_that_begins_later_is_followed(place: Place) -> None:
    reader = place.reader()
    assert get(reader, "a") is None
    writer = place.writer("001")
    writer.put("a", 1)
    assert get(reader, "a") == 1
    assert place.joined == [place.path("001")]


def test_a_run_that_has_begun_and_recorded_nothing_yet_is_waited_for(place: Place) -> None:
    place.backend.make_directory(f"{place.root}/001")
    reader = place.reader()
    assert get(reader, "a") is None and place.following(reader) == ["001"]
    place.writer("001").put("a", 1)
    assert get(reader, "a") == 1


def test_without_a_root_only_the_named_are_followed(place: Place) -> None:
    named = place.writer("000")
    named.put("a", 1)
    reader = place.reader("000", root=False)
    place.writer("001").put("b", 2)
    named.put("c", 3)
    assert get(reader, "b") is None and get(reader, "c") == 3


def test_a_run_that_has_ended_is_looked_at_once_more(place: Place) -> None:
    beat_in(place.backend, f"{place.root}/000", beat=time.time())
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    reader.look()
    assert place.following(reader) == ["000"]
    writer.put("b", 2)
    writer.close()
    beat_in(place.backend, f"{place.root}/000", beat=time.time(), ended=time.time())
    place.clock.advance(10.0)
    assert get(reader, "b") == 2 and place.following(reader) == []
    assert reader.get("a") == 1


def test_what_a_run_recorded_between_our_opening_and_its_end_is_seen(place: Place) -> None:
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    writer.put("b", 2)
    writer.close()
    beat_in(place.backend, f"{place.root}/000", beat=time.time(), ended=time.time())
    assert get(reader, "b") == 2 and place.following(reader) == []


def test_a_run_on_another_host_is_followed_while_its_heart_beats(place: Place) -> None:
    elsewhere = {"host": "elsewhere", "boot": "another"}
    beat_in(place.backend, f"{place.root}/000", beat=time.time(), **elsewhere)
    old = time.time() - heartbeat.FOREIGN_SECONDS - 1
    beat_in(place.backend, f"{place.root}/001", beat=old, **elsewhere)
    reader = place.reader()
    reader.look()
    assert place.following(reader) == ["000"]


def test_a_directory_without_a_heartbeat_is_given_up_in_time(place: Place) -> None:
    place.backend.make_directory(f"{place.root}/000")
    reader = place.reader()
    reader.look()
    assert place.following(reader) == ["000"]
    place.clock.advance(heartbeat.FOREIGN_SECONDS + 1)
    reader.look()
    assert place.following(reader) == []


def test_a_directory_that_is_pruned_is_let_go_of_without_a_word(tmp_path: Path) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    writer = place.writer("000")
    writer.put("a", 1)
    reader = place.reader("000")
    assert get(reader, "a") == 1
    writer.close()
    shutil.rmtree(tmp_path / "runs" / "000")
    reader.look()
    assert reader.get("a") is None and place.following(reader) == []
    assert reader.problems == []
    place.close()


def test_what_is_compacted_meanwhile_is_found(tmp_path: Path) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    writer = place.writer("000", rotate_records=3)
    for n in range(10):
        writer.put(n, n)
    reader = place.reader("000")
    reader.look()
    writer.compact()
    writer.put("more", 1)
    assert get(reader, "more") == 1
    assert [reader.get(n) for n in range(10)] == list(range(10)) and reader.problems == []
    place.close()


def test_a_later_run_of_somebody_else_is_left_out_with_one_complaint(tmp_path: Path) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    reader = place.reader()
    place.writer("000").put("a", 1)
    (tmp_path / "runs" / "000" / "checkpoint").chmod(0o777)
    assert get(reader, "a") is None and get(reader, "a") is None
    assert [problem.kind for problem in reader.problems] == ["untrusted"]
    assert place.following(reader) == []
    anyone = Store.open(place.path("901"), trust="any")
    anyone.follow(place.root)
    assert get(anyone, "a") == 1
    anyone.close()
    place.close()


def test_signed_tails_are_followed_and_others_are_not_believed(place: Place) -> None:
    key = b"k" * 32
    good = place.writer("000", signing_key=key)
    good.put("a", 1)
    reader = place.reader("000", signing_key=key)
    for n in range(20):
        good.put(n, n)
        assert get(reader, n) == n
    assert reader.problems == []
    place.writer("001").put("b", 2)
    assert get(reader, "b") is None


def test_many_entries_of_one_tail_are_folded(place: Place) -> None:
    writer = place.writer("000", rotate_records=1 << 30)
    writer.put("first", 1)
    reader = place.reader("000")
    encoded = writer.encode(7)
    keys = [n.to_bytes(4, "big") * 8 for n in range(3 * FOLD)]
    for start in range(0, len(keys), 5000):
        writer.append([writer.stage(encoded, key=key) for key in keys[start : start + 5000]])
        reader.look()
    (tail,) = reader.catalog.grown
    assert len(tail) == len(keys) and len(tail._places) < FOLD
    assert all(reader.find(key) is not None for key in keys[::997])
    assert reader.find(b"\xff" * 32) is None


def test_the_newest_of_a_key_in_a_tail_is_found(place: Place) -> None:
    writer = place.writer("000")
    reader = place.reader("000")
    for n in range(4):
        writer.put("a", n)
        reader.look()
        assert reader.get("a") == n


def test_no_more_is_listed_than_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    place.writer("000").put("a", 1)
    reader = place.reader("000")
    for _ in range(3):  # until the times of change can be trusted
        reader.look()
        place.clock.advance(COARSE_TICK + 1)
    listed: list[str] = []
    names = LocalBackend.list
    monkeypatch.setattr(
        LocalBackend, "list", lambda self, path: listed.append(path) or names(self, path)
    )
    for _ in range(100):
        reader.look()
    assert listed == []
    place.close()


def test_a_listing_is_trusted_when_the_clock_of_the_place_has_gone_on() -> None:
    watch = Watch()
    assert watch.due(1_000_000_001, 0.0) and watch.due(1_000_000_001, TICK / 2)
    assert watch.due(1_000_000_001, TICK * 2), "one listing more, and that one is trusted"
    assert not watch.due(1_000_000_001, TICK * 3)
    assert watch.due(1_000_000_002, TICK * 4)
    whole = Watch()
    assert whole.due(2_000_000_000, 0.0) and whole.due(2_000_000_000, TICK * 2)
    assert whole.due(2_000_000_000, COARSE_TICK + 1) and not whole.due(2_000_000_000, 9.0)
    unknown = Watch()
    assert all(unknown.due(0, float(n)) for n in range(10))


def test_refresh_reads_on_where_it_stopped(place: Place) -> None:
    writer = place.writer("000")
    writer.put("a", 1)
    reader = Store.open(None, sources=[place.path("000")], backend=place.backend)
    walked = Catalog._walk
    try:
        Catalog._walk = None  # type: ignore[method-assign,assignment]
        writer.put("b", 2)
        reader.refresh()
        assert reader.get("b") == 2
    finally:
        Catalog._walk = walked  # type: ignore[method-assign]
    reader.close()


def writer_key(name: str) -> bytes:
    from parsl_ckpt.checkpoint.store import address

    return address(name)


def test_what_another_thread_has_seen_since_the_miss_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = place.writer("000"), place.reader("000")
    memo = Memo(reader, follow=True)
    find = reader.find

    def miss(key: bytes) -> Any:
        found = find(key)
        if found is None:  # and now the other process records it, and another thread looks
            writer.put("it", 1)
            assert reader.look()
        return found

    monkeypatch.setattr(reader, "find", miss)
    assert memo.find(address("it")) is not None
