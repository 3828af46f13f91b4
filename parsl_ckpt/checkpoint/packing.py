"""Where the parts of a value stand: in its record or in blobs of their own, compressed or not.

Rule of this file: pure; it decides and describes, others write.  A part is a buffer beside the
encoded data, or that data itself where it is large (bit ``SPILLED`` of the codec).

* Small parts stand in the record, up to ``PACKED`` bytes in all: a million values of that size cost
  as many files as there are segments, and a record with all of its parts is one frame, which can be
  copied, verified and lost as one.
* Larger ones are blobs, which are mapped, and stored once however many records name them.
* Under ``"auto"`` arrays that are large enough to be mapped are not compressed.

Where all parts are raw blobs the record is written as it always was.  Else bit ``LAID_OUT`` of the
codec is set and ``Result.parts`` says of each part: its size before compression, or 0, and its
bytes, or none if it is the next blob.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsl_ckpt.errors import FormatError

from . import format as fmt
from .codec import Encoded
from .format import LAID_OUT, SPILLED
from .local import MAP_MINIMUM
from .zstd import FROM, Zstd, expand

PACKED = 128 * 1024  # bytes of parts that stand in a record, at most
Blob = tuple[bytes, int]
Part = tuple[int, bytes]


def whole_limit(zstd: Zstd | None) -> int:
    """Encoded data up to this many bytes is not looked at: it stands in the record as it is."""
    return fmt.INLINE_LIMIT if zstd is None else FROM


def lay_out(
    encoded: Encoded, zstd: Zstd | None, write: Callable[[Any], Blob]
) -> tuple[int, bytes, tuple[Blob, ...], tuple[Part, ...]]:
    """The fields ``codec``, ``value``, ``blobs`` and ``parts`` of a result.

    Args:
        encoded: the value.
        zstd: what compresses, if anything does.
        write: keeps a blob.
    """
    codec, data = encoded.codec, encoded.data
    buffers = list(encoded.buffers)
    small = None
    if len(data) > FROM and zstd is not None:
        small = zstd.shrunk(data)
    if small is not None or len(data) > fmt.INLINE_LIMIT:
        buffers.insert(0, data)
        codec, data = codec | SPILLED, b""
    blobs: list[Blob] = []
    parts: list[Part] = []
    room = PACKED
    plain = True
    for place, buffer in enumerate(buffers):
        size = 0
        if zstd is not None:
            if not (place == 0 and codec & SPILLED):
                small = None if _mapped(buffer, zstd) else zstd.shrunk(buffer)
            if small is not None:
                size, buffer = memoryview(buffer).nbytes, small
        if memoryview(buffer).nbytes <= room:
            inside = bytes(buffer)
            room -= len(inside)
        else:
            inside = b""
            blobs.append(write(buffer))
        plain = plain and not inside and not size
        parts.append((size, inside))
    if plain:
        return codec, data, tuple(blobs), ()
    return codec | LAID_OUT, data, tuple(blobs), tuple(parts)


def gather(
    result: fmt.Result, read: Callable[[bytes, int], Any]
) -> tuple[int, bytes | memoryview, list[Any]]:
    """Codec, data and buffers of a result, as they were encoded.

    Args:
        result: the record.
        read: gives a verified blob, as writable memory.

    Raises:
        FormatError: the record contradicts itself, or a part does not expand.
        UnreadableRecordError: a blob cannot be read.
    """
    codec = result.codec
    buffers: list[Any]
    if codec & LAID_OUT:
        buffers = _buffers(result, read)
    else:
        buffers = [read(digest, size) for digest, size in result.blobs]
    data: Any = result.value
    if codec & SPILLED:
        if not buffers:
            raise FormatError("A record has no data.")
        data = buffers.pop(0)
    return codec & ~(SPILLED | LAID_OUT), data, buffers


def _buffers(result: fmt.Result, read: Callable[[bytes, int], Any]) -> list[Any]:
    blobs = iter(result.blobs)
    buffers: list[Any] = []
    for size, inside in result.parts:
        part: Any = inside
        if not inside:
            blob = next(blobs, None)
            if blob is None:
                raise FormatError("A record names fewer blobs than it has parts.")
            part = read(*blob)
        if size:
            part = expand(part, size)
        # Buffers become the memory of arrays, which are writable.
        buffers.append(bytearray(part) if type(part) is bytes else part)
    return buffers


def _mapped(buffer: Any, zstd: Zstd) -> bool:
    """Whether a part will be read through a map, so that it is better left as it is."""
    if zstd.always or type(buffer) is bytes:  # bytes are text and the like, which is read whole
        return False
    return memoryview(buffer).nbytes >= MAP_MINIMUM
