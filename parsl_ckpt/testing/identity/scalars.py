"""Numbers, texts, bytes and constants."""

from __future__ import annotations

import math
from typing import Any


def differ() -> dict[str, Any]:
    return {
        "numbers: int beside bool": (lambda: 1, lambda: True),
        "numbers: zero beside False": (lambda: 0, lambda: False),
        "numbers: int beside float": (lambda: 1, lambda: 1.0),
        "numbers: int beside complex": (lambda: 1, lambda: 1 + 0j),
        "numbers: float beside complex": (lambda: 1.0, lambda: 1 + 0j),
        "numbers: int beside text": (lambda: 1, lambda: "1"),
        "numbers: int beside bytes": (lambda: 1, lambda: b"1"),
        "numbers: sign": (lambda: 1, lambda: -1),
        "numbers: 255 beside -1": (lambda: 255, lambda: -1),
        "numbers: sign of zero": (lambda: 0.0, lambda: -0.0),
        "numbers: sign of an imaginary zero": (lambda: complex(1, 0.0), lambda: complex(1, -0.0)),
        "numbers: parts of a complex": (lambda: 1 + 2j, lambda: 2 + 1j),
        "numbers: at the border of 64 bits": (lambda: 2**63 - 1, lambda: 2**63),
        "numbers: modulo 2**64": (lambda: 1, lambda: 2**64 + 1),
        "numbers: big, the last digit": (lambda: 10**400, lambda: 10**400 + 1),
        "numbers: big, the sign": (lambda: 2**100, lambda: -(2**100)),
        "numbers: big int beside equal float": (lambda: 2**70, lambda: float(2**70)),
        "numbers: neighbouring floats": (lambda: 0.1 + 0.2, lambda: 0.3),
        "numbers: the smallest float": (lambda: 5e-324, lambda: 0.0),
        "numbers: infinities": (lambda: math.inf, lambda: -math.inf),
        "numbers: NaN beside infinity": (lambda: math.nan, lambda: math.inf),
        "numbers: NaN beside None": (lambda: math.nan, lambda: None),
        "texts: beside bytes": (lambda: "a", lambda: b"a"),
        "texts: empty beside empty bytes": (lambda: "", lambda: b""),
        "texts: case": (lambda: "a", lambda: "A"),
        "texts: a trailing NUL": (lambda: "a", lambda: "a\0"),
        "texts: a trailing space": (lambda: "a", lambda: "a "),
        "texts: composed beside decomposed": (lambda: "\u00e9", lambda: "e\u0301"),
        "texts: a surrogate pair beside its character": (
            lambda: "\ud800\udc00",
            lambda: "\U00010000",
        ),
        "texts: lone surrogates": (lambda: "\ud800", lambda: "\ud801"),
        "texts: long, the last character": (lambda: "x" * 100_000 + "a", lambda: "x" * 100_000),
        "texts: 'None' beside None": (lambda: "None", lambda: None),
        "bytes: beside bytearray": (lambda: b"abc", lambda: bytearray(b"abc")),
        "bytes: beside memoryview": (lambda: b"abc", lambda: memoryview(b"abc")),
        "bytes: bytearray beside memoryview": (
            lambda: bytearray(b"abc"),
            lambda: memoryview(b"abc"),
        ),
        "bytes: content of bytearrays": (lambda: bytearray(b"abc"), lambda: bytearray(b"abd")),
        "bytes: content of memoryviews": (lambda: memoryview(b"abc"), lambda: memoryview(b"abd")),
        "bytes: format of memoryviews": (
            lambda: memoryview(b"abcd"),
            lambda: memoryview(b"abcd").cast("I"),
        ),
        "bytes: shape of memoryviews": (
            lambda: memoryview(b"abcd").cast("B", (2, 2)),
            lambda: memoryview(b"abcd").cast("B", (4, 1)),
        ),
        "bytes: long, in the middle": (
            lambda: bytes(200_000),
            lambda: bytes(100_000) + b"x" + bytes(99_999),
        ),
        "bytes: length": (lambda: bytes(39), lambda: bytes(40)),
        "constants: None beside False": (lambda: None, lambda: False),
        "constants: None beside an empty tuple": (lambda: None, lambda: ()),
        "constants: Ellipsis beside NotImplemented": (lambda: ..., lambda: NotImplemented),
        "constants: Ellipsis beside its text": (lambda: ..., lambda: "..."),
    }


def agree() -> dict[str, Any]:
    return {
        "numbers: a big int computed": (lambda: 10**50, lambda: int("1" + "0" * 50)),
        "numbers: a float from text": (lambda: 0.1, lambda: float("0.1")),
        "numbers: NaNs": (lambda: math.nan, lambda: float("nan")),
        "numbers: sign of NaN": (lambda: math.nan, lambda: -float("nan")),
        "numbers: a NaN computed": (lambda: math.nan, lambda: math.inf - math.inf),
        "numbers: NaN inside complex": (
            lambda: complex(math.nan, 1),
            lambda: complex(-float("nan"), 1),
        ),
        "numbers: a bool computed": (lambda: True, lambda: 1 == 1),
        "texts: put together": (lambda: "hello world", lambda: " ".join(["hello", "world"])),
        "texts: interned or not": (lambda: "abc", lambda: "".join(chr(n) for n in (97, 98, 99))),
        "texts: decoded": (
            lambda: "\u00e9\U0001f600",
            lambda: b"\xc3\xa9\xf0\x9f\x98\x80".decode(),
        ),
        "texts: a slice of a longer one": (lambda: "abc", lambda: "xabcx"[1:4]),
        "bytes: put together": (lambda: b"abcdef", lambda: b"abc" + b"def"),
        "bytes: bytearray with room to spare": (
            lambda: bytearray(b"abc"),
            lambda: _shortened(bytearray(b"abcdef"), 3),
        ),
        "bytes: memoryview of another buffer": (
            lambda: memoryview(b"bcd"),
            lambda: memoryview(b"abcde")[1:4],
        ),
        "bytes: memoryview with strides": (
            lambda: memoryview(b"ace"),
            lambda: memoryview(b"abcdef")[::2],
        ),
        "bytes: memoryview that can be written to": (
            lambda: memoryview(b"abc"),
            lambda: memoryview(bytearray(b"abc")),
        ),
    }


def _shortened(value: bytearray, size: int) -> bytearray:
    del value[size:]
    return value
