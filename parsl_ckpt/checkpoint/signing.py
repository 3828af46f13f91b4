"""Signed segments: who does not have the key can neither forge a record nor take one out unseen.

A signed frame has the flag 1, and its payload is followed by the tag of its predecessor and its own
tag, 16 bytes each::

    tag = BLAKE3(key; id of the segment, offset, header without checksum, tag before, payload)

Guarantees: with a key, nothing is decoded before its tag was verified.  A frame cannot be moved,
copied to another segment, or replaced; each can be verified by itself, so that damage costs only
the frames that it hits.  The chain shows frames that were taken out, and a segment that was taken
out from between two others of one writer: a segment's first frame carries the tag of the last frame
of the segment before it.

Not guaranteed: what is cut off at the end of an unsealed segment looks like the death of its
writer, and nothing shows that a whole checkpoint, or its last segments, are gone.

Assumptions: the key is derived for this purpose alone (``identity/keys.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from . import format as fmt
from .backend import Backend, Buffer
from .format import CHECKSUM_SIZE, FRAME_FIELDS, FRAME_FIELDS_SIZE, FRAME_HEADER_SIZE, FRAME_MAGIC
from .segment import DamagedFrame, Entry, Segment, SegmentWriter

TAG_SIZE = fmt.TAG_SIZE
SIGNATURE_SIZE = fmt.SIGNATURE_SIZE
_FLAGS_AT = 5  # where a frame's flags stand in its header
_SIGNED = bytes([fmt.FLAG_SIGNED])
FIRST = bytes(TAG_SIZE)  # stands for the predecessor of a writer's first frame


class Signer:
    """A key, and where the chain of what is written with it has got to.

    Attributes:
        key: 32 bytes.
        last: tag of the frame that this process wrote last.
    """

    __slots__ = ("key", "last")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.last = FIRST

    def tag(
        self, identity: bytes, offset: int, fields: bytes, before: bytes, payload: Buffer
    ) -> bytes:
        """The tag of a frame.

        Args:
            identity: id of the segment.
            offset: where the frame begins.
            fields: its header, without the checksum.
            before: the tag of its predecessor.
            payload: its payload.
        """
        hasher = blake3(identity + offset.to_bytes(8, "little") + fields + before, key=self.key)
        return hasher.update(payload).digest(TAG_SIZE)

    def verifies(
        self, identity: bytes, offset: int, header: bytes, body: bytes | memoryview
    ) -> bool:
        """Whether a frame's body (payload, two tags) is what was signed at this place."""
        size = len(body) - SIGNATURE_SIZE
        before = bytes(body[size : size + TAG_SIZE])
        tag = self.tag(identity, offset, header[:FRAME_FIELDS_SIZE], before, body[:size])
        return tag == body[size + TAG_SIZE :]

    def __repr__(self) -> str:
        return "<Signer>"  # never the key


class SignedWriter(SegmentWriter):
    """Appends signed frames to a new segment."""

    def __init__(
        self, backend: Backend, directory: str, name: Callable[[bytes], str], signer: Signer
    ) -> None:
        super().__init__(backend, directory, name)
        self._signer = signer
        self._before = signer.last

    def append(self, entries: Sequence[Entry]) -> list[int]:
        identity, at, before = self.identity, self.offset, self._before
        key = self._signer.key
        parts: list[bytes] = []
        offsets: list[int] = []
        self.failed = True
        for entry in entries:
            keys = entry.keys
            payload = entry.payload
            count = len(keys)
            size = len(payload) + SIGNATURE_SIZE
            fields = FRAME_FIELDS.pack(
                FRAME_MAGIC, entry.kind, fmt.FLAG_SIGNED, count, 0, size, entry.record_id,
                keys[0] if count else b"", keys[1] if count > 1 else b"",
            )  # fmt: skip
            placed = identity + at.to_bytes(8, "little") + fields
            tag = blake3(placed + before + payload, key=key).digest(TAG_SIZE)
            parts += (fields, blake3(placed).digest(CHECKSUM_SIZE), payload, before, tag)
            before = tag
            offsets.append(at)
            at += FRAME_HEADER_SIZE + size
        self._write(b"".join(parts))
        self._before = self._signer.last = before
        self.offset = at
        self.failed = False
        return offsets


def segment_writer(
    backend: Backend, directory: str, name: Callable[[bytes], str], signer: Signer | None
) -> SegmentWriter:
    """A writer of a new segment, signed if there is a key."""
    if signer is None:
        return SegmentWriter(backend, directory, name)
    return SignedWriter(backend, directory, name, signer)


class Gap(NamedTuple):
    """A place in a segment where the chain is broken: something was taken out before it."""

    offset: int
    text: str


class Links:
    """Follows the chain of one segment, frame by frame, from the first or from a later one."""

    def __init__(self, segment: Segment, start: int = fmt.FILE_HEADER_SIZE) -> None:
        self._segment = segment
        self._reader = segment.open()
        self._last: bytes | None = None
        self._start = self._end = start
        self.first: bytes | None = None  # the predecessor that the first frame names

    def follow(self, offset: int, length: int) -> Gap | None:
        """Take the next frame; the gap before it, if its predecessor is not the frame before."""
        if self._reader.read(offset + _FLAGS_AT, 1) != _SIGNED:
            return None  # no link of the chain, and never decoded
        end = offset + FRAME_HEADER_SIZE + length
        signature = self._reader.read(end - SIGNATURE_SIZE, SIGNATURE_SIZE)
        before, tag = signature[:TAG_SIZE], signature[TAG_SIZE:]
        gap = None
        if self._last is None:
            self.first = before
            if offset != self._start:
                gap = Gap(offset, f"The records before {offset} in {self._segment.path} are gone.")
        elif before != self._last:
            path = self._segment.path
            gap = Gap(offset, f"Records between {self._end} and {offset} in {path} are gone.")
        self._last, self._end = tag, end
        return gap

    @property
    def last(self) -> bytes | None:
        """The tag of the frame that was taken last."""
        return self._last


def chain(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Gap]]:
    """The gaps in the chains of a directory's segments, oldest first; every tag is verified.

    Args:
        segments: the segments of one directory, in order, opened by a store that has the key.
    """
    # The predecessor that each segment's first frame names, as long as it is not found.
    named: dict[bytes | None, Segment] = {}
    for segment in segments:
        for offset, kind, _, length, *_ in segment.walk().headers():
            if kind != fmt.INDEX:
                links = Links(segment)
                links.follow(offset, length)
                named[links.first] = segment
            break
    named.pop(FIRST, None)
    named.pop(None, None)
    for segment in segments:
        links = Links(segment)
        for offset, kind, _, length, *_ in segment.walk().headers():
            if kind == fmt.INDEX:
                continue
            try:
                segment.frame(offset)
            except DamagedFrame:
                continue  # damage is told as such; the next frame names what is missing
            gap = links.follow(offset, length)
            named.pop(links.last, None)
            if gap is not None:
                yield segment, gap
    for segment in named.values():
        yield segment, Gap(0, f"A segment before {segment.path} is gone, or its end.")
