"""What the store asks of a place that keeps files: a small base, implemented by its siblings.

Rule of this file: nothing here knows records.  ``local.py`` is the file system, ``memory.py`` a
dictionary for tests; one conformance suite runs over all of them.

What is relied on, and no more: exclusive creation, appending by one writer to a file that only it
writes, atomic rename within a directory, reading by range.  Not relied on: locks, atomic appends by
several writers, mapping a file that someone else still writes.
"""

from __future__ import annotations

import builtins
import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Union

Buffer = Union[bytes, bytearray, memoryview]  # noqa: UP007 (runtime, 3.10)

_COPY = 8 << 20


class Owner(NamedTuple):
    """Who a file or directory belongs to and who may write to it."""

    uid: int
    mode: int


class Listed(NamedTuple):
    """A file in a directory; ``changed`` is in seconds since the epoch, 0 where it is not known."""

    name: str
    size: int
    changed: float


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
    """A file opened for reading; several threads may read at once.

    Attributes:
        by_range: reading what is wanted is cheaper than mapping the whole.
    """

    by_range = False

    @abstractmethod
    def size(self) -> int:
        """How many bytes the file has now; it may still grow."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the file."""

    def data_from(self, offset: int) -> int:
        """Where the first byte after ``offset`` is that may not be zero; holes are stepped over."""
        return offset

    @abstractmethod
    def map(self) -> memoryview:
        """The whole file as a read-only view; for files that nobody writes any more."""

    @abstractmethod
    def map_private(self) -> memoryview:
        """The whole file as a writable view whose changes stay with the caller."""

    @abstractmethod
    def stamp(self) -> tuple[int, ...]:
        """Something that changes when the file is replaced or rewritten."""

    def owner(self) -> Owner | None:
        """Who owns the open file; None where the place knows no owners."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; views that were handed out stay valid."""


class Backend(ABC):
    """A place that keeps directories of files.  Paths are strings joined by ``/``.

    Attributes:
        uploads: what is written is brought elsewhere later on.
    """

    uploads = False

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
        """Open a regular file for reading; a symbolic link is an error."""

    def open_under(self, directory: str, path: str) -> Readable:
        """Open a file below a directory, following no symbolic link on the way there."""
        return self.open(f"{directory}/{path}")

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

    def entries(self, path: str) -> builtins.list[Listed]:
        """The files in a directory, in no order, with size and time of the last change.

        Raises:
            FileNotFoundError: there is no such directory.
        """
        found = []
        for name in self.list(path):
            try:
                file = self.open(f"{path}/{name}")
            except OSError:
                continue  # a directory, or gone
            found.append(Listed(name, file.size(), 0.0))
            file.close()
        return found

    def size_of(self, path: str) -> int | None:
        """How many bytes a file has now; None if there is none that can be read."""
        try:
            file = self.open(path)
        except OSError:
            return None
        try:
            return file.size()
        finally:
            file.close()

    def changed(self, path: str) -> int | None:
        """A number that differs after a name in a directory came or went, or 0 if nobody can tell.

        Two changes within the granularity of the place's clock may leave the same number.

        Returns:
            None if there is no such directory.
        """
        try:
            self.list(path)
        except OSError:
            return None
        return 0

    def is_link(self, path: str) -> bool:
        """Whether a name leads elsewhere."""
        return False

    def link(self, old: str, new: str) -> None:
        """Have a whole file under another name as well; what is there already is replaced.

        The names may share their bytes: neither file may be written to again.
        """
        file = self.open(old)
        size = file.size()

        def fill(target: Writable) -> None:
            for offset in range(0, size, _COPY):
                target.write(file.read(offset, _COPY))

        try:
            temporary = f"{new.rpartition('/')[0]}/.tmp-{secrets.token_hex(12)}"
            self.write_whole(new, temporary, fill, durable=True)
        finally:
            file.close()

    def remove_directory(self, path: str) -> None:  # noqa: B027 (some places know none)
        """Remove a directory if it is empty; one that is missing or is not empty is fine."""

    def owners(self, path: str) -> Iterable[tuple[str, Owner]]:
        """Names in a directory and who owns what they name; without symbolic links."""
        return ()

    def prefetch(self, paths: Sequence[str]) -> None:  # noqa: B027 (most places are near)
        """Several directories are going to be read soon."""

    def flush(self, seconds: float | None = None) -> None:  # noqa: B027
        """Bring what is written to where other machines see it, for at most so many seconds.

        Raises:
            NotUploadedError: not all of it is there.
        """

    def close(self, seconds: float | None = None) -> None:  # noqa: B027
        """Like :meth:`flush`, for the last time."""

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
