"""A backend that keeps its files in a dictionary: for tests, and for runs that keep nothing."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

from .backend import Backend, Buffer, Owner, Readable, Writable


class _File:
    __slots__ = ("data", "generation")

    def __init__(self) -> None:
        self.data = bytearray()
        self.generation = 0


class MemoryWriter(Writable):
    def __init__(self, file: _File) -> None:
        self._file = file
        self._closed = False

    def write(self, data: Buffer) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "The file is closed.")
        self._file.data += data
        self._file.generation += 1

    def sync(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "The file is closed.")

    def truncate(self, size: int) -> None:
        del self._file.data[size:]
        self._file.generation += 1

    def close(self) -> None:
        self._closed = True


class MemoryReader(Readable):
    def __init__(self, file: _File) -> None:
        self._file = file

    def size(self) -> int:
        return len(self._file.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._file.data[offset : offset + length])

    def map(self) -> memoryview:
        return memoryview(bytes(self._file.data))

    def map_private(self) -> memoryview:
        return memoryview(bytearray(self._file.data))

    def stamp(self) -> tuple[int, ...]:
        return (id(self._file), self._file.generation)

    def close(self) -> None:
        pass


class MemoryBackend(Backend):
    """Files of one process, gone with it.  Stores that share an instance see each other's files.

    >>> backend = MemoryBackend()
    >>> file = backend.create("run/a")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] There is no such directory: 'run'
    >>> backend.make_directory("run"); backend.create("run/a").write(b"hello")
    >>> backend.open("run/a").read(1, 3)
    b'ell'
    """

    def __init__(self) -> None:
        self.files: dict[str, _File] = {}
        self.directories: set[str] = {"", "/", "."}
        self._lock = threading.Lock()

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        with self._lock:
            while path not in self.directories:
                if path in self.files:
                    raise FileExistsError(errno.EEXIST, "It is a file", path)
                self.directories.add(path)
                path = path.rpartition("/")[0]

    def list(self, path: str) -> Sequence[str]:
        with self._lock:
            self._require(path)
            names = [*self.files, *self.directories]
        prefix = path + "/"
        inside = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        return [name for name in inside if name and "/" not in name]

    def create(self, path: str) -> Writable:
        with self._lock:
            self._require(path.rpartition("/")[0])
            if path in self.files or path in self.directories:
                raise FileExistsError(errno.EEXIST, "It exists already", path)
            file = self.files[path] = _File()
        return MemoryWriter(file)

    def open(self, path: str) -> Readable:
        try:
            return MemoryReader(self.files[path])
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "There is no such file", path) from None

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            self._require(new.rpartition("/")[0])
            try:
                self.files[new] = self.files.pop(old)
            except KeyError:
                raise FileNotFoundError(errno.ENOENT, "There is no such file", old) from None

    def remove(self, path: str) -> None:
        with self._lock:
            self.files.pop(path, None)

    def remove_directory(self, path: str) -> None:
        with self._lock:
            prefix = path + "/"
            if not any(name.startswith(prefix) for name in (*self.files, *self.directories)):
                self.directories.discard(path)

    def sync_file(self, path: str) -> None:
        self.open(path)

    def sync_directory(self, path: str) -> None:
        with self._lock:
            self._require(path)

    def owner(self, path: str) -> Owner | None:
        with self._lock:
            self._require(path)
        return None

    def _require(self, path: str) -> None:
        if path not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "There is no such directory", path)
