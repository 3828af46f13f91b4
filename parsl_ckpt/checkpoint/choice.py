"""Which records are kept when many segments become one: the newest of each, and what they need.

Rule of this file: pure.  Records are shown from the newest to the oldest, and each is answered at
once; where an answer needs to know what comes later, more is kept rather than less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from . import format as fmt
from .frames import Whole, decode


class Choice:
    """Which frames are kept, asked from the newest to the oldest."""

    def __init__(
        self, removed: set[bytes], named: set[bytes],
        has_blobs: Callable[[Sequence[tuple[bytes, int]]], bool], pins: Set[bytes],
    ) -> None:  # fmt: skip
        self._removed = removed
        self._pins = pins
        self._named = named
        self._has_blobs = has_blobs
        self._keys: set[bytes] = set()  # of results, 16 bytes of each
        self._others: set[tuple[object, ...]] = set()
        self.blobs: set[bytes] = set()
        self.parents: set[bytes] = set()
        self.dropped: set[bytes] = set()
        self.kept: set[bytes] = set()
        self.about: bytes | None = None  # the record that the note just kept speaks of
        self.superseded = self.gone = self.unreadable = 0
        self.unknown = False

    def keeps(self, frame: Whole) -> bool:
        self.about = None
        kind = frame.kind
        if kind in (fmt.INDEX, fmt.TOMBSTONE):
            return False
        if frame.record_id in self._removed:
            self.gone += 1
            self.dropped.add(frame.record_id)
            return False
        record = decode(frame)
        if type(record) is fmt.Result:
            return self._keeps_result(frame.record_id, record)
        if record is None:
            if kind in fmt.KIND_OF.values():
                self.unreadable += 1
                return False
            self.unknown = True  # of a later version: it is carried along, and so are all blobs
            return self._first(frame.record_id)
        if isinstance(record, fmt.Session):
            return self._keeps_row(frame.record_id, record)
        if isinstance(record, fmt.Alias):
            if record.record_id in self._removed:
                self.gone += 1
                return False
            self.parents.update(parent for _, parent in record.parents)
            return record.key[:16] not in self._keys and self._first("alias", record.key)
        if isinstance(record, fmt.Code):
            return self._first("code", record.digest)
        if isinstance(record, fmt.Note):
            self.about = record.record_id
            return self._first("note", record.record_id, record.name)
        if isinstance(record, fmt.Pin):
            if frame.record_id not in self._pins:
                self.superseded += 1
                return False
        elif isinstance(record, fmt.Unkept):
            self.parents.update(parent for _, parent in record.parents)
            return self._first("unkept", record.key)
        return self._first(frame.record_id)

    def _keeps_result(self, record_id: bytes, result: fmt.Result) -> bool:
        blobs = result.blobs
        if blobs and not self._has_blobs(blobs):
            self.unreadable += 1
            self.dropped.add(record_id)
            return False
        seen = self._keys
        key = result.key[:16]
        lineage = (result.lineage or key)[:16]
        named = record_id in self._named and self._first(record_id)
        if key in seen and lineage in seen and not named:
            self.superseded += 1
            self.dropped.add(record_id)
            return False
        seen.add(key)
        seen.add(lineage)
        self.kept.add(record_id)
        if blobs:
            self.blobs.update(digest for digest, _ in blobs)
        if result.parents:
            self.parents.update(parent for _, parent in result.parents)
        return True

    def _keeps_row(self, record_id: bytes, row: fmt.Session) -> bool:
        if row.blobs and not self._has_blobs(row.blobs):
            self.unreadable += 1
            self.dropped.add(record_id)
            return False
        self.blobs.update(digest for digest, _ in row.blobs)
        return self._first(record_id)

    def _first(self, *name: object) -> bool:
        """Whether nothing of this name was met yet, that is, whether it is the newest."""
        before = len(self._others)
        self._others.add(name)
        return len(self._others) > before
