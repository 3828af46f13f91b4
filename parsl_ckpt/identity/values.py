"""The identity of argument values: ``leaf(value)``, at most 40 bytes that hold in every process.

Rule of this file: two values have one leaf only if no pure function could tell them apart by their
type and content (dictionaries and sets: whatever their insertion order). ``1``, ``True``, ``1.0``
and ``"1"`` all differ, and so do ``0.0`` and ``-0.0``; a NaN is a NaN. What is not known by its
type is identified by what it reduces to (``__reduce_ex__``, as pickle would), never by pickle's
bytes, which depend on which parts are the same object. What does not reduce is refused: nothing is
guessed.

The types that need more than a line stand in ``kinds.py`` (standard library) and ``arrays.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import FileIdentityError, UnidentifiableValueError
from .scalars import PACKERS, SCALARS, WORTH_PACKING, encode_str
from .walk import (
    ORDERED,
    PAIRS,
    SORTED,
    Expanded,
    Known,
    combine,
    graph_leaf,
    join_leaves,
    seal,
)

Expander = Callable[[Any, "Walk"], Expanded]

NODE_LIMIT = 1_000_000
"""A value that keeps on unfolding (an object that reduces to new objects) is given up here."""

# --- the walk -------------------------------------------------------------------------------------


class _Cycle(Exception):
    """The recursive walk has met a value inside itself."""


class Refused(Exception):
    """A value without identity, before its place is known.

    Args:
        value: the culprit.
        why: what was tried, as the end of a sentence.
        hint: what to do, when there is something better than the general advice.
    """

    def __init__(self, value: Any, why: str = "", hint: str = "") -> None:
        super().__init__(why)
        self.value = value
        self.why = why
        self.hint = hint


_OPEN = b""
_PLAIN: dict[type, bytes] = {
    list: b"[",
    tuple: b"(",
    dict: b"{",
}  # walked without asking for their expander


class Walk:
    """One walk over one value; remembers by ``id()`` what it has seen.

    Args:
        opaque: what cannot be identified counts by the name of its type in place of being refused
            (for the objects that code reaches, where a lock or a connection is no argument).

    Attributes:
        weight: how much was walked, in parts; arrays count a part for each 256 bytes.
        inline: functions and classes are walked as parts of the same graph (set by ``code.py``).
    """

    __slots__ = ("_kept", "_seen", "inline", "opaque", "weight")

    def __init__(self, opaque: bool = False) -> None:
        self.opaque = opaque
        self.inline: Any = None
        self.weight = 0
        self._seen: dict[int, bytes] = {}
        self._kept: list[Any] = []

    def leaf(self, value: Any) -> bytes:
        """The leaf of a value.

        Raises:
            UnidentifiableValueError: a part of it has no identity.
        """
        try:
            try:
                return self.visit(value)
            except (_Cycle, RecursionError):
                self._seen.clear()
                self._kept.clear()
                try:
                    return graph_leaf(value, self.expand, NODE_LIMIT)
                except RecursionError:
                    raise Refused(value, "it unfolds without end") from None
        except Refused as refused:
            raise unidentifiable(value, refused) from (refused.__cause__ or refused.__context__)

    def known(self, value: Any) -> bytes | None:
        """The leaf of a part of what was walked, as long as that lives; None if it met none."""
        return self._seen.get(id(value)) or None

    def visit(self, value: Any) -> bytes:
        """The leaf of a value, by recursion."""
        kind = type(value)
        encode = SCALARS.get(kind)
        if encode is not None:
            return encode(value)
        seen = self._seen
        key = id(value)
        known = seen.get(key)
        if known is not None:
            if known is _OPEN:
                raise _Cycle
            return known
        seen[key] = _OPEN
        self._kept.append(value)  # while it lives, its id() is its own
        tag = _PLAIN.get(kind)
        if tag is not None:
            leaf = seal(tag, self._stream(value)) if kind is not dict else self._dict(value)
        else:
            expanded = self.expand(value)
            if isinstance(expanded, bytes):
                leaf = expanded
            else:
                tag, arrangement, parts = expanded
                if arrangement == ORDERED:
                    leaf = seal(tag, self._stream(parts))
                else:
                    leaf = combine(tag, arrangement, self._leaves(parts))
        seen[key] = leaf
        return leaf

    def expand(self, value: Any) -> Expanded:
        """The leaf of a value, or its parts; the one step of which both walks are made."""
        kind = type(value)
        encode = SCALARS.get(kind)
        if encode is not None:
            return encode(value)
        expander = _EXPANDERS.get(kind) or _expander_of(kind)
        try:
            return expander(value, self)
        except Refused:
            if not self.opaque:
                raise
            return _OPAQUE[0](value, self)

    def _leaves(self, parts: Iterable[Any]) -> list[bytes]:
        get = SCALARS.get
        visit = self.visit
        leaves = []
        for part in parts:
            encode = get(type(part))
            leaves.append(visit(part) if encode is None else encode(part))
        self.weight += len(leaves)
        return leaves

    def _stream(self, parts: Sequence[Any]) -> bytes:
        if len(parts) >= WORTH_PACKING:
            kinds = set(map(type, parts))
            if len(kinds) == 1:
                packer = PACKERS.get(kinds.pop())
                if packer is not None:
                    stream = packer(parts)
                    if stream is not None:
                        self.weight += len(parts)
                        return stream
        return join_leaves(self._leaves(parts))

    def _dict(self, value: dict[Any, Any]) -> bytes:
        items = list(value.items())  # a snapshot: another thread may be writing
        leaves = self._leaves([part for item in items for part in item])
        return combine(b"{", PAIRS, leaves)


def leaf(value: Any) -> bytes:
    """The identity of a value in at most 40 bytes.

    Args:
        value: an argument of a call.

    Returns:
        The canonical encoding, if it is short; else a tag and a 32-byte digest of it.

    Raises:
        UnidentifiableValueError: it contains what has no identity outside this process.

    >>> leaf({"a": 1, "b": [2.0]}) == leaf({"b": [2.0], "a": 1})
    True
    >>> len({leaf(1), leaf(True), leaf(1.0), leaf("1"), leaf(b"1"), leaf((1,)), leaf([1])})
    7
    """
    encode = SCALARS.get(type(value))
    if encode is not None:
        return encode(value)
    return Walk().leaf(value)


def named(tag: bytes, *names: str) -> bytes:
    """The leaf of what counts by its name."""
    return seal(tag, join_leaves([encode_str(str(name)) for name in names]))


# --- which expander a type has --------------------------------------------------------------------

BY_CLASS: dict[type, Expander] = {}
"""Expanders of these classes and of all that inherit from them."""

BY_TYPE: dict[type, Expander] = {}
"""Expanders of exactly these types."""

LAZY: dict[str, Callable[[str], None]] = {}
"""Top-level module of a type → what registers that library's types when one is first met."""

