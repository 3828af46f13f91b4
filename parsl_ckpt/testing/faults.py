"""A disk that fails when it is told to, and forgets what was not synced when the power goes.

    store ──► FaultyBackend ── a fault here? ──► any other backend
                    └── remembers what is synced ──► power_cut()

*Faults.*  Every operation that changes something (with ``reads=True`` also those that read) is an
:class:`Operation` with a number.  What ``faults`` says to it is done: :class:`Fail`, :class:`Tear`,
:class:`Drop`, :class:`Late`, :class:`Postpone`, :class:`Die`, or None for nothing.  ``faults`` is a
mapping from numbers, a list of :class:`When`, a :class:`RandomFaults`, or any function of the
operation.

*Power.*  :meth:`FaultyBackend.power_cut` leaves what POSIX promises and no more: bytes of files
that were synced, under names whose directories were synced, all the way up; or, given a source of
chance, any part of the rest as well, in any order.

>>> from parsl_ckpt.checkpoint import MemoryBackend, Store
>>> disk = FaultyBackend(MemoryBackend(), [When("write", Fail(errno.ENOSPC), first=3)])
>>> store = Store.open("run", backend=disk)
>>> store.put("a", 1)
>>> store.put("b", 2)
Traceback (most recent call last):
parsl_ckpt.errors.StoreWriteError: Records could not be written to run: [Errno 28] No space left ...
>>> store.get("a"), store.get("b")
(1, None)

After FoundationDB's simulated files, and the faults that Pillai et al., "All File Systems Are Not
Created Equal" (2014), found applications to mishandle.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import fnmatch
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Union

from parsl_ckpt.checkpoint.backend import Backend, Buffer, Listed, Owner, Readable, Writable

from .disk import Disk, DiskFile

__all__ = [
    "ERRORS", "Die", "Died", "Drop", "Fail", "FaultyBackend", "Late", "Operation", "Postpone",
    "RandomFaults", "Tear", "When",
]  # fmt: skip

#: What file systems fail with: broken, full, over quota, interrupted, too many open files,
#: remounted read-only, a handle that the server has forgotten.
ERRORS = (
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EMFILE, errno.EROFS, errno.ESTALE,
)  # fmt: skip

CHANGES = frozenset({
    "make_directory", "create", "write", "truncate", "sync", "rename", "remove",
    "remove_directory", "sync_file", "sync_directory",
})  # fmt: skip
READS = frozenset({"list", "open", "read", "size", "map", "owner"})


class Operation(NamedTuple):
    """Something that is asked of the disk.

    Attributes:
        number: 1 for the first.
        name: ``make_directory``, ``create``, ``write``, ``truncate``, ``sync``, ``rename``,
            ``remove``, ``remove_directory``, ``sync_file``, ``sync_directory``; ``list``, ``open``,
            ``read``, ``size``, ``map``, ``owner``.
        path: of the file or directory; for a rename the new name.
        size: bytes to be written.
    """

    number: int
    name: str
    path: str
    size: int = 0


class Died(BaseException):
    """The process is dead: nothing that it still does reaches the disk.

    No ``Exception``, so that nothing takes it for an error of the disk and goes on.
    """


@dataclass(frozen=True)
class Fail:
    """Nothing is done, and said so."""

    error: int = errno.EIO


@dataclass(frozen=True)
class Tear:
    """Of a write only the beginning is done, and it is said to have failed."""

    fraction: float = 0.5
    error: int = errno.ENOSPC


@dataclass(frozen=True)
class Late:
    """It is done and said to have failed, as when a network loses the answer."""

    error: int = errno.EIO


@dataclass(frozen=True)
class Drop:
    """It is said to be done and is not: where a write was dropped are zeros."""


@dataclass(frozen=True)
class Postpone:
    """It is said to be done, and is done ``operations`` later, so out of order."""

    operations: int = 1


@dataclass(frozen=True)
class Die:
    """The process dies, with so much of a write done; with 1.0 right after any operation."""

    fraction: float = 0.0


Fault = Union[Fail, Tear, Late, Drop, Postpone, Die]  # noqa: UP007 (runtime, 3.10)
Faults = Callable[[Operation], "Fault | None"]


@dataclass
class When:
    """A fault at the operations of a name, in files of a pattern.

    Args:
        name: of the operation, or ``"*"``.
        fault: what happens.
        path: a pattern as in :mod:`fnmatch`.
        first: at the how-manieth such operation.
        times: at how many of them in a row; None for all from then on.
    """

    name: str
    fault: Fault
    path: str = "*"
    first: int = 1
    times: int | None = 1
    seen: int = 0

    def __call__(self, operation: Operation) -> Fault | None:
        if self.name not in ("*", operation.name):
            return None
        if not fnmatch.fnmatchcase(operation.path, self.path):
            return None
        self.seen += 1
        late = self.seen - self.first
        return self.fault if late >= 0 and (self.times is None or late < self.times) else None


class RandomFaults:
    """Faults drawn by chance, the same for the same seed.

    Args:
        seed: a number, or a source of chance.
        rate: which part of the operations fails.
        kinds: the kinds of faults that are drawn.
        errors: the errors that are drawn.
        names: the operations that may fail.
    """

    def __init__(
        self,
        seed: int | random.Random,
        rate: float = 0.05,
        *,
        kinds: Sequence[type[Fault]] = (Fail, Tear, Late),
        errors: Sequence[int] = ERRORS,
        names: Iterable[str] = CHANGES,
    ) -> None:
        self.chance = seed if isinstance(seed, random.Random) else random.Random(seed)
        self.rate = rate
        self.kinds = kinds
        self.errors = errors
        self.names = frozenset(names)

    def __call__(self, operation: Operation) -> Fault | None:
        chance = self.chance
        if chance.random() >= self.rate or operation.name not in self.names:
            return None
        kind = chance.choice(self.kinds)
        if kind is Tear and operation.name != "write":
            kind = Fail
        if kind is Tear:
            return Tear(chance.random(), chance.choice(self.errors))
        if kind is Fail or kind is Late:
            return kind(chance.choice(self.errors))
        if kind is Postpone:
            return Postpone(chance.randint(1, 5))
        if kind is Die:
            return Die(chance.choice((0.0, chance.random(), 1.0)))
        return Drop()


class FaultyBackend(Backend):
    """Any backend, with faults.

    Args:
        inner: where the files are.
        faults: what fails; a mapping from operation numbers to faults, a list of rules of which
            the first that answers counts, or any function of an :class:`Operation`.
        room: bytes that may still be written before the disk is full; None for no end.
        full: the error of a full disk (``errno.EDQUOT`` for a quota).
        reads: operations that read are counted, and may fail, too.
        record: keep the operations in :attr:`trace`.

    Attributes:
        trace: the operations, if they are recorded.
        count: how many there were.
        dead: the process has died.
    """

    def __init__(
        self,
        inner: Backend,
        faults: Faults | Mapping[int, Fault] | Iterable[Faults] | None = None,
        *,
        room: int | None = None,
        full: int = errno.ENOSPC,
        reads: bool = False,
        record: bool = False,
        disk: Disk | None = None,
    ) -> None:
        self.inner = inner
        self.disk = disk or Disk(inner)
        self.faults = faults
        self.room = room
        self.full = full
        self.reads = reads
        self.record = record
        self.trace: list[Operation] = []
        self.count = 0
        self.dead = False
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._postponed: list[tuple[int, Callable[[], None]]] = []

    @property
    def faults(self) -> Faults | None:
        """What fails."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults | Mapping[int, Fault] | Iterable[Faults] | None) -> None:
        if faults is None or callable(faults):
            self._faults = faults
        elif isinstance(faults, Mapping):
            self._faults = lambda operation: faults.get(operation.number)
        else:
            rules = list(faults)
            self._faults = lambda operation: next(
                (fault for rule in rules if (fault := rule(operation)) is not None), None
            )

    # -- lives ---------------------------------------------------------------------------------

    def process(self, faults: Faults | None = None) -> FaultyBackend:
        """The same disk as another process sees it: with faults and a death of its own."""
        return FaultyBackend(self.inner, faults, reads=self.reads, disk=self.disk)

    def die(self) -> None:
        """The process dies here: nothing that it still does reaches the disk."""
        self.dead = True

    def power_cut(self, chance: random.Random | None = None) -> None:
        """Leave on the disk what survives a loss of power, and let this process die of it.

        Args:
            chance: None keeps what is synced and nothing else; a source of chance keeps any part of
                the rest too: a later write without an earlier one, a name without its bytes.
        """
        self.dead = True
        self.disk.power_cut(chance)

    # -- operations ----------------------------------------------------------------------------

    def ask(self, name: str, path: str, size: int = 0) -> Fault | None:
        """Count an operation and find out what happens to it; common to files and directories."""
        if self.dead:
            raise Died(f"{name} {path}")
        number = self.count = next(self._numbers)
        if self._postponed:
            self._catch_up(number)
        faults = self._faults
        if faults is None and not self.record:
            return None
        operation = Operation(number, name, path, size)
        if self.record:
            self.trace.append(operation)
        fault = None if faults is None else faults(operation)
        if fault is None:
            return None
        if type(fault) is Fail:
            raise OSError(fault.error, os.strerror(fault.error), path)
        if type(fault) is Die and fault.fraction < 1.0 and name != "write":
            self.dead = True
            raise Died(f"{name} {path}")
        return fault

    def settle(self, fault: Fault, path: str) -> None:
        """What follows an operation that was done."""
        if type(fault) is Die:
            self.dead = True
            raise Died(path)
        if type(fault) is Late or type(fault) is Tear:
            raise OSError(fault.error, os.strerror(fault.error), path)

    def postpone(self, fault: Postpone, act: Callable[[], None]) -> None:
        """Have something done some operations later."""
        self._postponed.append((self.count + fault.operations, act))

    def _catch_up(self, number: int) -> None:
        due = [act for at, act in self._postponed if at < number]
        self._postponed = [(at, act) for at, act in self._postponed if at >= number]
        for act in due:
            act()

    def _act(self, name: str, path: str, act: Callable[[], None]) -> None:
        fault = self.ask(name, path)
        if fault is None:
            act()
        elif type(fault) is Postpone:
            self.postpone(fault, lambda: _unless_gone(act))
        elif type(fault) is not Drop:
            act()
            self.settle(fault, path)

    # -- the backend ---------------------------------------------------------------------------

    def absolute(self, path: str) -> str:
        return self.inner.absolute(path)

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        missing: list[str] = []
        above = path
        while above and not _there(self.inner, above):
            missing.append(above)
            above = above.rpartition("/")[0]
        if not missing:
            return  # nothing to do is no operation

        def act() -> None:
            with self._lock:
                self.inner.make_directory(path, durable=durable)
                for one in reversed(missing):
                    self.disk.make_directory(one, durable)

        self._act("make_directory", path, act)

    def list(self, path: str) -> Sequence[str]:
        if self.reads:
            self.ask("list", path)
        return self.inner.list(path)

    def create(self, path: str) -> Writable:
        fault = self.ask("create", path)
        if type(fault) is Drop or type(fault) is Postpone:
            return _Nowhere()
        with self._lock:
            file = FaultyWriter(self, path, self.inner.create(path), self.disk.create(path))
        if fault is not None:
            self.settle(fault, path)
        return file

    def open(self, path: str) -> Readable:
        if not self.reads:
            return self.inner.open(path)
        self.ask("open", path)
        return FaultyReader(self, path, self.inner.open(path))

    def open_under(self, directory: str, path: str) -> Readable:
        if not self.reads:
            return self.inner.open_under(directory, path)
        self.ask("open", f"{directory}/{path}")
        return FaultyReader(self, f"{directory}/{path}", self.inner.open_under(directory, path))

    def entries(self, path: str) -> builtins.list[Listed]:
        if self.reads:
            self.ask("list", path)
        return self.inner.entries(path)

    def is_link(self, path: str) -> bool:
        return self.inner.is_link(path)

    def owners(self, path: str) -> Iterable[tuple[str, Owner]]:
        if self.reads:
            self.ask("list", path)
        return self.inner.owners(path)

    def remove_directory(self, path: str) -> None:
        def act() -> None:
            with self._lock:
                self.inner.remove_directory(path)
                if not _there(self.inner, path):
                    self.disk.remove_directory(path)

        self._act("remove_directory", path, act)

    def rename(self, old: str, new: str) -> None:
        def act() -> None:
            with self._lock:
                self.disk.adopt(old)
                self.disk.adopt(new)
                self.inner.rename(old, new)
                self.disk.rename(old, new)

        self._act("rename", new, act)

    def remove(self, path: str) -> None:
        def act() -> None:
            with self._lock:
                self.disk.adopt(path)
                self.inner.remove(path)
                self.disk.remove(path)

        self._act("remove", path, act)

    def sync_file(self, path: str) -> None:
        def act() -> None:
            self.inner.sync_file(path)
            self.disk.sync_path(path)

        self._act("sync_file", path, act)

    def sync_directory(self, path: str) -> None:
        def act() -> None:
            self.inner.sync_directory(path)
            self.disk.sync_directory(path)

        self._act("sync_directory", path, act)

    def owner(self, path: str) -> Owner | None:
        if self.reads:
            self.ask("owner", path)
        return self.inner.owner(path)


