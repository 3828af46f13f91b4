"""Small remote files, which are put as a whole: heartbeats, leases, notes of who does what."""

from __future__ import annotations

from .backend import Buffer, Readable, Writable
from .objects import Objects


class Held(Writable):
    """A file that is put as a whole when all is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Buffer) -> None:
        self.data += data

    def sync(self) -> None: ...

    def truncate(self, size: int) -> None:
        del self.data[size:]

    def close(self) -> None: ...


class Direct(Held):
    """A file that is put again with each write: for the few bytes that others wait for."""

    def __init__(self, objects: Objects, path: str) -> None:
        super().__init__()
        self._objects = objects
        self._path = path

    def write(self, data: Buffer) -> None:
        super().write(data)
        self._objects.put(self._path, bytes(self.data))


class Queued(Readable):
    """A small file that is not uploaded yet."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def map(self) -> memoryview:
        return memoryview(self._data)

    def map_private(self) -> memoryview:
        return memoryview(bytearray(self._data))

    def stamp(self) -> tuple[int, ...]:
        return (id(self._data), len(self._data))

    def close(self) -> None: ...
