"""The seal of a segment: what its writer says of it, so that it is verified as a whole.

A seal stands at the beginning of the index that ends the segment, before its pages.  It has one
digest of all bytes before that index, which is compared at the speed of reading; frames are looked
at one by one only where it does not hold.

Rule of this file: the digest is made of the bytes as they are handed to the system, never by
reading the file again.  What changes on the disk before the segment is sealed is found as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from struct import Struct

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError

from . import format as fmt
from .backend import Buffer, Readable
from .index import TRAILER_SIZE, Covered, as_bytes, covered_by_itself

_PIECE = 8 << 20
_MANY, _LARGE = 256, 1 << 14  # pieces are digested together, which is several times faster
_BLOB = Struct("<32sQ")
_LENGTH = Struct("<I")
Blob = tuple[bytes, int]


class Seal(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the writer of a segment says of it.

    Attributes:
        digest: of all bytes before the frame of the index, 32 bytes.
        records: how many frames stand there.
        joined: (digest, size) of each blob that they name, 40 bytes each.
        others: offsets of the frames that are no results, 8 bytes each, ascending; None if that is
            not said.
    """

    digest: bytes
    records: int
    joined: bytes = b""
    others: bytes | None = None

    def blobs(self) -> Iterator[Blob]:
        """The blobs that records of the segment name, each once."""
        return _BLOB.iter_unpack(self.joined)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Seal).decode


class Gathered:
    """Digests what is written, piece after piece."""

    __slots__ = ("_hasher", "_pieces")

    def __init__(self, first: bytes) -> None:
        self._hasher = blake3(first)
        self._pieces: list[Buffer] = []

    def add(self, piece: Buffer) -> None:
        pieces = self._pieces
        if len(piece) >= _LARGE:
            self._take()
            self._hasher.update(piece)
            return
        pieces.append(piece)
        if len(pieces) >= _MANY:
            self._take()

    def digest(self) -> bytes:
        self._take()
        return self._hasher.digest()

    def _take(self) -> None:
        self._hasher.update(b"".join(self._pieces))
        self._pieces.clear()


def encoded(digest: bytes, records: int, blobs: Iterable[Blob], others: Iterable[int]) -> bytes:
    """A seal as it stands before the pages of an index."""
    joined = b"".join(_BLOB.pack(*blob) for blob in blobs)
    data = _encode(Seal(digest, records, joined, as_bytes(array("Q", others))))
    return _LENGTH.pack(len(data)) + data


def decoded(payload: Buffer) -> Seal | None:
    """The seal in the verified payload of an index frame; None if there is none."""
    (length,) = _LENGTH.unpack_from(payload) if len(payload) >= _LENGTH.size else (0,)
    if not length:  # an earlier version left zeros there
        return None
    try:
        seal = _decode(bytes(payload[_LENGTH.size : _LENGTH.size + length]))
    except (msgspec.MsgspecError, RecursionError):
        return None
    return seal if len(seal.joined) % _BLOB.size == len(seal.others or b"") % 8 == 0 else None


class Verified(msgspec.Struct, frozen=True, gc=False):
    """A segment every byte of which is as it was written.

    Attributes:
        seal: what its writer says of it.
        index: what its index says of it.
        size: bytes of the file.
    """

    seal: Seal
    index: Covered
    size: int

    @property
    def end(self) -> int:
        """Where the frame of its index begins."""
        return self.index.length


def verified(reader: Readable, identity: bytes) -> Verified | None:
    """A sealed segment, if all of its bytes are as they were written.

    Args:
        reader: the file.
        identity: its id, after its name.

    Returns:
        None if a byte is not, if it is signed, or if it was never sealed: frame by frame there is
        more to say of it.

    Raises:
        OSError: it cannot be read.
    """
    size = reader.size()
    if size < fmt.FILE_HEADER_SIZE + fmt.FRAME_HEADER_SIZE + TRAILER_SIZE:
        return None
    try:
        first = reader.read(0, fmt.FILE_HEADER_SIZE)
        if fmt.read_file_header(first, fmt.SEGMENT_MAGIC) != identity:
            return None
    except FormatError:
        return None
    index = covered_by_itself(reader, size)
    if index is None:
        return None
    end = index.length
    header = reader.read(end, fmt.FRAME_HEADER_SIZE)
    if len(header) < fmt.FRAME_HEADER_SIZE or not fmt.header_verifies(identity, end, header):
        return None
    kind, _, length, record_id, _, _ = fmt.FRAME_NUMBERS.unpack_from(header)
    begin = end + fmt.FRAME_HEADER_SIZE
    if kind != fmt.INDEX or begin + length != size:
        return None
    payload = reader.read(begin, length)
    seal = decoded(payload) if fmt.record_id_of(payload) == record_id else None
    if seal is None or _digest(reader, end) != seal.digest:
        return None
    return Verified(seal, index, size)


def _digest(reader: Readable, end: int) -> bytes:
    hasher = blake3()
    for offset in range(0, end, _PIECE):
        hasher.update(reader.read(offset, min(_PIECE, end - offset)))
    return hasher.digest()