_EXPANDERS: dict[type, Expander] = {}  # resolved; only ever a copy of what the tables say
_FALLBACK: list[Expander] = []  # the reduction, registered by kinds.py
_OPAQUE: list[Expander] = []  # what has no identity but is reached by code: living.py


def _expander_of(kind: type) -> Expander:
    """Find and remember the expander of a type."""
    for base in kind.__mro__:
        top = base.__module__.partition(".")[0] if isinstance(base.__module__, str) else ""
        if top in LAZY:
            LAZY.pop(top)(top)
    try:
        custom = id_for_memo.dispatch(kind)
    except Exception:  # a metaclass whose classes cannot be compared
        custom = _by_leaf
    if custom is not _by_leaf:
        expander = _custom(custom)
    else:
        found = BY_TYPE.get(kind)
        if found is None:
            for base in kind.__mro__:
                found = BY_CLASS.get(base)
                if found is not None:
                    break
        expander = found or _FALLBACK[0]
    if len(_EXPANDERS) > 10_000:  # types made at run time
        _EXPANDERS.clear()
    _EXPANDERS[kind] = expander
    return expander


def _custom(function: Callable[[Any], bytes]) -> Expander:
    """The user's own identity of a type, which cannot meet that of any other type."""

    def expand(value: Any, walk: Walk) -> Expanded:
        try:
            answer = function(value)
        except (Refused, FileIdentityError):
            raise
        except Exception as error:
            raise Refused(value, f"its registered id_for_memo raised {error!r}") from error
        if not isinstance(answer, bytes):
            raise Refused(value, f"its registered id_for_memo gave {answer!r:.40}, not bytes")
        kind = type(value)
        return b"u", ORDERED, [kind.__module__, kind.__qualname__, bytes(answer)]

    return expand


def _sequence(tag: bytes) -> Expander:
    def expand(value: Any, walk: Walk) -> Expanded:
        walk.weight += len(value)
        return tag, ORDERED, value

    return expand


def _set(tag: bytes) -> Expander:
    def expand(value: Any, walk: Walk) -> Expanded:
        return tag, SORTED, list(value)

    return expand


def _mapping(value: Mapping[Any, Any], walk: Walk) -> Expanded:
    return b"{", PAIRS, [part for item in list(value.items()) for part in item]


