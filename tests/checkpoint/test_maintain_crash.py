"""Whoever looks after a store may die, or lose power, at any instruction: nothing is lost by it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint.compact import PRUNED, compact
from parsl_ckpt.checkpoint.format import Tombstone
from parsl_ckpt.checkpoint.frames import Frames, decode
from parsl_ckpt.checkpoint.inventory import find, segments
from parsl_ckpt.checkpoint.items import Filter, items, removed_in
from parsl_ckpt.checkpoint.memory import _File
from parsl_ckpt.checkpoint.prune import prune, remove_items, remove_runs
from parsl_ckpt.checkpoint.reclaim import entry_of
from parsl_ckpt.checkpoint.repair import repair
from parsl_ckpt.checkpoint.rewrite import write_segment
from parsl_ckpt.checkpoint.segment import OpenFiles
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.checkpoint.verify import verify
from parsl_ckpt.errors import UnreadableRecordError
from parsl_ckpt.testing.faults import Die, Died, FaultyBackend

RUNS = ("000", "001", "002")
Work = Callable[[Any], object]


def copy(backend: MemoryBackend) -> MemoryBackend:
    other = MemoryBackend()
    other.directories = set(backend.directories)
    for name, file in backend.files.items():
        other.files[name] = _File()
        other.files[name].data = bytearray(file.data)
    return other


def sources(backend: Any) -> list[str]:
    return [place.directory for place in find(backend, "runs")]


def view(backend: Any) -> dict[Any, Any]:
    """Everything that is found, by key, by alias and as a note."""
    with Store.open(None, sources=sources(backend), backend=backend, named=False) as store:
        seen: dict[Any, Any] = {}
        for key in store:
            value = store.get(key)
            seen[key] = value if not isinstance(value, bytes) else (len(value), value[:1])
            if value is None:
                del seen[key]
        for name in ("alias", "old"):
            found = store.find(name.encode().ljust(32))
            if found is not None:
                seen[name] = store.value(found)
                seen[name, "note"] = store.note(found.record_id, "value")
        return seen


def runs() -> MemoryBackend:
    """Three runs that share keys, with blobs, removals, aliases, notes; one has no end."""
    backend = MemoryBackend()
    for number, run in enumerate(RUNS):
        store = Store.open(
            f"runs/{run}/checkpoint",
            sources=[f"runs/{one}/checkpoint" for one in RUNS[:number]],
            backend=backend,
            rotate_records=5,
        )
        for n in range(number * 4, number * 4 + 9):
            store.put(n, (run, n))
        store.put(f"big {run}", bytes([65 + number]) * 300_000)
        store.put("shared", b"s" * 200_000)
        store.append([store.stage_run("begin", {"used": []})])
        found = store.find(address(5 + number))
        assert found is not None
        store.append([
            store.stage_alias(
                key=b"alias".ljust(32), record_id=found.record_id, target=found.result.key
            ),
            store.stage_note(found.record_id, "value", b"leaf"),
            store.stage_failure(app="bad", tid=1, error="no", trace=b""),
        ])  # fmt: skip
        if number == 1:
            first = store.find(address(0))
            old = store.find(address(6))
            assert first is not None and old is not None
            store.remove(first.record_id, reason="forgotten")
            store.append(
                [
                    store.stage_alias(
                        key=b"old".ljust(32), record_id=old.record_id, target=old.result.key
                    )
                ]
            )
        if number != 1:
            store.close()
    return backend


def compacted(backend: Any) -> object:
    return compact(backend, find(backend, "runs"))


def repaired(backend: Any) -> object:
    return repair(backend, find(backend, "runs"))


def pruned(backend: Any) -> object:
    return prune(backend, find(backend, "runs"), max_bytes=450_000)


def pruned_of_nothing(backend: Any) -> object:
    return prune(backend, find(backend, "runs"), only=Filter(apps=["none"]))


def first_run_removed(backend: Any) -> object:
    places = find(backend, "runs")
    remove_runs(backend, places[:1], places[1:])
    return None


def operations(backend: MemoryBackend, work: Work) -> int:
    faulty = FaultyBackend(copy(backend))
    work(faulty)
    return faulty.count


def deaths(backend: MemoryBackend, work: Work) -> Any:
    """(what the disk holds, whether it had come to its end) for a death at each operation."""
    for number, fraction in itertools.product(range(1, operations(backend, work) + 1), (0.0, 0.6)):
        disk = copy(backend)
        with pytest.raises(Died):
            work(FaultyBackend(disk, {number: Die(fraction)}))
        yield number, disk


@pytest.mark.parametrize("work", [compacted, repaired])
def test_a_death_at_any_operation_changes_nothing_that_is_found(work: Work) -> None:
    backend = runs()
    before = view(backend)
    assert before[4] == ("001", 4) and before["alias", "note"] == b"leaf" and 0 not in before
    for number, disk in deaths(backend, work):
        assert view(disk) == before, number
        work(disk)
        assert view(disk) == before, number
        assert verify(disk, find(disk, "runs")).good


@pytest.mark.parametrize("work", [compacted, repaired])
def test_a_power_cut_at_any_operation_changes_nothing_that_is_found(work: Work) -> None:
    backend = runs()
    before = view(backend)
    for number in range(1, operations(backend, work) + 1):
        faulty = FaultyBackend(copy(backend), {number: Die()})
        with pytest.raises(Died):
            work(faulty)
        faulty.power_cut()
        assert view(faulty.inner) == before, number


def test_a_death_while_pruning_loses_only_what_was_chosen() -> None:
    backend = runs()
    before = view(backend)
    done = copy(backend)
    pruned(done)
    after = view(done)
    assert after != before
    for number, disk in deaths(backend, pruned):
        found = view(disk)
        assert after.items() <= before.items() and found.items() <= before.items(), number
        assert set(after) <= set(found), number


def test_the_next_prune_makes_the_room_that_an_interrupted_one_had_not_come_to() -> None:
    backend = runs()
    for number, disk in deaths(backend, pruned):
        prune(disk, find(disk, "runs"), max_bytes=10**9)  # wants nothing more
        again = prune(disk, find(disk, "runs"), max_bytes=10**9)
        assert (again.records, again.reclaimed) == (0, 0), number
        for place in find(disk, "runs"):
            removed = removed_in(disk, [place])
            for segment in segments(disk, [place], OpenFiles()):
                for frame in Frames(segment, growing=False).whole():
                    assert frame.record_id not in removed, number
                    record = decode(frame)
                    assert not (isinstance(record, Tombstone) and record.reason == PRUNED), number
        assert verify(disk, find(disk, "runs")).good, number


def doubled() -> MemoryBackend:
    """A record in two runs, pruned in one: as after a compaction and a pruning that died."""
    backend = MemoryBackend()
    backend.make_directory("runs")
    for run in range(2):
        with Store.open(f"runs/{run:03d}/checkpoint", backend=backend) as store:
            store.put(("own", run), run, app="kept")
            if not run:
                store.put("twice", 1, app="sketch")
    first, second = find(backend, "runs")
    (segment,) = segments(backend, [first], OpenFiles())
    backend.create(f"{second.directory}/{segment.name}").write(backend.files[segment.path].data)
    (record_id,) = {item.record_id for item in items(backend, [first], Filter(apps=["sketch"]))}
    tombstone = entry_of(Tombstone((record_id,), PRUNED))
    write_segment(backend, first.directory, 7, [tombstone])
    return backend


def test_what_stands_in_two_runs_stays_pruned_when_its_tombstone_stands_in_one() -> None:
    backend = doubled()
    for _ in range(2):
        prune(backend, find(backend, "runs"), only=Filter(apps=["another"]))
        places = [place.directory for place in find(backend, "runs")]
        with Store.open(None, sources=places, backend=backend, named=False) as store:
            assert store.get("twice") is None
            assert [store.get(("own", run)) for run in range(2)] == [0, 1]
    assert not removed_in(backend, find(backend, "runs")), "its room is free, and so is the mark"


def test_it_stays_pruned_when_the_run_of_its_tombstone_is_removed() -> None:
    backend = doubled()
    places = find(backend, "runs")
    remove_runs(backend, places[:1], places[1:])
    for _ in range(2):
        (place,) = find(backend, "runs")
        with Store.open(None, sources=[place.directory], backend=backend, named=False) as store:
            assert store.get("twice") is None
            assert store.get(("own", 1)) == 1
        prune(backend, [place], only=Filter(apps=["another"]))
    assert not removed_in(backend, find(backend, "runs"))


def test_a_death_while_a_run_is_removed_touches_no_other_run() -> None:
    backend = runs()
    done = copy(backend)
    first_run_removed(done)
    after = view(done)
    for number, disk in deaths(backend, first_run_removed):
        found = view(disk)
        assert {k: v for k, v in found.items() if k in after} == after, number
        first_run_removed(disk) if find(disk, "runs")[0].name == "000" else None
        assert view(disk) == after, number


def test_a_removal_in_a_run_outlives_that_run() -> None:
    """Run 001 removed a record of run 000; when 001 goes, the record does not come back."""
    backend = runs()
    with Store.open(None, sources=sources(backend)[:1], backend=backend) as store:
        assert store.get(0) == ("000", 0)
    places = find(backend, "runs")
    remove_runs(backend, places[1:2], [places[0], places[2]])
    assert 0 not in view(backend)
    with Store.open(None, sources=sources(backend), backend=backend) as store:
        assert store.get(0) is None and store.get(1) == ("000", 1)


def test_readers_go_on_while_runs_are_compacted() -> None:
    """A store that was opened before finds everything after, values and blobs."""
    backend = runs()
    before = view(backend)
    with (
        Store.open(None, sources=sources(backend), backend=backend, named=False) as first,
        Store.open(None, sources=sources(backend), backend=backend, named=False) as second,
    ):
        held = {key: first.find(address(key)) for key in ("big 000", 3, 11)}
        compacted(backend)
        assert find(backend, "runs")[0].name == "002"
        for key, stored in held.items():
            assert stored is not None
            value = first.value(stored)
            assert (
                (len(value), value[:1]) == before[key]
                if key == "big 000"
                else (value == before[key])
            )
        for key in before:
            if isinstance(key, (int, str)) and key not in ("alias", "old"):
                assert second.get(key) is not None, key
        assert second.problems == [] and first.problems == []


def test_pruned_and_removed_records_are_a_miss_for_readers_that_were_there_before() -> None:
    backend = runs()
    with Store.open(None, sources=sources(backend), backend=backend, named=False) as reader:
        stored = reader.find(address("big 000"))
        assert stored is not None
        chosen = list(items(backend, find(backend, "runs"), Filter(larger_than=100_000)))
        remove_items(backend, chosen)
        with pytest.raises(UnreadableRecordError):
            reader.value(stored)
        assert reader.get("big 001") is None and reader.get(11) == ("002", 11)


# -- found by tests/property/test_store_machine.py -----------------------------------------------


@pytest.mark.parametrize("work", [compacted, repaired])
@pytest.mark.parametrize("blob", [False, True])
def test_what_was_synced_survives_in_the_directory_of_a_run_that_died(
    work: Work, blob: bool
) -> None:
    """Who made that directory, and a blob in it, had synced neither when he died."""
    inner = MemoryBackend()
    inner.make_directory("runs")
    disk = FaultyBackend(inner)
    value = b"b" * 300_000 if blob else 1
    with Store.open("runs/000/checkpoint", backend=disk) as store:
        store.put("synced", value)
    dying = disk.process()
    Store.open("runs/001/checkpoint", backend=dying).put("more", value)
    dying.die()
    work(disk)
    disk.power_cut()
    with Store.open(None, sources=sources(inner), backend=inner, named=False) as reader:
        assert reader.get("synced") == value


def test_a_run_that_compacts_itself_keeps_what_stands_for_a_record_that_another_removed() -> None:
    backend = MemoryBackend()
    first = Store.open("runs/000/checkpoint", backend=backend)
    first.put("a", "older")
    first.put("a", "newer")
    first.seal()
    with Store.open("runs/001/checkpoint", sources=sources(backend), backend=backend) as second:
        found = second.find(address("a"))
        assert found is not None
        second.remove(found.record_id)
        assert second.get("a") == "older"
    first.compact()
    with Store.open(None, sources=sources(backend), backend=backend) as reader:
        assert reader.get("a") == "older"


@pytest.mark.parametrize("work", [compacted, pruned, first_run_removed])
def test_a_power_cut_does_not_bring_back_what_was_removed(work: Work) -> None:
    """The names of files may go from the disk in any order, unless they are synced between."""
    for seed in range(25):
        inner = MemoryBackend()
        inner.make_directory("runs")
        disk = FaultyBackend(inner)
        for run in ("000", "001"):
            with Store.open(f"runs/{run}/checkpoint", backend=disk) as store:
                store.put(run, 1, app="f")
                store.put(f"kept {run}", 1, app="f")
            with Store.open(f"runs/{run}/checkpoint", backend=disk) as store:
                found = store.find(address(run))
                assert found is not None
                store.remove(found.record_id, reason="forgotten")
        work(disk)
        disk.power_cut(random.Random(seed))
        there = [place for place in sources(inner) if place in inner.directories]
        with Store.open(None, sources=there, backend=inner, named=False) as reader:
            assert reader.get("000") is None and reader.get("001") is None, seed
            assert reader.get("kept 001") == 1


def test_what_cannot_be_read_is_no_reason_not_to_prune_the_rest() -> None:
    backend = runs()
    pruned_ids = {item.record_id for item in items(backend, find(backend, "runs")[:1])}
    with Store.open("runs/000/checkpoint", backend=backend) as store:
        store.remove(*pruned_ids)
    path = next(s.path for s in segments(backend, find(backend, "runs")[:1], OpenFiles()))
    opened = backend.open

    def failing(name: str) -> Any:
        if name == path:
            raise OSError(5, "Input/output error", name)
        return opened(name)

    backend.open = failing  # type: ignore[method-assign]
    done = prune(backend, find(backend, "runs"), max_bytes=100_000)
    backend.open = opened  # type: ignore[method-assign]
    assert done.records and path in backend.files
    assert all(item.place.name != "000" for item in items(backend, find(backend, "runs")))


def test_a_power_cut_does_not_bring_back_what_was_repaired() -> None:
    inner = MemoryBackend()
    inner.make_directory("runs")
    disk = FaultyBackend(inner)
    with Store.open("runs/000/checkpoint", backend=disk) as store:
        store.put("kept", 1)
    (path,) = [path for path in inner.files if path.endswith(".seg")]
    torn = path.replace("000000-", "000001-")
    file = disk.create(torn)
    file.write(bytes(40))
    file.sync()
    file.close()
    disk.sync_directory(torn.rpartition("/")[0])
    assert not verify(disk, find(disk, "runs")).good
    repair(disk, find(disk, "runs"))
    disk.power_cut()
    assert verify(inner, find(inner, "runs")).good and torn not in inner.files


@pytest.mark.parametrize("again", [pruned_of_nothing, compacted])
def test_what_a_compaction_that_died_had_removed_does_not_come_back(again: Work) -> None:
    """Its removals were not on the disk when the tombstones of what it had moved went."""
    inner = MemoryBackend()
    inner.make_directory("runs")
    disk = FaultyBackend(inner)
    for run, key in (("000", "goes"), ("001", "stays")):
        with Store.open(f"runs/{run}/checkpoint", backend=disk) as store:
            store.append([store.entry(address(key), key, app=key)])
    for number in range(1, operations(inner, compacted) + 1):
        before = copy(inner)
        disk = FaultyBackend(before)
        dying = disk.process()
        dying.faults = {number: Die(1.0)}
        with pytest.raises(Died):
            compacted(dying)
        prune(disk, find(disk, "runs"), only=Filter(apps=["goes"]))
        disk.power_cut()
        again(FaultyBackend(before))
        with Store.open(None, sources=sources(before), backend=before, named=False) as reader:
            assert reader.get("goes") is None and reader.get("stays") == "stays", number
