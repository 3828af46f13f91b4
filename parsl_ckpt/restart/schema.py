"""What the fields of a dataclass are: types as plain trees, and what changed between two of them.

Rule of this file: pure, and structural.  Classes count by what is in them, not by where they stand;
types count as they are resolved, not as they are spelled.  What cannot be resolved is *any*.

A tree is text (the name of a class), or a list that begins with what it is::

    "int"   ["list", T]   ["dict", K, V]   ["tuple", T, "..."]   ["union", T, ...]   ["any"]
    ["literal", text, ...]   ["enum", name]   ["dataclass", {field: [T, has a default]}]
    ["up", n]     the dataclass that stands n dataclasses further out
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import sys
import types
import typing
import weakref
from typing import Any

from parsl_ckpt.signatures import annotations_of

Tree = Any
ANY: Tree = ["any"]
_hints: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()
_trees: weakref.WeakKeyDictionary[type, Tree] = weakref.WeakKeyDictionary()
_described: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def hints(kind: Any, sample: Any = None) -> dict[str, Any]:
    """The resolved type of each field of a dataclass.

    Args:
        kind: the class.
        sample: an instance: classes that only a function knows are found among its values.
    """
    found = _hints.get(kind)
    if found is None:
        found = _hints[kind] = _resolve(kind, sample)
    return found


def describe(kind: type, sample: Any = None) -> Tree:
    """The tree of a dataclass.

    Args:
        kind: the class.
        sample: an instance, as for :func:`hints`.
    """
    found = _trees.get(kind)
    if found is None:
        hints(kind, sample)
        found = _trees[kind] = _dataclass(kind, (), sample)
    return found


def described(kind: type, sample: Any = None) -> bytes:
    """The tree of a dataclass as bytes."""
    found = _described.get(kind)
    if found is None:
        found = _described[kind] = dumps(describe(kind, sample))
    return found


def dumps(tree: Tree) -> bytes:
    """A tree as bytes; equal ones give equal bytes."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def loads(data: bytes) -> Tree:
    """The tree in some bytes; ``ANY`` if they hold none."""
    try:
        return json.loads(data)
    except ValueError:
        return ANY


def changes(then: Tree, now: Tree, path: str = "") -> list[str]:
    """What has changed in a way that keeps values from being taken over, one sentence each.

    A field that is new and has a default is no such change; nor is a type that allows what the
    former one allowed.
    """
    if _kind(then) == _kind(now) == "dataclass":
        return _changed_fields(then[1], now[1], path)
    if _accepts(then, now):
        return []
    inner = _inside(then, now, path)
    if inner:
        return inner
    return [f"{path or 'it'} was {text(then)} and is {text(now)}"]


def text(tree: Tree) -> str:
    """A tree as it would be written in Python."""
    kind = _kind(tree)
    if kind is None:
        return str(tree)
    rest = tree[1:]
    if kind == "any":
        return "Any"
    if kind == "union":
        return " | ".join(map(text, rest))
    if kind == "dataclass":
        return "a dataclass with " + (", ".join(sorted(rest[0])) or "no fields")
    if kind == "enum":
        return str(rest[0])
    if kind == "literal":
        return f"Literal[{', '.join(map(str, rest))}]"
    return f"{kind}[{', '.join(map(text, rest))}]" if rest else kind


# --- comparing ------------------------------------------------------------------------------------


def _kind(tree: Tree) -> str | None:
    return tree[0] if isinstance(tree, list) and tree and isinstance(tree[0], str) else None


def _changed_fields(then: dict[str, Any], now: dict[str, Any], path: str) -> list[str]:
    prefix = f"{path}." if path else ""
    found: list[str] = []
    added = [name for name in now if name not in then]
    for name in then:
        if name not in now:
            told = f"field {prefix}{name} was removed"
            twins = [new for new in added if not changes(then[name][0], now[new][0])]
            if len(twins) == 1:
                told += f" (or renamed to {twins[0]})"
            found.append(told)
    for name in added:
        if not now[name][1]:
            found.append(f"field {prefix}{name} is new and has no default")
    for name in then:
        if name in now:
            inner = changes(then[name][0], now[name][0], f"{prefix}{name}")
            found += [one if one.startswith("field ") else f"field {one}" for one in inner]
    return found


def _accepts(then: Tree, now: Tree) -> bool:
    if then == now or ANY in (then, now):
        return True
    first, second = _kind(then), _kind(now)
    if first == "union":
        return all(_accepts(one, now) for one in then[1:])
    if second == "union":
        return any(_accepts(then, one) for one in now[1:])
    if first != second or first is None:
        return False
    if first == "literal":
        return set(then[1:]) <= set(now[1:])
    if first == "dataclass":
        return not _changed_fields(then[1], now[1], "")
    if first in ("enum", "up") or len(then) != len(now):
        return False
    return all(_accepts(one, other) for one, other in zip(then[1:], now[1:], strict=True))


def _inside(then: Tree, now: Tree, path: str) -> list[str]:
    """Changes of the one dataclass that stands somewhere in both types."""
    before, after = _only(then), _only(now)
    if before is None or after is None or _outside(then) != _outside(now):
        return []
    return _changed_fields(before[1], after[1], path)


def _only(tree: Tree) -> Tree | None:
    if _kind(tree) == "dataclass":
        return tree
    if not isinstance(tree, list):
        return None
    found = [one for one in map(_only, tree[1:]) if one is not None]
    return found[0] if len(found) == 1 else None


