"""Identities of the standard library's types, and of every object that reduces.

Rule of this file: an expander gives the parts that make two values of the type different, each part
a value itself, in a form that does not depend on the Python version.
"""

from __future__ import annotations

import collections
import contextvars
import copyreg
import datetime
import decimal
import enum
import fractions
import functools
import gc
import pathlib
import re
import struct
import sys
import types
import typing
import uuid
import weakref
import zoneinfo
from array import array
from collections.abc import Callable
from typing import Any

from .values import _FALLBACK, BY_CLASS, BY_TYPE, LAZY, Refused, Walk, named
from .walk import ORDERED, PAIRS, SORTED, Expanded, Known, join_leaves, seal_buffers

Parts = Callable[[Any], "list[Any]"]


def _plain(name: str, parts: Parts) -> Any:
    """An expander for a type that is told from all others by a name of ours."""

    def expand(value: Any, walk: Walk) -> Expanded:
        return b"v", ORDERED, [name, *parts(value)]

    return expand


def _fold_time(value: Any) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo]


def _zone(value: zoneinfo.ZoneInfo) -> list[Any]:
    if value.key is None:
        raise Refused(value, "it was read from a file and has no key")
    return [value.key]


_PLAIN: dict[type, tuple[str, Parts]] = {
    bytearray: ("bytearray", lambda v: [bytes(v)]),
    range: ("range", lambda v: [v.start, v.stop, v.step]),
    slice: ("slice", lambda v: [v.start, v.stop, v.step]),
    decimal.Decimal: ("Decimal", lambda v: [str(v)]),
    fractions.Fraction: ("Fraction", lambda v: [v.numerator, v.denominator]),
    datetime.date: ("date", lambda v: [v.isoformat()]),
    datetime.datetime: ("datetime", _fold_time),
    datetime.time: ("time", _fold_time),
    datetime.timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    zoneinfo.ZoneInfo: ("ZoneInfo", _zone),
    uuid.UUID: ("UUID", lambda v: [v.int]),
    re.Pattern: ("Pattern", lambda v: [v.pattern, v.flags]),
    types.SimpleNamespace: ("SimpleNamespace", lambda v: [vars(v)]),
    types.MappingProxyType: ("mappingproxy", lambda v: [dict(v)]),
    types.MethodType: ("method", lambda v: [v.__func__, v.__self__]),
    functools.partial: ("partial", lambda v: [v.func, v.args, v.keywords, vars(v)]),
    functools.partialmethod: ("partialmethod", lambda v: [v.func, v.args, v.keywords]),
    property: ("property", lambda v: [v.fget, v.fset, v.fdel]),
    staticmethod: ("staticmethod", lambda v: [v.__func__]),
    classmethod: ("classmethod", lambda v: [v.__func__]),
    functools.cached_property: ("cached_property", lambda v: [v.func]),
    collections.OrderedDict: ("OrderedDict", lambda v: [list(v.items()), vars(v)]),
    collections.defaultdict: ("defaultdict", lambda v: [v.default_factory, dict(v)]),
    collections.Counter: ("Counter", lambda v: [dict(v)]),
    collections.deque: ("deque", lambda v: [v.maxlen, list(v)]),
}
for _type, (_name, _parts) in _PLAIN.items():
    BY_TYPE[_type] = _plain(_name, _parts)
for _type in (
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    pathlib.WindowsPath,
):
    BY_TYPE[_type] = _plain(_type.__name__, lambda v: [str(v)])


def _array(value: array[Any], walk: Walk) -> Expanded:
    walk.weight += len(value) * value.itemsize >> 8
    return b"v", ORDERED, ["array", value.typecode, value.itemsize, sys.byteorder, value.tobytes()]


def _install_ipaddress(top: str) -> None:
    """What an IPv6 address reduces to is another in Python 3.10."""
    found: Any = sys.modules[top]
    for kind in (found.IPv6Address, found.IPv6Interface):
        BY_TYPE[kind] = _plain(kind.__name__, lambda v: [str(v)])


LAZY["ipaddress"] = _install_ipaddress


def _memoryview(value: memoryview, walk: Walk) -> Expanded:
    walk.weight += value.nbytes >> 8
    return b"v", ORDERED, ["memoryview", value.format, list(value.shape or ()), value.tobytes()]


def _struct(value: struct.Struct, walk: Walk) -> Expanded:
    return b"v", ORDERED, ["Struct", value.format]


def _comparison(value: Any, walk: Walk) -> Expanded:
    """``functools.cmp_to_key(f)``: it shows its function to nobody but the garbage collector."""
    inner = [part for part in gc.get_referents(value) if part is not type(value)]
    return b"v", ORDERED, ["cmp_to_key", *inner]


def _reference(value: weakref.ref[Any], walk: Walk) -> Expanded:
    """A weak reference that code reaches; as an argument it would not outlive the call."""
    if not walk.opaque:
        raise Refused(value, "what it refers to may be gone by then")
    return b"v", ORDERED, ["ref", value()]


