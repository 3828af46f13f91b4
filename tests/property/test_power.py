"""After a power cut at any operation: what was synced is there, and nothing is ever wrong."""

from __future__ import annotations

import contextlib
import errno
import functools
import random
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, Store
from parsl_ckpt.checkpoint.backend import Backend
from parsl_ckpt.checkpoint.packing import PACKED
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import StoreWriteError
from parsl_ckpt.testing.faults import (
    ERRORS,
    Die,
    Died,
    Drop,
    Fail,
    FaultyBackend,
    Late,
    Postpone,
    RandomFaults,
    Tear,
    When,
)

pytestmark = pytest.mark.once

BIG = PACKED + 6000  # a blob of its own
PATH = "disk/runs/000/checkpoint"


def memory() -> MemoryBackend:
    inner = MemoryBackend()
    inner.make_directory("disk")
    return inner


@functools.lru_cache
def big(number: int) -> bytes:
    return random.Random(number).randbytes(BIG)


def value(number: int) -> object:
    return [number, ("text", number), {"n": number}, big(number)][number % 4]


def work(store: Store, done: list[int], synced: list[int] | None = None) -> None:
    """Puts, sealed segments, merged indexes; ``done`` is what was acknowledged."""
    for number in range(24):
        store.put(number, value(number))
        done.append(number)
        if number % 7 == 6:
            store.sync()
            if synced is not None:
                synced.extend(done)
    store.close()


def operations(durability: str) -> int:
    disk = FaultyBackend(memory())
    work(Store.open(PATH, backend=disk, durability=durability, rotate_records=5), [])  # type: ignore[arg-type]
    return disk.count


def check(inner: Backend, path: str, kept: list[int], count: int = 24) -> None:
    reader = Store.open(None, sources=[path], named=False, backend=inner)
    for number in range(count):
        found = reader.get(number)
        assert found in (None, value(number)), number
        if number in kept:
            assert found == value(number), (number, reader.problems)


@pytest.mark.parametrize("by_chance", [False, True])
def test_power_durability_keeps_what_was_acknowledged_at_every_cut(by_chance: bool) -> None:
    for fatal in range(1, operations("power") + 1):
        for fraction in (0.0, 0.5, 1.0):
            inner = memory()
            disk = FaultyBackend(inner, {fatal: Die(fraction)})
            done: list[int] = []
            with contextlib.suppress(Died):
                store = Store.open(PATH, backend=disk, durability="power", rotate_records=5)
                work(store, done)
            disk.power_cut(random.Random(fatal) if by_chance else None)
            check(inner, PATH, done)


@pytest.mark.parametrize("by_chance", [False, True])
def test_process_durability_keeps_what_was_synced_at_every_cut(by_chance: bool) -> None:
    for fatal in range(1, operations("process") + 1):
        inner = memory()
        disk = FaultyBackend(inner, {fatal: Die(0.5)})
        done: list[int] = []
        synced: list[int] = []
        with contextlib.suppress(Died):
            store = Store.open(PATH, backend=disk, rotate_records=5)
            work(store, done, synced)
        disk.power_cut(random.Random(fatal) if by_chance else None)
        check(inner, PATH, synced)


