"""Leaves of numbers, texts and bytes, and of long runs of them.

Rule of this file: every argument of every call comes by here, so a scalar costs one call of a C
function and a run of a million no call for each; the bytes are the same either way.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from .walk import FRAME, INLINE, Known, seal, seal_buffers

Encoder = Callable[[Any], bytes]

_PACK_INT = struct.Struct("<cq").pack  # as defaults below: local names are the quicker ones
_PACK_FLOAT = struct.Struct("<cd").pack
_NAN = struct.pack("<Q", 0x7FF8000000000000)
_BIG = 65536


def _int(
    value: int,
    pack: Callable[[bytes, int], bytes] = _PACK_INT,
    error: type[Exception] = struct.error,
) -> bytes:
    try:
        return pack(b"i", value)
    except error:
        size = (value.bit_length() + 8) // 8
        return seal(b"I", value.to_bytes(size, "little", signed=True))


def _float(value: float, pack: Callable[[bytes, float], bytes] = _PACK_FLOAT) -> bytes:
    return pack(b"f", value) if value == value else b"f" + _NAN


def _complex(value: complex) -> bytes:
    return b"c" + _float(value.real)[1:] + _float(value.imag)[1:]


def encode_str(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = value.encode("utf-8", "surrogatepass")
    return b"s" + data if len(data) < INLINE else seal(b"s", data)


def _bytes(value: bytes) -> bytes:
    if len(value) < INLINE:
        return b"b" + value
    return seal(b"b", value) if len(value) < _BIG else seal_buffers(b"b", (value,))


SCALARS: dict[type, Encoder] = {
    int: _int,
    float: _float,
    str: encode_str,
    bool: lambda value: b"T" if value else b"F",
    type(None): lambda value: b"N",
    bytes: _bytes,
    complex: _complex,
    type(...): lambda value: b"E",
    type(NotImplemented): lambda value: b"e",
    Known: lambda value: value.leaf,
}
"""Exact type → leaf.  The hot path of every call asks this table first."""

IMMUTABLE_SCALARS = frozenset(SCALARS)

# --- long runs of one scalar type: the same stream as one by one, without a call for each ---------


def _interleave(tag: bytes, raw: bytes, count: int) -> bytes:
    """``\\x09`` tag byte0 … byte7 for each of the eight-byte little-endian values in ``raw``."""
    stream = bytearray(10 * count)
    stream[0::10] = FRAME[9] * count
    stream[1::10] = tag * count
    for position in range(8):
        stream[2 + position :: 10] = raw[position::8]
    return bytes(stream)


def _raw(typecode: str, items: Sequence[Any]) -> bytes:
    numbers = array(typecode, items)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _pack_ints(items: Sequence[int]) -> bytes | None:
    try:
        return _interleave(b"i", _raw("q", items), len(items))
    except OverflowError:
        return None


def _pack_floats(items: Sequence[float]) -> bytes | None:
    total = sum(items)
    if total != total:  # there may be a NaN, which has one encoding only
        return None
    return _interleave(b"f", _raw("d", items), len(items))


_STR_HEAD = [FRAME[n + 1] + b"s" for n in range(INLINE)]
_BYTES_HEAD = [FRAME[n + 1] + b"b" for n in range(INLINE)]


def _pack_texts(items: Sequence[str]) -> bytes | None:
    try:
        encoded = [item.encode() for item in items]
    except UnicodeEncodeError:
        return None
    return _pack_encoded(b"s", _STR_HEAD, encoded)


def _pack_bytes(items: Sequence[bytes]) -> bytes | None:
    return _pack_encoded(b"b", _BYTES_HEAD, items)


def _pack_encoded(tag: bytes, heads: list[bytes], encoded: Sequence[bytes]) -> bytes:
    return b"".join(
        [
            heads[len(data)] + data if len(data) < INLINE else FRAME[33] + seal(tag, data)
            for data in encoded
        ]
    )


PACKERS: dict[type, Callable[[Any], bytes | None]] = {
    int: _pack_ints,
    float: _pack_floats,
    str: _pack_texts,
    bytes: _pack_bytes,
}
WORTH_PACKING = 16
