"""The writing side of a store: the open segment, sealing and rotating, holding back and publishing.

::

    append ─► open segment ── full ─► seal ─► catalog (mapped)
                    └── failed ─► given up ─► catalog (index in memory)
    hold ─► memory ── beyond hold_bytes ─► spool (hidden name) ── publish ─► renamed, catalog

Guarantees: an offset enters ``places`` only after its bytes were written.  What a lookup finds
    moves
from ``places`` to the catalog's indexes in this order: first added there, then dropped here, so
that a reader that looks here first always finds it.  After a failed write or sync another segment
is begun.

Assumptions: the store's lock is held by every caller of append, hold, publish, seal and close.
``sync`` and the lookups run beside them.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from parsl_ckpt.errors import FormatError, StoreClosedError, StoreWriteError

from . import format as fmt
from .backend import Backend, Writable
from .format import RESULT
from .index import PAGE_SIZE, write_index
from .opened import OpenSegment, blobs_of
from .sealing import Blob
from .segment import Entry, Segment, SegmentWriter, parse_name, segment_name
from .signing import segment_writer

if TYPE_CHECKING:
    from .blobs import Blobs
    from .catalog import Catalog


_COPY = 8 << 20
FINDS = (RESULT, fmt.ALIAS)  # kinds that give a call its outcome
LEVELS_ABOVE = 3  # runinfo/000/checkpoint, each of which a new run may have made


def _taken(paths: deque[str]) -> list[str]:
    """What is in a queue now; others may go on filling it."""
    return [paths.popleft() for _ in range(len(paths))]


class Writing:
    """What a store has open for writing.

    Attributes:
        held_count: number of records that wait for :meth:`publish`.
    """

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
        self._spools: tuple[OpenSegment, ...] = ()
        self._held: list[Entry] = []
        self._held_under: dict[bytes, Entry] = {}
        self._held_size = 0
        self.held_count = 0
        self._unsynced: deque[str] = deque()  # segments that ended
        self._blobs: deque[str] = deque()
        self._doubtful: deque[str] = deque()  # files whose sync failed
        self._sync_lock = threading.Lock()  # held while a file is synced, or closed
        self._rooted = False  # the names of the directories above are on the disk
        self._closed = False

    # --- lookups (any thread, no lock) ------------------------------------------------------------

    @property
    def open_segment(self) -> Segment | None:
        current = self._open
        return current.reader if current is not None else None

    def find_open(self, key: bytes) -> tuple[Segment, int] | None:
        """Where the newest record with this key is in what is open."""
        for spool in reversed(self._spools):
            offset = spool.places.get(key)
            if offset is not None:
                return spool.reader, offset
        current = self._open
        if current is not None:
            offset = current.places.get(key)
            if offset is not None:
                return current.reader, offset
        return None

    def places(self, key: bytes) -> Iterator[tuple[Segment, int]]:
        """Where records with this key are in what is open, newest first."""
        for spool in reversed(self._spools):
            yield from spool.at(key)
        current = self._open
        if current is not None:
            yield from current.at(key)

    def find_held(self, key: bytes) -> Entry | None:
        return self._held_under.get(key)

    def held_under(self, key: bytes) -> Iterator[Entry]:
        for entry in reversed(self._held[:]):
            if key in entry.keys:
                yield entry

    # --- appending --------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        try:
            current = self._open
            if current is None or current.writer.failed:
                current = self._begin_again()
            writer = current.writer
            offsets = writer.append(entries)
            if self._durable:
                writer.sync()
            elif writer.failed:  # a sync beside us failed: nobody will sync this segment any more
                current = self._begin_again()
                writer = current.writer
                offsets = writer.append(entries)
        except OSError as error:
            self._give_up()
            raise self._failed(error) from error
        before = len(current.removed)
        current.add(entries, offsets)
        if len(current.removed) > before:  # there may be as many as there are records
            self._catalog.removed.update(current.removed[before:])
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
            finds = entry.kind in FINDS
            for key in entry.keys:
                if finds or key not in self._held_under:  # a failure of the call hides no result
                    self._held_under[key] = entry
            self._held_size += entry.size + 400
            self.held_count += 1
        if self._held_size > self._hold_bytes:
            self._spill()

    def publish(self) -> int:
        if not self.held_count:
            return 0
        self._require()
        count = self.held_count
        if self._spools:
            self.seal()  # what was appended before is older than what is in the spools
            for spool in self._spools:
                self._publish_spool(spool)
                self._spools = tuple(other for other in self._spools if other is not spool)
        while self._held:
            self.append(self._held[:1024])
            del self._held[:1024]
        self._drop_held()
        self.held_count = 0
        return count

    # --- syncing ----------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        current = self._open
        return bool(
            (current is not None and current.writer.dirty and not current.writer.failed)
            or self._unsynced
            or self._blobs
            or self._doubtful
        )

    def blob_written(self, path: str) -> None:
        if not self._durable:  # else it is on the disk already
            self._blobs.append(path)

    def sync(self, blobs: Blobs) -> None:
        failure: OSError | None = None
        with self._sync_lock:
            # Records after the blobs that they name, so that this order holds on the disk as well.
            current = self._open
            writers = [current.writer] if current is not None and current.writer.dirty else []
            for path in _taken(self._doubtful):
                try:
                    self._renew(path, blobs)
                except FileNotFoundError:
                    continue  # removed, as was told when its sync failed
                except OSError as error:
                    self._doubtful.append(path)
                    failure = error
            for path in _taken(self._blobs):
                try:
                    blobs.sync(path)
                except FileNotFoundError:
                    continue  # removed meanwhile
                except OSError as error:
                    self._doubtful.append(path)
                    failure = error
            for path in _taken(self._unsynced):
                try:
                    self._sync_ended(path, path.rpartition("/")[0])
                except OSError as error:
                    self._doubtful.append(path)
                    failure = error
            for writer in writers:
                try:
                    writer.sync()
                    self._backend.open(writer.path).close()  # not removed under us, with the run
                    self._sync_names(writer.directory)
                except OSError as error:
                    self._doubtful.append(writer.path)
                    writer.failed = True
                    failure = error
        if failure is not None:
            raise self._failed(failure) from failure

    def _sync_ended(self, path: str, directory: str) -> None:
        try:
            self._backend.sync_file(path)
        except FileNotFoundError:
            self._backend.list(directory)  # it was compacted, unless all is gone
        self._sync_names(directory)

    def held(self) -> tuple[list[str], set[Blob]]:
        """What waits for :meth:`publish`: its spools, and the blobs that it names."""
        blobs = {blob for spool in self._spools for blob in spool.blobs}
        for entry in self._held:
            blobs.update(blobs_of(entry))
        return [spool.writer.path for spool in self._spools], blobs

    def close(self, blobs: Blobs, publish: bool = True) -> None:
        if self._closed:
            return
        failure: StoreWriteError | None = None
        try:
            if self._path is not None:
                steps = (self.seal, lambda: self.sync(blobs))
                for step in (self.publish, *steps) if publish else steps:
                    try:
                        step()
                    except StoreWriteError as error:
                        failure = failure or error
                self._merge(self._path)
        finally:
            self._closed = True
            for current in (self._open, *self._spools):
                if current is not None:
                    self._close(current.writer)
            self._open = None
            self._spools = ()
            self._drop_held()
        if failure is not None:
            raise failure

    def forked(self) -> None:
        """In a child: what its parent writes is only read; what that holds is not the child's."""
        self._sync_lock = threading.Lock()
        current, self._open = self._open, None
        if current is not None:
            self._read_on(current)
            current.writer.close()
        for spool in self._spools:
            spool.writer.close()
        self._spools = ()
        self._drop_held()
        self.held_count = 0
        self._unsynced = deque()
        self._blobs = deque()
        self._doubtful = deque()

    # --- inside -----------------------------------------------------------------------------------

    def _require(self) -> str:
        if self._path is None or self._closed:
            raise StoreClosedError(
                "The store has no directory to write to, or is closed.", hint="Open it with a path."
            )
        return self._path

    def _begin_again(self) -> OpenSegment:
        """Begin a segment, after one that failed or as the first."""
        self._give_up()
        path = self._require()
        self._backend.make_directory(path, durable=self._durable)
        sequence = self._next_sequence(path)
        writer = segment_writer(
            self._backend,
            path,
            lambda identity: segment_name(sequence, identity),
            self._catalog.signer,
        )
        if self._durable:
            try:
                self._sync_names(path)
            except BaseException:
                writer.close()
                self._backend.discard(writer.path)
                raise
        reader = self._reader(path, writer.name, writer.identity, sequence)
        self._open = current = OpenSegment(writer, reader)
        return current

    def _sync_names(self, path: str) -> None:
        """Put on disk the names in the checkpoint directory, and once those on the way to it.

        Whoever made the run directory did not sync it, and a file is lost with its directory.
        """
        self._backend.sync_directory(path)
        if self._rooted:
            return
        above = path
        for _ in range(LEVELS_ABOVE):
            above = above.rpartition("/")[0]
            if not above:
                break
            with contextlib.suppress(PermissionError):  # not ours, so it was there before
                self._backend.sync_directory(above)
        self._rooted = True

    def _begin_spool(self) -> OpenSegment:
        path = self._require()
        self._backend.make_directory(path, durable=self._durable)
        writer = segment_writer(
            self._backend,
            path,
            lambda identity: f".spool-{identity.hex()}",
            self._catalog.signer,
        )
        reader = self._reader(path, writer.name, writer.identity, 1 << 40)
        return OpenSegment(writer, reader)

    def _reader(self, path: str, name: str, identity: bytes, sequence: int) -> Segment:
        catalog = self._catalog
        catalog.mine.add(name)
        rank = (len(catalog.directories), sequence, name)
        return Segment(self._backend, path, name, identity, rank, catalog.opened)

    def _next_sequence(self, path: str) -> int:
        names: Iterable[str] = [*self._backend.list(path), *self._catalog.mine]
        used = [parsed[0] for name in names if (parsed := parse_name(name)) is not None]
        return max(used, default=-1) + 1

    def _seal(self, current: OpenSegment) -> None:
        writer = current.writer
        covered = current.covered(sealed=True)

        def make(offset: int) -> bytes:
            padding = -offset % PAGE_SIZE
            parts = write_index(
                [current.entries()], [covered], current.removed, writer.identity,
                offset + padding, self._catalog.key,
            )  # fmt: skip
            return b"\0" * padding + b"".join(parts)

        sealed = False
        if not writer.failed:
            with contextlib.suppress(OSError):
                blobs = sorted(current.blobs)
                writer.append_index(make, current.frames, blobs, current.others)
                sealed = True
        if self._durable and sealed:
            with contextlib.suppress(OSError):  # the records were synced when they were appended
                writer.sync()
        self._ended(writer)
        if not (sealed and self._catalog.add_sealed(self._settled(current))):
            self._read_on(current)

    def _read_on(self, current: OpenSegment) -> None:
        """Have what is in a segment without an index of its own found from now on."""
        covered = current.covered(sealed=False)
        self._catalog.add_entries(current.reader, current.entries(), covered, current.removed)

    def _settled(self, current: OpenSegment) -> Segment:
        """The segment as it is read now that nobody writes it any more."""
        writer = current.writer
        return self._reader(writer.directory, writer.name, writer.identity, current.reader.rank[1])

    def _give_up(self) -> None:
        """Leave a segment that failed as it is; what it holds is read on."""
        current = self._open
        if current is None or not current.writer.failed:
            return
        self._read_on(current)
        self._open = None
        self._ended(current.writer)

    def _ended(self, writer: SegmentWriter) -> None:
        """Close a segment; what it holds is yet to be synced, even if its last write failed."""
        if writer.dirty and writer.path not in self._doubtful:
            self._unsynced.append(writer.path)
        self._close(writer)

    def _renew(self, path: str, blobs: Blobs) -> None:
        """Write a file anew whose sync failed: a second sync of the old one would say nothing.

        The system may have dropped what it could not write, and hold it for clean.
        """
        file = self._backend.open(path)
        size = file.size()

        def fill(copy: Writable) -> None:
            for offset in range(0, size, _COPY):
                copy.write(file.read(offset, _COPY))

        directory, _, name = path.rpartition("/")
        try:
            self._backend.write_whole(path, f"{directory}/.tmp-{name}", fill, durable=True)
        finally:
            file.close()
        if parse_name(name) is None:
            blobs.sync_names(directory)
        else:
            self._sync_names(directory)

    def _close(self, writer: SegmentWriter) -> None:
        with self._sync_lock, contextlib.suppress(OSError):
            writer.close()

    def _spill(self) -> None:
        """Move what is held in memory to a file that readers do not see yet."""
        self._held_size = 0  # after a failure it is tried again when as much has come in
        try:
            if not self._spools or self._spools[-1].writer.failed:
                self._spools = (*self._spools, self._begin_spool())
            spool = self._spools[-1]
            for start in range(0, len(self._held), 1024):
                some = self._held[start : start + 1024]
                spool.add(some, spool.writer.append(some))
        except OSError as error:
            raise self._failed(error) from error
        self._drop_held()

    def _publish_spool(self, spool: OpenSegment) -> None:
        path = self._require()
        writer = spool.writer
        sequence = self._next_sequence(path)
        name = segment_name(sequence, writer.identity)
        try:
            if self._durable:
                if writer.failed:  # nothing is known of what a failed sync left on the disk
                    self._copy_spool(spool)
                    return
                writer.sync()
            if parse_name(writer.name) is None:
                self._rename_spool(spool, name)
            if self._durable:
                self._sync_names(path)
        except OSError as error:
            raise self._failed(error) from error
        spool.reader = self._reader(path, writer.name, writer.identity, sequence)
        self._seal(spool)
        self._catalog.removed.update(spool.removed)

    def _rename_spool(self, spool: OpenSegment, name: str) -> None:
        writer = spool.writer
        path = f"{writer.directory}/{name}"
        spool.reader.renamed = path  # first: who found a record in it may read it afterwards
        try:
            self._backend.rename(writer.path, path)
        except OSError:
            if not self._has(path) or self._has(writer.path):
                raise
            # It was done all the same, and the answer of a file server was lost.
        writer.name, writer.path = name, path

    def _copy_spool(self, spool: OpenSegment) -> None:
        """Write what is in a spool that cannot be trusted to segments, and remove it."""
        batch: list[Entry] = []
        for offset, *_ in spool.reader.walk(0, spool.writer.offset).headers():
            kind, record_id, payload = spool.reader.frame(offset)
            record = fmt.decode_record(kind, payload)
            if record is not None:
                batch.append(Entry(kind, fmt.keys_of(record), record_id, bytes(payload), record))
            if len(batch) >= 1024:
                self.append(batch)
                batch = []
        self.append(batch)
        self._close(spool.writer)
        self._backend.discard(spool.writer.path)

    def _has(self, path: str) -> bool:
        try:
            self._backend.open(path).close()
        except OSError:
            return False
        return True

    def _drop_held(self) -> None:
        self._held = []
        self._held_under = {}
        self._held_size = 0

    def _merge(self, path: str) -> None:
        try:
            self._catalog.merge_into(path)
        except (OSError, FormatError) as error:
            # Lookups go through more indexes, that is all.
            self._catalog.report("index", path, f"Indexes were not merged: {error}")

    def _failed(self, error: OSError) -> StoreWriteError:
        return StoreWriteError(
            f"Records could not be written to {self._path}: {error}.",
            hint="Make room or mend the directory; what was written earlier is safe.",
            path=self._path,
        )
