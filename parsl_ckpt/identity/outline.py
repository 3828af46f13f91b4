"""What is kept of an argument besides its digest, so that a later change in it can be named.

A leaf of at most 40 bytes is the value itself; a longer value leaves a digest, from which nobody
can tell *what* changed.  An *outline* is a bounded tree: the paths inside a container, and at the
end of each path a short value in clear, or four bytes of the digest of its leaf (its *mark*).

Rules of this file: an outline explains and never decides (two calls are the same by their keys
alone), so it may be cut anywhere; it shows nothing that ``privacy.py`` hides; the parts' leaves are
those which the walk over the argument has found already, so no part is digested twice.

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

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import msgspec
from blake3 import blake3

from .preview import literal_of, parts_of, text_of
from .privacy import SECRET, Privacy
from .scalars import SCALARS
from .values import Walk
from .walk import Known

BUDGET = 300
"""Bytes of a record that serve explanation: names, leaves, digest of the code, outline."""

MARK = 4  # bytes of a mark: enough to tell that something changed
LONGEST = 24  # bytes of a text that is kept in clear
PATH = 64  # characters of a long text that are kept, most of them from its end
MANY = 64  # a container of more parts is described by their number
DICT, LIST, TUPLE, OBJECT, DESCRIBED, REST, FILE = range(7)
_TOLD = (DESCRIBED, FILE)
_NAMES = {DICT: "dict", LIST: "list", TUPLE: "tuple"}
_ARRAYS = frozenset({"numpy", "pandas", "torch", "pyarrow", "xarray", "jax", "jaxlib", "polars"})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Node:
    """One place inside an argument.

    Attributes:
        kind: ``DICT``, ``LIST``, ``TUPLE``, ``OBJECT``, ``DESCRIBED``, ``FILE``; None for anything
            else.
        value: what it is in clear, if ``clear``; of an object its class, of what is described the
            description.
        clear: whether ``value`` is the value itself.
        mark: short digest of its leaf; empty if that is not known.
        parts: key and node of each part; the keys of objects are names of attributes.
        rest: how many parts more there are.
        size: bytes that it takes in the outline, without its parts.
    """

    __slots__ = ("clear", "kind", "mark", "parts", "rest", "size", "source", "value")

    def __init__(
        self, kind: int | None = None, value: Any = None, mark: bytes = b"", clear: bool = False
    ) -> None:
        self.kind = kind
        self.value = value
        self.clear = clear
        self.mark = mark
        self.parts: list[tuple[Any, Node]] = []
        self.rest = 0
        self.source: Any = None  # the value, until its parts have been looked at
        self.size = 0

    @property
    def text(self) -> str:
        """The value as a person would write it; empty if only its digest is known."""
        if self.clear:
            return repr(self.value)
        if self.kind in _TOLD or (self.kind is None and isinstance(self.value, str)):
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


# --- from values ----------------------------------------------------------------------------------


class Outliner:
    """Makes the outlines of one call's arguments.

    Args:
        privacy: what they must not show.
        budget: bytes in all; where there is no room they say less.
    """

    def __init__(self, privacy: Privacy, budget: int) -> None:
        self._privacy = privacy
        self._clear = privacy.previews
        self._left = budget

    def nodes(self, arguments: Sequence[tuple[Any, bytes, Walk]]) -> list[Node]:
        """The outlines of some arguments.

        Args:
            arguments: each with its leaf, and with what made it, which knows those of the parts.
        """
        roots = [self._summary(value, leaf) for value, leaf, _ in arguments]
        for root in roots:
            if root.size > MARK + 2 and root.size + 1 > self._left:
                root.kind, root.clear = None, False  # there is room for its mark only
            self._left -= root.size + 1
        waiting = [(root, walk) for root, (_, _, walk) in zip(roots, arguments, strict=True)]
        for node, walk in waiting:  # by levels: what is near the top is told first
            if node.kind is not None and node.source is not None:
                waiting.extend([(part, walk) for part in self._expand(node, walk)])
            node.source = None
        return roots

    def _summary(self, value: Any, leaf: bytes, hidden: bool = False) -> Node:
        """A node without its parts."""
        node = Node(mark=mark_of(leaf))
        if hidden:
            node.mark = mark_of(self._privacy.secret(leaf))
        elif type(value) is Known:
            if self._clear:
                known = of_leaf(value.leaf)
                if known.clear and _short(known.value):
                    node = known
        elif self._clear and _short(value):
            node.value, node.clear = value, True
        else:
            node.kind, text = _kind_of(value)
            node.source = value
            if node.kind is None and self._clear:
                text = text_of(leaf)
                text = text if 0 < len(text) <= LONGEST else ""
                node.kind = DESCRIBED if text else None
            if node.kind is not None:
                node.value = text if self._clear else ""
            if node.kind in _TOLD and not self._clear:
                node.kind = None
        node.size = len(_encode(_plain(node, False)))
        return node

    def _expand(self, node: Node, walk: Walk) -> list[Node]:
        """Give a node as many of its parts as there is room for."""
        value = node.source
        try:
            items = list(_items(node.kind or 0, value))
        except Exception:  # the user's own class; an outline is worth no error
            return []
        # What the parts stand in: the head, the name of a class, perhaps a word on the rest.
        room = self._left - 14 - (len(str(node.value).encode()) + 2 if node.kind == OBJECT else 0)
        kept: list[tuple[Any, Node]] = []
        for position, (key, part) in enumerate(items):
            leaf = leaf_of(part, walk)
            if leaf is None:
                return []
            hidden = type(key) is str and key in self._privacy.names
            child = self._summary(part, leaf, hidden)
            shown = self._key(key, node.kind)
            room -= child.size + (0 if node.kind in (LIST, TUPLE) else len(_encode(shown)))
            if room < 0:
                node.rest = len(items) - position
                break
            kept.append((shown, child))
        if not kept:
            node.rest = 0
            return []
        node.parts = kept
        self._left = room
        return [child for _, child in kept]

    def _key(self, key: Any, kind: int | None) -> Any:
        if kind in (LIST, TUPLE) or (self._clear and _short(key)):
            return key
        try:
            return mark_of(Walk().leaf(key))
        except Exception:
            return b"?"


def leaf_of(part: Any, walk: Walk) -> bytes | None:
    """The leaf of a part of what was walked; None if that is not known without more ado."""
    encode = SCALARS.get(type(part))
    return walk.known(part) if encode is None else encode(part)


def _kind_of(value: Any) -> tuple[int | None, str]:
    kind = type(value)
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    if module in _ARRAYS:
        return DESCRIBED, _array_text(value)
    if kind is str or module == "pathlib":
        return DESCRIBED, _ends(value)
    if isinstance(value, (dict, list, tuple)) and len(value) > MANY:
        return DESCRIBED, f"{kind.__name__} of {len(value):,}"
    if isinstance(value, dict):
        return DICT, ""
    if kind is list:
        return LIST, ""
    if kind is tuple:
        return TUPLE, ""
    if isinstance(value, (FunctionType, type, ModuleType)) or kind.__module__ == "builtins":
        return None, ""
    if hasattr(kind, "__fspath__"):
        try:
            return FILE, _ends(value.__fspath__())
        except Exception:
            return None, ""
    if _names_of(value):
        return OBJECT, kind.__name__
    return None, ""


def _ends(value: Any) -> str:
    """A long text by its beginning and its end: of paths, the end tells most."""
    text = str(value)
    if len(text) > PATH:
        text = f"{text[:16]}...{text[19 - PATH :]}"
    return repr(text)


def _array_text(value: Any) -> str:
    try:
        kind, shape, dtype = type(value).__name__, value.shape, getattr(value, "dtype", "")
        return f"{dtype or kind} {tuple(shape)}"[: LONGEST * 2]
    except Exception:
        return type(value).__name__


def _names_of(value: Any) -> Sequence[str]:
    """Names of the attributes that make an object what it is."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    fields = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and type(fields) is tuple:
        return fields
    attrs = getattr(type(value), "__attrs_attrs__", None)
    if attrs is not None:
        return [attribute.name for attribute in attrs]
    state = getattr(value, "__dict__", None)
    return list(state) if type(state) is dict else ()


