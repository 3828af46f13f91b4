"""What was read of remote objects, kept near: blocks in memory, whole objects on the disk.

Rule of this file: an entry is named by what it is a copy of (object, version, place), so that none
is ever out of date.  Both are bounded; what was used longest ago goes first.  A loss costs a
request.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from blake3 import blake3

BLOCK = 1 << 20
BLOCKS_BYTES = 64 << 20
FILES_BYTES = 4 << 30


class Blocks:
    """Blocks of objects, in memory; may be used by several threads."""

    def __init__(self, limit: int = BLOCKS_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._blocks: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...]) -> bytes | None:
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: tuple[object, ...], block: bytes) -> None:
        with self._lock:
            old = self._blocks.pop(key, b"")
            self._blocks[key] = block
            self._size += len(block) - len(old)
            while self._size > self._limit:
                self._size -= len(self._blocks.popitem(last=False)[1])

    def forked(self) -> None:
        self._lock = threading.Lock()


class Files:
    """Whole objects, as files that processes of this user share.

    Args:
        directory: where; made when it is needed.
        limit: bytes.
    """

    def __init__(self, directory: str, limit: int = FILES_BYTES) -> None:
        self._directory = directory
        self._limit = limit

    def have(self, name: str, fetch: Callable[[str], None]) -> str:
        """The path of a copy, which ``fetch`` makes at the path that it is given.

        It may be removed at any time: open it at once.
        """
        path = f"{self._directory}/{blake3(name.encode()).hexdigest(16)}"
        if os.path.exists(path):
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
        os.makedirs(self._directory, 0o700, exist_ok=True)
        temporary = f"{self._directory}/.tmp-{secrets.token_hex(12)}"
        try:
            fetch(temporary)
            os.chmod(temporary, 0o600)
            self._make_room(os.path.getsize(temporary))
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return path

    def _make_room(self, size: int) -> None:
        found = []
        old = time.time() - 3600.0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith("."):
                        found.append((stat.st_mtime, stat.st_size, entry.path))
                    elif stat.st_mtime < old:  # who was fetching it has died
                        os.unlink(entry.path)
        total = size + sum(one[1] for one in found)
        for _, one, path in sorted(found):
            if total <= self._limit:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total -= one
