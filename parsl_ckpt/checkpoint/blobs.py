"""Large payloads: files named by the digest of what they hold, under ``blobs/xx/``.

Rules of this file: a blob appears under its name wholly or not at all (temporary name, rename), is
never changed, and is believed only after its size and digest.  One that turns out bad is written
anew by the next record that needs it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from typing import Any

from blake3 import blake3

from parsl_ckpt.errors import UnreadableRecordError

from .backend import Backend, Writable
from .trust import Trust, foreign

_CHUNK = 8 << 20
_OVERLAP = 4 << 20  # from this size on, digesting and writing go on at once
_SEVERAL_THREADS = 1 << 20


class Blobs:
    """The blobs of checkpoint directories: written to one, read from any."""

    def __init__(self, backend: Backend, *, durable: bool, trust: Trust = "owner") -> None:
        self._backend = backend
        self._durable = durable
        self._trust = trust
        self._checked: dict[str, tuple[int, ...]] = {}  # path -> stamp, when it was last verified
        self._lock = threading.Lock()
        self._synced: set[str] = set()  # blobs that are on the disk, whoever wrote them
        self._rooted: set[str] = set()  # directories of blobs whose own names are on the disk

    def write(
        self, directory: str, buffer: Any, digest: bytes | None = None
    ) -> tuple[bytes, int, str | None]:
        """Keep a buffer.

        Args:
            directory: the checkpoint directory.
            buffer: contiguous bytes; they must not change meanwhile.
            digest: of the buffer, if it is known.

        Returns:
            Its digest, its size, and the path if it may have to be synced (later).

        Raises:
            OSError: it could not be written; nothing remains of it.
        """
        view = memoryview(buffer).cast("B")
        if digest is None:
            if len(view) >= _OVERLAP:
                return self._write_overlapped(directory, view)
            digest = _digest(view)
        path = path_of(directory, digest)
        if self._present(path, digest, len(view)):
            return digest, len(view), self._unsynced(path)
        file, temporary = self._begin(path)
        self._finish(file, temporary, path, lambda: file.write(view))
        return digest, len(view), path

    def read(self, directory: str, digest: bytes, size: int) -> memoryview:
        """A verified blob as writable memory whose changes stay with the caller.

        Raises:
            UnreadableRecordError: it is missing, or is not what its name says.
        """
        path = path_of(directory, digest)
        try:
            file = self._backend.open_under(directory, _name(digest))
        except OSError as error:
            raise _unreadable(path, f"cannot be opened ({error})") from error
        try:
            # Whoever may write to it could change the map after it was verified.
            if self._trust == "owner" and (reason := foreign(file.owner())) is not None:
                raise _unreadable(path, reason)
            if file.size() != size:
                raise _unreadable(path, f"has {file.size()} bytes in place of {size}")
            stamp = file.stamp()
            view = file.map_private()
            if len(view) != size or (self._checked.get(path) != stamp and _digest(view) != digest):
                raise _unreadable(path, "does not have the digest that its name says")
        except (OSError, MemoryError, OverflowError) as error:
            raise _unreadable(path, f"cannot be read ({error})") from error
        except UnreadableRecordError:
            self._checked.pop(path, None)
            raise
        finally:
            file.close()
        self._remember(path, stamp)
        return view

    def glance(self, directory: str, digest: bytes, size: int) -> None:
        """See that a blob is there and has its size, without reading it.

        Raises:
            UnreadableRecordError: it is missing, or has another size.
        """
        path = path_of(directory, digest)
        try:
            with contextlib.closing(self._backend.open_under(directory, _name(digest))) as file:
                found = file.size()
        except OSError as error:
            raise _unreadable(path, f"cannot be opened ({error})") from error
        if found != size:
            raise _unreadable(path, f"has {found} bytes in place of {size}")

    def has(self, directory: str, digest: bytes, size: int) -> bool:
        """Whether a good blob is there."""
        return self._present(path_of(directory, digest), digest, size)

    def discard(self, directory: str, digest: bytes) -> None:
        """Remove a blob that no record names."""
        path = path_of(directory, digest)
        self._checked.pop(path, None)
        self._synced.discard(path)
        self._backend.discard(path)

    def forked(self) -> None:
        """In a child: a thread that is not there may have held the lock."""
        self._lock = threading.Lock()

    def sync(self, path: str) -> None:
        """Put a blob, and its name, on disk."""
        if path in self._synced:
            return
        # Syncing needs no descriptor that wrote: the pages belong to the file.
        self._backend.sync_file(path)
        self.sync_names(path.rpartition("/")[0])
        if len(self._synced) >= 65536:
            self._synced.clear()
        self._synced.add(path)

    def _write_overlapped(self, directory: str, view: memoryview) -> tuple[bytes, int, str | None]:
        """Digest in one thread and write in this one; the name is needed last."""
        answer: list[bytes] = []
        known = threading.Event()

        def digest_it() -> None:
            answer.append(blake3(view).digest())
            known.set()

        helper = threading.Thread(target=digest_it, name="parsl_ckpt-digest", daemon=True)
        file, temporary = self._begin(f"{directory}/blobs/")
        try:
            helper.start()
        except RuntimeError:  # no more threads: there are too many, or the interpreter is ending
            digest_it()
        path: str | None = None

        def fill() -> None:
            nonlocal path
            for start in range(0, len(view), _CHUNK):
                if known.is_set() and path is None:
                    path = path_of(directory, answer[0])
                    if self._present(path, answer[0], len(view)):
                        raise _AlreadyThere
                file.write(view[start : start + _CHUNK])

        try:
            self._finish(file, temporary, lambda: self._target(helper, answer, directory), fill)
        except _AlreadyThere:
            return answer[0], len(view), self._unsynced(path_of(directory, answer[0]))
        finally:
            if helper.ident is not None:
                helper.join()
        return answer[0], len(view), path_of(directory, answer[0])

    def _target(self, helper: threading.Thread, answer: list[bytes], directory: str) -> str:
        if helper.ident is not None:
            helper.join()
        path = path_of(directory, answer[0])
        self._backend.make_directory(path.rpartition("/")[0], durable=self._durable)
        return path

    def _begin(self, path: str) -> tuple[Writable, str]:
        parent = path.rpartition("/")[0]
        temporary = f"{parent}/.tmp-{secrets.token_hex(12)}"
        try:
            return self._backend.create(temporary), temporary
        except FileNotFoundError:
            self._backend.make_directory(parent, durable=self._durable)
            return self._backend.create(temporary), temporary

    def _finish(self, file: Writable, temporary: str, path: Any, fill: Any) -> None:
        try:
            try:
                fill()
                if self._durable:
                    file.sync()
            finally:
                file.close()
            target = path if isinstance(path, str) else path()
            self._synced.discard(target)
            self._backend.rename(temporary, target)
        except BaseException:
            self._backend.discard(temporary)
            raise
        if self._durable:
            self.sync_names(target.rpartition("/")[0])

    def sync_names(self, parent: str) -> None:
        """Put on disk the names in a directory of blobs, and once its own, whoever made it."""
        self._backend.sync_directory(parent)
        if parent not in self._rooted:
            blobs = parent.rpartition("/")[0]
            self._backend.sync_directory(blobs)
            self._backend.sync_directory(blobs.rpartition("/")[0])
            self._rooted.add(parent)

    def _unsynced(self, path: str) -> str | None:
        """A blob that is there already, unless it is known to be on the disk."""
        return None if path in self._synced else path

    def _present(self, path: str, digest: bytes, size: int) -> bool:
        """Whether a good blob is there already, so that it need not be written."""
        try:
            file = self._backend.open(path)
        except OSError:
            return False
        try:
            stamp = file.stamp()
            if file.size() != size:
                return False
            if self._checked.get(path) != stamp and _digest(file.map()) != digest:
                return False
            if self._durable:
                self.sync(path)  # whoever wrote it may not have
        except OSError:
            return False
        finally:
            file.close()
        self._remember(path, stamp)
        return True

    def _remember(self, path: str, stamp: tuple[int, ...]) -> None:
        with self._lock:
            if len(self._checked) >= 65536:
                self._checked.clear()
            self._checked[path] = stamp


_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True  # the threads that digest do not exist here, and would be waited for


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _AlreadyThere(Exception):
    pass


def path_of(directory: str, digest: bytes) -> str:
    """Where a blob of a directory is."""
    return f"{directory}/{_name(digest)}"


def _name(digest: bytes) -> str:
    name = digest.hex()
    return f"blobs/{name[:2]}/{name}"


def _digest(view: memoryview) -> bytes:
    if len(view) >= _SEVERAL_THREADS and not _forked:
        return blake3(view, max_threads=blake3.AUTO).digest()
    return blake3(view).digest()


def _unreadable(path: str, why: str) -> UnreadableRecordError:
    return UnreadableRecordError(
        f"The blob {path} {why}.", hint="What it held is computed again.", path=path
    )
