"""From the spool to the object store, behind the back of who writes.

::

    write ─► file in a spool ─ add ─► table ─┬─ every period, or many bytes ─► round ─► objects
    small ─────────────────────────► queue ──┘         ▲                         │
                                                       └── later, with back-off ◄┘ failure, told

Guarantees: a round puts blobs before the segments that name them, those before the indexes over
them; where a blob fails, the segments of that round wait.  Nobody who writes ever waits for the
network.  What fails stays in the spool and is tried again.  ``flush`` and ``close`` come to an end,
whatever the network does.

Assumptions: files under one name grow, or are replaced as a whole.  Methods may be called by any
thread.  The thread is a daemon's: a put that hangs for ever keeps no program from ending.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .objects import Objects
from .spool import Spool, Spooled

TRIES = 3  # rounds that may fail one after the other, when the run ends
STALL_SECONDS = 60.0  # in which nothing at all is sent, after which the end does not wait longer
LONGEST_WAIT = 300.0
_BATCH_BYTES = 32 << 20
_BATCH_FILES = 64
_SMALL = 4 << 20


@dataclass
class _File:
    """A file that is to be uploaded; ``writer`` is None where nobody writes it any more."""

    spool: Spool
    writer: Spooled | None
    uploaded: int = -1  # the changes that the last upload held; -1: none was made
    failures: int = 0


@dataclass(frozen=True)
class _Part:
    """What one round uploads of a file."""

    path: str
    file: _File
    local: str
    size: int
    changes: int
    closed: bool


class Uploader:
    """Uploads what is in spools.

    Args:
        objects: where to.
        period: seconds between two rounds.
        batch_bytes: bytes after which the next round does not wait for its time.
        keep_bytes: bytes of uploaded files that stay in the spool, to be read from there.
        failed: told of the failure of a round.

    Attributes:
        dropped: an uploaded file was removed from its spool.
        incidents: how often uploading worked again after it had failed.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        period: float,
        batch_bytes: int,
        keep_bytes: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._objects = objects
        self._period = period
        self._batch_bytes = batch_bytes
        self._keep_bytes = keep_bytes
        self._failed = failed
        self._lock = threading.Condition()  # guards what follows
        self._files: dict[str, _File] = {}
        self._small: dict[str, bytes | None] = {}  # None: to be removed
        self._grown = 0
        self._asked = self._answered = 0
        self._next = time.monotonic() + period
        self._urgent = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._kept: deque[tuple[str, int]] = deque()  # local paths; only the thread uses it
        self._kept_bytes = 0
        self._ended = threading.Event()
        self._moved = time.monotonic()  # when something was last sent
        self.failure: BaseException | None = None
        self.failures = 0
        self.incidents = 0
        self.dropped = False

    # --- who writes -------------------------------------------------------------------------------

    def add(self, path: str, spool: Spool, writer: Spooled | None) -> None:
        """Have a file uploaded, now and whenever it has changed until it is closed."""
        with self._lock:
            before = self._files.get(path)
            uploaded = -1 if before is None or before.writer is not writer else before.uploaded
            self._files[path] = _File(spool, writer, uploaded)
            self._start()

    def small(self, path: str, data: bytes | None) -> None:
        """Have an object hold a few bytes, soon; or, with None, be removed."""
        with self._lock:
            self._small.pop(path, None)
            self._small[path] = data
            self._urgent = True
            self._start()
            self._lock.notify_all()

    def queued(self, path: str) -> bytes | None:
        """The few bytes that an object is going to hold."""
        return self._small.get(path)

    def grown(self, length: int) -> None:
        """So many bytes were written."""
        self._grown += length  # an estimate: no lock
        if self._grown >= self._batch_bytes:
            with self._lock:
                self._lock.notify_all()

    def forget(self, path: str) -> None:
        """A file is removed: if it was uploaded it goes there as well."""
        with self._lock:
            file = self._files.pop(path, None)
        if file is None or file.uploaded >= 0:
            self.small(path, None)

    def waiting(self) -> tuple[int, int]:
        """(files, bytes) that are not uploaded."""
        with self._lock:
            files = dict(self._files)
            small = [data for data in self._small.values() if data is not None]
        count, total = len(small), sum(map(len, small))
        for path, file in files.items():
            part = _part(path, file)
            if part is not None and part.changes != file.uploaded:
                count += 1
                total += part.size
        return count, total

    def waits(self, spool: Spool) -> bool:
        """Whether anything of a spool is not uploaded."""
        with self._lock:
            return any(file.spool is spool for file in self._files.values())

    # --- who wants it uploaded --------------------------------------------------------------------

    def flush(self, seconds: float | None = None) -> BaseException | None:
        """Upload everything that is there now.

        Returns:
            What failed, or None.
        """
        with self._lock:
            if self._thread is None:
                return None  # nothing was ever written
            self._asked += 1
            mine = self._asked
            self._moved = time.monotonic()
            self._lock.notify_all()
        self._wait(lambda: self._answered >= mine or self._ended.is_set(), seconds)
        if self._answered < mine and not self._ended.is_set():
            return TimeoutError("The service does not answer")
        return self.failure

    def close(self, seconds: float | None = None) -> BaseException | None:
        """Upload everything and end; after ``TRIES`` failures, or when nothing moves, give up.

        Returns:
            Why something is not uploaded, or None.
        """
        with self._lock:
            self._closing = True
            self.failures = 0  # counted anew, and not waited for
            thread = self._thread
            self._moved = time.monotonic()
            self._lock.notify_all()
        if thread is None:
            return None
        self._wait(self._ended.is_set, seconds)
        if not self._ended.is_set():
            return self.failure or TimeoutError("The service does not answer")
        return self.failure

    def _wait(self, done: Callable[[], bool], seconds: float | None) -> None:
        deadline = time.monotonic() + seconds if seconds is not None else float("inf")
        with self._lock:
            while not done():
                now = time.monotonic()
                left = min(deadline, self._moved + STALL_SECONDS) - now
                if left <= 0:
                    return
                self._lock.wait(min(left, 1.0))

    # --- the thread -------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None and not self._closing:
            thread = threading.Thread(target=self._work, name="parsl_ckpt-upload", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: the next start uploads it
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    self._lock.wait_for(self._due, max(self._next - time.monotonic(), 0.0))
                    asked, closing = self._asked, self._closing
                    whole = (
                        closing or asked > self._answered or self._grown >= self._batch_bytes
                        or time.monotonic() >= self._next
                    )  # fmt: skip
                    self._urgent = False
                    if whole:
                        self._grown = 0
                self._round(whole)
                with self._lock:
                    if whole:
                        self._answered = asked
                        self._next = time.monotonic() + self._pause()
                    self._lock.notify_all()
                if closing and (self.failure is None or self.failures >= TRIES):
                    return
        finally:
            self._ended.set()
            with self._lock:
                self._lock.notify_all()

    def _due(self) -> bool:
        if self._asked > self._answered:
            return True
        if self.failures:
            return False  # whatever comes in waits until it is tried again
        return self._urgent or self._closing or self._grown >= self._batch_bytes

    def _pause(self) -> float:
        if self._closing:
            return float(self.failures)  # 1, 2 seconds
        return min(self._period * 2.0**self.failures, max(LONGEST_WAIT, self._period))

    def _round(self, whole: bool) -> None:
        try:
            self._put_small()
            if whole:
                self._put_files()
        except Exception as error:
            self.failure = error
            self.failures = min(self.failures + 1, 16)
            with contextlib.suppress(Exception):
                self._failed(error)
        else:
            if whole:
                self.incidents += self.failure is not None
                self.failure = None
                self.failures = 0

    def _put_small(self) -> None:
        for path, data in list(self._small.items()):
            if data is None:
                self._objects.remove(path)
            else:
                self._objects.put(path, data)
            self._sent()
            with self._lock:
                if self._small.get(path, b"") is data:
                    del self._small[path]

    def _put_files(self) -> None:
        # At once: a blob that a segment names within this size was added before it had this size.
        with self._lock:
            done = [(path, file) for path, file in self._files.items() if file.writer is None]
            parts = [_part(path, file) for path, file in self._files.items() if file.writer]
        parts += [_part(path, file) for path, file in done]
        self._put_parts([part for part in parts if part is not None])

    def _put_parts(self, parts: Sequence[_Part]) -> None:
        failure: BaseException | None = None
        for rank in range(3):
            chosen = [part for part in parts if _rank(part.path) == rank]
            chosen.sort(key=lambda part: part.file.failures)
            for batch in _batches(chosen):
                try:
                    self._put(batch)
                except OSError as error:
                    for part in batch:
                        part.file.failures += 1
                    if failure is not None:
                        raise
                    failure = error
            if failure is not None:
                raise failure

    def _put(self, batch: Sequence[_Part]) -> None:
        data: dict[str, bytes] = {}
        for part in batch:
            if part.changes == part.file.uploaded:
                continue  # nothing has come since, only its end
            try:
                if part.size > _SMALL and part.closed:
                    self._objects.put_file(part.path, part.local, self._sent)
                else:
                    with open(part.local, "rb") as file:
                        data[part.path] = file.read(part.size)
            except FileNotFoundError:
                if os.path.exists(part.local):
                    raise  # it is the bucket that is missing
                with self._lock:  # removed meanwhile
                    if self._files.get(part.path) is part.file:
                        del self._files[part.path]
        if data:
            self._objects.put_many(data)
        self._sent()
        for part in batch:
            self._uploaded(part)

    def _uploaded(self, part: _Part) -> None:
        part.file.uploaded = part.changes
        part.file.failures = 0
        with self._lock:
            if not part.closed or self._files.get(part.path) is not part.file:
                return
            del self._files[part.path]
        self._kept.append((part.local, part.size))
        self._kept_bytes += part.size
        while self._kept_bytes > self._keep_bytes:
            local, size = self._kept.popleft()
            self._kept_bytes -= size
            self.dropped = True  # first: who then does not find it looks in the object store
            with contextlib.suppress(FileNotFoundError):
                os.unlink(local)

    def _sent(self) -> None:
        self._moved = time.monotonic()


def _part(path: str, file: _File) -> _Part | None:
    """What is to be uploaded of a file now; None if all of it is."""
    local = file.spool.at(path)
    writer = file.writer
    if writer is None:
        try:
            return _Part(path, file, local, os.path.getsize(local), 0, True)
        except OSError:
            return _Part(path, file, local, 0, 0, True)
    closed = writer.closed  # first: what is closed does not grow
    changes, size = writer.changes, writer.size
    if changes == file.uploaded and not closed:
        return None
    return _Part(path, file, local, size, changes, closed)


def _rank(path: str) -> int:
    return 1 if path.endswith(".seg") else 2 if path.endswith(".idx") else 0


def _batches(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    batch: list[_Part] = []
    size = 0
    for part in parts:
        large = part.size > _SMALL
        if batch and (large or size + part.size > _BATCH_BYTES or len(batch) >= _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += part.size
        if large:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
