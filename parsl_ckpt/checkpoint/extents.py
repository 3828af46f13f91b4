"""Extents: frames that stand in a segment as they stood in another one.

Compacting copies what is whole as bytes.  The checksums of such frames go on speaking of the
segment and the offset at which they were written; an extent says which those are, once for all of
them.  It is said twice: by a frame before them, and by the index that ends the segment.

Rule of this file: pure.  What does not fit is left out, so that nothing is found there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from . import format as fmt

_EXTENT = Struct("<QQ16sQ")
_MOST = 1 << 62  # offsets beyond this are nobody's


class Extent(NamedTuple):
    """Frames that stand one after the other as they stood in another segment.

    Attributes:
        start, end: where they stand.
        identity: id of the segment in which they were written.
        origin: the offset there of the first.
    """

    start: int
    end: int
    identity: bytes
    origin: int

    @property
    def placed(self) -> tuple[bytes, int]:
        """The segment, and what is to be added to an offset here to have that in it."""
        return self.identity, self.origin - self.start


def header(segment_id: bytes, offset: int, identity: bytes, origin: int, length: int) -> bytes:
    """The frame that stands before an extent.

    Args:
        segment_id: the segment in which it stands.
        offset: where.
        identity, origin: of the extent.
        length: its bytes.
    """
    fields = fmt.FRAME_FIELDS.pack(
        fmt.FRAME_MAGIC, fmt.EXTENT, 0, 0, 0, length, identity, origin.to_bytes(8, "little"), b""
    )
    return fields + fmt.placed_checksum(segment_id, offset, fields)


def after(offset: int, length: int, identity: bytes, origin: int) -> Extent | None:
    """The extent that the frame at an offset stands before; None if it cannot be one."""
    start = offset + fmt.FRAME_HEADER_SIZE
    extent = Extent(start, start + length, identity, origin)
    return extent if max(extent.end, origin + length) < _MOST else None


def at(extents: Sequence[Extent], offset: int) -> Extent | None:
    """The extent in which an offset lies, if it lies in one; they are in order."""
    found = bisect_right(extents, (offset + 1,)) - 1
    return extents[found] if found >= 0 and offset < extents[found].end else None


def next_after(extents: Sequence[Extent], offset: int, end: int) -> int:
    """Where the next extent after an offset begins; ``end`` if there is none before that."""
    found = bisect_right(extents, (offset + 1,))
    return min(extents[found].start, end) if found < len(extents) else end


def stretches(
    extents: Sequence[Extent], segment_id: bytes, begin: int, end: int
) -> Iterator[tuple[int, int, bytes, int]]:
    """Divide the frames between two offsets into those that were written one after the other.

    Args:
        extents: of the segment, in order.
        segment_id: its own id.
        begin, end: offsets of frames.

    Returns:
        (begin, end, id of the segment in which they were written, the offset there) of each; the
        frames before extents are in none of them.
    """
    while begin < end:
        extent = at(extents, begin)
        if extent is not None:
            stop = min(extent.end, end)
            identity, further = extent.placed
            yield begin, stop, identity, begin + further
            begin = stop
            continue
        following = next_after(extents, begin, end + fmt.FRAME_HEADER_SIZE)
        stop = min(following - fmt.FRAME_HEADER_SIZE, end)
        if begin < stop:
            yield begin, stop, segment_id, begin
        begin = following


def encoded(extents: Iterable[Extent]) -> bytes:
    """Extents as they stand in an index."""
    return b"".join(_EXTENT.pack(*extent) for extent in extents)


def decoded(joined: bytes) -> list[Extent]:
    """Extents as an index has them; those that contradict each other are left out."""
    found: list[Extent] = []
    at = fmt.FILE_HEADER_SIZE + fmt.FRAME_HEADER_SIZE
    for fields in _EXTENT.iter_unpack(joined[: len(joined) - len(joined) % _EXTENT.size]):
        extent = Extent(*fields)
        if at <= extent.start <= extent.end < _MOST and extent.origin < _MOST:
            found.append(extent)
            at = extent.end + fmt.FRAME_HEADER_SIZE
    return found
