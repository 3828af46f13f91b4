"""The rows of one session, as records in a checkpoint store.

::

    commit ─► blobs ─► one write: the row, then tombstones of the rows that it takes the place of
    refresh ─► segments of all writers ─► rows, by time ─► live: those that no tombstone names
    open ─► newest live row whose blobs are whole ─ none ─► its parent ─ ... ─► rows dropped last

Guarantees: a row is seen wholly or not at all, whatever moment its writer is killed at; a row is
dropped only by a write that holds a newer one before it.  Rows of one writer never change their
order, however clocks are set.  Appending costs what the row costs.

Assumptions: those of the store.  ``append`` and ``refresh`` serialise themselves.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from parsl_ckpt.checkpoint import rows as rowing
from parsl_ckpt.checkpoint.catalog import Problem
from parsl_ckpt.checkpoint.format import Session, Tombstone
from parsl_ckpt.checkpoint.rows import DROPPED, Row
from parsl_ckpt.checkpoint.segment import parse_name
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.checkpoint.where import is_url
from parsl_ckpt.checkpoint.writers import Mark, make_room
from parsl_ckpt.errors import StoreWriteError
from parsl_ckpt.kernel.problems import CheckpointWarning

_TRIES = 1000
BURIED = 64  # rows that were dropped of which something is kept in mind
_TOLD = ("damage", "record", "signature", "untrusted", "directory")


class History:
    """The rows of one session.

    Args:
        path: the checkpoint directory.
        name: of the session; several may be kept in one directory.

    Attributes:
        appended: bytes of the last record that was written, without its blobs.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self.key = rowing.row_key(name)
        self._store: Store | None = None
        self._lock = threading.RLock()
        self._seen: set[rowing.Place] = set()
        self._rows: dict[bytes, Row] = {}  # by name, those that are not dropped
        self._buried: dict[bytes, Row] = {}  # the newest of those that are
        self._last = 0  # the greatest time of any row
        self._told: set[tuple[str, str, int]] = set()
        self._users = 0
        self.appended = 0
        self._own = ""  # the file that rows are appended to
        self._mark: Mark | None = None
        _histories.add(self)

    # --- reading ----------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store, opened when it is first wanted."""
        with self._lock:
            if self._store is None:
                self._store = Store.open(
                    self.path, pickle=False, compression="none", on_problem=self._problem
                )
                self._read_anew(self._store)
            return self._store

    def refresh(self) -> None:
        """See what has been committed since, by anybody."""
        with self._lock:
            if self._store is None:
                self.store  # noqa: B018 (opening it reads everything)
                return
            self._store.refresh()
            self._catch_up(self._store)

    def _read_anew(self, store: Store) -> None:
        self._forget()
        self._catch_up(store)

    def _forget(self) -> None:
        self._seen, self._rows, self._buried = set(), {}, {}

    def _catch_up(self, store: Store) -> None:
        """Read until what was read is what is there: others may begin, or write anew, meanwhile.

        Who makes room writes a new segment and removes the old ones.  A listing that saw neither
        would make a history of no rows.
        """
        catalog = store.catalog
        for _ in range(_TRIES):
            self._read(store)
            names = {name for path in catalog.directories for name in catalog.names(path)}
            gone = catalog.segments.keys() - names
            if gone or catalog.vanished:  # what is gone is not even named by tombstones any more
                catalog.find_again()
                self._forget()
            elif any(parse_name(name) for name in names - catalog.segments.keys() - catalog.mine):
                store.refresh()
            else:
                return

    def _read(self, store: Store) -> None:
        removed = store.catalog.removed
        for place, row in rowing.rows(store, self.key, self._seen):
            self._seen.add(place)
            self._last = max(self._last, row.session.at)
            if row.record_id in removed:
                self._bury(row)
            else:
                self._rows[row.session.commit] = row
        for row in [row for row in self._rows.values() if row.record_id in removed]:
            self._bury(row)
        self._rows = {row.session.commit: row for row in sorted(self._rows.values(), key=_order)}

    def _bury(self, row: Row) -> None:
        self._rows.pop(row.session.commit, None)
        self._buried[row.session.commit] = row
        if len(self._buried) > 2 * BURIED:
            newest = sorted(self._buried.values(), key=_order)[-BURIED:]
            self._buried = {row.session.commit: row for row in newest}

    @property
    def files(self) -> int:
        """How many files have rows: each opening in which one is written makes another."""
        return len(self.store.catalog.segments)

    def live(self) -> list[Row]:
        """The rows that are not dropped, oldest first."""
        with self._lock:
            return list(self._rows.values())

    def buried(self) -> list[Row]:
        """The newest of the rows that are dropped and still there, oldest first."""
        with self._lock:
            return sorted(self._buried.values(), key=_order)

    def row(self, commit: bytes) -> Row | None:
        """A row by its name, dropped or not."""
        return self._rows.get(commit) or self._buried.get(commit)

    def full(self, row: Row) -> tuple[Session, str]:
        """A row with its values, and the directory that it is in.

        Raises:
            UnreadableRecordError: it is not there any more, or damaged.
        """
        return rowing.full(self.store, row)

    def seems_whole(self, row: Row) -> bool:
        """Whether the blobs of a row are there, by their sizes alone."""
        directory = self.path if row.segment is None else row.segment.directory
        return all(rowing.blob_seen(self.store, directory, *blob) for blob in row.session.blobs)

    def read(self, directory: str, blob: tuple[bytes, int]) -> memoryview:
        """A blob, verified.

        Raises:
            UnreadableRecordError: it is missing or damaged.
        """
        return rowing.read_blob(self.store, directory, *blob)

    # --- writing ----------------------------------------------------------------------------------

    def write_blob(self, buffer: Any, digest: bytes | None = None) -> tuple[bytes, int]:
        """Keep a buffer, of which the digest may be known.

        Raises:
            StoreWriteError: it could not be written.
        """
        with self._lock:
            self._announce()
        return rowing.write_blob(self.store, buffer, digest)

    def has_blob(self, blob: tuple[bytes, int]) -> bool:
        """Whether a blob is there and good."""
        return rowing.has_blob(self.store, *blob)

    def append(self, make: Callable[[int], Session], drop: Callable[[Row], Sequence[Row]]) -> Row:
        """Write a row, and drop others in the same write.

        Args:
            make: the record, given its time.
            drop: the rows that the new one takes the place of.

        Raises:
            StoreWriteError: it could not be written.
        """
        with self._lock:
            self._announce()
            self._require_file()
            store = self.store
            at = max(time.time_ns(), self._last + 1)
            entry = store.stage_record(make(at))
            session: Any = entry.record
            row = Row(rowing.light(session), entry.record_id, None)
            self.appended = entry.size
            entries = [entry]
            gone = drop(row)
            if gone:
                ids = tuple(one.record_id for one in gone)
                entries.append(store.stage_record(Tombstone(ids, DROPPED)))
            store.append(entries)
            segment, offset = rowing.last_place(store, self.key)
            row = row._replace(segment=segment, offset=offset)
            if segment is not None and not is_url(self.path):
                self._own = segment.path
            # The newest, so it is the last: its time is greater than that of all that are known.
            self._rows[row.session.commit] = row
            self._last = at
            for one in gone:
                self._bury(one)
            return row

    # --- opening and closing ----------------------------------------------------------------------

    def acquire(self) -> None:
        """Someone is going to write."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """He is through; when all are, what is written is sealed and synced.

        Raises:
            StoreWriteError: it could not be.
        """
        with self._lock:
            self._users -= 1
            if self._users <= 0:
                self._users = 0
                self.close()

    def close(self) -> None:
        """Seal, sync, and let go of all files; they are opened again when they are wanted."""
        with self._lock:
            store, self._store = self._store, None
            self._own = ""
            try:
                if store is not None:
                    store.close()
            finally:
                mark, self._mark = self._mark, None
                if mark is not None:
                    mark.close()

    def stay(self) -> None:
        """Have nobody make room, though nothing is written yet; where that can be said."""
        with contextlib.suppress(StoreWriteError), self._lock:
            self._announce()

    def _require_file(self) -> None:
        """What is appended to a file that was removed is written nowhere."""
        if self._own and not os.path.exists(self._own):
            raise StoreWriteError(
                f"The rows that were written to {self.path} are not there any more: {self._own} "
                "was removed.",
                hint="Keep the directory while the session is open; begin again.",
                path=self.path,
            )

    def _announce(self) -> None:
        """Before anything is written: say so, so that nobody makes room meanwhile."""
        if self._mark is None:
            try:
                self._mark = Mark(self.path)
            except OSError as error:
                raise StoreWriteError(
                    f"Rows cannot be written to {self.path}: {error}.",
                    hint="Give a directory that can be written to.",
                    path=self.path,
                ) from error

    def prune(self) -> int:
        """Make free the room of what was dropped; the number of bytes.

        Raises:
            StoreBusyError: someone else writes here, or looks after the directory.
        """
        with self._lock:
            self.close()
            try:
                return make_room(self.path)
            finally:
                if self._users:  # a session is open
                    self.stay()

    def _problem(self, problem: Problem) -> None:
        # What is gone has been written anew by whoever made room, or else it is missed elsewhere.
        gone = problem.text.endswith(" is gone.") or "[Errno 2]" in problem.text
        if problem.kind in _TOLD and not (problem.kind == "directory" and gone):
            mark = (problem.kind, problem.path, problem.offset)
            if mark not in self._told:
                self._told.add(mark)
                warn(f"The session {self.name!r}: {problem.text}", 3)


def warn(text: str, level: int = 2) -> None:
    """Tell the user of something that was worked around."""
    warnings.warn(text, CheckpointWarning, stacklevel=level + 1)


def _order(row: Row) -> tuple[int, bytes]:
    return row.session.at, row.session.commit


_histories: weakref.WeakSet[History] = weakref.WeakSet()


def _after_fork() -> None:
    """In a child: a thread that is not there may have held a lock, and the mark is its parent's."""
    for history in list(_histories):
        history._lock = threading.RLock()
        history._mark = None
        history._own = ""  # its own is another one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

__all__ = ["History", "Row", "warn"]
