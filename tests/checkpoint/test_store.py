"""The store as its users see it; the same over every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from parsl_ckpt.checkpoint import Alias, Failure, Note, Run
from parsl_ckpt.checkpoint.catalog import Catalog
from parsl_ckpt.checkpoint.format import Code
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    StoreClosedError,
    UnreadableRecordError,
    UnserializableValueError,
)

from .conftest import Place

Key = Callable[[int], bytes]


def fill(store: Any, key: Key, numbers: Any) -> None:
    store.append(
        [store.stage(store.encode(n), key=key(n), lineage=key(n + 10**6), app="f") for n in numbers]
    )


def test_it_is_a_mapping_by_itself(place: Place) -> None:
    with place.open() as store:
        store.put("a", [1])
        store.put(("b", 2), {"x": None})
        store.put(b"c" * 32, 3)
        store.put("a", [2])
        assert store.get("a") == [2] and store.get("z") is None and store.get("z", 5) == 5
        assert ("b", 2) in store and ("b", 3) not in store
        assert set(store) == {"a", ("b", 2), b"c" * 32} and len(store) == 3
    with place.open("001", ("000",)) as later:
        assert dict(later.items()) == {"a": [2], ("b", 2): {"x": None}, b"c" * 32: 3}
        assert later.loaded == [(place.path(), 4)]


def test_values_are_decoded_afresh_each_time(place: Place) -> None:
    store = place.open()
    store.put("a", [1])
    store.get("a").append(2)
    assert store.get("a") == [1]


def test_a_record_is_found_under_value_key_and_lineage_key(place: Place, key: Key) -> None:
    store = place.open()
    fill(store, key, range(10))
    for reader in (store, place.open(None, ("000",))):
        one, other = reader.find(key(3)), reader.find(key(3 + 10**6))
        assert one is not None and other is not None and one.record_id == other.record_id
        assert one.result.app == "f" and reader.value(one) == 3
        assert reader.find(key(11)) is None


def test_newest_wins_within_a_run_and_across_runs(place: Place) -> None:
    for run, name in enumerate(("000", "001", "002")):
        with place.open(name) as store:
            store.put("k", (run, 0))
            store.put("k", (run, 1))
            store.seal()
            store.put("k", (run, 2))
    assert place.open(None, ("000", "001", "002")).get("k") == (2, 2)
    assert place.open(None, ("002", "001", "000")).get("k") == (0, 2)
    assert place.open("001", ("000",)).get("k") == (1, 2)


def test_an_alias_gives_the_record_with_its_own_parents(place: Place, key: Key) -> None:
    store = place.open()
    fill(store, key, range(3))
    target = store.find(key(1))
    assert target is not None
    parents = ((key(8), b"p" * 16),)
    store.append(
        [store.stage_alias(key=key(50), record_id=target.record_id, target=key(1), parents=parents)]
    )
    store.append([store.stage_record(Alias(key(51), b"?" * 16, key(1)))])
    for _ in range(2):
        found = store.find(key(50))
        assert (
            found is not None and found.record_id == target.record_id and found.parents == parents
        )
        assert store.find(key(51)) is None
        store.close()
        store = place.open("001", ("000",))
    store.append([store.stage_alias(key=key(52), record_id=target.record_id, target=key(1))])
    assert store.find(key(52)) is not None


def test_notes_failures_code_and_runs_are_found(place: Place, key: Key) -> None:
    store = place.open()
    fill(store, key, [1])
    found = store.find(key(1))
    assert found is not None
    store.append([
        store.stage_note(found.record_id, "digest", b"old"),
        store.stage_note(found.record_id, "digest", b"new"),
        store.stage_note(found.record_id, "other", b"x"),
        store.stage_record(Failure(key(1), "f", 7, "ValueError: no \ud800", b"trace")),
        store.stage_failure(app="g", tid=3, error="e", trace=b""),
        store.stage_record(Code(b"d" * 32, "f", {"f": b"1"}, {b"1": "def f(): ..."})),
        store.stage_run("begin", {"argv": ["x\udcff"], "clean": True, "when": 1.5}),
    ])  # fmt: skip
    for _ in range(2):
        assert store.note(found.record_id, "digest") == b"new"
        assert store.note(found.record_id, "nothing") is None
        assert [failure.tid for failure in store.failures(key(1))] == [7]
        code = store.code(b"d" * 32)
        assert code is not None and code.sources == {b"1": "def f(): ..."}
        assert [(where, run.event) for where, run in store.runs()] == [(place.path(), "begin")]
        assert store.find(key(1)) is not None, "a failure hides no result"
        store.close()
        store = place.open("001", ("000",))


def test_what_a_tombstone_names_is_never_found_again(place: Place, key: Key) -> None:
    store = place.open()
    fill(store, key, range(5))
    store.put("again", 1)
    for number in (1, 2):
        found = store.find(key(number))
        assert found is not None
        store.remove(found.record_id)
        assert store.find(key(number)) is None
    store.close()
    with place.open("001", ("000",)) as store:
        assert store.find(key(1)) is None and store.find(key(2 + 10**6)) is None
        found = store.find(key(3))
        assert found is not None
        store.remove(found.record_id)
        fill(store, key, [])
    later = place.open("002", ("000", "001"))
    assert [later.find(key(n)) is not None for n in range(5)] == [True, False, False, False, True]
    assert place.open(None, ("000",)).find(key(3)) is not None


def test_a_record_put_after_its_removal_is_found(place: Place) -> None:
    store = place.open()
    store.put("a", 1)
    found = next(iter(store.records()))
    store.remove(found[1])
    assert "a" not in store
    store.put("a", 1)
    assert store.get("a") == 1


def test_a_record_that_equals_a_removed_one_byte_for_byte_is_found_when_put_again(
    place: Place, key: Key
) -> None:
    def same() -> Any:
        return store.stage(store.encode(7), key=key(1), app="f", began=5.0)

    store = place.open()
    for began in range(3):
        first = same()
        store.append([first])
        assert store.get(key(1)) == 7 and (first.record.began == 5.0) == (began == 0)
        store.remove(first.record_id)
        assert store.find(key(1)) is None
    store.append([same()])
    place.abandon(store)
    later = place.open("001", ("000",))
    assert later.get(key(1)) == 7  # whoever reads it, in whatever order
    assert later.stage(later.encode(7), key=key(1), app="f", began=5.0).record_id != first.record_id
    infinite = later.stage(later.encode(1), key=key(2), began=float("inf"))
    later.remove(infinite.record_id)
    later.append([later.stage(later.encode(1), key=key(2), began=float("inf"))])
    assert later.get(key(2)) == 1


def blob_of(place: Place, run: str) -> str:
    part = next(iter(place.backend.list(f"{place.path(run)}/blobs")))
    return (
        f"{place.path(run)}/blobs/{part}/{place.backend.list(f'{place.path(run)}/blobs/{part}')[0]}"
    )


def test_behind_a_record_whose_blob_is_gone_an_older_whole_one_is_found(
    place: Place, key: Key
) -> None:
    """Found out when the value is read, so that a hit touches no blob."""
    for run, byte in (("000", b"a"), ("001", b"b"), ("002", b"c")):
        with place.open(run) as store:
            lineage = key(2)
            big = store.stage(store.encode(byte * 300_000), key=key(1), lineage=lineage)
            store.append([big])
            if run == "002":
                store.append(
                    [store.stage_alias(key=key(3), record_id=big.record_id, target=key(1))]
                )
    place.backend.remove(blob_of(place, "002"))
    store = place.open(None, ("000", "001", "002"))
    for asked in (key(1), key(2), key(3)):
        newest = store.find(asked)
        assert newest is not None and newest.directory == place.path("002")
    with pytest.raises(UnreadableRecordError):
        store.value(newest)
    older = store.find(key(1))
    assert older is not None and older.directory == place.path("001")
    assert store.value(older)[:1] == b"b" and store.find(key(3)) is None
    assert store.find(key(2)) == older or store.value(store.find(key(2)))[:1] == b"b"
    assert place.open(None, ("000", "001", "002")).get(key(1))[:1] == b"b"
    place.backend.remove(blob_of(place, "001"))
    place.backend.remove(blob_of(place, "000"))
    assert place.open(None, ("000", "001", "002")).get(key(1), "nothing") == "nothing"


def test_what_could_not_be_read_this_time_is_tried_again(place: Place) -> None:
    """Too many open files say nothing about the record."""
    import errno

    store = place.open()
    store.put("a", b"1" * 300_000)
    store.put("a", b"2" * 300_000)
    opened = store._blobs._backend.open_under

    def too_many(directory: str, path: str) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    store._blobs._backend.open_under = too_many  # type: ignore[method-assign]
    assert store.get("a") is None
    store._blobs._backend.open_under = opened  # type: ignore[method-assign]
    assert store.get("a")[:1] == b"2"


def test_held_records_are_found_here_and_seen_elsewhere_once_published(
    place: Place, key: Key
) -> None:
    store = place.open()
    store.put("before", 0)
    store.hold([store.entry("k", n) for n in range(3)] + [store.entry(n, n) for n in range(10)])
    assert store.get("k") == 2 and store.held == 13
    assert place.open(None, ("000",)).get("k") is None
    assert store.publish() == 13 and store.held == 0
    assert store.get("k") == 2
    assert place.open(None, ("000",)).get("k") == 2
    assert store.publish() == 0


def test_beyond_its_bound_what_is_held_goes_to_a_file_that_nobody_sees(place: Place) -> None:
    store = place.open(hold_bytes=5000)
    store.put("k", "first")
    for n in range(100):
        store.hold([store.entry(n, "v" * 50), store.entry("k", n)])
    assert store._writing._held_size <= 5000
    assert store.get("k") == 99 and store.get(5) == "v" * 50
    reader = place.open(None, ("000",))
    assert reader.get("k") == "first" and reader.get(5) is None
    assert store.publish() == 200
    store.put("k", "last")
    for either in (place.open(None, ("000",)), store):
        assert either.get("k") == "last" and all(either.get(n) == "v" * 50 for n in range(100))
    assert not [name for name in place.names() if name.startswith(".")]


def test_closing_publishes_what_is_held(place: Place) -> None:
    with place.open(hold_bytes=3000) as store:
        store.hold([store.entry(n, n) for n in range(100)])
    assert len(place.open(None, ("000",))) == 100


def test_segments_rotate_and_their_indexes_merge(place: Place, key: Key) -> None:
    with place.open(rotate_records=50) as store:
        for start in range(0, 500, 10):
            fill(store, key, range(start, start + 10))
            assert store.find(key(start)) is not None
        assert all(store.find(key(n)) is not None for n in range(500))
    names = place.names()
    assert len([n for n in names if n.endswith(".seg")]) == 10
    assert len([n for n in names if n.endswith(".idx")]) == 1
    reader = place.open(None, ("000",))
    assert len(reader.catalog.indexes) == 1 and reader.loaded == [(place.path(), 500)]
    assert all(reader.value(reader.find(key(n))) == n for n in range(500))  # type: ignore[arg-type]
    assert reader.problems == []


def test_many_runs_are_looked_up_through_few_indexes(place: Place, key: Key) -> None:
    names = [f"{n:03d}" for n in range(30)]
    for n, name in enumerate(names):
        with place.open(name, tuple(names[:n])) as store:
            fill(store, key, [n])
            store.put("newest", n)
    reader = place.open(None, tuple(names))
    assert len(reader.catalog.indexes) <= 12
    assert all(reader.find(key(n)) is not None for n in range(30))
    assert reader.get("newest") == 29
    assert [count for _, count in reader.loaded] == [2] * 30


def test_reopening_one_directory_again_and_again_keeps_its_indexes_few(place: Place) -> None:
    for n in range(40):
        with place.open() as store:
            store.put(n, n)
    assert len([n for n in place.names() if n.endswith(".idx")]) <= 12
    assert set(place.open(None, ("000",))) == set(range(40))


def test_an_unsealed_segment_is_walked_once_and_its_index_kept(
    place: Place, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = place.open()
    fill(dead, key, range(1000))
    dead.put("blob", b"x" * 100_000)
    place.abandon(dead)
    with place.open("001", ("000",)) as store:
        assert store.loaded[0] == (place.path(), 1001)
        assert store.value(store.find(key(5))) == 5  # type: ignore[arg-type]
    assert [name for name in place.names("001") if name.endswith(".idx")]
    monkeypatch.setattr(Catalog, "_walk", None)  # nobody walks again
    third = place.open(None, ("000", "001"))
    assert third.value(third.find(key(999 + 10**6))) == 999  # type: ignore[arg-type]
    assert third.get("blob") == b"x" * 100_000


def test_a_reader_sees_a_growing_segment_up_to_its_last_whole_frame(place: Place) -> None:
    writer = place.open()
    writer.put("a", 1)
    reader = place.open("001", ("000",))
    writer.put("b", 2)
    assert reader.get("a") == 1 and reader.get("b") is None
    reader.refresh()
    assert reader.get("b") == 2
    writer.seal()
    writer.put("c", 3)
    reader.refresh()
    assert reader.get("c") == 3 and reader.get("a") == 1 and reader.problems == []


def test_two_writers_in_one_directory_do_not_disturb_each_other(place: Place) -> None:
    one, other = place.open(), place.open()
    for n in range(50):
        one.put(("one", n), n)
        other.put(("other", n), n)
        if n % 20 == 0:
            one.seal()
    one.close()
    other.close()
    reader = place.open(None, ("000",))
    assert len(reader) == 100 and reader.problems == []


def test_finding_runs_beside_appending_and_rotating(place: Place, key: Key) -> None:
    store = place.open(rotate_records=64)
    written = [0]
    failures: list[object] = []

    def look() -> None:
        while written[0] < 2000:
            for n in range(0, written[0], 97):
                found = store.find(key(n))
                if found is None or store.value(found) != n:
                    failures.append(n)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(0, 2000, 8):
        fill(store, key, range(start, start + 8))
        written[0] = start + 8
    for thread in threads:
        thread.join()
    assert failures == []


def test_large_values_stand_beside_the_segment_once(place: Place) -> None:
    store = place.open()
    for n in range(3):
        store.put(n, b"z" * 200_000)
    store.put("text", "é" * 100_000)
    assert len(place.backend.list(place.path() + "/blobs")) == 2
    reader = place.open(None, ("000",))
    assert reader.get(1) == b"z" * 200_000 and reader.get("text") == "é" * 100_000


def test_sync_leaves_nothing_dirty(place: Place) -> None:
    store = place.open(rotate_records=3)
    assert not store.dirty
    for n in range(8):
        store.put(n, b"x" * 100_000)
    assert store.dirty
    store.sync()
    assert not store.dirty
    power = place.open("001", durability="power")
    power.put("a", b"x" * 100_000)
    assert not power.dirty


def test_the_directory_is_made_when_something_is_written(place: Place) -> None:
    with place.open() as store:
        assert store.get("a") is None
    with pytest.raises(FileNotFoundError):
        place.names()


def test_wrong_use_is_a_typed_error(place: Place) -> None:
    with pytest.raises(ConfigurationError):
        place.open(durability="maybe")
    with pytest.raises(CheckpointNotFoundError):
        place.open(None, ("nowhere",))
    found = place.open(None, ("nowhere",), named=False)
    assert [problem.kind for problem in found.problems] == ["directory"]
    with pytest.raises(StoreClosedError):
        found.put("a", 1)
    with pytest.raises(StoreClosedError):
        found.put("a", b"x" * 100_000)
    store = place.open()
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.put("a", 1)
    with pytest.raises(UnserializableValueError):
        place.open().put("a", (n for n in "generators have state that nothing carries"))
    with pytest.raises(UnserializableValueError):
        place.open().put(object(), 1)


def test_without_pickle_pickles_are_neither_written_nor_read(place: Place) -> None:
    with place.open() as store:
        store.put("a", object)
        store.put("b", 1)
    strict = place.open("001", ("000",), pickle=False)
    found = strict.find(next(r.key for _, _, r in strict.records() if getattr(r, "codec", 0) == 2))
    assert found is not None
    with pytest.raises(UnreadableRecordError):
        strict.value(found)
    assert strict.get("a") is None and strict.get("b") == 1
    assert [problem.kind for problem in strict.problems] == ["record"]
    with pytest.raises(UnserializableValueError):
        strict.put("c", object)


def test_unknown_fields_and_kinds_are_skipped(place: Place, key: Key) -> None:
    import msgspec

    from parsl_ckpt.checkpoint import format as fmt
    from parsl_ckpt.checkpoint.segment import Entry

    store = place.open()
    fields = msgspec.structs.astuple(fmt.Result(key(1), codec=1, value=b"T"))
    later = msgspec.msgpack.encode([*fields, "new", 7])
    store.append([
        Entry(fmt.RESULT, (key(1),), fmt.record_id_of(later), later, fmt.Result(key(1))),
        Entry(200, (key(1),), fmt.record_id_of(b"?"), b"?", Run("x")),
        Entry(fmt.NOTE, (key(1),), fmt.record_id_of(b"bad"), b"bad", Note(b"", "", b"")),
    ])  # fmt: skip
    store.close()
    reader = place.open(None, ("000",))
    found = reader.find(key(1))
    assert found is not None and reader.value(found) is True
    assert len(list(reader.records())) == 1


def test_what_is_held_under_a_key_whose_newest_was_removed_is_found(place: Place) -> None:
    store = place.open()
    store.hold([store.entry("a", "older"), store.entry("a", "newer")])
    found = store.find(address("a"))
    assert found is not None
    store.remove(found.record_id)
    assert store.get("a") == "older"
    store.publish()
    assert store.get("a") == "older"


def test_a_failure_that_is_held_later_hides_no_result(place: Place) -> None:
    store = place.open()
    failure = store.stage_failure(app="f", tid=1, error="E", trace=b"", key=address("a"))
    store.hold([store.entry("a", "older"), failure, store.entry("a", "newer"), failure])
    found = store.find(address("a"))
    assert found is not None and store.value(found) == "newer"
    store.remove(found.record_id)
    assert store.get("a") == "older"
    assert [one.error for one in store.failures(address("a"))] == ["E", "E"]