BY_TYPE.update(
    {
        list: _sequence(b"["),
        tuple: _sequence(b"("),
        dict: _mapping,
        set: _set(b"<"),
        frozenset: _set(b">"),
    }
)


# --- the function that users extend ---------------------------------------------------------------


@functools.singledispatch
def id_for_memo(obj: Any, output_ref: bool = False) -> bytes:
    """The identity of a value as bytes; register a function to teach it a type of your own.

    Args:
        obj: the value.
        output_ref: the value names something that the app will write, so it counts by name and not
            by content.

    Returns:
        Bytes that agree for two values exactly if calls with them are the same call.

    Raises:
        UnidentifiableValueError: nothing is known about a part of the value.

    Source of the idea: Parsl's ``parsl.dataflow.memoization.id_for_memo``.

    >>> class Camera:
    ...     def __init__(self, serial): self.serial, self.handle = serial, open
    >>> @id_for_memo.register(Camera)
    ... def _(camera, output_ref=False):
    ...     return camera.serial.encode()
    >>> leaf(Camera("A7")) == leaf(Camera("A7")), leaf(Camera("A7")) == leaf("A7")
    (True, False)
    """
    return output_leaf(obj) if output_ref else leaf(obj)


_by_leaf = id_for_memo.dispatch(object)
_register = id_for_memo.register


@functools.wraps(_register)
def _register_and_forget(cls: Any, func: Any = None) -> Any:
    answer = _register(cls, func) if func is not None else _register(cls)
    if func is None and isinstance(cls, type) and answer is not cls:
        # register(T) as a decorator: what it returns calls register(T, function) later.
        def decorate(function: Any) -> Any:
            return _register_and_forget(cls, function)

        return decorate
    _EXPANDERS.clear()
    for kind in [kind for kind in SCALARS if kind is not Known]:
        if id_for_memo.dispatch(kind) is not _by_leaf:
            del SCALARS[kind]
    for kind in list(_PLAIN):
        if id_for_memo.dispatch(kind) is not _by_leaf:
            del _PLAIN[kind]
    return answer


id_for_memo.register = _register_and_forget  # type: ignore[method-assign]


def output_leaf(value: Any) -> bytes:
    """The leaf of what an app writes: files by name, inside lists, tuples and dicts too."""
    kind = type(value)
    if kind in (list, tuple):
        return leaf(kind(Known(output_leaf(part)) for part in value))
    if kind is dict:
        return leaf({key: Known(output_leaf(part)) for key, part in value.items()})
    custom = id_for_memo.dispatch(kind)
    if custom is not _by_leaf:
        try:
            answer = custom(value, output_ref=True)
        except TypeError:  # registered without the second parameter
            answer = custom(value)
        return leaf((kind.__module__, kind.__qualname__, "output", answer))
    name = getattr(value, "__fspath__", None)
    return leaf(value if name is None else str(name()))


# --- refusals -------------------------------------------------------------------------------------

_ADVICE = (
    "Pass what it was made from, register an identity with id_for_memo.register(type), "
    "or leave the parameter out with ignore_for_cache."
)


def unidentifiable(root: Any, refused: Refused) -> UnidentifiableValueError:
    """The error for a refusal, with the place of the culprit inside the value."""
    culprit = refused.value
    kind = type(culprit)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    path = _path_to(root, culprit)
    place = f" at {path}" if path else ""
    why = f" ({refused.why})" if refused.why else ""
    return UnidentifiableValueError(
        f"A value of type {name}{place} has no identity that holds in another process{why}.",
        hint=refused.hint or _ADVICE,
        path=path,
        type_name=name,
    )


def _path_to(root: Any, culprit: Any) -> str:
    """Where the culprit is inside the value, as Python would write it: ``["a"][0].lock``."""
    todo: list[tuple[Any, str]] = [(root, "")]
    seen = {id(root)}
    for value, path in todo:
        if value is culprit:
            return path
        if len(seen) > 100_000:
            break
        parts: list[tuple[Any, str]] = []
        if isinstance(value, Mapping):
            parts = [(part, f"[{key!r}]") for key, part in list(value.items())]
            parts += [(key, f" key {key!r}") for key in list(value)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            parts = [(part, f"[{position}]") for position, part in enumerate(list(value))]
        parts += [(part, f".{name}") for name, part in list(getattr(value, "__dict__", {}).items())]
        for part, step in parts:
            if id(part) not in seen:
                seen.add(id(part))
                todo.append((part, path + step))
    return ""