def _context_variable(value: contextvars.ContextVar[Any], walk: Walk) -> Expanded:
    """A context variable that code reaches: its default, for a worker has a context of its own."""
    if not walk.opaque:
        raise Refused(value, "its value depends on who asks")
    try:
        default = [contextvars.Context().run(value.get)]
    except LookupError:
        default = []
    return b"v", ORDERED, ["ContextVar", value.name, default]


BY_TYPE[struct.Struct] = _struct
BY_TYPE[type(functools.cmp_to_key(max))] = _comparison
BY_TYPE[weakref.ref] = _reference
BY_TYPE[contextvars.ContextVar] = _context_variable
BY_TYPE[array] = _array
BY_TYPE[memoryview] = _memoryview


def _enum(value: enum.Enum, walk: Walk) -> Expanded:
    # By member: the name tells it; flags have members without a name, or with a made up one.
    identity = value.value if isinstance(value, enum.Flag) else value.name
    return b"m", ORDERED, [walk_class(value, walk), identity]


BY_CLASS[enum.Enum] = _enum


def walk_class(value: Any, walk: Walk) -> Any:
    """The part that stands for the class of a value (``living.py`` knows how)."""
    return _class_part(type(value), walk)


def _class_part(kind: type, walk: Walk) -> Any:
    from .living import class_part  # living.py imports this file

    globals()["_class_part"] = class_part
    return class_part(kind, walk)


# --- types and generics ---------------------------------------------------------------------------


def _generic(value: Any, walk: Walk) -> Expanded:
    """``list[int]``, ``Optional[str]``, ``int | None``, ``Literal[1]`` and the like."""
    origin = typing.get_origin(value)
    arguments = typing.get_args(value)
    if origin is None:
        return b"v", ORDERED, ["typing", _typing_name(value)]
    if origin is typing.Union or origin is getattr(types, "UnionType", None):
        return b"V", SORTED, ["Union", *arguments]
    if origin is typing.Annotated:
        return b"v", ORDERED, ["Annotated", *arguments]
    builtin = isinstance(value, types.GenericAlias)  # list[int] is not typing.List[int]
    return b"v", ORDERED, ["generic", builtin, origin, list(arguments)]


def _typing_name(value: Any) -> str:
    return str(getattr(value, "_name", None) or getattr(value, "__name__", None) or repr(value))


def _type_variable(value: Any, walk: Walk) -> Expanded:
    bound = getattr(value, "__bound__", None)
    limits = list(getattr(value, "__constraints__", ()))
    parts = ["typevar", type(value).__name__, value.__name__, bound, limits]
    # Only what is not as usual, so that ordinary ones keep their identity of earlier releases.
    marks = ("covariant", "contravariant", "infer_variance")
    parts += [mark for mark in marks if getattr(value, f"__{mark}__", False)]
    if getattr(value, "has_default", bool)():  # since Python 3.13
        parts += ["default", value.__default__]
    return b"v", ORDERED, parts


BY_TYPE[types.GenericAlias] = _generic
BY_TYPE[types.UnionType] = _generic
_forms: tuple[Any, ...] = (typing.Optional[int], typing.List[int], typing.List, typing.Union)  # noqa: UP006, UP045
for _form in _forms:
    if type(_form) is not type:
        BY_CLASS.setdefault(type(_form), _generic)
for _base in ("_BaseGenericAlias", "_SpecialForm"):
    if hasattr(typing, _base):
        BY_CLASS[getattr(typing, _base)] = _generic
for _type_name in ("TypeVar", "ParamSpec", "TypeVarTuple"):
    if hasattr(typing, _type_name):
        BY_CLASS[getattr(typing, _type_name)] = _type_variable


def _alias(value: Any, walk: Walk) -> Expanded:
    """``type A = ...``, which is evaluated when it is first asked for."""
    try:
        meant = value.__value__
    except Exception as error:
        raise Refused(value, str(error)) from error
    return b"v", ORDERED, ["alias", value.__name__, list(value.__type_params__), meant]


if hasattr(typing, "TypeAliasType"):  # since Python 3.12
    BY_TYPE[typing.TypeAliasType] = _alias


BY_TYPE[typing.NewType] = lambda v, walk: (
    b"v", ORDERED, ["NewType", v.__name__, v.__supertype__]
)  # fmt: skip


def _forward(value: typing.ForwardRef, walk: Walk) -> Expanded:
    return b"v", ORDERED, ["ForwardRef", value.__forward_arg__]


BY_CLASS[typing.ForwardRef] = _forward


# --- everything else ------------------------------------------------------------------------------


