"""Segment files: writing one, reading frames by offset, walking over all of them.

Rules of this file:

* One writer appends to a file that only it writes; its name is random, so that writers never meet.
* After a failed write what was written of it is cut away, or stays as a torn tail; either way the
  writer is finished and another segment is begun.
* A reader believes a frame only after both checksums.  A short or torn tail is normal: the writer
  died, or is still writing.
* A segment that its writer may still be writing is read by position and never mapped.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError

from . import extents
from . import format as fmt
from .backend import Backend, Buffer, Readable, Writable
from .extents import Extent
from .format import (
    CHECKSUM_SIZE,
    FILE_HEADER_SIZE,
    FRAME_FIELDS,
    FRAME_FIELDS_SIZE,
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    FRAME_PLACED,
    ID_SIZE,
    Record,
)
from .local import MAP_MINIMUM, open_files
from .sealing import Blob, Gathered, encoded

if TYPE_CHECKING:
    from .signing import Signer

SUFFIX = ".seg"
_NAME = re.compile(r"(\d{6,12})-([0-9a-f]{32})\.seg")
_CHUNK = 1 << 20
# magic, kind, number of keys, payload length, record id, two key prefixes as numbers, checksum
_HEADER = Struct("<4sBxBxQ16sQQ8s")
_GUESS = 2048  # read at once with a header: most records fit


class Entry(msgspec.Struct, gc=False):
    """A record ready to be appended: everything is computed, nothing is written.

    Attributes:
        kind: kind of the record.
        keys: what it is indexed under.
        record_id: its name, the digest of ``payload``.
        payload: its bytes.
        record: the record itself.
    """

    kind: int
    keys: tuple[bytes, ...]
    record_id: bytes
    payload: bytes
    record: Record

    @property
    def size(self) -> int:
        """Bytes that it takes in a segment."""
        return FRAME_HEADER_SIZE + len(self.payload)


class DamagedFrame(FormatError):
    """What stands at an offset is not a whole frame; ``size`` bytes are lost."""

    size: int


class BadSignature(DamagedFrame):
    """A record is not signed, or not with the key that is asked for."""


class Frame(NamedTuple):
    """A frame's header, found while walking."""

    offset: int
    kind: int
    keys: int
    length: int
    record_id: bytes
    first: int
    second: int

    @property
    def end(self) -> int:
        return self.offset + FRAME_HEADER_SIZE + self.length


def segment_name(sequence: int, identity: bytes) -> str:
    """Names sort by sequence, and carry the id in case that the header is damaged."""
    return f"{sequence:06d}-{identity.hex()}{SUFFIX}"


