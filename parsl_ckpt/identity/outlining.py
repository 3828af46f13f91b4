"""Making outlines: what of an argument is told, within so many bytes.

Rule of this file: level by level from the top, each container with as many of its parts as there is
room for; what is not told is counted.  The parts' leaves are those which the walk over the argument
has found already, so no part is digested twice, and nothing of the user's is called but attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from .outline import (
    DESCRIBED,
    DICT,
    FILE,
    LIST,
    LONGEST,
    MANY,
    MARK,
    OBJECT,
    PATH,
    REST,
    TOLD,
    TUPLE,
    WHOLE,
    Node,
    mark_of,
    of_leaf,
)
from .preview import text_of
from .privacy import Privacy
from .scalars import SCALARS
from .values import Walk
from .walk import Known

_encode = msgspec.msgpack.Encoder().encode
_ARRAYS = frozenset({"numpy", "pandas", "torch", "pyarrow", "xarray", "jax", "jaxlib", "polars"})


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
        share = self._left // max(len(arguments), 1) - 16
        longest = min(max(share, PATH), WHOLE)
        roots = [self._summary(value, leaf, longest=longest) for value, leaf, _ in arguments]
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

    def _summary(self, value: Any, leaf: bytes, hidden: bool = False, longest: int = PATH) -> Node:
        """A node without its parts; of texts that many bytes."""
        node = Node(mark=mark_of(self._privacy.secret(leaf) if hidden else leaf))
        if type(value) is Known:
            if self._clear and not hidden:
                known = of_leaf(value.leaf)
                if known.clear and _short(known.value):
                    node = known
        elif not hidden:
            node.kind, text = _kind_of(value, longest)
            node.source = value
            if node.kind is None and self._clear:
                text = text_of(leaf)
                text = text if 0 < len(text) <= LONGEST else ""
                node.kind = DESCRIBED if text else None
            if node.kind is not None:
                node.value = text if self._clear else ""
            if node.kind in TOLD and not self._clear:
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
        deeper: list[Node] = []
        clear, secret, keyed = self._clear, self._privacy.names, node.kind in (DICT, OBJECT)
        for position, (key, part) in enumerate(items):
            hidden = type(key) is str and key in secret
            if clear and not hidden and _short(part):
                child = Node(None, part, clear=True)
                size = _size(part)
            else:
                leaf = leaf_of(part, walk)
                if leaf is None:
                    return []
                child = self._summary(part, leaf, hidden)
                size = child.size
            shown = key
            if keyed:
                shown = self._key(key)
                size += _size(shown) if type(shown) is not bytes else 2 + MARK
            if size > room:
                node.rest = len(items) - position
                break
            room -= size
            kept.append((shown, child))
            if child.source is not None:
                deeper.append(child)
        if not kept:
            node.rest = 0
            return []
        node.parts = kept
        self._left = room
        return deeper

    def _key(self, key: Any) -> Any:
        if self._clear and _short(key):
            return key
        try:
            return mark_of(Walk().leaf(key))
        except Exception:
            return b"?"


def leaf_of(part: Any, walk: Walk) -> bytes | None:
    """The leaf of a part of what was walked; None if that is not known without more ado."""
    encode = SCALARS.get(type(part))
    return walk.known(part) if encode is None else encode(part)


def _kind_of(value: Any, longest: int = PATH) -> tuple[int | None, str]:
    kind = type(value)
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    if module in _ARRAYS:
        return DESCRIBED, _array_text(value)
    if kind is str or module == "pathlib":
        return DESCRIBED, _ends(value, longest)
    if kind is datetime:
        return DESCRIBED, value.isoformat()
    if kind is timedelta:
        parts = (value.days, value.seconds, value.microseconds)
        return DESCRIBED, f"timedelta{parts}"
    if isinstance(value, Enum):
        return DESCRIBED, f"{kind.__qualname__}.{value.name}"[-PATH:]
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
            return FILE, _ends(value.__fspath__(), longest)
        except Exception:
            return None, ""
    if _names_of(value):
        return OBJECT, kind.__name__
    return None, ""


def _ends(value: Any, longest: int) -> str:
    """A long text by its beginning and its end: of paths, the end tells most."""
    text = str(value)
    if len(text) > PATH and (len(text) > longest or _width(text) > longest):
        text = f"{text[:16]}...{text[19 - PATH :]}"
    return repr(text)


def _width(text: str) -> int:
    return len(repr(text).encode("utf-8", "replace"))


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
        if len(text) > LONGEST or not text.isprintable():
            return False
        return text.isascii() or len(text.encode()) <= LONGEST
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    return kind is float or kind is bool or value is None


def _size(value: Any) -> int:
    """Bytes that a short value takes."""
    kind = type(value)
    if kind is str:
        return 1 + (len(value) if value.isascii() else len(value.encode()))
    if kind is int:
        return 1 if -32 <= value < 128 else 3 if -(1 << 15) <= value < 1 << 16 else 9
    return 9 if kind is float else 1


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


def _plain(node: Node, whole: bool = True) -> Any:
    """A node as MessagePack knows it; with its parts, if ``whole``."""
    if node.clear:
        return node.value
    if node.kind is None or (node.kind not in TOLD and whole and not node.parts):
        return node.mark
    if node.kind in TOLD:
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
