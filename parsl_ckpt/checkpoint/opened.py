"""The segment that is being written, with the index of what is in it so far.

Rule of this file: it is told what was written, after it was; it writes nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from . import format as fmt
from .format import RESULT
from .index import Covered
from .sealing import Blob
from .segment import Entry, Segment, SegmentWriter


def blobs_of(entry: Entry) -> Sequence[Blob]:
    """The blobs that a record names."""
    record = entry.record
    return record.blobs if isinstance(record, (fmt.Result, fmt.Session)) else ()


class OpenSegment:
    """A segment being written, with the index of what is in it so far."""

    __slots__ = (
        "blobs", "frames", "older", "others", "places", "reader", "records", "removed", "writer",
    )  # fmt: skip

    def __init__(self, writer: SegmentWriter, reader: Segment) -> None:
        self.writer = writer
        self.reader = reader
        self.places: dict[bytes, int] = {}  # key -> offset of its newest record
        self.older: dict[bytes, list[int]] = {}  # what was superseded within this segment
        self.removed: list[bytes] = []
        self.blobs: set[Blob] = set()  # that results and sessions name
        self.others = array("Q")  # offsets of what are no results
        self.frames = 0
        self.records = 0

    def add(self, entries: Sequence[Entry], offsets: Sequence[int]) -> None:
        places = self.places
        for entry, offset in zip(entries, offsets, strict=True):
            for key in entry.keys:
                before = places.setdefault(key, offset)
                if before != offset:
                    self.older.setdefault(key, []).append(before)
                    places[key] = offset
            record: Any = entry.record
            if entry.kind == RESULT:
                self.records += 1
                if record.blobs:
                    self.blobs.update(record.blobs)
                continue
            self.others.append(offset)
            if entry.kind == fmt.TOMBSTONE:
                self.removed.extend(record.record_ids)
            else:
                self.blobs.update(blobs_of(entry))
        self.frames += len(entries)

    def at(self, key: bytes) -> Iterator[tuple[Segment, int]]:
        """Where records with this key are, newest first."""
        offset = self.places.get(key)
        if offset is not None:
            yield self.reader, offset
            for before in reversed(self.older.get(key, ())):
                yield self.reader, before

    def entries(self) -> list[int]:
        number = int.from_bytes
        entries = [number(key[:8], "little") << 64 | at for key, at in self.places.items()]
        for key, places in self.older.items():
            prefix = number(key[:8], "little") << 64
            entries += [prefix | at for at in places]
        entries.sort()
        return entries

    def covered(self, *, sealed: bool) -> Covered:
        end = self.writer.offset
        return Covered(
            self.writer.name, self.writer.identity, end, end, sealed, self.records,
        )  # fmt: skip
