"""From what a record keeps of an argument back to the argument, where that is possible.

A leaf of at most 40 bytes is the value itself; for a longer one the outline may tell enough.  What
is put together from an outline is digested again and compared with the leaf, so that what comes out
is the argument or says that it is not: an :class:`Abbreviated` text.

Rule of this file: nothing is guessed, and nothing is looked up, imported or executed; the bytes may
come from a hostile file.
"""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import fractions
import pathlib
import re
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from .outline import DESCRIBED, DICT, FILE, LIST, OBJECT, TUPLE, Node
from .preview import literal_of, parts_of, text_of
from .privacy import SECRET
from .values import leaf as leaf_of_value
from .walk import INLINE

_DEEPEST = INLINE
_INTEGERS = re.compile(r"-?\d{1,12}").findall
_NUMBERS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?"} | {
    f"{kind}{size}": code if kind == "i" else code.upper()
    for kind in "iu"
    for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
}


class Abbreviated(str):
    """What stands for a value that is not kept: ``<dict of 40 #1f3a9c04>``.

    The number is the beginning of the value's digest: equal values have the same text, and others
    another one.

    Attributes:
        digest: the digest, in hexadecimal.
    """

    digest: str

    def __new__(cls, about: str, leaf: bytes) -> Abbreviated:
        text = super().__new__(cls, f"<{about or 'not kept'} #{leaf.hex()[2:10]}>")
        text.digest = leaf.hex()[2:]
        return text


def argument_of(leaf: bytes, node: Node | None = None) -> Any:
    """An argument from its leaf, and from its outline if there is one.

    Returns:
        The argument; a number for a numpy scalar, the path for a file, a text for a set, an enum's
        member or an object; an :class:`Abbreviated` text where the argument is not kept.

    >>> from parsl_ckpt.identity.values import leaf
    >>> argument_of(leaf({"a": (1, None)})), argument_of(leaf(Decimal("1.50")))
    ({'a': (1, None)}, Decimal('1.50'))
    >>> argument_of(leaf(list(range(100))))
    '<not kept #...>'
    """
    known, value = value_of(leaf)
    if known:
        return value
    if leaf[:1] == SECRET:
        return Abbreviated("secret", leaf)
    if text := text_of(leaf):
        return text  # all that there is to it, as one would write it
    if node is None:
        return Abbreviated("file" if leaf[:1] == b"P" else "", leaf)
    if node.kind == FILE and "..." not in str(node.value):
        path = _quoted(str(node.value))
        if path is not None:
            return path
    with contextlib.suppress(Exception):  # bytes that no argument of anybody gave
        for candidate in _candidates(node):
            if leaf_of_value(candidate) == leaf:
                return candidate
    return node.text if _complete(node) else Abbreviated(node.text, leaf)


def _complete(node: Node) -> bool:
    """Whether the text says which value it is: an enum's member, an object part by part."""
    if node.kind == DESCRIBED:
        return re.fullmatch(r"[^\W\d][\w.]*\.[^\W\d]\w*", str(node.value)) is not None
    return node.kind == OBJECT and node.text.endswith(")")


def value_of(leaf: bytes, depth: int = 0) -> tuple[bool, Any]:
    """Whether a leaf is the value itself, and the value.

    >>> value_of(b"shello"), value_of(bytes([0xf3]) + bytes(32))
    ((True, 'hello'), (False, None))
    """
    known, value = literal_of(leaf)
    if known:
        return True, value
    parts = parts_of(leaf) if depth < _DEEPEST else None
    if parts is None:
        return _numpy_scalar(leaf) if leaf[:1] == b"g" else (False, None)
    inner = [value_of(part, depth + 1) for part in parts]
    if not all(known for known, _ in inner):
        return False, None
    values = [value for _, value in inner]
    try:
        if leaf[:1] == b"[":
            return True, values
        if leaf[:1] == b"(":
            return True, tuple(values)
        if leaf[:1] == b"{":
            return True, dict(zip(values[::2], values[1::2], strict=True))
        if leaf[:1] == b"v" and values[0] in _MAKERS:
            return True, _MAKERS[values[0]](*values[1:])
    except Exception:  # no leaf that was made of a value
        pass
    return False, None


def _moment(kind: Any) -> Callable[..., Any]:
    def make(text: str, fold: int, zone: Any) -> Any:
        return kind.fromisoformat(text).replace(fold=fold, tzinfo=zone)

    return make


_MAKERS: dict[Any, Callable[..., Any]] = {
    "Decimal": Decimal,
    "Fraction": lambda over, under: fractions.Fraction(int(over), int(under)),
    "date": dt.date.fromisoformat,
    "datetime": _moment(dt.datetime),
    "time": _moment(dt.time),
    "timedelta": dt.timedelta,
    "ZoneInfo": zoneinfo.ZoneInfo,
    "UUID": lambda number: uuid.UUID(int=number),
    "bytearray": lambda data: bytearray(bytes.fromhex(data.hex())),  # not a number of bytes
    "range": range,
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
    "PosixPath": pathlib.Path,
    "WindowsPath": pathlib.PureWindowsPath,
}


def _numpy_scalar(leaf: bytes) -> tuple[bool, Any]:
    """A number, from the leaf of a numpy scalar: type, its name, bytes."""
    parts = parts_of(b"[" + leaf[1:])
    if parts is None or len(parts) != 3:
        return False, None
    (_, kind), _, (known, data) = (literal_of(part) for part in parts)
    code = _NUMBERS.get(str(kind)[1:])
    if not known or code is None:
        return False, None
    order = ">" if str(kind)[:1] == ">" else "<"
    try:
        return True, struct.unpack(order + code, data)[0]
    except (struct.error, TypeError):
        return False, None


def _candidates(node: Node) -> Iterator[Any]:
    """What an outline may be that of."""
    known, value = _value_of_node(node)
    if known:
        yield value
    if node.kind == DESCRIBED and isinstance(node.value, str):
        text = _quoted(node.value)
        if text is not None:
            yield from (text, pathlib.Path(text), pathlib.PurePosixPath(text))
        else:
            with contextlib.suppress(ValueError):
                yield dt.datetime.fromisoformat(node.value)
            if node.value.startswith("timedelta("):
                yield dt.timedelta(*[int(number) for number in _INTEGERS(node.value)[:3]])


def _value_of_node(node: Node) -> tuple[bool, Any]:
    if node.clear:
        return True, node.value
    if node.kind not in (DICT, LIST, TUPLE) or node.rest or not node.parts:
        return False, None
    inner = [(key, *_value_of_node(part)) for key, part in node.parts]
    if not all(known for _, known, _ in inner):
        return False, None
    if node.kind == DICT:
        return True, {key: value for key, _, value in inner}
    values = [value for _, _, value in inner]
    return True, (values if node.kind == LIST else tuple(values))


def _quoted(text: str) -> str | None:
    """The text of which this is the ``repr``; None if it is none."""
    if text[:1] not in ("'", '"'):
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if type(value) is str else None
