"""The whole frames of a segment, one after the other, every checksum verified.

Rule of this file: for those who go through everything (verifying, rewriting, listing).  A segment
that nobody writes any more is read through a map; one that may still grow, by position and only as
far as it reached at first.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from blake3 import blake3

from parsl_ckpt.errors import FormatError

from . import format as fmt
from .format import FILE_HEADER_SIZE, FRAME_HEADER_SIZE, FRAME_NUMBERS
from .segment import Entry, Segment, Walk

Damage = Callable[[int, int, int], None]  # offset, bytes lost, kind (0: the header itself is lost)


class Whole(NamedTuple):
    """A frame whose payload has been verified."""

    offset: int
    kind: int
    prefixes: tuple[bytes, ...]
    record_id: bytes
    payload: Any  # bytes, or a view that lives as long as the frames do

    def entry(self) -> Entry:
        """The frame as something that can be appended to another segment."""
        record: Any = None
        return Entry(self.kind, self.prefixes, self.record_id, self.payload, record)


class Frames:
    """A segment, opened to be gone through.

    Args:
        segment: the segment.
        growing: someone may still write it.
        signer: verifies the tags of signed frames; without it only their checksums are.

    Attributes:
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
        self._signer = signer
        self._reader = segment._backend.open(segment.path)
        self.size = self._reader.size()
        self._bytes: Any = _ByPosition(self._reader, self.size) if growing else self._reader.map()
        identity = fmt.read_file_header(bytes(self._bytes[:FILE_HEADER_SIZE]), fmt.SEGMENT_MAGIC)
        self.header = identity is not None
        if identity is not None:
            segment.identity = identity
        self.torn = 0

    def walk(self, damaged: Damage | None = None) -> Iterator[tuple[int, int, int]]:
        """(offset, kind, payload length) of each frame whose header is whole."""
        reader: Any = _Fixed(self._bytes)
        walk = Walk(reader, self.segment.identity, FILE_HEADER_SIZE, self.size)
        for offset, kind, _, length, _, _, _ in walk.headers():
            yield offset, kind, length
        self.torn = walk.torn
        if damaged is not None:
            for offset, size in walk.damage:
                damaged(offset, size, 0)

    def offsets(self, damaged: Damage | None = None) -> array[int]:
        """Where frames with a whole header begin."""
        return array("Q", (offset for offset, _, _ in self.walk(damaged)))

    def read(self, offset: int) -> Whole | None:
        """The frame at an offset that a walk gave; None if its payload is damaged.

        Raises:
            FormatError: it is whole, and of a kind that only a later version can read.
        """
        data = self._bytes
        header = data[offset : offset + FRAME_HEADER_SIZE]
        kind, keys, length, record_id, _, _ = FRAME_NUMBERS.unpack_from(header)
        payload = data[offset + FRAME_HEADER_SIZE : offset + FRAME_HEADER_SIZE + length]
        if header[5]:
            if header[5] != fmt.FLAG_SIGNED:
                raise FormatError(
                    f"{self.segment.path} has a record at {offset} that this version cannot read.",
                    hint="Use a later version of parsl_ckpt.",
                    path=self.segment.path,
                )
            if self._signer is not None and not self._signer.verifies(
                self.segment.identity, offset, bytes(header), payload
            ):
                return None
            self.signed = True
            payload = payload[: -fmt.SIGNATURE_SIZE]
        elif kind != fmt.INDEX:  # whose digests are keyed
            self.unsigned = True
        if blake3(payload).digest(16) != record_id:
            return None
        prefixes = tuple(bytes(header[32 + 8 * n : 40 + 8 * n]) for n in range(min(keys, 2)))
        return Whole(offset, kind, prefixes, record_id, payload)

    def whole(self, damaged: Damage | None = None) -> Iterator[Whole]:
        """All whole frames."""
        for offset, kind, length in self.walk(damaged):
            frame = self.read(offset)
            if frame is not None:
                yield frame
            elif damaged is not None:
                damaged(offset, FRAME_HEADER_SIZE + length, kind)

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

    def tail(self, offset: int) -> bytes:
        """The bytes from an offset to the end."""
        return bytes(self._bytes[max(offset, 0) : self.size])

    def close(self) -> None:
        self._reader.close()


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
