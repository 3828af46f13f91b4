"""Writing frames anew, into a segment that appears whole, sealed and on the disk, or not at all.

Rule of this file, and of all that uses it: first write, then sync, then make visible, then remove
what it stands for.  A crash in between leaves both, which readers take for one: records are the
same records, whatever segment they are in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
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
    writer: SegmentWriter | None = None
    index: list[int] = []
    removed: list[bytes] = []
    blobs: set[Blob] = set()
    results = count = 0
    try:
        for batch in _batches(entries):
            if writer is None:
                backend.make_directory(directory, durable=True)
                writer = _writer(backend, directory, signer)
            for entry, offset in zip(batch, writer.append(batch), strict=True):
                for key in entry.keys:
                    index.append(int.from_bytes(key[:8], "little") << 64 | offset)
                if entry.kind == fmt.RESULT:
                    results += 1
                    blobs.update(_blobs_of(entry))
                elif entry.kind == fmt.SESSION:
                    blobs.update(_blobs_of(entry))
                elif entry.kind == fmt.TOMBSTONE:
                    removed.extend(_removed_by(entry))
            count += len(batch)
        if writer is None:
            return None
        index.sort()
        name = segment_name(sequence, writer.identity)
        end = writer.offset
        covered = Covered(name, writer.identity, end, end, True, results)
        identity = writer.identity

        def seal(offset: int) -> bytes:
            padding = -offset % PAGE_SIZE
            key = signer.key if signer is not None else None
            parts = write_index([index], [covered], removed, identity, offset + padding, key)
            return b"\0" * padding + b"".join(parts)

        writer.append_index(seal, count, sorted(blobs))
        writer.file.sync()
        writer.close()
        path = f"{directory}/{name}"
        backend.rename(writer.path, path)
        sync_names(backend, directory)
        return Written(path, count, writer.offset)
    except BaseException:
        if writer is not None:
            writer.close()
            backend.discard(writer.path)
        raise


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


def _batches(entries: Iterable[Entry]) -> Iterable[Sequence[Entry]]:
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


def _blobs_of(entry: Entry) -> Sequence[Blob]:
    try:
        record = fmt.decode_record(entry.kind, entry.payload)
    except FormatError:
        return ()
    return record.blobs if isinstance(record, (fmt.Result, fmt.Session)) else ()


def _removed_by(entry: Entry) -> Sequence[bytes]:
    record = fmt.decode_record(entry.kind, entry.payload)
    return record.record_ids if isinstance(record, fmt.Tombstone) else ()