def test_the_death_of_a_process_at_any_operation_costs_nothing_acknowledged() -> None:
    for durability in ("process", "power"):
        for fatal in range(1, operations(durability) + 1):
            for fraction in (0.0, 0.3, 1.0):
                inner = memory()
                disk = FaultyBackend(inner, {fatal: Die(fraction)})
                done: list[int] = []
                with contextlib.suppress(Died):
                    store = Store.open(PATH, backend=disk, durability=durability, rotate_records=5)  # type: ignore[arg-type]
                    work(store, done)
                check(inner, PATH, done)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize(
    "fault", [Fail(errno.EIO), Late(errno.ESTALE), Tear(0.5), Tear(0.0, errno.EDQUOT)]
)
def test_any_one_operation_that_fails_costs_only_what_is_said_to_be_lost(
    durability: str, fault: object
) -> None:
    for number in range(1, operations(durability) + 1):
        inner = memory()
        disk = FaultyBackend(inner, {number: fault})  # type: ignore[dict-item]
        store = Store.open(PATH, backend=disk, durability=durability, rotate_records=5)  # type: ignore[arg-type]
        done: list[int] = []
        for one in range(24):
            try:
                store.put(one, value(one))
                done.append(one)
            except StoreWriteError as error:
                assert PATH in str(error)
            if one % 7 == 6:
                with contextlib.suppress(StoreWriteError):
                    store.sync()
        assert all(store.get(one) == value(one) for one in done), number
        with contextlib.suppress(StoreWriteError):
            store.close()
        assert len(done) >= 22
        check(inner, PATH, done)
        if durability == "power":
            disk.power_cut()
            check(inner, PATH, done)


@pytest.mark.parametrize("seed", range(60))
def test_a_disk_that_fails_all_the_time_loses_nothing_that_it_acknowledged(seed: int) -> None:
    chance = random.Random(seed)
    inner = memory()
    disk = FaultyBackend(inner, RandomFaults(chance, chance.choice([0.02, 0.1, 0.4])))
    durability = chance.choice(["process", "power"])
    store = Store.open(PATH, backend=disk, durability=durability, rotate_records=5, hold_bytes=4000)  # type: ignore[arg-type]
    done: list[int] = []
    held: list[int] = []
    for one in range(40):
        with contextlib.suppress(StoreWriteError):
            if one % 3:
                store.put(one, value(one))
                done.append(one)
            else:
                entry = store.entry(one, value(one))
                held.append(one)  # even one that could not be spooled is held
                store.hold([entry])
        if chance.random() < 0.2:
            with contextlib.suppress(StoreWriteError):
                store.publish()
                done += held
                held = []
        if chance.random() < 0.1:
            with contextlib.suppress(StoreWriteError):
                store.sync()
        assert all(store.get(one) == value(one) for one in (*done, *held))
    if durability == "power":
        disk.power_cut(chance)
    elif chance.random() < 0.5:
        disk.die()
    else:
        with contextlib.suppress(StoreWriteError):
            store.close()
    check(inner, PATH, done, 40)


@pytest.mark.parametrize("kind", [Drop, Postpone])
def test_a_disk_that_lies_gives_no_wrong_value(kind: type) -> None:
    """Dropped and reordered writes, renames and syncs: records may be lost, never changed."""
    for seed in range(40):
        inner = memory()
        disk = FaultyBackend(inner, RandomFaults(seed, 0.1, kinds=[kind]))
        store = Store.open(PATH, backend=disk, rotate_records=5)
        with contextlib.suppress(StoreWriteError):
            work(store, [])
        check(inner, PATH, [])
        again = Store.open("disk/runs/001/checkpoint", sources=[PATH], named=False, backend=inner)
        for one in range(24):
            if again.get(one) is None:
                again.put(one, value(one))
        again.close()
        reader = Store.open(
            None, sources=[PATH, "disk/runs/001/checkpoint"], named=False, backend=inner
        )
        assert [reader.get(one) for one in range(24)] == [value(one) for one in range(24)]


