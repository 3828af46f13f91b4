"""Code inside values: functions, classes, modules, and objects around a function.

Rule of this file: as an argument, code counts as it does for an app (its closure, not its name);
the class of an argument counts by name, and by code too where a user wrote it; inside the walk of
``reach.py`` all of it is part of that one graph.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import types
import typing
from importlib.machinery import EXTENSION_SUFFIXES
from types import FunctionType, ModuleType
from typing import Any, cast

from ..errors import FileIdentityError, UnidentifiableValueError
from .files import content_digest
from .kinds import reduced
from .lookups import BY_ID
from .origin import INSTALLED, OURS, PROJECT, STANDARD, origin_of, origin_of_module, public_name
from .reach import Reach, installed_leaf, is_made_here
from .values import _FALLBACK, _OPAQUE, BY_CLASS, BY_TYPE, Refused, Walk, named
from .walk import ORDERED, Expanded, Known, digest_of

_EXTENSIONS = tuple(EXTENSION_SUFFIXES)


def _class_of(value: type, walk: Walk) -> Expanded:
    if value is typing.Any:  # a class since Python 3.11
        return b"v", ORDERED, ["typing", "Any"]
    if walk.inline is not None:
        return cast("Expanded", walk.inline.class_(value))
    origin = origin_of(value)
    if origin in (STANDARD, OURS):
        return named(b"k", origin, public_name(str(value.__module__)), value.__qualname__)
    return b"k" + _digest(value)


def _function_of(value: FunctionType, walk: Walk) -> Expanded:
    if walk.inline is not None:
        return cast("Expanded", walk.inline.function(value))
    return b"q" + _digest(value)


def _module_of(value: ModuleType, walk: Walk) -> Expanded:
    if walk.inline is not None:
        return cast("Expanded", walk.inline.module(value))
    return b"n" + _digest(value) if is_made_here(value) else Reach().module(value)


def _digest(value: Any) -> bytes:
    from .code import code_digest_of  # code.py is made of this file

    return code_digest_of(value)


def class_part(kind: type, walk: Walk) -> Any:
    """The part that stands for the class of a value: installed and standard ones count by name."""
    if walk.inline is not None and origin_of(kind) == PROJECT:
        return kind
    if origin_of(kind) != PROJECT:
        return Known(named(b"k", public_name(str(kind.__module__)), kind.__qualname__))
    names = str(kind.__module__).encode(), kind.__qualname__.encode()
    return Known(b"k" + digest_of(*names, _digest(kind)))


def _builtin(value: Any, walk: Walk) -> Expanded:
    """A function in C: by name; a bound one by what it is bound to as well."""
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        return b"v", ORDERED, ["bound", owner, value.__name__]
    owner = getattr(value, "__objclass__", None)
    module = getattr(value, "__module__", None) or getattr(owner, "__module__", None) or "builtins"
    leaf = named(
        b"n",
        "builtin",
        public_name(str(module)),
        str(getattr(value, "__qualname__", value.__name__)),
    )
    return _with_its_files(leaf, str(module))


def _with_its_files(leaf: bytes, module: str) -> Expanded:
    """The leaf of compiled code and of where it comes from, as far as that can change.

    What is installed counts by version; an extension that was built in place, as in an editable
    install, has none and counts by its file.
    """
    origin = origin_of_module(module) if module else STANDARD
    if origin == INSTALLED:
        return b"v", ORDERED, [Known(leaf), Known(installed_leaf(module))]
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    if origin == PROJECT and file.endswith(_EXTENSIONS):
        with contextlib.suppress(FileIdentityError):
            return b"v", ORDERED, [Known(leaf), content_digest(file)]
    return leaf


_homes: dict[int, tuple[Any, str]] = {}


def _home(value: Any) -> str:
    """The extension module that a compiled object was born in; it knows none itself.

    Universal functions of scipy, what f2py makes of Fortran and cffi's libraries are such.
    """
    known = _homes.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    for name, module in sorted(sys.modules.items()):
        space = getattr(module, "__dict__", None) or {}
        if not str(space.get("__file__")).endswith(_EXTENSIONS):
            continue
        if any(other is value for other in list(space.values())):
            _homes[id(value)] = value, name  # which lives as long as that module
            return name
    return ""


def compiled(value: Any, leaf: bytes) -> Expanded:
    """A compiled object that does not say where it comes from: by name, and by where it stands."""
    return _with_its_files(leaf, _home(value))


def _logger(value: logging.Logger, walk: Walk) -> Expanded:
    return named(b"n", "logger", "" if walk.opaque else value.name)


def _wrapper_or_reduced(value: Any, walk: Walk) -> Expanded:
    """Objects around a function (apps, caches, compiled functions) by it; all others reduce."""
    if callable(value) and origin_of(type(value)) != PROJECT:
        for name in ("__wrapped__", "py_func"):
            # Looked up without __getattr__: a mock has every attribute, and each of those again.
            inner = inspect.getattr_static(value, name, None)
            if callable(inner):
                kind = type(value)
                return b"v", ORDERED, ["wrapper", kind.__module__, kind.__qualname__, inner]
    if walk.inline is not None and origin_of(type(value)) == OURS:
        return named(b"n", "ours", type(value).__qualname__)
    if walk.opaque and origin_of(type(value)) != PROJECT:
        # A pool or a session is more than the parts of it that could be identified.
        probe = Walk()
        probe.inline = BY_ID
        try:
            probe.leaf(value)
        except UnidentifiableValueError as error:
            raise Refused(value) from error
    expanded = reduced(value, walk)
    if isinstance(expanded, bytes) and expanded[0] & 0x7F == ord("n") and callable(value):
        return _with_its_files(expanded, str(getattr(value, "__module__", "")))
    return expanded


def _opaque(value: Any, walk: Walk) -> Expanded:
    """What has no identity, reached by code: its kind, and that by code where a user wrote it."""
    kind = type(value)
    if origin_of(kind) == PROJECT:
        return b"?", ORDERED, [class_part(kind, walk)]
    found = named(b"?", kind.__module__, kind.__qualname__)
    return compiled(value, found) if kind.__name__ in ("fortran", "Lib") else found


_FALLBACK[:] = [_wrapper_or_reduced]
_OPAQUE[:] = [_opaque]
BY_CLASS[type] = _class_of
BY_CLASS[ModuleType] = _module_of
BY_CLASS[logging.Logger] = _logger
BY_TYPE[FunctionType] = _function_of
for _type in (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
):
    BY_TYPE[_type] = _builtin