def reduced(value: Any, walk: Walk) -> Expanded:
    """An object by its class and by what it reduces to, the way pickle takes it apart."""
    kind = type(value)
    if kind is object:
        return _sentinel(value)
    reducer = copyreg.dispatch_table.get(kind)
    try:
        result = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception as error:
        raise Refused(value, str(error)) from error
    if isinstance(result, str):
        if callable(value) and hasattr(value, "__qualname__"):  # a compiled function
            return named(b"n", "builtin", getattr(value, "__module__", ""), value.__qualname__)
        place = str(getattr(value, "__module__", ""))
        return b"O", ORDERED, [walk_class(value, walk), place, result]
    if not isinstance(result, tuple) or not 2 <= len(result) <= 6:
        raise Refused(value, "its __reduce_ex__ gives neither a name nor a tuple")
    padded: list[Any] = [*result, None, None, None, None]
    function, arguments, state, items, pairs, setter = padded[:6]
    if getattr(kind, "__reduce__", None) in _OF_SETS and function is kind:
        arguments = (frozenset(arguments[0]),)  # a list, in an order of this process
    parts: list[Any]
    if getattr(function, "__name__", "") == "__newobj__":
        parts = ["new", Known(b"-"), list(arguments[1:])]
    elif getattr(function, "__name__", "") == "__newobj_ex__":
        parts = ["new", Known(b"-"), [list(arguments[1]), arguments[2]]]
    else:
        parts = ["call", Known(b"-") if function is kind else function, list(arguments)]
    slots = None
    if type(state) is tuple and len(state) == 2 and _is_state(state[0]) and _is_state(state[1]):
        state, slots = state
    if type(state) is dict and state:
        state = _without_cached(kind, state) or None  # as before anything was remembered
    parts += [state or None, slots or None]
    if state is None and not slots and parts[2] == [] and items is None and pairs is None:
        parts.append(_constant_name(value))
    if items is not None:
        parts += ["items", list(items)]
    if pairs is not None:
        content = [part for pair in pairs for part in pair]
        parts += [
            "pairs",
            content if isinstance(value, collections.OrderedDict) else _Pairs(content),
        ]
    if setter is not None:
        parts += ["setter", setter]
    return b"o", ORDERED, [walk_class(value, walk), *parts]


_FALLBACK.append(reduced)


def _exception(value: BaseException, walk: Walk) -> Expanded:
    """What it reduces to, and what it was raised from, which pickle loses."""
    expanded = _FALLBACK[0](value, walk)
    if value.__cause__ is None or isinstance(expanded, bytes):
        return expanded
    tag, arrangement, parts = expanded
    return tag, arrangement, [*parts, "cause", value.__cause__]


BY_CLASS[BaseException] = _exception


class _Pairs:
    """Keys and values that count in any order, without being a dictionary."""

    def __init__(self, content: list[Any]) -> None:
        self.content = content


def _pairs(value: _Pairs, walk: Walk) -> Expanded:
    return b"{", PAIRS, value.content


BY_TYPE[_Pairs] = _pairs


_OF_SETS = (set.__reduce__, frozenset.__reduce__)


def _is_state(value: Any) -> bool:
    return value is None or type(value) is dict


_REMEMBERED = {"scipy": ("_has_sorted_indices", "_has_canonical_format")}
"""By library: what its objects learn about themselves in use, other than by cached_property."""


def _without_cached(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """A state without what was worked out from the rest of it: it says nothing new."""
    remembered = _REMEMBERED.get(kind.__module__.partition(".")[0], ())
    cached = [
        name
        for name in state
        if name in remembered
        or isinstance(getattr(kind, name, None) if isinstance(name, str) else None,
                      functools.cached_property)
    ]  # fmt: skip
    if not cached:
        return state
    return {name: part for name, part in state.items() if name not in cached}


def _constant_name(value: Any) -> str | None:
    """The name under which the module of its class keeps an object that has no state.

    ``AUTO = Mode()`` and ``NONE = Mode()`` are different arguments although nothing is in them.
    """
    kind = type(value)
    if getattr(kind, "__eq__", None) is not object.__eq__:
        return None
    module = sys.modules.get(kind.__module__)
    for name, other in list(vars(module).items()) if module is not None else ():
        if other is value:
            return name
    return None


_sentinels: dict[int, tuple[Any, bytes]] = {}


def _sentinel(value: object) -> bytes:
    """``object()``: only its place tells it from others, so it needs a name in some module."""
    known = _sentinels.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    # A script that imports the sentinel has it too: __main__ is asked last.
    modules = sorted(sys.modules.items(), key=lambda item: (item[0] == "__main__", item[0]))
    for module_name, module in modules:
        for name, other in list(getattr(module, "__dict__", {}).items()):
            if other is value and module.__name__ == module_name:
                leaf = named(b"O", "object", module_name, name)
                _sentinels[id(value)] = value, leaf  # a module's sentinel lives as long as we do
                return leaf
    raise Refused(
        value,
        "an object() is told from another by nothing but its place in memory",
        "Make it a constant of a module, or use an Enum member.",
    )


def big_bytes(tag: bytes, head: bytes, *buffers: Any) -> bytes:
    """The leaf of a header and large buffers, none of which is copied."""
    return seal_buffers(tag, (join_leaves([head]), *buffers))


__all__ = ["big_bytes", "reduced", "walk_class"]
