"""The writing side of a store: the open segment, sealing and rotating, holding back and publishing.

::

    append ─► open segment ── full ─► seal ─► catalog (mapped)
                    └── failed ─► given up ─► catalog (index in memory)
    hold ─► memory ── beyond hold_bytes ─► spool (hidden name) ── publish ─► renamed, catalog

Guarantees: an offset enters ``_places`` only after its bytes were written.  What a lookup finds moves from
``_places`` to the catalog's indexes in this order: first added there, then dropped here, so that a reader
that looks here first always finds it.

Assumptions: the store's lock is held by every caller of append, hold, publish, seal and close.  ``sync``
and the lookups run beside them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import StoreClosedError, StoreWriteError

from . import format as fmt
from .backend import Backend
from .format import ID_SIZE
from .index import OFFSET_BITS, PAGE_SIZE, Covered, write_index
from .segment import Entry, Segment, SegmentWriter, parse_name, segment_name

if TYPE_CHECKING:
    from .blobs import Blobs
    from .catalog import Catalog

_PENDING_BLOBS = 4096


class OpenSegment:
    """A segment being written, with the index of what is in it so far."""

    def __init__(self, writer: SegmentWriter, reader: Segment) -> None:
        self.writer = writer
        self.reader = reader
        self.places: dict[bytes, int] = {}  # key -> offset of its newest record
        self.older: list[tuple[bytes, int]] = []  # what was superseded within this segment
        self.removed: list[bytes] = []
        self.records = 0

    def add(self, entries: Sequence[Entry], offsets: Sequence[int]) -> None:
        places = self.places
        for entry, offset in zip(entries, offsets, strict=True):
            for key in entry.keys:
                before = places.setdefault(key, offset)
                if before != offset:
                    self.older.append((key, before))
                    places[key] = offset
            if entry.kind == fmt.RESULT:
                self.records += 1
            elif entry.kind == fmt.TOMBSTONE:
                record: Any = entry.record
                self.removed.extend(record.record_ids)

    def entries(self) -> list[int]:
        number = int.from_bytes
        entries = [number(key[:8], "little") << 64 | at for key, at in self.places.items()]
        entries += [number(key[:8], "little") << 64 | at for key, at in self.older]
        entries.sort()
        return entries

    def covered(self, *, sealed: bool) -> Covered:
        end = self.writer.offset
        return Covered(
            self.writer.name, self.writer.identity, end, end if sealed else 0, sealed, self.records
        )


class Writing:
    """What a store has open for writing."""

    def __init__(
        self,
        backend: Backend,
        path: str | None,
        catalog: Catalog,
        *,
        durable: bool,
        hold_bytes: int,
        rotate_records: int,
        rotate_bytes: int,
    ) -> None:
        self._backend = backend
        self._path = path
        self._catalog = catalog
        self._durable = durable
        self._hold_bytes = hold_bytes
        self._rotate_records = rotate_records
        self._rotate_bytes = rotate_bytes
        self._open: OpenSegment | None = None
        self._spool: OpenSegment | None = None
        self._held: list[Entry] = []
        self._held_under: dict[bytes, Entry] = {}
        self._held_size = 0
        self._unsynced: list[SegmentWriter] = []
        self._blobs: list[str] = []
        self._sync_lock = threading.Lock()
        self._closed = False

    # --- lookups (any thread, no lock) ------------------------------------------------------------

    @property
    def open_segment(self) -> Segment | None:
        current = self._open
        return current.reader if current is not None else None

    def find_open(self, key: bytes) -> tuple[Segment, int] | None:
        for current in (self._spool, self._open):
            if current is not None:
                offset = current.places.get(key)
                if offset is not None:
                    return current.reader, offset
        return None

    def places(self, key: bytes) -> Iterator[tuple[Segment, int]]:
        """Where records with this key are in what is open, newest first."""
        for current in (self._spool, self._open):
            if current is not None:
                offset = current.places.get(key)
                if offset is not None:
                    yield current.reader, offset
                for other, at in reversed(current.older):
                    if other == key:
                        yield current.reader, at

    def find_held(self, key: bytes) -> Entry | None:
        return self._held_under.get(key)

    def held_under(self, key: bytes) -> Iterator[Entry]:
        if self._held:
            for entry in reversed(self._held[:]):
                if key in entry.keys:
                    yield entry

    # --- appending --------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        current = self._open
        try:
            if current is None or current.writer.failed:
                current = self._begin()
            writer = current.writer
            offsets = writer.append(entries)
            if self._durable:
                writer.sync()
        except OSError as error:
            self._give_up()
            raise self._failed(error) from error
        current.add(entries, offsets)
        if current.removed:
            self._catalog.removed.update(current.removed)
        if current.records >= self._rotate_records or writer.offset >= self._rotate_bytes:
            self.seal()

    def seal(self) -> None:
        """End the open segment with its index.  Never raises for the disk: readers can walk it."""
        current = self._open
        if current is None:
            return
        self._seal(current)
        self._open = None

    def hold(self, entries: Sequence[Entry]) -> None:
        self._require()
        for entry in entries:
            self._held.append(entry)
            for key in entry.keys:
                self._held_under[key] = entry
            self._held_size += entry.size + 400
        if self._held_size > self._hold_bytes:
            self._spill()

    def publish(self) -> int:
        self._require()
        count = self.held_count
        spool = self._spool
        if spool is not None:
            self.seal()  # what was appended before is older than what is in the spool
            self._publish_spool(spool)
        held = self._held
        for start in range(0, len(held), 1024):
            self.append(held[start : start + 1024])
        self._drop_held()
        return count

    @property
    def held_count(self) -> int:
        spool = self._spool
        return len(self._held) + (spool.records if spool is not None else 0)

    # --- syncing ----------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        current = self._open
        return bool(
            (current is not None and current.writer.dirty and not current.writer.failed)
            or self._unsynced
            or self._blobs
        )

    def blob_written(self, path: str) -> None:
        if not self._durable:  # else it is on the disk already
            self._blobs.append(path)

    def sync(self, blobs: Blobs) -> None:
        with self._sync_lock:
            paths, self._blobs = self._blobs, []
            writers, self._unsynced = self._unsynced, []
            current = self._open
            if current is not None and current.writer.dirty:
                writers.append(current.writer)
            failure: OSError | None = None
            for path in paths:
                try:
                    blobs.sync(path)
                except FileNotFoundError:
                    continue  # removed meanwhile
                except OSError as error:
                    failure = error
            for writer in writers:
                try:
                    writer.sync()
                    self._backend.sync_directory(writer.directory)
                except OSError as error:
                    failure = error
            if failure is not None:
                raise self._failed(failure) from failure

    def close(self, blobs: Blobs) -> None:
        if self._closed:
            return
        failure: StoreWriteError | None = None
        try:
            if self._path is not None:
                for step in (self.publish, self.seal, lambda: self.sync(blobs)):
                    try:
                        step()
                    except StoreWriteError as error:
                        failure = failure or error
                try:
                    self._catalog.merge_into(self._path, own=True)
                except (OSError, StoreWriteError, ValueError):
                    pass  # lookups go through more indexes, that is all
                except Exception as error:  # a damaged page
                    self._catalog.report("index", self._path, f"Indexes were not merged: {error}")
        finally:
            self._closed = True
            for current in (self._open, self._spool):
                if current is not None:
                    current.writer.close()
            self._open = self._spool = None
            for writer in self._unsynced:
                writer.close()
        if failure is not None:
            raise failure

    def forked(self) -> None:
        """In a child: what the parent writes is read only, and its held records are the parent's."""
        self._sync_lock = threading.Lock()
        current, self._open = self._open, None
        if current is not None:
            self._catalog.add_entries(
                current.reader, current.entries(), current.covered(sealed=False)
            )
            current.writer.close()
        if self._spool is not None:
            self._spool.writer.close()
            self._spool = None
        self._drop_held()
        self._unsynced = []
        self._blobs = []

    # --- inside -----------------------------------------------------------------------------------

    def _require(self) -> str:
        if self._path is None or self._closed:
            raise StoreClosedError(
                "The store has no directory to write to, or is closed.", hint="Open it with a path."
            )
        return self._path

    def _begin(self, *, hidden: bool = False) -> OpenSegment:
        path = self._require()
        self._backend.make_directory(path, durable=self._durable)
        sequence = self._next_sequence(path)
        if hidden:
            writer = SegmentWriter(
                self._backend, path, lambda identity: f".spool-{identity.hex()}"
            )
        else:
            writer = SegmentWriter(
                self._backend, path, lambda identity: segment_name(sequence, identity)
            )
        if self._durable and not hidden:
            try:
                self._backend.sync_directory(path)
            except BaseException:
                writer.close()
                self._backend.discard(writer.path)
                raise
        segment = self._reader(path, writer.name, writer.identity, sequence)
        opened = OpenSegment(writer, segment)
        if not hidden:
            self._open = opened
        return opened

    def _reader(self, path: str, name: str, identity: bytes, sequence: int) -> Segment:
        catalog = self._catalog
        rank = (len(catalog.directories), sequence, name)
        return Segment(self._backend, path, name, identity, rank, catalog.opened)

    def _next_sequence(self, path: str) -> int:
        names: Iterable[str] = [*self._backend.list(path), *self._catalog.segments]
        own = [
            parsed[0]
            for name in names
            if (parsed := parse_name(name)) is not None
        ]
        return max(own, default=-1) + 1

    def _seal(self, current: OpenSegment) -> bool:
        writer = current.writer
        covered = current.covered(sealed=True)

        def make(offset: int) -> bytes:
            padding = -offset % PAGE_SIZE
            parts = write_index(
                [current.entries()], [covered], current.removed, writer.identity, offset + padding
            )
            return b"\0" * padding + b"".join(parts)

        sealed = False
        if not writer.failed:
            try:
                writer.append_index(make)
                sealed = True
            except OSError:
                pass
        if self._durable and sealed:
            try:
                writer.sync()
            except OSError:
                pass  # the records were synced when they were appended
        if writer.dirty and not writer.failed:
            self._unsynced.append(writer)
        else:
            writer.close()
        if not (sealed and self._catalog.add_sealed(self._settled(current))):
            self._catalog.add_entries(
                current.reader, current.entries(), current.covered(sealed=False)
            )
        return sealed

    def _settled(self, current: OpenSegment) -> Segment:
        """The segment as others will read it, now that nobody writes it any more."""
        writer = current.writer
        parsed = parse_name(writer.name)
        sequence = parsed[0] if parsed else current.reader.rank[1]
        return self._reader(writer.directory, writer.name, writer.identity, sequence)

    def _give_up(self) -> None:
        """Leave a segment that failed as it is; what it holds is read on."""
        current = self._open
        if current is None or not current.writer.failed:
            return
        self._catalog.add_entries(current.reader, current.entries(), current.covered(sealed=False))
        self._open = None
        current.writer.close()

    def _spill(self) -> None:
        """Move what is held in memory to a file that readers do not see yet."""
        try:
            if self._spool is None:
                self._spool = self._begin(hidden=True)
            spool = self._spool
            for start in range(0, len(self._held), 1024):
                some = self._held[start : start + 1024]
                spool.add(some, spool.writer.append(some))
        except OSError as error:
            spool_ = self._spool
            if spool_ is not None and spool_.writer.failed:
                # What is in it is still published; memory holds the rest again.
                self._held_size = 0
            raise self._failed(error) from error
        self._drop_held()

    def _publish_spool(self, spool: OpenSegment) -> None:
        path = self._require()
        writer = spool.writer
        sequence = self._next_sequence(path)
        name = segment_name(sequence, writer.identity)
        try:
            if self._durable:
                writer.sync()
            self._backend.rename(writer.path, f"{path}/{name}")
            if self._durable:
                self._backend.sync_directory(path)
        except OSError as error:
            raise self._failed(error) from error
        writer.name, writer.path = name, f"{path}/{name}"
        spool.reader = self._reader(path, name, writer.identity, sequence)
        self._seal(spool)
        self._catalog.removed.update(spool.removed)
        self._spool = None

    def _drop_held(self) -> None:
        self._held = []
        self._held_under = {}
        self._held_size = 0

    def _failed(self, error: OSError) -> StoreWriteError:
        return StoreWriteError(
            f"Records could not be written to {self._path}: {error}.",
            hint="Make room or mend the directory; what was written earlier is safe.",
            path=self._path,
        )


__all__ = ["ID_SIZE", "OFFSET_BITS", "OpenSegment", "Writing"]
