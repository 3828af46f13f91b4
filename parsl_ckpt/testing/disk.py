"""What a disk keeps when the power goes: the model behind :mod:`parsl_ckpt.testing.faults`.

Rule of this file: it knows names, bytes and which of them were synced; it does nothing to files
until :meth:`Disk.power_cut` writes what survives.  A name survives if its directory was synced
after it was given, and so on upwards; bytes survive if their file was synced after they were
written.  What was there before counts as synced.
"""

from __future__ import annotations

import random
import threading
from typing import Union

from parsl_ckpt.checkpoint.backend import Backend, Buffer

SECTOR = 512  # bytes that survive or are lost together


class DiskFile:
    """A file: the bytes that are on the disk, and what was done to it since."""

    __slots__ = ("_changes", "_synced", "size")

    def __init__(self, data: bytes = b"") -> None:
        self._synced = bytearray(data)
        self._changes: list[tuple[int, bytes | None]] = []  # (offset, bytes; None: cut there)
        self.size = len(data)

    def write(self, data: Buffer) -> None:
        self._changes.append((self.size, bytes(data)))
        self.size += len(data)

    def overwrite(self, offset: int, data: bytes) -> None:
        self._changes.append((offset, data))

    def truncate(self, size: int) -> None:
        self._changes.append((size, None))
        self.size = size

    def sync(self) -> None:
        for offset, data in self._changes:
            _apply(self._synced, offset, data)
        self._changes.clear()

    def survivor(self, chance: random.Random | None) -> bytes:
        """What is left of it: what was synced, and by chance any sectors of the rest."""
        left = bytearray(self._synced)
        if chance is None or not self._changes:
            return bytes(left)
        if chance.random() < 0.5:  # written back in order, up to a point
            for offset, data in self._changes[: chance.randint(0, len(self._changes))]:
                _apply(left, offset, data)
            if chance.random() < 0.5:
                del left[max(len(self._synced), len(left) - chance.randrange(SECTOR)) :]
            return bytes(left)
        for offset, data in self._changes:
            if data is None:
                if chance.random() < 0.5:
                    _apply(left, offset, None)
                continue
            for start in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    _apply(left, offset + start, data[start : start + SECTOR])
        return bytes(left)


class Directory(dict[str, "Node"]):
    """The names in a directory; ``made``: it was not there before."""

    __slots__ = ("made", "synced")

    def __init__(self, made: bool = False) -> None:
        super().__init__()
        self.synced: dict[str, Node] = {}
        self.made = made


Node = Union[DiskFile, Directory]  # noqa: UP007 (runtime, 3.10)


class Disk:
    """The names and files of a backend that are written through a faulty one."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._directories: dict[str, Directory] = {}
        self._lock = threading.RLock()

    # -- what happens ------------------------------------------------------------------------------

    def make_directory(self, path: str, durable: bool) -> None:
        """A directory was made in one that exists; ``durable``: and that one was synced."""
        with self._lock:
            parent, name = _split(path)
            above = self._directory(parent)
            made = self._directories[path] = above[name] = Directory(made=True)
            if durable:
                above.synced[name] = made

    def create(self, path: str) -> DiskFile:
        with self._lock:
            parent, name = _split(path)
            file = self._directory(parent)[name] = DiskFile()
            return file

    def adopt(self, path: str) -> None:
        """Take notice of a file that was there before us."""
        with self._lock:
            parent, name = _split(path)
            directory = self._directory(parent)
            if name in directory or name in directory.synced:
                return
            try:
                reader = self._inner.open(path)
                data = reader.read(0, reader.size())
            except OSError:
                return
            directory[name] = directory.synced[name] = DiskFile(data)

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            parent, name = _split(old)
            node = self._directory(parent).pop(name, None)
            if node is not None:
                parent, name = _split(new)
                self._directory(parent)[name] = node

    def remove(self, path: str) -> None:
        with self._lock:
            parent, name = _split(path)
            self._directory(parent).pop(name, None)

    def remove_directory(self, path: str) -> None:
        with self._lock:
            self.remove(path)
            self._directories.pop(path, None)

    def sync_path(self, path: str) -> None:
        with self._lock:
            parent, name = _split(path)
            node = self._directory(parent).get(name)
            if isinstance(node, DiskFile):
                node.sync()

    def sync_directory(self, path: str) -> None:
        with self._lock:
            directory = self._directory(path)
            directory.synced = dict(directory)

    # -- what is left ------------------------------------------------------------------------------

    def power_cut(self, chance: random.Random | None = None) -> None:
        """Leave in the backend what survives, all of it synced; empty directories may remain."""
        with self._lock:
            directories = self._directories
            left: dict[str, bytes] = {}
            reachable = {path for path, one in directories.items() if not one.made}
            for path in sorted(directories):
                if path in reachable:
                    for name, node in _surviving(directories[path], chance):
                        if isinstance(node, DiskFile):
                            left[_join(path, name)] = node.survivor(chance)
                        else:
                            reachable.add(_join(path, name))
            for path, directory in directories.items():
                for name, node in directory.items():
                    if isinstance(node, DiskFile):
                        self._inner.remove(_join(path, name))
            self._directories = {}
            for path, data in left.items():
                self._inner.remove(path)
                file = self._inner.create(path)
                file.write(data)
                file.close()

    # -- inside ------------------------------------------------------------------------------------

    def _directory(self, path: str) -> Directory:
        """A directory by its path; one that is not known yet was there before us."""
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = Directory()
        return known


def _surviving(directory: Directory, chance: random.Random | None) -> list[tuple[str, Node]]:
    """The names that are left: the synced ones, and by chance each change since."""
    if chance is None:
        return list(directory.synced.items())
    left = dict(directory.synced)
    for name in sorted({*directory, *directory.synced}):
        before, after = directory.synced.get(name), directory.get(name)
        if before is not after and chance.random() < 0.5:
            if after is None:
                del left[name]
            else:
                left[name] = after
    return list(left.items())


def _apply(data: bytearray, offset: int, change: bytes | None) -> None:
    if change is None:
        del data[offset:]
        return
    if len(data) < offset:
        data += bytes(offset - len(data))
    data[offset : offset + len(change)] = change


def _split(path: str) -> tuple[str, str]:
    parent, slash, name = path.rpartition("/")
    return parent or slash, name


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent.strip("/") else parent + name