def parse_name(name: str) -> tuple[int, bytes] | None:
    """(sequence, id) of a segment's file name, None for other files."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), bytes.fromhex(found[2])) if found else None


class SegmentWriter:
    """Appends frames to a new segment.

    Attributes:
        path: the file.
        identity: its random id.
        offset: where the next frame begins.
        failed: nothing may be written any more.
        dirty: something is written and not synced.
    """

    def __init__(
        self,
        backend: Backend,
        directory: str,
        name: Callable[[bytes], str],
        version: int = fmt.VERSION,
    ) -> None:
        self.identity = secrets.token_bytes(ID_SIZE)
        self.name = name(self.identity)
        self.directory = directory
        self.path = f"{directory}/{self.name}"
        self.failed = False
        self.dirty = True
        self.file: Writable = backend.create(self.path)
        header = fmt.file_header(fmt.SEGMENT_MAGIC, self.identity, version=version)
        try:
            self.file.write(header)
        except BaseException:
            self.file.close()
            backend.discard(self.path)
            raise
        self.offset = len(header)
        self._gathered = Gathered(header)

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Write the frames of a batch with one system call.

        Returns:
            The offset of each.

        Raises:
            OSError: none of them is certain to be there; begin another segment.
        """
        at = self.offset
        identity = self.identity
        if len(entries) == 1:
            return self._append_one(entries[0], at, identity)
        parts: list[bytes] = []
        offsets: list[int] = []
        # Until the new offset is known: an exception at any instruction ends this segment.
        self.failed = True
        pack, placed, digest = FRAME_FIELDS.pack, FRAME_PLACED.pack, blake3
        for entry in entries:
            keys = entry.keys
            payload = entry.payload
            count = len(keys)
            length = len(payload)
            fields = pack(
                FRAME_MAGIC, entry.kind, 0, count, 0, length, entry.record_id,
                keys[0] if count else b"", keys[1] if count > 1 else b"",
            )  # fmt: skip
            parts += (fields, digest(placed(identity, at, fields)).digest(CHECKSUM_SIZE), payload)
            offsets.append(at)
            at += FRAME_HEADER_SIZE + length
        self._write(b"".join(parts))
        self.offset = at
        self.failed = False
        return offsets

    def _append_one(self, entry: Entry, at: int, identity: bytes) -> list[int]:
        """The same without the lists: one record at a time is the common case."""
        self.failed = True
        keys = entry.keys
        payload = entry.payload
        count = len(keys)
        fields = FRAME_FIELDS.pack(
            FRAME_MAGIC, entry.kind, 0, count, 0, len(payload), entry.record_id,
            keys[0] if count else b"", keys[1] if count > 1 else b"",
        )  # fmt: skip
        self._write(fields + blake3(FRAME_PLACED.pack(identity, at, fields)).digest(8) + payload)
        self.offset = at + FRAME_HEADER_SIZE + len(payload)
        self.failed = False
        return [at]

    def append_extent(
        self, pieces: Iterable[Buffer], length: int, identity: bytes, origin: int
    ) -> Extent:
        """Write frames of another segment as they stand there; this one is of the later version.

        Args:
            pieces: their bytes.
            length: of all of them.
            identity: id of the segment in which they were written.
            origin: the offset there of the first.

        Raises:
            OSError: none of them is certain to be there.
        """
        self.failed = True
        self._write(extents.header(self.identity, self.offset, identity, origin, length))
        start = self.offset + FRAME_HEADER_SIZE
        for piece in pieces:
            self._write(piece)
        self.offset = start + length
        self.failed = False
        return Extent(start, self.offset, identity, origin)

    def append_index(
        self,
        make: Callable[[int], bytes],
        records: int,
        blobs: Iterable[Blob],
        others: Iterable[int],
    ) -> None:
        """End the segment with its seal and index.

        Args:
            make: gets the offset at which the index begins.
            records: how many frames were appended.
            blobs: what they name, each once.
            others: the offsets of those that are no results, ascending.
        """
        seal = encoded(self._gathered.digest(), records, blobs, others)
        payload = seal + make(self.offset + FRAME_HEADER_SIZE + len(seal))
        record_id = fmt.record_id_of(payload)
        header = fmt.frame_header(self.identity, self.offset, fmt.INDEX, len(payload), record_id)
        self.failed = True
        self._write(header + payload)
        self.offset += len(header) + len(payload)
        self.failed = False

    def sync(self) -> None:
        """Put on disk what was written.  After a failure nothing is known about it: never again."""
        if self.failed:
            return
        self.dirty = False
        try:
            self.file.sync()
        except BaseException:
            self.failed = self.dirty = True
            raise

    def close(self) -> None:
        self.file.close()

    def _write(self, data: Buffer) -> None:
        try:
            self.file.write(data)
        except BaseException:
            with contextlib.suppress(OSError):  # else it stays as a torn tail, which readers know
                self.file.truncate(self.offset)
            raise
        self.dirty = True
        self._gathered.add(data)