# -- blobs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("size", [BIG, 5 << 20])
def test_a_torn_blob_is_never_taken_for_a_whole_one(durability: str, size: int) -> None:
    """At every operation of writing one, with every kind of remains, and written again after it."""
    data = random.Random(1).randbytes(size)
    whole = FaultyBackend(memory())
    Store.open(PATH, backend=whole, durability=durability).put("b", data)  # type: ignore[arg-type]
    for fatal in range(1, whole.count + 1):
        for seed in (None, 1, 2, 3):
            inner = memory()
            disk = FaultyBackend(inner, {fatal: Die(0.5)})
            acknowledged = False
            with contextlib.suppress(Died):
                Store.open(PATH, backend=disk, durability=durability).put("b", data)  # type: ignore[arg-type]
                acknowledged = True
            disk.power_cut(None if seed is None else random.Random(seed))
            reader = Store.open(None, sources=[PATH], named=False, backend=inner)
            left = reader.get("b")
            assert left is None or left == data
            assert left == data or not (acknowledged and durability == "power")
            # What is there under the blob's name may be torn: the next writer must not believe it.
            after = Store.open(PATH, backend=inner, durability=durability)  # type: ignore[arg-type]
            after.put("b", data)
            assert after.get("b") == data
            after.close()
            assert Store.open(None, sources=[PATH], backend=inner).get("b") == data


def test_a_blob_that_another_writer_left_unsynced_is_synced_by_the_next() -> None:
    data = big(1)
    for read in (False, True):
        for durability in ("process", "power"):
            inner = memory()
            disk = FaultyBackend(inner)
            first = Store.open(PATH, backend=disk)
            first.put("a", data)  # and dies
            second = Store.open(PATH, backend=disk, durability=durability)  # type: ignore[arg-type]
            if read:
                assert second.get("a") == data
            second.put("b", data)
            if durability == "process":
                second.sync()
            disk.power_cut()
            assert Store.open(None, sources=[PATH], backend=inner).get("b") == data


def test_a_file_whose_sync_failed_is_written_anew_by_the_next() -> None:
    for path in ("*.seg", "*/blobs/*"):
        for name in ("sync", "sync_file", "sync_directory"):
            inner = memory()
            disk = FaultyBackend(inner, [When(name, Fail(), path=path.removesuffix("*.seg") + "*")])
            store = Store.open(PATH, backend=disk, rotate_records=2)
            for number in range(5):
                store.put(number, big(number))
            with contextlib.suppress(StoreWriteError):
                store.sync()
            store.sync()
            assert not store.dirty
            disk.power_cut()
            reader = Store.open(None, sources=[PATH], backend=inner)
            assert all(reader.get(n) == big(n) for n in range(5))


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("fault", [Fail(), Late()])
@pytest.mark.parametrize("name", ["rename", "sync", "sync_directory"])
def test_a_spool_that_could_not_be_published_is_published_later(
    durability: str, fault: object, name: str
) -> None:
    inner = memory()
    disk = FaultyBackend(inner)
    store = Store.open(PATH, backend=disk, durability=durability, hold_bytes=1)  # type: ignore[arg-type]
    for number in range(5):
        store.hold([store.entry(number, ("held", number))])
    disk.faults = [When(name, fault)]  # type: ignore[list-item,arg-type]
    with contextlib.suppress(StoreWriteError):
        store.publish()
    disk.faults = None
    assert [store.get(n) for n in range(5)] == [("held", n) for n in range(5)]
    store.publish()
    assert store.held == 0
    store.sync()
    disk.power_cut()
    reader = Store.open(None, sources=[PATH], backend=inner)
    assert [reader.get(n) for n in range(5)] == [("held", n) for n in range(5)]


def test_a_record_found_in_a_spool_is_read_after_its_publication() -> None:
    store = Store.open(PATH, backend=memory(), hold_bytes=1)
    store.hold([store.entry("a", list(range(5000)))])
    found = store.find(address("a"))
    assert found is not None
    store.catalog.opened.clear()
    store.publish()
    assert store.value(found) == list(range(5000))


def test_a_blob_has_its_name_only_when_its_bytes_are_synced() -> None:
    disk = FaultyBackend(memory(), record=True)
    Store.open(PATH, backend=disk, durability="power").put("b", big(1))
    steps = [op.name for op in disk.trace if "blobs" in op.path and op.name != "make_directory"]
    assert steps == [
        "create", "create", "write", "sync", "rename", "sync_directory", "sync_directory",
    ]  # fmt: skip
    segment = next(op.number for op in disk.trace if op.path.endswith(".seg") and op.size > 60)
    blob = next(op.number for op in disk.trace if op.name == "rename")
    assert blob < segment


