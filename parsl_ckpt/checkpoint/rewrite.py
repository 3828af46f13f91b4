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

from . import format as fmt
from . import inventory
from .backend import Backend
from .catalog import INDEX_SUFFIX, Catalog
from .index import PAGE_SIZE, Covered, write_index
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
    """

    def __init__(self, backend: Backend, directory: str, sequence: int, signer: Any = None) -> None:
        self._backend = backend
        self._directory = directory
        self._sequence = sequence
        self._signer = signer
        self._writer: SegmentWriter | None = None
        self._index: list[int] = []
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
        index = self._index
        for batch in _batches(entries):
            for entry, offset in zip(batch, self._begun().append(batch), strict=True):
                for key in entry.keys:
                    index.append(int.from_bytes(key[:8], "little") << 64 | offset)
                if entry.kind == fmt.RESULT:
                    self._results += 1
                if entry.kind == fmt.TOMBSTONE:
                    self._removed.extend(_removed_by(entry))
                elif entry.kind in _NAMING:
                    self._blobs.update(_blobs_of(entry.kind, entry.payload))
            self._count += len(batch)

    def copy(
        self,
        frames: bytearray,
        places: Sequence[int],
        kinds: bytearray,
        keys: Iterable[tuple[int, int]],
        *,
        blobs: bool,
    ) -> None:
        """Append whole frames that stand one after the other in another segment.

        Args:
            frames: their bytes, which are changed.
            places: where each begins.
            kinds: the kind of each; none of them is a tombstone.
            keys: the prefixes of the two keys of each, or twice that of its one.
            blobs: whether any of them may name a blob.
        """
        writer = self._begun()
        at = writer.offset
        writer.append_frames(frames, places)
        for (first, second), place in zip(keys, places, strict=True):
            self._index.append(first << 64 | at + place)
            if second != first:
                self._index.append(second << 64 | at + place)
        self._results += kinds.count(fmt.RESULT)
        self._count += len(places)
        if blobs:
            for kind, place, end in zip(kinds, places, [*places[1:], len(frames)], strict=True):
                if kind in _NAMING:
                    payload = bytes(frames[place + fmt.FRAME_HEADER_SIZE : end])
                    self._blobs.update(_blobs_of(kind, payload))

    def finish(self) -> Written | None:
        """Seal what was appended, put it on the disk and make it visible.

        Returns:
            The segment; None if nothing was appended.
        """
        writer = self._writer
        if writer is None:
            return None
        self._index.sort()
        name = segment_name(self._sequence, writer.identity)
        end = writer.offset
        covered = Covered(name, writer.identity, end, end, True, self._results)

        def index(offset: int) -> bytes:
            padding = -offset % PAGE_SIZE
            key = self._signer.key if self._signer is not None else None
            parts = write_index(
                [self._index], [covered], self._removed, covered.identity, offset + padding, key
            )
            return b"\0" * padding + b"".join(parts)

        writer.append_index(index, self._count, sorted(self._blobs))
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
            self._writer = _writer(self._backend, self._directory, self._signer)
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


def _writer(backend: Backend, directory: str, signer: Any) -> SegmentWriter:
    def name(identity: bytes) -> str:
        return f".spool-{identity.hex()}"

    if signer is None:
        return SegmentWriter(backend, directory, name)
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
