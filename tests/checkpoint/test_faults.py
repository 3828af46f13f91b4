"""A disk that fails: nothing earlier is lost, and the store goes on when the disk does."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

import pytest

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint.backend import Buffer, Writable
from parsl_ckpt.checkpoint.memory import MemoryWriter
from parsl_ckpt.errors import StoreWriteError

PATH = "run/checkpoint"


class Faulty(MemoryBackend):
    """Fails what it is told to: ``room`` bytes may still be written; syncs, renames may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 1 << 40
        self.syncs_fail = False
        self.truncates_fail = False
        self.creates_fail = False
        self.synced: list[Writable] = []

    def create(self, path: str) -> Writable:
        if self.creates_fail:
            raise OSError(errno.EACCES, "Permission denied")
        super().create(path)
        return FaultyWriter(self, path)


class FaultyWriter(MemoryWriter):
    def __init__(self, backend: Faulty, path: str) -> None:
        super().__init__(backend.files[path])
        self._backend = backend

    def write(self, data: Buffer) -> None:
        some = min(len(data), self._backend.room)
        self._backend.room -= some
        super().write(memoryview(data)[:some])
        if some < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self) -> None:
        self._backend.synced.append(self)
        if self._backend.syncs_fail:
            raise OSError(errno.EIO, "Input/output error")

    def truncate(self, size: int) -> None:
        if self._backend.truncates_fail:
            raise OSError(errno.EIO, "Input/output error")
        super().truncate(size)


def reopened(backend: MemoryBackend) -> Store:
    return Store.open(None, sources=[PATH], backend=backend)


@pytest.mark.parametrize("truncates_fail", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_at_every_byte_of_a_full_disk_only_the_batch_is_lost(
    truncates_fail: bool, batch: int
) -> None:
    for room in range(0, 900, 7):
        backend = Faulty()
        backend.truncates_fail = truncates_fail
        store = Store.open(PATH, backend=backend)
        backend.room = room
        written = 0
        while True:
            try:
                store.append([store.entry(written + n, written + n) for n in range(batch)])
            except StoreWriteError as error:
                assert PATH in str(error)
                break
            written += batch
        for reader in (store, reopened(backend)):
            assert all(reader.get(n) == n for n in range(written))
        if not truncates_fail:
            assert all(n not in reopened(backend) for n in range(written, written + batch))
        backend.room = 1 << 40
        store.put("after", 1)
        store.close()
        final = reopened(backend)
        assert final.get("after") == 1 and all(final.get(n) == n for n in range(written))
        assert final.problems == []


def test_a_large_value_on_a_full_disk_leaves_nothing_behind() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend)
    store.put("a", 1)
    for size in (100_000, 6_000_000):
        backend.room = 50_000
        with pytest.raises(StoreWriteError):
            store.put("b", b"x" * size)
        backend.room = 1 << 40
        assert not [path for path in backend.files if "blobs" in path]
    store.put("b", b"x" * 100_000)
    assert reopened(backend).get("b") == b"x" * 100_000


def test_no_room_for_the_index_leaves_a_segment_that_is_walked() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend)
    for n in range(100):
        store.put(n, n)
    backend.room = 100
    store.close()
    reader = reopened(backend)
    assert len(reader) == 100 and reader.problems == []


def test_after_a_failed_sync_another_segment_is_begun_and_the_old_never_synced_again() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend)
    store.put("a", 1)
    backend.syncs_fail = True
    with pytest.raises(StoreWriteError):
        store.sync()
    backend.syncs_fail = False
    failed = backend.synced[-1]
    assert store.get("a") == 1
    store.put("b", 2)
    store.sync()
    store.close()
    assert backend.synced.count(failed) == 1
    assert len([p for p in backend.files if p.endswith(".seg")]) == 2
    assert reopened(backend).get("a") == 1 and reopened(backend).get("b") == 2


def test_with_power_durability_an_append_is_synced_or_raises() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend, durability="power")
    store.put("a", 1)
    assert len(backend.synced) == 1
    backend.syncs_fail = True
    with pytest.raises(StoreWriteError):
        store.put("b", 2)
    backend.syncs_fail = False
    store.put("c", 3)
    assert store.get("a") == 1 and store.get("c") == 3


def test_a_directory_that_cannot_be_written_to_is_an_error_each_time_and_then_not() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend)
    backend.creates_fail = True
    for _ in range(3):
        with pytest.raises(StoreWriteError):
            store.put("a", 1)
    with pytest.raises(StoreWriteError):
        store.put("a", b"x" * 100_000)
    backend.creates_fail = False
    store.put("a", 1)
    assert reopened(backend).get("a") == 1


def test_what_is_held_survives_a_full_disk_and_is_published_later() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend, hold_bytes=3000)
    for n in range(30):
        store.hold([store.entry(n, n)])
    backend.room = 100
    for n in range(30, 60):
        with contextlib.suppress(StoreWriteError):
            store.hold([store.entry(n, n)])
    with pytest.raises(StoreWriteError):
        store.publish()
    assert all(store.get(n) == n for n in range(60))
    backend.room = 1 << 40
    store.publish()
    store.close()
    assert set(reopened(backend)) == set(range(60))


def test_closing_on_a_full_disk_says_what_is_not_saved_and_closes() -> None:
    backend = Faulty()
    store = Store.open(PATH, backend=backend)
    store.put("a", 1)
    store.hold([store.entry("b", 2)])
    backend.room = 0
    with pytest.raises(StoreWriteError):
        store.close()
    store.close()
    assert reopened(backend).get("a") == 1


def test_an_interruption_between_any_two_steps_of_a_write_harms_nothing() -> None:
    class Interrupted(FaultyWriter):
        def write(self, data: Buffer) -> None:
            super().write(data)
            if armed:
                armed.pop()
                raise KeyboardInterrupt

    armed: list[Any] = []
    backend = Faulty()
    backend.create = lambda path: (MemoryBackend.create(backend, path), Interrupted(backend, path))[
        1
    ]  # type: ignore[method-assign]
    store = Store.open(PATH, backend=backend)
    store.put("a", 1)
    armed.append(1)
    with pytest.raises(KeyboardInterrupt):
        store.put("b", 2)
    store.put("c", 3)
    store.close()
    reader = reopened(backend)
    assert reader.get("a") == 1 and reader.get("c") == 3 and reader.problems == []


def test_what_could_not_be_spooled_is_found_before_what_was_recorded_earlier() -> None:
    disk = Faulty()
    with Store.open(PATH, backend=disk, hold_bytes=1) as store:
        store.put("k", "older")
        assert store.get("k") == "older"
        disk.creates_fail = True
        with pytest.raises(StoreWriteError):
            store.hold([store.entry("k", "newer")])
        assert store.get("k") == "newer"
        disk.creates_fail = False