# -- the tool itself -----------------------------------------------------------------------------


def test_faults_are_what_they_say(tmp_path: Path) -> None:
    for inner in (MemoryBackend(), LocalBackend()):
        root = str(tmp_path / "disk")
        disk = FaultyBackend(inner, record=True)
        disk.make_directory(root, durable=True)
        file = disk.create(f"{root}/a")
        file.write(b"one ")
        disk.faults = [
            When("write", Drop()), When("write", Postpone(1)),
            When("write", Tear(0.5), first=2),
        ]  # fmt: skip
        file.write(b"two ")
        file.write(b"three ")
        assert inner.open(f"{root}/a").read(0, 99) == b"one \0\0\0\0\0\0\0\0\0\0"
        file.write(b"four ")
        with pytest.raises(OSError, match="No space"):
            file.write(b"five")
        assert inner.open(f"{root}/a").read(0, 99) == b"one \0\0\0\0three four fi"
        file.close()
        disk.faults = {disk.count + 1: Late(errno.ESTALE), disk.count + 2: Fail(errno.EROFS)}
        with pytest.raises(OSError) as stale:
            disk.rename(f"{root}/a", f"{root}/b")
        assert stale.value.errno == errno.ESTALE and inner.list(root) == ["b"]
        with pytest.raises(OSError) as readonly:
            disk.remove(f"{root}/b")
        assert readonly.value.errno == errno.EROFS and inner.list(root) == ["b"]
        assert [op.name for op in disk.trace][:3] == ["make_directory", "create", "write"]
        inner.remove(f"{root}/b")


def test_a_power_cut_leaves_what_was_synced_under_names_that_were(tmp_path: Path) -> None:
    for inner in (MemoryBackend(), LocalBackend()):
        root = str(tmp_path / "power")
        inner.make_directory(root)
        old = inner.create(f"{root}/old")
        old.write(b"old")
        old.close()
        disk = FaultyBackend(inner)
        disk.make_directory(f"{root}/new")
        for name in ("synced", "named", "neither"):
            file = disk.create(f"{root}/new/{name}")
            file.write(b"kept ")
            if name == "synced":
                file.sync()
            if name != "neither":
                disk.sync_directory(f"{root}/new")
            file.write(b"lost")
        disk.sync_directory(root)
        disk.rename(f"{root}/old", f"{root}/renamed")
        other = disk.process()
        disk.power_cut()
        with pytest.raises(Died):
            disk.create(f"{root}/more")
        left = {name: inner.open(f"{root}/new/{name}").read(0, 99)
                for name in inner.list(f"{root}/new")}  # fmt: skip
        assert left == {"synced": b"kept ", "named": b""}
        assert inner.open(f"{root}/old").read(0, 9) == b"old"
        other.create(f"{root}/more").close()
        for name in ("new/synced", "new/named", "old", "more"):
            inner.remove(f"{root}/{name}")


def test_room_is_a_full_disk_or_a_quota() -> None:
    disk = FaultyBackend(memory(), room=10, full=errno.EDQUOT)
    disk.make_directory("d")
    file = disk.create("d/a")
    file.write(b"12345678")
    with pytest.raises(OSError) as quota:
        file.write(b"12345678")
    assert quota.value.errno == errno.EDQUOT and disk.open("d/a").size() == 10


def test_random_faults_are_the_same_for_a_seed() -> None:
    def drawn(seed: int) -> list[object]:
        faults = RandomFaults(seed, 0.5, kinds=[Fail, Tear, Late, Drop, Postpone, Die])
        disk = FaultyBackend(memory(), record=True)
        disk.make_directory("d")
        disk.create("d/a").write(b"x")
        return [faults(op) for op in disk.trace * 20]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {f.error for f in drawn(3) if isinstance(f, Fail)} <= set(ERRORS)
