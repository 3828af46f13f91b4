"""Writing frames anew, into a segment that appears whole, sealed and on the disk, or not at all.

Rule of this file, and of all that uses it: first write, then sync, then make visible, then remove
what it stands for.  A crash in between leaves both, which readers take for one: records are the
same records, whatever segment they are in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from parsl_ckpt.errors import FormatError

from . import extents, inventory
from . import format as fmt
from .backend import Backend
from .catalog import INDEX_SUFFIX, Catalog
from .extents import Extent
from .index import (
    PAGE_SIZE,
    Covered,
    Index,
    Move,
    as_they_are,
    memory_index,
    merge,
    write_index,
)
from .sealing import Blob
from .segment import Entry, SegmentWriter, parse_name, segment_name
from .writing import LEVELS_ABOVE

_BATCH_RECORDS = 1024
_BATCH_BYTES = 4 << 20
_NAMING = (fmt.RESULT, fmt.SESSION)  # kinds that name blobs


class Written(NamedTuple):
    """A segment that was written."""

    path: str
    records: int
    size: int


def write_segment(
    backend: Backend,
    directory: str,
    sequence: int,
    entries: Iterable[Entry],
    signer: Any = None,
) -> Written | None:
    """Write a sealed segment.

    Args:
        backend: where it is written.
        directory: the checkpoint directory.
        sequence: its place among the segments there.
        entries: what it holds.
        signer: signs it.

    Returns:
        The segment; None if there was nothing to write.

    Raises:
        OSError: it could not be written; nothing of it is there.
    """
    with Anew(backend, directory, sequence, signer) as segment:
        segment.add(entries)
        return segment.finish()


class Anew:
    """A segment that is written anew; what is not finished when the block ends is removed.

    Args:
        backend: where it is written.
        directory: the checkpoint directory.
        sequence: its place among the segments there.
        signer: signs it.
        gathers: extents of other segments may come to stand in it.
    """

    def __init__(
        self,
        backend: Backend,
        directory: str,
        sequence: int,
        signer: Any = None,
        *,
        gathers: bool = False,
    ) -> None:
        self._backend = backend
        self._directory = directory
        self._sequence = sequence
        self._signer = signer
        self._version = fmt.GATHERED if gathers else fmt.VERSION
        self._writer: SegmentWriter | None = None
        self._entries: list[int] = []  # of the index, for what was appended here
        self._taken: list[tuple[Index, Move]] = []  # and for what stands in extents
        self._extents: list[Extent] = []
        self._others: list[int] = []
        self._removed: list[bytes] = []
        self._blobs: set[Blob] = set()
        self._results = self._count = 0

    def __enter__(self) -> Anew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._backend.discard(self._writer.path)

    def add(self, entries: Iterable[Entry]) -> None:
        """Append frames."""
        index = self._entries
        for batch in _batches(entries):
            for entry, offset in zip(batch, self._begun().append(batch), strict=True):
                for key in entry.keys:
                    index.append(int.from_bytes(key[:8], "little") << 64 | offset)
                if entry.kind == fmt.RESULT:
                    self._results += 1
                else:
                    self._others.append(offset)
                if entry.kind == fmt.TOMBSTONE:
                    self._removed.extend(_removed_by(entry))
                elif entry.kind in _NAMING:
                    self._blobs.update(_blobs_of(entry.kind, entry.payload))
            self._count += len(batch)

    def append_extent(
        self, pieces: Iterable[bytes], length: int, identity: bytes, origin: int
    ) -> int:
        """Append frames as they stand in another segment; :meth:`take` tells what they are.

        Args:
            pieces: their bytes.
            length: of all of them.
            identity: id of the segment in which they were written.
            origin: the offset there of the first.

        Returns:
            The offset of the first.
        """
        extent = self._begun().append_extent(pieces, length, identity, origin)
        self._extents.append(extent)
        return extent.start

    def take(
        self,
        index: Index,
        move: Move,
        *,
        records: int,
        results: int,
        others: Iterable[int],
        blobs: Iterable[Blob],
    ) -> None:
        """Say what stands in the extents of one segment.

        Args:
            index: of that segment.
            move: what becomes of its entries.
            records, results: how many there are.
            others: the offsets, here, of those that are no results.
            blobs: what they name.
        """
        self._taken.append((index, move))
        self._count += records
        self._results += results
        self._others += others
        self._blobs.update(blobs)

    def finish(self) -> Written | None:
        """Seal what was appended, put it on the disk and make it visible.

        Returns:
            The segment; None if nothing was appended.
        """
        writer = self._writer
        if writer is None:
            return None
        name = segment_name(self._sequence, writer.identity)
        end = writer.offset
        covered = Covered(
            name, writer.identity, end, end, True, self._results, extents.encoded(self._extents)
        )
        own = memory_index(sorted(self._entries), (), ())

        def index(offset: int) -> bytes:
            padding = -offset % PAGE_SIZE
            key = self._signer.key if self._signer is not None else None
            pieces = write_index(
                merge([(own, as_they_are), *self._taken]),
                [covered], self._removed, covered.identity, offset + padding, key,
            )  # fmt: skip
            return b"\0" * padding + b"".join(pieces)

        writer.append_index(index, self._count, sorted(self._blobs), sorted(self._others))
        writer.file.sync()
        writer.close()
        path = f"{self._directory}/{name}"
        self._backend.rename(writer.path, path)
        self._writer = None
        sync_names(self._backend, self._directory)
        return Written(path, self._count, writer.offset)

    def _begun(self) -> SegmentWriter:
        if self._writer is None:
            self._backend.make_directory(self._directory, durable=True)
            self._writer = _writer(self._backend, self._directory, self._signer, self._version)
        return self._writer


def sync_names(backend: Backend, directory: str) -> None:
    """Put on disk the names in a directory, and the names on the way to it.

    Whoever made the directory may have died before he did; what is about to be removed elsewhere
    would be lost with it.
    """
    backend.sync_directory(directory)
    for _ in range(LEVELS_ABOVE):
        directory = directory.rpartition("/")[0]
        if not directory:
            break
        with contextlib.suppress(PermissionError):  # not ours, so it was there before
            backend.sync_directory(directory)


def settle(backend: Backend, places: Iterable[inventory.Place]) -> None:
    """Put on disk which segments stand in checkpoint directories and which do not.

    Who removed one may have died before that was on the disk. If a power cut brought it back after
    the tombstones of its records had been dropped, so would be what they removed.
    """
    for place in places:
        if place.foreign is None:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                backend.sync_directory(place.directory)


def chain_of_its_own(signer: Any) -> Any:
    """Who signs what is written anew in one directory: nothing before it is missed there."""
    if signer is None:
        return None
    from .signing import Signer

    return Signer(signer.key)


def next_sequence(backend: Backend, directory: str) -> int:
    """A number beyond those of all segments in a directory."""
    names = inventory.listing(backend, directory)
    return max((found[0] for name in names if (found := parse_name(name))), default=-1) + 1


def index_anew(backend: Backend, directory: str, signer: Any = None) -> None:
    """Put one index over the segments of a directory in place of those that are there."""
    for name in inventory.listing(backend, directory):
        if name.endswith(INDEX_SUFFIX):
            backend.discard(f"{directory}/{name}")
    catalog = Catalog(backend, [directory], None, signer)
    try:
        catalog.load(None)
        catalog.merge_into(directory)
    finally:
        catalog.close()


def sweep(backend: Backend, directory: str) -> int:
    """Remove what writers that died had not finished, where nobody writes; returns the bytes."""
    swept = 0
    files = [(f"{directory}/{file.name}", file) for file in inventory.entries(backend, directory)]
    for path, file in (*files, *inventory.blobs(backend, directory)):
        if file.name.startswith(inventory.LEFTOVERS):
            backend.discard(path)
            swept += file.size
    # A large blob begins beside the folders, before its digest is known.
    linked = backend.is_link(f"{directory}/blobs")
    for file in () if linked else inventory.entries(backend, f"{directory}/blobs"):
        if file.name.startswith(inventory.LEFTOVERS):
            backend.discard(f"{directory}/blobs/{file.name}")
            swept += file.size
    return swept


def _writer(backend: Backend, directory: str, signer: Any, version: int) -> SegmentWriter:
    def name(identity: bytes) -> str:
        return f".spool-{identity.hex()}"

    if signer is None:
        return SegmentWriter(backend, directory, name, version)
    from .signing import segment_writer

    return segment_writer(backend, directory, name, signer)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    held = 0
    for entry in entries:
        batch.append(entry)
        held += entry.size
        if len(batch) >= _BATCH_RECORDS or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _blobs_of(kind: int, payload: bytes) -> Sequence[Blob]:
    try:
        record = fmt.decode_record(kind, payload)
    except FormatError:
        return ()
    return record.blobs if isinstance(record, (fmt.Result, fmt.Session)) else ()


def _removed_by(entry: Entry) -> Sequence[bytes]:
    record = fmt.decode_record(entry.kind, entry.payload)
    return record.record_ids if isinstance(record, fmt.Tombstone) else ()
