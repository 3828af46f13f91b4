"""The whole frames of a segment, one after the other, every checksum verified.

Rule of this file: for those who go through everything (verifying, rewriting, listing).  A segment
that nobody writes any more is read through a map; one that may still grow, by position and only as
far as it reached at first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from struct import Struct
from typing import Any

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError

from . import extents
from . import format as fmt
from .backend import Readable
from .format import FILE_HEADER_SIZE, FRAME_HEADER_SIZE
from .index import (
    TRAILER_SIZE,
    Covered,
    Index,
    covered_by_itself,
    open_index,
    read_trailer,
)
from .sealing import Seal, verified
from .segment import Entry, Segment, Walk

Damage = Callable[[int, int, int], None]  # offset, bytes lost, kind (0: the header itself is lost)
# kind, flags, number of keys, payload length, record id, two key prefixes as numbers
_FIELDS = Struct("<4xBBBxQ16sQQ").unpack_from
_ALL_FIELDS = Struct("<4sBBBxQ16sQQ").unpack_from  # and the magic before them
_INDEX, _EXTENT = fmt.INDEX, fmt.EXTENT
_CHUNK = 1 << 20
_MARGIN = 1 << 16  # what is read beyond a frame that is gone to backwards: most records fit


class Whole(msgspec.Struct, frozen=True, gc=False):
    """A frame whose payload has been verified.

    Attributes:
        offset: where it begins.
        kind: kind of the record.
        keys: how many of the prefixes are in use.
        record_id: its name.
        first, second: the first 8 bytes of its keys, as numbers.
        payload: its bytes, or a view of them that lives as long as the frames do.
    """

    offset: int
    kind: int
    keys: int
    record_id: bytes
    first: int
    second: int
    payload: Any

    def entry(self) -> Entry:
        """The frame as something that can be appended to another segment."""
        prefixes = (self.first.to_bytes(8, "little"), self.second.to_bytes(8, "little"))
        record: Any = None
        return Entry(self.kind, prefixes[: self.keys], self.record_id, self.payload, record)


class Frames:
    """A segment, opened to be gone through.

    Args:
        segment: the segment.
        growing: someone may still write it.
        signer: verifies the tags of signed frames; without it only their checksums are.

    Attributes:
        seal, cover, end: after :meth:`is_whole`, if all of the segment is whole: what its writer
            and its index say of it, and where the records end.
        signed, unsigned: whether a frame was read that is signed, and one that is not.
        size: bytes that are looked at.
        header: whether the file's first bytes are as they must be.
        torn: after a walk, bytes of a frame at the end that was not written wholly.

    Raises:
        OSError: it cannot be read.
        FormatError: it is of a later version of the format.
    """

    def __init__(self, segment: Segment, *, growing: bool, signer: Any = None) -> None:
        self.segment = segment
        self.signed = self.unsigned = False
        self.seal: Seal | None = None
        self.cover: Covered | None = None
        self.end = 0
        self._growing = growing
        self._signer = signer
        self._reader: Readable | None = segment._backend.open(segment.path)
        self.size = self._reader.size()
        self._data: Any = _ByPosition(self._reader, self.size) if growing else None
        identity = fmt.read_file_header(bytes(self._bytes[:FILE_HEADER_SIZE]), fmt.SEGMENT_MAGIC)
        self.header = identity is not None
        if identity is not None:
            segment.identity = identity
        cover = covered_by_itself(self._reader, self.size)
        segment.extents = extents.decoded(cover.extents) if cover is not None else []
        self.torn = 0

    def is_whole(self) -> bool:
        """Whether all bytes are as they were written, so that no frame need be verified by itself.

        Signed segments, and those that were not sealed, are looked at frame by frame.
        """
        found = verified(self._file(), self.segment.identity) if self._signer is None else None
        self.seal, self.cover = (found.seal, found.index) if found is not None else (None, None)
        self.end = found.end if found is not None else 0
        return found is not None

    def must_be_whole(self) -> None:
        """After frames were copied: nothing has happened to the segment in the meantime.

        Raises:
            FormatError: something has.
        """
        if not self.is_whole():
            raise self._changed()

    def heads(self, damaged: Damage | None = None) -> Iterator[tuple[int, int, int, int, int]]:
        """(offset, kind, number of keys, first, second) of each frame whose header is whole."""
        walk = self._walk()
        for offset, kind, keys, _, _, first, second in walk.headers():
            yield offset, kind, keys, first, second
        self._walked(walk, damaged)

    def own_index(self) -> Index:
        """The index that ends a segment which is whole.

        Raises:
            FormatError: it contradicts itself.
        """
        trailer = read_trailer(self.tail(self.size - TRAILER_SIZE), self.size)
        if trailer is None:
            raise self._changed()
        pages, head = trailer.pages_offset, trailer.head_offset
        data = self._bytes
        copied = memoryview(bytes(data[pages:head]))  # which outlives the map
        return open_index(trailer, bytes(data[head : head + trailer.head_length]), copied)

    def kind(self, offset: int) -> int:
        """The kind of the frame at an offset."""
        kind: int = self._bytes[offset + 4]
        return kind

    def after(self, offset: int) -> int:
        """Where the frame at an offset ends."""
        length: int = _FIELDS(self._bytes, offset)[3]
        return offset + FRAME_HEADER_SIZE + length

    def bytes_of(self, begin: int, end: int) -> bytes:
        """A copy of the bytes between two offsets."""
        return bytes(self._bytes[begin:end])

    def walk(self, damaged: Damage | None = None) -> Iterator[tuple[int, int, int]]:
        """(offset, kind, payload length) of each frame whose header is whole."""
        walk = self._walk()
        for offset, kind, _, length, _, _, _ in walk.headers():
            yield offset, kind, length
        self._walked(walk, damaged)

    def whole(self, damaged: Damage | None = None) -> Iterator[Whole]:
        """All whole frames; that of the index as well, where they are verified one by one."""
        start = FILE_HEADER_SIZE
        if not self._growing and self.is_whole():
            start = yield from self._all()
            if start == self.end:
                return
        walk = self._walk(start)
        read, digest = self.read, blake3
        for offset, kind, keys, length, record_id, first, second in walk.headers():
            buffer = walk.buffer
            begin = offset - walk.base + 56
            if begin + length <= len(buffer) and not buffer[begin - 51]:
                # The common case, without what is done in ``read`` for all others: the payload is
                # in the buffer, and no flag is set (flags stand 51 bytes before the payload).
                payload = buffer[begin : begin + length]
                if digest(payload).digest(16) == record_id:
                    if kind != _INDEX:
                        self.unsigned = True
                    yield Whole(offset, kind, keys, record_id, first, second, payload)
                    continue
            frame = read(offset)
            if frame is not None:
                yield frame
            elif damaged is not None:
                damaged(offset, FRAME_HEADER_SIZE + length, kind)
        self._walked(walk, damaged)

    def _all(self) -> Generator[Whole, None, int]:
        """All frames but that of the index, of a segment that is whole.

        Returns:
            Where they end; before the index only if its seal was put on what are no frames.
        """
        data, size, end, offset = self._bytes, self.size, self.end, FILE_HEADER_SIZE
        buffer = b""
        base = filled = 0
        self.unsigned = True
        while offset < end:
            at = offset - base
            if at + 56 > filled:
                buffer, base, at = bytes(data[offset : min(offset + _CHUNK, size)]), offset, 0
                filled = len(buffer)
            magic, kind, flags, keys, length, record_id, first, second = _ALL_FIELDS(buffer, at)
            if magic != fmt.FRAME_MAGIC:
                break
            if flags:
                self.read(offset)  # tells of a later version
            if kind == _EXTENT:
                offset += 56
                continue
            begin = at + 56
            stop = begin + length
            if offset + 56 + length > end:
                break
            if stop <= filled:
                payload = buffer[begin:stop]
            else:
                payload = bytes(data[offset + 56 : offset + 56 + length])
            yield Whole(offset, kind, keys, record_id, first, second, payload)
            offset += 56 + length
        return offset

    def these(self, offsets: Sequence[int]) -> Iterator[Whole | None]:
        """The frames at some offsets that a walk gave, in that order; None for damaged ones.

        Args:
            offsets: ascending, or descending.

        Raises:
            FormatError: one is whole, and of a kind that only a later version can read.
        """
        data, size, digest = self._bytes, self.size, blake3
        ascending = len(offsets) < 2 or offsets[0] < offsets[-1]
        buffer = b""
        base = end = 0
        for offset in offsets:
            begin = offset - base
            if not 0 <= begin <= end - 56 - base:
                base = offset if ascending else max(offset - _CHUNK + _MARGIN, 0)
                buffer = bytes(data[base : min(base + _CHUNK, size)])
                begin, end = offset - base, base + len(buffer)
            kind, flags, keys, length, record_id, first, second = _FIELDS(buffer, begin)
            stop = begin + 56 + length
            if not flags and stop <= len(buffer):
                payload = buffer[begin + 56 : stop]
                if digest(payload).digest(16) == record_id:
                    if kind != _INDEX:
                        self.unsigned = True
                    yield Whole(offset, kind, keys, record_id, first, second, payload)
                    continue
            yield self.read(offset)

    def again(self, offsets: Sequence[int]) -> Iterator[Whole]:
        """The frames at offsets where they were whole a moment ago.

        Raises:
            FormatError: one is not any more.
        """
        for frame in self.these(offsets):
            if frame is None:
                raise self._changed()
            yield frame

    def read(self, offset: int) -> Whole | None:
        """The frame at an offset that a walk gave; None if its payload is damaged.

        Raises:
            FormatError: it is whole, and of a kind that only a later version can read.
        """
        data = self._bytes
        header = bytes(data[offset : offset + FRAME_HEADER_SIZE])
        kind, flags, keys, length, record_id, first, second = _FIELDS(header)
        payload = data[offset + FRAME_HEADER_SIZE : offset + FRAME_HEADER_SIZE + length]
        if flags:
            if flags != fmt.FLAG_SIGNED:
                raise FormatError(
                    f"{self.segment.path} has a record at {offset} that this version cannot read.",
                    hint="Use a later version of parsl_ckpt.",
                    path=self.segment.path,
                )
            if self._signer is not None and not self._signer.verifies(
                self.segment.identity, offset, header, payload
            ):
                return None
            self.signed = True
            payload = payload[: -fmt.SIGNATURE_SIZE]
        elif kind != fmt.INDEX:  # whose digests are keyed
            self.unsigned = True
        if blake3(payload).digest(16) != record_id:
            return None
        return Whole(offset, kind, keys, record_id, first, second, payload)

    def may_be_written_anew(self) -> None:
        """After all frames were read: whether what is whole may stand elsewhere.

        Raises:
            FormatError: some frames are signed and there is no key; or some are not, and there is
                one, which must not vouch for them.
        """
        path = self.segment.path
        if self.signed and self._signer is None:
            raise FormatError(
                f"{path} is signed, so that its records can be written anew only with the key.",
                hint="Give the signing key (PARSL_CKPT_KEY).",
                path=path,
            )
        if self.unsigned and self._signer is not None:
            raise FormatError(
                f"{path} holds records that are not signed, which a key must not vouch for.",
                hint="Unset the signing key (PARSL_CKPT_KEY) for these runs.",
                path=path,
            )

    def _changed(self) -> FormatError:
        path = self.segment.path
        return FormatError(f"{path} changed while it was read.", path=path)

    def _walk(self, start: int = FILE_HEADER_SIZE) -> Walk:
        reader: Any = _Fixed(self._bytes)
        segment = self.segment
        return Walk(reader, segment.identity, start, self.size, segment.extents)

    def _walked(self, walk: Walk, damaged: Damage | None) -> None:
        self.torn = walk.torn
        if damaged is not None:
            for offset, size in walk.damage:
                damaged(offset, size, 0)

    def tail(self, offset: int) -> bytes:
        """The bytes from an offset to the end."""
        return bytes(self._bytes[max(offset, 0) : self.size])

    def rest(self) -> None:
        """Let go of the file until it is wanted again: thousands may be gone through together."""
        if not self._growing and self._reader is not None:
            self._reader.close()
            self._reader = self._data = None

    def _file(self) -> Readable:
        if self._reader is None:
            self._reader = self.segment._backend.open(self.segment.path)
            if self._reader.size() != self.size:
                raise self._changed()
        return self._reader

    @property
    def _bytes(self) -> Any:
        if self._data is None:
            self._data = self._file().map()
        return self._data


def decode(frame: Whole) -> fmt.Record | None:
    """The record in a frame; None for unknown kinds and for what does not decode."""
    if frame.kind == fmt.INDEX:
        return None
    try:
        return fmt.decode_record(frame.kind, frame.payload)
    except FormatError:
        return None


class _ByPosition:
    """A file as something to be sliced."""

    def __init__(self, reader: Any, size: int) -> None:
        self._reader = reader
        self._size = size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        data: bytes = self._reader.read(start, max(stop - start, 0))
        return data


class _Fixed:
    """Bytes as something to be read by offset."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])