class Segment:
    """A segment that is read: opened when a frame is first wanted.

    Attributes:
        directory: where it and its blobs are.
        name: its file name.
        identity: its id.
        extents: frames in it that were written in other segments, as far as is known.
        rank: orders segments by age; the greater one is newer.
        sealed: nobody writes it any more.
        renamed: where it is if it is not at ``path``.
        records: number of results in it, as far as is known.
    """

    __slots__ = (
        "_backend", "_opened", "_reader", "_view", "directory", "extents", "identity", "name",
        "path", "rank", "records", "renamed", "sealed",
    )  # fmt: skip

    def __init__(
        self,
        backend: Backend,
        directory: str,
        name: str,
        identity: bytes,
        rank: tuple[int, int, str],
        opened: OpenFiles,
        *,
        sealed: bool = False,
    ) -> None:
        self._backend = backend
        self._opened = opened
        self._view: memoryview | None = None
        self._reader: Readable | None = None
        self.directory = directory
        self.name = name
        self.path = f"{directory}/{name}"
        self.identity = identity
        self.extents: list[Extent] = []
        self.rank = rank
        self.sealed = sealed
        self.records = 0
        self.renamed: str | None = None

    def frame(self, offset: int) -> tuple[int, bytes, bytes | memoryview]:
        """(kind, record id, payload) of the frame at an offset.

        Raises:
            DamagedFrame: there is no whole frame.
            OSError: the file cannot be read.
        """
        view = self._view
        data: bytes | memoryview
        if view is not None:
            header = bytes(view[offset : offset + FRAME_HEADER_SIZE])
        else:
            reader = self.open()
            if self._view is not None:
                return self.frame(offset)
            data = reader.read(offset, _GUESS)
            header = data[:FRAME_HEADER_SIZE]
        identity, at = self.identity, offset
        if self.extents:
            extent = extents.at(self.extents, offset)
            if extent is not None:
                identity, further = extent.placed
                at += further
        if (
            len(header) < FRAME_HEADER_SIZE
            or fmt.placed_checksum(identity, at, header[:FRAME_FIELDS_SIZE])
            != header[FRAME_FIELDS_SIZE:]
        ):
            raise self._damaged(offset, FRAME_HEADER_SIZE)
        magic, kind, flags, _, _, length, record_id, _, _ = FRAME_FIELDS.unpack_from(header)
        end = FRAME_HEADER_SIZE + length
        if view is not None:
            payload: bytes | memoryview = view[offset + FRAME_HEADER_SIZE : offset + end]
        else:
            if end > len(data) >= _GUESS and end <= reader.size() - offset:
                data = reader.read(offset, end)
            payload = data[FRAME_HEADER_SIZE:end]
        if len(payload) != length or magic != FRAME_MAGIC:
            raise self._damaged(offset, end)
        if flags or self._opened.signer is not None:
            payload = self._signed(offset, kind, flags, header, payload)
        if blake3(payload).digest(ID_SIZE) != record_id:
            raise self._damaged(offset, end)
        return kind, record_id, payload

    def _signed(
        self, offset: int, kind: int, flags: int, header: bytes, body: bytes | memoryview
    ) -> bytes | memoryview:
        """The payload of a frame that is signed, or should be; verified, if there is a key."""
        signer = self._opened.signer
        if flags == fmt.FLAG_SIGNED and len(body) >= fmt.SIGNATURE_SIZE:
            if signer is not None and not signer.verifies(self.identity, offset, header, body):
                raise BadSignature(
                    f"{self.path} holds records that are not signed with this key.",
                    hint="They are left aside, and computed again.",
                    path=self.path, offset=offset, size=FRAME_HEADER_SIZE + len(body),
                )  # fmt: skip
            return body[: -fmt.SIGNATURE_SIZE]
        if flags:
            raise self._damaged(offset, FRAME_HEADER_SIZE + len(body))
        if kind == fmt.INDEX:  # its parts are authenticated when they are used
            return body
        raise BadSignature(
            f"{self.path} holds records that are not signed.",
            hint="They are left aside, and computed again; open the store without a signing key "
            "if you trust them.",
            path=self.path, offset=offset, size=FRAME_HEADER_SIZE + len(body),
        )  # fmt: skip

    def open(self) -> Readable:
        """The open file; for big sealed segments also the map that frames are read from."""
        reader = self._reader
        if reader is None:
            try:
                reader = self._backend.open(self.path)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._opened.clear()  # too many open files: let go of ours
                elif error.errno == errno.ENOENT and self.renamed is not None:
                    self.path = self.renamed  # it was a spool when this record was found
                else:
                    raise
                reader = self._backend.open(self.path)
            if self.sealed and not reader.by_range and reader.size() >= MAP_MINIMUM:
                self._view = reader.map()
            self._reader = reader
            self._opened.add(self)
        return reader

    def view(self) -> memoryview | None:
        """The map of a big sealed segment, None for others."""
        self.open()
        return self._view

    def close(self) -> None:
        """Let go of the file; it is opened again when it is wanted."""
        self._reader = self._view = None  # closed when the last reader is through with it

    def walk(self, start: int = 0, size: int | None = None) -> Walk:
        """A walk over the frames from ``start``, which must be the beginning of one."""
        reader = self.open()
        size = reader.size() if size is None else size
        return Walk(reader, self.identity, start or FILE_HEADER_SIZE, size, self.extents)

    def _damaged(self, offset: int, size: int) -> DamagedFrame:
        return DamagedFrame(
            f"{self.path} is damaged at {offset}.",
            hint="The records there are left aside.",
            path=self.path,
            offset=offset,
            size=size,
        )


class OpenFiles:
    """What the segments of a store share: how many are open at once, and who must have signed them.

    Attributes:
        signer: verifies each frame before it is decoded; None if nothing need be signed.
    """

    def __init__(self, limit: int | None = None, signer: Signer | None = None) -> None:
        self._limit = limit or open_files(128, 16)  # each may keep a map as well
        self.signer = signer
        self._segments: dict[int, Segment] = {}

    def add(self, segment: Segment) -> None:
        self._segments[id(segment)] = segment
        while len(self._segments) > self._limit:
            try:
                oldest = next(iter(self._segments))
                self._segments.pop(oldest).close()
            except (KeyError, StopIteration, RuntimeError):
                return  # another thread is at it

    def clear(self) -> None:
        for segment in list(self._segments.values()):
            segment.close()
        self._segments.clear()


