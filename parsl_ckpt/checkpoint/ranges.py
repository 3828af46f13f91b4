"""Reading remote objects by range.

Rules of this file: what was read once is not read again.  Small objects come whole, in one request;
of large ones the blocks that are wanted, several next to each other in one.  A listing serves for
opening what it lists, for a few seconds, so that opening a store does not ask twice.  A blob, which
never changes, is asked about once.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import re
import threading
import time
from typing import NamedTuple

from .backend import Readable
from .cache import BLOCK, Blocks, Files
from .local import LocalReader
from .objects import Info, Objects

_LISTING_SECONDS = 5.0  # a listing is used for so long
RECENT_SECONDS = 2.0
_LARGEST = 65536
_BLOB = re.compile(r"(.*/)?blobs/[0-9a-f]{2}/[0-9a-f]{64}")


class Version(NamedTuple):
    """Which version of an object is read."""

    size: int
    stamp: int


class Recent(NamedTuple):
    """A listing that is good enough for who only wants to know whether anything has changed."""

    at: float  # monotonic
    since: int  # nanoseconds since the epoch, when these names were first seen here
    infos: list[Info]


class Seen:
    """What is known of the objects below a URL.

    Args:
        objects: the objects.
        blocks: keeps what was read of them.
        files: keeps what was read whole.
    """

    def __init__(self, objects: Objects, blocks: Blocks, files: Files) -> None:
        self.objects = objects
        self.blocks = blocks
        self.files = files
        self._lock = threading.Lock()
        self._ahead: dict[str, tuple[float, list[Info]]] = {}
        self._listed: dict[str, tuple[float, Version]] = {}
        self._versions: dict[str, Version] = {}  # the newest that is known
        self._recent: dict[str, Recent] = {}

    def list(self, path: str) -> builtins.list[Info]:
        """What is in a directory."""
        with self._lock:
            at, found = self._ahead.pop(path, (0.0, []))
        if not found or time.monotonic() - at > _LISTING_SECONDS:
            found = self._list(path)
        return found

    def list_ahead(self, path: str) -> builtins.list[Info]:
        """What is in a directory, to be asked for again soon."""
        with self._lock:
            at, found = self._ahead.get(path, (0.0, []))
        if not found or time.monotonic() - at > _LISTING_SECONDS:
            found = self._list(path)
            with self._lock:
                self._ahead[path] = (time.monotonic(), found)
        return found

    def recent(self, path: str) -> Recent:
        """What was in a directory a moment ago: whoever asks at each look-up asks us, mostly."""
        found = self._recent.get(path)
        if found is None or time.monotonic() - found.at > RECENT_SECONDS:
            self._list(path)
            found = self._recent[path]
        return found

    def _list(self, path: str) -> builtins.list[Info]:
        infos = self.objects.list(path)
        now = time.monotonic()
        with self._lock:
            before = self._recent.get(path)
            same = before is not None and _names(infos) == _names(before.infos)
            since = before.since if before is not None and same else time.time_ns()
            for table in (self._recent, self._listed):
                if len(table) > _LARGEST:
                    table.clear()
            self._recent[path] = Recent(now, since, infos)
            for info in infos:
                if not info.directory:
                    name = f"{path}/{info.name}" if path else info.name
                    self._listed[name] = (now, Version(info.size, info.stamp))
        return infos

    def note(self, path: str, info: Info) -> None:
        """An object is known to be of this version now."""
        with self._lock:
            self._versions[path] = Version(info.size, info.stamp)

    def version(self, path: str) -> Version:
        """The version of an object that is there now.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._lock:
            at, listed = self._listed.get(path, (0.0, None))
            known = self._versions.get(path)
        version = None
        if listed is not None and time.monotonic() - at <= _LISTING_SECONDS:
            version = listed
            if known is not None and path.endswith(".seg") and known.size > listed.size:
                version = known  # it has grown since
        elif _BLOB.fullmatch(path):
            version = known
        if version is None:
            info = self.objects.info(path)
            version = Version(info.size, info.stamp)
        with self._lock:
            if len(self._versions) > _LARGEST:
                self._versions.clear()
            self._versions[path] = version
        return version

    def newest(self, path: str, version: Version) -> Version:
        """The newest version that somebody has opened since."""
        return self._versions.get(path, version)

    def forget(self, path: str) -> None:
        """An object was removed, or replaced."""
        with self._lock:
            self._listed.pop(path, None)
            self._versions.pop(path, None)
            parent = path.rpartition("/")[0]
            self._ahead.pop(parent, None)
            self._recent.pop(parent, None)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self.blocks.forked()


def _names(infos: list[Info]) -> set[str]:
    return {info.name for info in infos}


class RemoteReader(Readable):
    """An object that is read by range; several threads may read at once."""

    by_range = True

    def __init__(self, seen: Seen, path: str, version: Version) -> None:
        self._seen = seen
        self._path = path
        self._version = version
        self._grows = path.endswith(".seg")  # its first bytes are those of any later version

    def size(self) -> int:
        if self._grows:
            newest = self._seen.newest(self._path, self._version)
            if newest.size > self._version.size:
                self._version = newest
        return self._version.size

    def read(self, offset: int, length: int) -> bytes:
        size = self.size()
        end = min(offset + length, size)
        if offset >= end:
            return b""
        first, last = offset // BLOCK, (end - 1) // BLOCK
        blocks = self._blocks(first, last, size)
        if first == last:
            return blocks[0][offset - first * BLOCK : end - first * BLOCK]
        return b"".join(blocks)[offset - first * BLOCK : end - first * BLOCK]

    def map(self) -> memoryview:
        if self.size() <= BLOCK:
            return memoryview(self.read(0, BLOCK))
        return self._whole().map()

    def map_private(self) -> memoryview:
        if self.size() <= BLOCK:
            return memoryview(bytearray(self.read(0, BLOCK)))
        return self._whole().map_private()

    def stamp(self) -> tuple[int, ...]:
        return (self._version.stamp, self._version.size)

    def close(self) -> None: ...

    def _key(self, block: int, size: int) -> tuple[object, ...]:
        length = min(BLOCK, size - block * BLOCK)
        return (self._path, 0 if self._grows else self._version.stamp, block, length)

    def _blocks(self, first: int, last: int, size: int) -> list[bytes]:
        cache = self._seen.blocks
        found = [cache.get(self._key(block, size)) for block in range(first, last + 1)]
        missing = [first + at for at, block in enumerate(found) if block is None]
        if missing == [first] and first and (first + 1) * BLOCK >= size:
            # The end of a file tells where its index is, which is just before.
            return self._blocks(first - 1, first, size)[1:]
        if missing:
            start, end = missing[0] * BLOCK, min((missing[-1] + 1) * BLOCK, size)
            data = self._seen.objects.get(self._path, start, end)
            for block in range(missing[0], missing[-1] + 1):
                piece = data[block * BLOCK - start : (block + 1) * BLOCK - start]
                found[block - first] = piece
                cache.put(self._key(block, size), piece)
        return [block for block in found if block is not None]

    def _whole(self) -> LocalReader:
        name = f"{self._path} {self._version.stamp} {self._version.size}"
        for _ in range(3):  # another process may make room between the two
            copy = self._seen.files.have(name, self._fetch)
            with contextlib.suppress(FileNotFoundError):
                return LocalReader(copy)
        raise OSError(f"There is no room for a copy of {self._path}.")

    def _fetch(self, target: str) -> None:
        self._seen.objects.fetch(self._path, target)
        got = os.path.getsize(target)
        if got != self._version.size:
            raise OSError(f"{self._path} had {got} bytes in place of {self._version.size}.")