def _outside(tree: Tree) -> Tree:
    if _kind(tree) == "dataclass":
        return "dataclass"
    return [_outside(one) for one in tree] if isinstance(tree, list) else tree


# --- describing -----------------------------------------------------------------------------------


def _dataclass(kind: Any, above: tuple[type, ...], sample: Any = None) -> Tree:
    if kind in above:
        return ["up", len(above) - above.index(kind) - 1]
    known = hints(kind, sample)
    fields = {}
    for field in dataclasses.fields(kind):
        optional = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        fields[field.name] = [_tree(known.get(field.name, Any), (*above, kind)), optional]
    return ["dataclass", fields]


def _tree(hint: Any, above: tuple[type, ...]) -> Tree:
    hint = bare(hint)
    if hint is Any or hint is object:
        return ANY
    if hint is None or hint is type(None):
        return "None"
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union([_tree(one, above) for one in arguments])
    if origin in _BARE and not arguments:  # typing.List, without saying of what
        hint, origin = origin, None
    if origin is typing.Literal:
        return ["literal", *sorted(repr(one) for one in arguments)]
    if origin is not None:
        return _generic(origin, arguments, above)
    if not isinstance(hint, type):
        return ANY
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, above)
    if issubclass(hint, enum.Enum):
        return ["enum", hint.__qualname__]
    if hint.__module__ == "numpy" and hint.__name__ == "ndarray":
        return ["ndarray"]
    # list and list[Any] are one type
    if hint in _BARE:
        return [hint.__qualname__, *[ANY] * _BARE[hint]] if hint is not tuple else _ANY_TUPLE
    return hint.__qualname__


def _generic(origin: Any, arguments: tuple[Any, ...], above: tuple[type, ...]) -> Tree:
    name = getattr(origin, "__qualname__", str(origin))
    if getattr(origin, "__module__", "") == "numpy" and name == "ndarray":
        # What says the shape is spelled differently by each version of numpy.
        dtypes = [typing.get_args(one) for one in arguments[1:]]
        kinds = [one[0] for one in dtypes if one and isinstance(one[0], type)]
        return ["ndarray", *[one.__name__ for one in kinds]]
    if dataclasses.is_dataclass(origin):
        return _dataclass(origin, above)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return ["tuple", _tree(arguments[0], above), "..."]
    if origin is collections.abc.Callable:
        return ANY
    return [name, *[_tree(one, above) for one in arguments]]


def _union(members: list[Tree]) -> Tree:
    flat: list[Tree] = []
    for one in members:
        flat += one[1:] if _kind(one) == "union" else [one]
    if ANY in flat:
        return ANY
    distinct = {dumps(one): one for one in flat}
    ordered = [distinct[mark] for mark in sorted(distinct)]
    return ordered[0] if len(ordered) == 1 else ["union", *ordered]


_BARE: dict[type, int] = {list: 1, set: 1, frozenset: 1, dict: 2, tuple: 0}
_ANY_TUPLE: Tree = ["tuple", ANY, "..."]


def bare(hint: Any) -> Any:
    """A type without what says nothing about values: Annotated, Final, NewType, a variable."""
    while True:
        if hasattr(hint, "__metadata__"):
            hint = hint.__origin__
        elif typing.get_origin(hint) in (typing.Final, typing.ClassVar):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif isinstance(hint, typing.TypeVar):
            bound = hint.__bound__
            hint = bound if bound is not None else Any
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif type(typing.get_origin(hint)).__name__ == "TypeAliasType":
            hint = typing.get_origin(hint).__value__[typing.get_args(hint)]
        elif isinstance(hint, (str, typing.ForwardRef)) or type(hint) is dataclasses.InitVar:
            return Any
        else:
            return hint


# --- resolving ------------------------------------------------------------------------------------


def _resolve(kind: type, sample: Any) -> dict[str, Any]:
    local = _names(kind, sample)
    try:
        return typing.get_type_hints(kind, None, local)
    except Exception:
        pass
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        found[field.name] = _resolve_one(kind, field, local)
    return found


def _resolve_one(kind: type, field: dataclasses.Field[Any], local: dict[str, Any]) -> Any:
    """One field by itself, where another one cannot be resolved."""
    for base in kind.__mro__:
        if field.name in annotations_of(base):
            around = vars(sys.modules.get(base.__module__, typing))

            def holder() -> None: ...

            holder.__annotations__ = {field.name: field.type}
            try:
                return typing.get_type_hints(holder, around, local)[field.name]
            except Exception:
                return Any
    return Any


def _names(kind: type, sample: Any) -> dict[str, Any]:
    """Names that mean something to a class which stands in a function."""
    names: dict[str, Any] = {kind.__name__: kind}
    if "<locals>" not in kind.__qualname__:
        return names
    for field in dataclasses.fields(kind):
        value = getattr(sample, field.name, None)
        made = field.default_factory if isinstance(field.default_factory, type) else None
        for one in (value, *_first_items(value), field.default, made):
            inner: Any = one if isinstance(one, type) else type(one)
            if "<locals>" in inner.__qualname__:
                names.setdefault(inner.__name__, inner)
                if dataclasses.is_dataclass(inner) and inner is not kind:
                    hints(inner, None if isinstance(one, type) else one)
    return names


def _first_items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for pair in list(value.items())[:16] for one in pair]
    return list(value)[:16] if isinstance(value, (list, tuple, set, frozenset)) else []