class Walk:
    """Iterates over the headers of a segment's whole frames, stepping over damage.

    Attributes:
        end: after iterating, the end of the last whole frame.
        torn: bytes after it, of a frame that was not written wholly (or not yet).
        damage: (offset, bytes) of what was stepped over.
        buffer, base: the bytes that were read last, and where in the file they begin.
    """

    def __init__(
        self,
        reader: Readable,
        identity: bytes,
        start: int,
        size: int,
        known: list[Extent] | None = None,
    ) -> None:
        """``known`` are the extents that are known of; what is found is added to them."""
        self._reader = reader
        self._identity = identity
        self._size = size
        self._known = [] if known is None else known
        self.end = start
        self.torn = 0
        self.damage: list[tuple[int, int]] = []
        self.buffer = b""
        self.base = start

    def __iter__(self) -> Iterator[Frame]:
        for header in self.headers():
            yield Frame(*header)

    def headers(self) -> Iterator[tuple[int, int, int, int, bytes, int, int]]:
        """The fields of :class:`Frame` as plain tuples, which are several times faster to make."""
        # A million turns of this loop are one start after a crash: numbers stand for their names.
        assert (FRAME_FIELDS_SIZE, CHECKSUM_SIZE, FRAME_HEADER_SIZE) == (48, 8, 56)
        read, size = self._reader.read, self._size
        unpack, placed, digest = _HEADER.unpack_from, FRAME_PLACED.pack, blake3
        identity, shift = self._identity, 0
        at = base = limit = self.end
        buffer = b""
        filled = 0
        while at + 56 <= size:
            if at >= limit:
                extent = extents.at(self._known, at)
                if extent is not None:
                    limit = min(extent.end, size)
                    identity, shift = extent.placed
                else:
                    limit = extents.next_after(self._known, at, size)
                    identity, shift = self._identity, 0
            begin = at - base
            if begin + 56 > filled:
                buffer, base, begin = read(at, _CHUNK), at, 0
                self.buffer, self.base = buffer, base
                filled = len(buffer)
                if filled < 56:
                    break
            magic, kind, keys, length, record_id, first, second, checksum = unpack(buffer, begin)
            fields = buffer[begin : begin + 48]
            if (
                digest(placed(identity, at + shift, fields)).digest(8) != checksum
                or magic != FRAME_MAGIC
            ):
                found = self._search(at + 1, identity, shift, limit)
                self.damage.append((at, found - at))
                if found == size:
                    self.end = at
                    return
                at = found
                continue
            if kind == fmt.EXTENT and identity == self._identity:
                extent = extents.after(at, length, record_id, first)
                if extent is not None:
                    if not self._known or self._known[-1].start < extent.start:
                        self._known.append(extent)
                    at, limit = extent.start, min(extent.end, size)
                    identity, shift = extent.placed
                    continue
            end = at + 56 + length
            if end > limit:
                if limit == size:
                    break
                self.damage.append((at, limit - at))
                at = limit
                continue
            yield at, kind, keys, length, record_id, first, second
            self.end = at = end
        self.torn = size - at

    def _search(self, at: int, identity: bytes, shift: int, limit: int) -> int:
        """The next offset at which a frame's header verifies, or the limit."""
        holes = isinstance(self._reader, Readable)
        piece = _GUESS  # there may be as many places that are damaged as there are frames
        while at + FRAME_HEADER_SIZE <= limit:
            if holes:  # which may be terabytes that take no room
                at = min(max(self._reader.data_from(at) - FRAME_HEADER_SIZE, at), limit)
            buffer = self._reader.read(at, min(piece, limit - at))
            place = buffer.find(FRAME_MAGIC)
            while place >= 0 and place + FRAME_HEADER_SIZE <= len(buffer):
                header = buffer[place : place + FRAME_HEADER_SIZE]
                # Digesting is dear where someone has filled a file with the magic.
                if (
                    header[6] <= 2
                    and not header[7]
                    and fmt.header_verifies(identity, at + place + shift, header)
                ):
                    return at + place
                place = buffer.find(FRAME_MAGIC, place + 1)
            if len(buffer) < piece:
                break
            piece = min(2 * piece, _CHUNK)
            # What is left may hold the beginning of a header.
            at += len(buffer) - FRAME_HEADER_SIZE + 1
        return limit
