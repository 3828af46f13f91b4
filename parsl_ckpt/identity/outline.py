"""What is kept of an argument besides its digest, so that a later change in it can be named.

A leaf of at most 40 bytes is the value itself; a longer value leaves a digest, from which nobody
can tell *what* changed.  An *outline* is a bounded tree: the paths inside a container, and at the
end of each path a short value in clear, or four bytes of the digest of its leaf (its *mark*).

Rules of this file: an outline explains and never decides (two calls are the same by their keys
alone), so it may be cut anywhere, and what cannot be read is no outline; it shows nothing that
``privacy.py`` hides.  ``outlining.py`` makes them.

The bytes are MessagePack: an array of parameter number, tree, parameter number, tree, ...  A tree
is a short value in clear, a mark (bytes), or an array that begins with what it is::

    0, key, tree, key, tree, ...     dictionary; a key is a short value or a mark
    1, tree, ...   2, tree, ...      list, tuple
    3, class, name, tree, ...        object: its attributes
    4, text, mark                    described: an array by type and shape, a long text by its ends
    5, number, mark                  the last part of a container: so many more; mark of the whole
    6, text, mark                    a file, by its path
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from blake3 import blake3

from .preview import literal_of, parts_of, text_of
from .privacy import SECRET
from .scalars import SCALARS

BUDGET = 300
"""Bytes of a record that serve explanation: names, leaves, digest of the code, outline."""

MARK = 4  # bytes of a mark: enough to tell that something changed
LONGEST = 24  # bytes of a text that is kept in clear
PATH = 64  # characters of a long text that are kept in any case, most of them from its end
WHOLE = 200  # bytes of a text that is kept whole where there is room for it
DEEPEST = 150  # parts of parts: each level takes two bytes at least
MANY = 64  # a container of more parts is described by their number
DICT, LIST, TUPLE, OBJECT, DESCRIBED, REST, FILE = range(7)
TOLD = (DESCRIBED, FILE)
_NAMES = {DICT: "dict", LIST: "list", TUPLE: "tuple"}
_decode = msgspec.msgpack.Decoder().decode


class Node:
    """One place inside an argument.

    Attributes:
        kind: ``DICT``, ``LIST``, ``TUPLE``, ``OBJECT``, ``DESCRIBED``, ``FILE``; None for anything
            else.
        value: what it is in clear, if ``clear``; of an object its class, of what is described the
            description.
        clear: whether ``value`` is the value itself.
        parts: key and node of each part; the keys of objects are names of attributes.
        rest: how many parts more there are.
        size: bytes that it takes in the outline, without its parts.
    """

    __slots__ = ("_mark", "clear", "kind", "parts", "rest", "size", "source", "value")

    def __init__(
        self, kind: int | None = None, value: Any = None, mark: bytes = b"", clear: bool = False
    ) -> None:
        self.kind = kind
        self.value = value
        self.clear = clear
        self._mark = mark
        self.parts: list[tuple[Any, Node]] = []
        self.rest = 0
        self.source: Any = None  # the value, until its parts have been looked at
        self.size = 0

    @property
    def mark(self) -> bytes:
        """The short digest, made when it is wanted where the value is at hand."""
        if not self._mark and self.clear:
            self._mark = mark_of(SCALARS[type(self.value)](self.value))
        return self._mark

    @mark.setter
    def mark(self, mark: bytes) -> None:
        self._mark = mark

    @property
    def text(self) -> str:
        """The value as a person would write it; empty if only its digest is known."""
        if self.clear:
            return repr(self.value)
        if self.kind in TOLD or (self.kind is None and isinstance(self.value, str)):
            return str(self.value)
        if self.kind is None:
            return ""
        return self._inner()

    def _inner(self) -> str:
        texts = [(key, node.text) for key, node in self.parts]
        if self.rest or not all(text for _, text in texts) or any(map(_is_mark, dict(texts))):
            inner = ""
        elif self.kind == DICT:
            inner = "{" + ", ".join(f"{key!r}: {text}" for key, text in texts) + "}"
        elif self.kind == LIST:
            inner = "[" + ", ".join(text for _, text in texts) + "]"
        elif self.kind == TUPLE:
            inner = "(" + ", ".join(text for _, text in texts) + ("," * (len(texts) == 1)) + ")"
        else:
            inner = f"{self.value}(" + ", ".join(f"{key}={text}" for key, text in texts) + ")"
        if 0 < len(inner) <= 60:
            return inner
        count = len(self.parts) + self.rest
        return f"{_NAMES.get(self.kind or 0) or self.value} of {count}"


def mark_of(leaf: bytes) -> bytes:
    """The mark of a leaf."""
    return blake3(leaf).digest(MARK)


# --- from bytes ---------------------------------------------------------------------------------


def read_outline(data: bytes) -> dict[int, Node]:
    """Parameter number → node, from a record; nothing from bytes that are no outline."""
    if not data:
        return {}
    try:
        found = _decode(data)
        return {
            number: _node(plain)
            for number, plain in zip(found[::2], found[1::2], strict=True)
            if type(number) is int
        }
    except Exception:  # a later version's, or nonsense
        return {}


def _node(plain: Any, depth: int = 0) -> Node:
    if depth > DEEPEST:
        raise ValueError("nobody made such an outline")
    if type(plain) is bytes:
        return Node(mark=plain)
    if type(plain) is not list:
        return _literal(plain)
    kind, *inner = plain
    if kind in TOLD:
        return Node(kind, str(inner[0]), bytes(inner[1]))
    node = Node(int(kind))
    if inner and type(inner[-1]) is list and inner[-1][:1] == [REST]:
        _, node.rest, node.mark = inner.pop()
    if kind == OBJECT:
        node.value = str(inner.pop(0))
    if kind in (LIST, TUPLE):
        node.parts = [(place, _node(part, depth + 1)) for place, part in enumerate(inner)]
    elif kind in (DICT, OBJECT):
        pairs = zip(inner[::2], inner[1::2], strict=True)
        node.parts = [(key, _node(part, depth + 1)) for key, part in pairs]
    else:
        raise ValueError(kind)
    return node


def _literal(value: Any) -> Node:
    return Node(None, value, clear=True) if type(value) in SCALARS else Node()


def _is_mark(key: Any) -> bool:
    return type(key) is bytes


# --- from leaves ----------------------------------------------------------------------------------

_CONTAINERS: Mapping[bytes, int] = {b"[": LIST, b"(": TUPLE, b"{": DICT}


def of_leaf(leaf: bytes) -> Node:
    """What a leaf itself tells: everything, if it is short; nothing if it is a digest.

    >>> from parsl_ckpt.identity.values import leaf
    >>> of_leaf(leaf([1, "a"])).text, of_leaf(leaf("a" * 100)).text
    ("[1, 'a']", '')
    """
    mark = mark_of(leaf)
    if leaf[:1] == SECRET or not leaf:
        return Node(None, "(secret)" if leaf else None, mark)
    known, value = literal_of(leaf)
    if known:
        return Node(None, value, mark, clear=True)
    kind = _CONTAINERS.get(leaf[:1])
    parts = parts_of(leaf) if kind is not None else None
    if parts is None or kind is None:
        return Node(None, text_of(leaf) or None, mark)
    node = Node(kind, None, mark)
    nodes = [of_leaf(part) for part in parts]
    if kind == DICT:
        keys = [one.value if one.clear else one.mark for one in nodes[::2]]
        node.parts = list(zip(keys, nodes[1::2]))  # noqa: B905
    else:
        node.parts = list(enumerate(nodes))
    return node
