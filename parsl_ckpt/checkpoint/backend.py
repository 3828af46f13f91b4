"""What the store asks of a place that keeps files: a small base, implemented by its siblings.

Rule of this file: nothing here knows records.  ``local.py`` is the file system, ``memory.py`` a
dictionary for tests; one conformance suite runs over all of them.

What is relied on, and no more: exclusive creation, appending by one writer to a file that only it
writes, atomic rename within a directory, reading by range.  Not relied on: locks, atomic appends by
several writers, mapping a file that someone else still writes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Union

Buffer = Union[bytes, bytearray, memoryview]  # noqa: UP007 (runtime, 3.10)


class Owner(NamedTuple):
    """Who a directory belongs to and who may write to it."""

    uid: int
    mode: int


class Writable(ABC):
    """A file that one writer appends to."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Append all of ``data``; on return the bytes are with the operating system.

        Raises:
            OSError: not all of them are; :meth:`truncate` takes back what is.
        """

    @abstractmethod
    def sync(self) -> None:
        """Put on disk what was written; not to be called again on this file after it failed."""

    @abstractmethod
    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes and go on writing there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; harmless when repeated."""


class Readable(ABC):
    """A file opened for reading; several threads may read at once."""

    @abstractmethod
    def size(self) -> int:
        """How many bytes the file has now; it may still grow."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the file."""

    @abstractmethod
    def map(self) -> memoryview:
        """The whole file as a read-only view; for files that nobody writes any more."""

    @abstractmethod
    def map_private(self) -> memoryview:
        """The whole file as a writable view whose changes stay with the caller."""

    @abstractmethod
    def stamp(self) -> tuple[int, ...]:
        """Something that changes when the file is replaced or rewritten."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; views that were handed out stay valid."""


class Backend(ABC):
    """A place that keeps directories of files.  Paths are strings joined by ``/``."""

    def absolute(self, path: str) -> str:
        """The same place, however the process's working directory changes."""
        return path

    @abstractmethod
    def make_directory(self, path: str, *, durable: bool = False) -> None:
        """Make a directory and its parents, accessible to the owner only; existing is fine."""

    @abstractmethod
    def list(self, path: str) -> Sequence[str]:
        """Names in a directory, in no order.

        Raises:
            FileNotFoundError: there is no such directory.
        """

    @abstractmethod
    def create(self, path: str) -> Writable:
        """Create a file that must not exist yet."""

    @abstractmethod
    def open(self, path: str) -> Readable:
        """Open a file for reading."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Give a file another name in one step, replacing what had it."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file; a missing one is fine."""

    @abstractmethod
    def sync_file(self, path: str) -> None:
        """Put on disk what a file that is closed already holds."""

    @abstractmethod
    def sync_directory(self, path: str) -> None:
        """Put on disk which names a directory holds."""

    @abstractmethod
    def owner(self, path: str) -> Owner | None:
        """Who owns a directory; None where the place knows no owners.

        Raises:
            FileNotFoundError: there is no such directory.
        """

    def write_whole(
        self, path: str, temporary: str, fill: Callable[[Writable], None], *, durable: bool
    ) -> None:
        """Create ``path`` with all of its bytes or not at all, through a temporary name."""
        file = self.create(temporary)
        try:
            try:
                fill(file)
                if durable:
                    file.sync()
            finally:
                file.close()
            self.rename(temporary, path)
        except BaseException:
            self.discard(temporary)
            raise
        if durable:
            self.sync_directory(path.rpartition("/")[0])

    def discard(self, path: str) -> None:
        """Remove a file if that is possible; nothing depends on it."""
        with contextlib.suppress(OSError):
            self.remove(path)
