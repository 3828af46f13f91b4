"""Questions about live objects that the walk over code asks: what, whose, and can it change?

Rule of this file: nothing here changes what it looks at, imports a user's module, or fails.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import importlib.util
import logging
import sys
import types
from types import CellType, FunctionType, ModuleType
from typing import Any

from .origin import OURS, PROJECT, STANDARD, origin_of_module, origin_of_path
from .scalars import IMMUTABLE_SCALARS
from .values import named
from .walk import Expanded

MISSING = object()


class _ByName:
    """Code inside a value that is reported counts by name there: it has a leaf of its own."""

    def function(self, function: FunctionType) -> Expanded:
        return named(b"q", function.__qualname__)

    def class_(self, cls: type) -> Expanded:
        return named(b"k", cls.__qualname__)

    def module(self, module: ModuleType) -> bytes:
        return named(b"n", "module", module.__name__)


class _ById:
    """Code inside a value that is watched within this process is itself, and watched already."""

    def function(self, function: FunctionType) -> Expanded:
        return b"q%d" % id(function)

    def class_(self, cls: type) -> Expanded:
        return b"k%d" % id(cls)

    def module(self, module: ModuleType) -> bytes:
        return b"n%d" % id(module)


BY_NAME, BY_ID = _ByName(), _ById()

NAMED_TUPLE = frozenset(
    {
        "_fields",
        "_field_defaults",
        "_make",
        "_replace",
        "_asdict",
        "__new__",
        "__repr__",
        "__getnewargs__",
        "__replace__",
        "__match_args__",
        "__orig_bases__",
        "__slots__",
    }
)
VOLATILE = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__firstlineno__",
        "__static_attributes__",
        "_abc_impl",
        "__abstractmethods__",
    }
)
DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
)


def is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def is_enum_machinery(name: str, functions: list[FunctionType]) -> bool:
    """What ``enum`` itself leaves in a class; it differs between Python versions."""
    return (
        name.startswith("_")
        and name.endswith("_")
        and all(function.__globals__.get("__name__") == "enum" for function in functions)
    )


def is_generated(function: FunctionType) -> bool:
    """Made by dataclasses, attrs or enum from what the source of the class says."""
    filename = function.__code__.co_filename
    return filename.startswith("<") or origin_of_path(filename) != PROJECT


def content_of(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def builtins_of(namespace: dict[str, Any]) -> Any:
    found = namespace.get("__builtins__", builtins)
    return found if isinstance(found, ModuleType) else builtins


def unmangled(name: str, namespace: dict[str, Any]) -> str:
    """``__helper`` inside a class is ``_Class__helper``; which class is found by looking."""
    if name.startswith("__") and not name.endswith("__"):
        for key in namespace:
            if key.startswith("_") and key.endswith(name):
                return key
    return name


def late_attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except Exception:
        return sys.modules.get(f"{module.__name__}.{name}", MISSING)


def origin_unimported(name: str) -> str:
    """Whose module it is, without importing anything."""
    if name in sys.modules:
        return origin_of_module(name)
    top = name.partition(".")[0]
    if origin_of_module(top) == OURS:
        return OURS
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return STANDARD if top in sys.stdlib_module_names else "unresolved"
    if spec.origin in ("built-in", "frozen"):
        return STANDARD
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return origin_of_path(places[0]) if places else PROJECT


def is_code(value: Any) -> bool:
    """Functions, classes and modules: watched by their bindings, not by their content."""
    return isinstance(value, (FunctionType, type, ModuleType))


def carries_code(value: Any) -> bool:
    return isinstance(value, (FunctionType, type)) or (
        callable(value) and value is not MISSING and not isinstance(value, types.BuiltinMethodType)
    )


_FROZEN = IMMUTABLE_SCALARS | {range, types.MethodDescriptorType}
for _module, _names in {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "re": ("Pattern",),
    "pathlib": ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"),
    "zoneinfo": ("ZoneInfo",),
}.items():
    _FROZEN |= {getattr(importlib.import_module(_module), name) for name in _names}


def is_frozen(value: Any) -> bool:
    """Whether a value can never change."""
    kind = type(value)
    if kind is types.BuiltinFunctionType:  # bound to a list, it changes with the list
        return value.__self__ is None or isinstance(value.__self__, ModuleType)
    if kind in _FROZEN or isinstance(value, (enum.Enum, logging.Logger)):
        return True
    if kind in (tuple, frozenset):
        return all(is_frozen(part) or is_code(part) for part in value)
    return kind is object