class FaultyWriter(Writable):
    """A file being written."""

    def __init__(self, backend: FaultyBackend, path: str, inner: Writable, file: DiskFile) -> None:
        self._backend = backend
        self._path = path
        self._inner = inner
        self._file = file
        # What was written from the first postponed write on, to be written again in order.
        self._tail: bytearray | None = None
        self._tail_at = 0

    def write(self, data: Buffer) -> None:
        backend = self._backend
        size = len(data)
        fault = backend.ask("write", self._path, size)
        room = backend.room
        if fault is None:
            if room is None:
                self._put(data)
                return
            backend.room = max(0, room - size)
            if size <= room:
                self._put(data)
                return
            fault = Tear(room / size, backend.full)
        view = memoryview(data).cast("B")
        if type(fault) is Tear or type(fault) is Die:
            self._put(view[: int(len(view) * fault.fraction)])
            backend.settle(fault, self._path)
        elif type(fault) is Drop:
            self._put(bytes(len(view)))
        elif type(fault) is Postpone:
            self._postpone(fault, bytes(view))
        else:
            self._put(view)
            backend.settle(fault, self._path)

    def _put(self, data: Buffer) -> None:
        self._inner.write(data)
        self._file.write(data)
        if self._tail is not None:
            self._tail += data

    def _postpone(self, fault: Postpone, data: bytes) -> None:
        at = self._file.size
        if self._tail is None:
            self._tail, self._tail_at = bytearray(), at
        self._put(bytes(len(data)))

        def arrive() -> None:
            tail = self._tail
            if tail is None or at + len(data) > self._file.size:
                return  # it was cut off
            start = at - self._tail_at
            tail[start : start + len(data)] = data
            self._inner.truncate(self._tail_at)
            self._inner.write(bytes(tail))
            self._file.overwrite(at, data)

        self._backend.postpone(fault, lambda: _unless_gone(arrive))

    def sync(self) -> None:
        fault = self._backend.ask("sync", self._path)
        if type(fault) in (Drop, Postpone):
            return
        self._inner.sync()
        self._file.sync()
        if fault is not None:
            self._backend.settle(fault, self._path)

    def truncate(self, size: int) -> None:
        fault = self._backend.ask("truncate", self._path)
        if type(fault) in (Drop, Postpone):
            return
        self._inner.truncate(size)
        self._file.truncate(size)
        if self._tail is not None:
            del self._tail[max(0, size - self._tail_at) :]
        if fault is not None:
            self._backend.settle(fault, self._path)

    def close(self) -> None:
        self._inner.close()


