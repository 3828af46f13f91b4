"""Rows of restart sessions in a store: reading them, and the blobs beside them.

Rule of this file: what the store already does for results, for records that are found by folding
over all of them instead of by a key.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError, StoreWriteError, UnreadableRecordError

from .format import SESSION, Record, Result, Session

if TYPE_CHECKING:
    from .backend import Backend
    from .segment import Segment
    from .store import Store

Place = tuple[str, int]
#: Why a row is removed, as when pruning: nothing depends on it, so its tombstone goes with it.
DROPPED = "pruned"


class Row(NamedTuple):
    """A row that was found.

    Attributes:
        session: the record, without its values: there may be a million rows.
        record_id: its name.
        segment, offset: where it stands; None if that has to be looked up.
    """

    session: Session
    record_id: bytes
    segment: Segment | None
    offset: int = 0


def row_key(name: str) -> bytes:
    """What the rows of a session of this name are indexed under."""
    return blake3(b"parsl_ckpt session " + name.encode("utf-8", "surrogatepass")).digest()


def blobs_of(record: Record | None) -> tuple[tuple[bytes, int], ...]:
    """(digest, size) of each blob that a record names."""
    return record.blobs if isinstance(record, (Result, Session)) else ()


def rows(store: Store, key: bytes, known: Container[Place]) -> Iterator[tuple[Place, Row]]:
    """The rows under a key, removed ones too, except those at places that are known."""
    for segment, offset in list(store._places(key)):
        place = segment.name, offset
        if place in known:
            continue
        found = store._frame(segment, offset)
        if found is None:
            continue
        record_id, record = found
        if type(record) is Session and record.key == key:
            yield place, Row(light(record), record_id, segment, offset)


def keys(backend: Backend, directory: str) -> list[bytes]:
    """What the rows in a directory are indexed under, in the order of the first of each."""
    from . import inventory
    from .frames import Frames, decode
    from .segment import OpenFiles

    place = inventory.place_of(backend, directory)
    found: dict[bytes, None] = {}
    for segment in inventory.segments(backend, [place], OpenFiles()):
        try:
            for frame in Frames(segment, growing=True).whole():
                record = decode(frame) if frame.kind == SESSION else None
                if isinstance(record, Session):
                    found[record.key] = None
        except (OSError, FormatError):
            continue  # whoever reads the rows is told
    return list(found)


def light(session: Session) -> Session:
    """A row without its values."""
    return msgspec.structs.replace(
        session,
        metadata=tuple((name, b"", ()) for name, _, _ in session.metadata),
        states=tuple(msgspec.structs.replace(s, data=b"", parts=()) for s in session.states),
    )


def full(store: Store, row: Row) -> tuple[Session, str]:
    """A row with its values, and the directory that it is in.

    Raises:
        UnreadableRecordError: it is not there any more, or damaged.
    """
    if row.segment is not None:
        found = store._frame(row.segment, row.offset)
        if found is not None and found[0] == row.record_id:
            return found[1], row.segment.directory  # type: ignore[return-value]
    for again in (False, True):
        if again and not store.catalog.find_again():
            break
        for segment, offset in list(store._places(row.session.key)):
            found = store._frame(segment, offset)
            if found is not None and found[0] == row.record_id:
                return found[1], segment.directory  # type: ignore[return-value]
    raise UnreadableRecordError(
        f"A row of {store.path} is damaged, or not there any more.",
        hint="Select another row.",
        path=store.path,
    )


def last_place(store: Store, key: bytes) -> tuple[Segment | None, int]:
    """Where the row stands that this store has just appended."""
    return store._writing.find_open(key) or (None, 0)


def write_blob(store: Store, buffer: Any, digest: bytes | None = None) -> tuple[bytes, int]:
    """Keep a buffer, of which the digest may be known; it must not change meanwhile.

    Raises:
        StoreWriteError: it could not be written.
    """
    try:
        return store._write_blob(buffer, digest)
    except OSError as error:
        raise StoreWriteError(
            f"A large value could not be written to {store.path}: {error}.",
            hint="Make room or give another directory; what was committed earlier is safe.",
            path=store.path,
        ) from error


def has_blob(store: Store, digest: bytes, size: int) -> bool:
    """Whether a good blob is there already."""
    return store.path is not None and store._blobs.has(store.path, digest, size)


def blob_seen(store: Store, directory: str, digest: bytes, size: int) -> bool:
    """Whether a blob is there, by its size alone."""
    try:
        store._blobs.glance(directory, digest, size)
    except UnreadableRecordError:
        return False
    return True


def read_blob(store: Store, directory: str, digest: bytes, size: int) -> memoryview:
    """A verified blob as writable memory whose changes stay with the caller.

    Raises:
        UnreadableRecordError: it is missing, or is not what its name says.
    """
    return store._blobs.read(directory, digest, size)


def parts_of(
    session: Session, data: bytes, parts: tuple[int | bytes, ...]
) -> Iterator[bytes | tuple[bytes, int]]:
    """What an encoded value is made of: its data and its buffers, each as bytes or as a blob.

    Raises:
        FormatError: a part names a blob that the record does not.
    """
    if data:
        yield data
    for part in parts:
        if isinstance(part, bytes):
            yield part
        elif 0 <= part < len(session.blobs):
            yield session.blobs[part]
        else:
            raise FormatError("A row refers to a blob that it does not name.")