def _items(kind: int, value: Any) -> Iterator[tuple[Any, Any]]:
    if kind == DICT:
        # In one order for equal dictionaries, so that outlines are cut at one place.
        yield from sorted(value.items(), key=lambda item: str(item[0]))
    elif kind in (LIST, TUPLE):
        yield from enumerate(value)
    elif kind == OBJECT:
        for name in _names_of(value):
            yield name, getattr(value, name)


def _short(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        text: str = value
        return len(text) <= LONGEST and text.isprintable() and len(text.encode()) <= LONGEST
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    return kind is float or kind is bool or value is None


# --- to bytes and back ----------------------------------------------------------------------------


def outline(
    leaves: Sequence[bytes],
    wholes: Sequence[tuple[int, Any, Walk]],
    privacy: Privacy,
    room: int,
) -> bytes:
    """The outlines of the arguments of one call.

    Args:
        leaves: one for each parameter.
        wholes: number of the parameter, argument, the walk that made its leaf.
        privacy: what must not be shown.
        room: bytes at most.
    """
    wholes = [one for one in wholes if not text_of(leaves[one[0]])]  # else the leaf tells all
    if room < 4 * MARK:
        return b""
    arguments = [(value, leaves[number], walk) for number, value, walk in wholes]
    nodes = Outliner(privacy, room - 3).nodes(arguments)
    found: list[Any] = []
    for (number, _, _), node in zip(wholes, nodes, strict=True):
        plain = _plain(node)
        if type(plain) is not bytes:  # which would say no more than the leaf
            found += [number, plain]
    data = _encode(found) if found else b""
    return data if len(data) <= room else b""


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


def _plain(node: Node, whole: bool = True) -> Any:
    """A node as MessagePack knows it; with its parts, if ``whole``."""
    if node.clear:
        return node.value
    if node.kind is None or (node.kind not in _TOLD and whole and not node.parts):
        return node.mark
    if node.kind in _TOLD:
        return [node.kind, node.value, node.mark]
    if not whole:
        return node.mark
    plain: list[Any] = [node.kind]
    if node.kind == OBJECT:
        plain.append(node.value)
    for key, part in node.parts:
        if node.kind in (DICT, OBJECT):
            plain.append(key)
        plain.append(_plain(part))
    if node.rest:
        plain.append([REST, node.rest, node.mark])
    return plain


def _node(plain: Any) -> Node:
    if type(plain) is bytes:
        return Node(mark=plain)
    if type(plain) is not list:
        return _literal(plain)
    kind, *inner = plain
    if kind in _TOLD:
        return Node(kind, str(inner[0]), bytes(inner[1]))
    node = Node(int(kind))
    if inner and type(inner[-1]) is list and inner[-1][:1] == [REST]:
        _, node.rest, node.mark = inner.pop()
    if kind == OBJECT:
        node.value = str(inner.pop(0))
    if kind in (LIST, TUPLE):
        node.parts = [(position, _node(part)) for position, part in enumerate(inner)]
    elif kind in (DICT, OBJECT):
        pairs = zip(inner[::2], inner[1::2], strict=True)
        node.parts = [(key, _node(part)) for key, part in pairs]
    else:
        raise ValueError(kind)
    return node


def _literal(value: Any) -> Node:
    return Node(None, value, mark_of(SCALARS[type(value)](value)), clear=True)


def _is_mark(key: Any) -> bool:
    return type(key) is bytes


# --- from leaves ----------------------------------------------------------------------------------

_CONTAINERS: Mapping[bytes, int] = {b"[": LIST, b"(": TUPLE, b"{": DICT}


def of_leaf(leaf: bytes) -> Node:
    """What a leaf itself tells: everything, if it is short; nothing if it is a digest.

    >>> of_leaf(Walk().leaf([1, "a"])).text, of_leaf(Walk().leaf("a" * 100)).text
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