class FaultyReader(Readable):
    """A file being read, where reads may fail."""

    def __init__(self, backend: FaultyBackend, path: str, inner: Readable) -> None:
        self._backend = backend
        self._path = path
        self._inner = inner

    def size(self) -> int:
        self._backend.ask("size", self._path)
        return self._inner.size()

    def read(self, offset: int, length: int) -> bytes:
        fault = self._backend.ask("read", self._path, length)
        data = self._inner.read(offset, length)
        return data[: int(len(data) * fault.fraction)] if type(fault) is Tear else data

    def map(self) -> memoryview:
        self._backend.ask("map", self._path)
        return self._inner.map()

    def map_private(self) -> memoryview:
        self._backend.ask("map", self._path)
        return self._inner.map_private()

    def stamp(self) -> tuple[int, ...]:
        return self._inner.stamp()

    def owner(self) -> Owner | None:
        return self._inner.owner()

    def close(self) -> None:
        self._inner.close()


class _Nowhere(Writable):
    """A file whose creation was said to be done and was not."""

    def write(self, data: Buffer) -> None:
        pass

    def sync(self) -> None:
        pass

    def truncate(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


def _there(backend: Backend, path: str) -> bool:
    try:
        backend.owner(path)
    except OSError:
        return False
    return True


def _unless_gone(act: Callable[[], None]) -> None:
    """Do what was postponed, unless what it was about has been removed or closed meanwhile."""
    with contextlib.suppress(OSError):
        act()
