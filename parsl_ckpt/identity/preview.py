"""What a leaf shows of a value: everything, where the leaf is the encoding itself.

Rule of this file: it reads what ``scalars.py`` and ``kinds.py`` write, knows nothing of the value,
and answers "nothing" to whatever it cannot read; the bytes may come from a hostile file.
"""

from __future__ import annotations

import struct
from typing import Any

from .walk import INLINE

_CONSTANTS: dict[bytes, Any] = {
    b"T": True, b"F": False, b"N": None, b"E": ..., b"e": NotImplemented,
}  # fmt: skip
_OPEN = {b"[": "[]", b"(": "()", b"{": "{}", b"<": "{}", b">": "{}"}
_MAX_DEPTH = INLINE


def literal_of(leaf: bytes) -> tuple[bool, Any]:
    """Whether a leaf is that of a number, text or constant in clear; and which.

    >>> literal_of(b"T"), literal_of(b"shello"), literal_of(bytes([0xf3]) + bytes(32))
    ((True, True), (True, 'hello'), (False, None))
    """
    tag, rest = leaf[:1], leaf[1:]
    try:
        if not rest and tag in _CONSTANTS:
            return True, _CONSTANTS[tag]
        if tag == b"i" and len(rest) == 8:
            return True, int.from_bytes(rest, "little", signed=True)
        if tag == b"I":
            return True, int.from_bytes(rest, "little", signed=True)
        if tag == b"f":
            return True, struct.unpack("<d", rest)[0]
        if tag == b"c":
            return True, complex(*struct.unpack("<dd", rest))
        if tag == b"s":
            return True, rest.decode("utf-8", "surrogatepass")
        if tag == b"b":
            return True, rest
    except (struct.error, UnicodeDecodeError):
        pass
    return False, None


def parts_of(leaf: bytes) -> list[bytes] | None:
    """The leaves of the parts of a container, if they are in its own leaf."""
    if leaf[:1] not in _OPEN and leaf[:1] not in (b"v", b"V", b"m", b"o", b"O", b"k", b"n", b"u"):
        return None
    parts = []
    at = 1
    while at < len(leaf):
        end = at + 1 + leaf[at]
        if end > len(leaf) or end == at + 1:
            return None
        parts.append(leaf[at + 1 : end])
        at = end
    return parts


def text_of(leaf: bytes, depth: int = 0) -> str:
    """A short value as a person would write it; empty if the leaf is a digest.

    >>> from parsl_ckpt.identity.values import leaf
    >>> import decimal, datetime
    >>> text_of(leaf(decimal.Decimal("1.50"))), text_of(leaf({"a": (1, None)})), text_of(leaf("x"))
    ("Decimal('1.50')", "{'a': (1, None)}", "'x'")
    """
    known, value = literal_of(leaf)
    if known:
        return repr(value)
    parts = parts_of(leaf) if depth < _MAX_DEPTH else None
    if parts is None:
        return ""
    texts = [text_of(part, depth + 1) for part in parts]
    if not all(texts):
        return ""
    tag = leaf[:1]
    if tag == b"{":
        pairs = zip(texts[::2], texts[1::2])  # noqa: B905
        return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    if tag in _OPEN:
        first, last = _OPEN[tag][0], _OPEN[tag][1]
        comma = "," if tag == b"(" and len(texts) == 1 else ""
        return first + ", ".join(texts) + comma + last
    name, *rest = texts or [""]
    if tag in (b"k", b"n"):  # by its name
        return ".".join(one.strip("'") for one in rest or [name])
    return f"{name.strip(chr(39))}({', '.join(rest)})"


def leaf_text(leaf: bytes) -> str:
    """A leaf for people: the value where the leaf is the value, else the beginning of a digest."""
    return text_of(leaf) or f"{leaf.hex()[:32]} (digest)"
