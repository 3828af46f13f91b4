"""Everything that a function's code reaches, as one graph, and the bindings that led there.

Rule of this file: what Python would find under a name at run time is what counts. The walk goes
through the live objects (globals, closure cells, attributes of the user's modules and classes), and
notes each binding it followed, so that ``code.py`` can tell in a microsecond whether the answer
still holds. Names are looked up in the order in which Python does.

=====================  ============================================================================
reached                counts by
=====================  ============================================================================
function of a project  its unit (``units.py``), what it reaches, defaults, attributes
class of a project     its unit, bases, metaclass, the values of its attributes
module of a project    the attributes that are named after it; used bare, by its whole text
installed code         the distribution's name, version and RECORD digest
standard library       its name
values                 their leaf; functions and classes inside them as above
apps                   their function
locks, loggers, …      their kind: what has no identity never refuses here
=====================  ============================================================================
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterable
from types import CellType, FunctionType, ModuleType
from typing import Any

from ..errors import UnidentifiableValueError
from ..signatures import annotations_of
from .lookups import (
    BY_NAME,
    DESCRIPTORS,
    MISSING,
    NAMED_TUPLE,
    VOLATILE,
    builtins_of,
    carries_code,
    content_of,
    is_code,
    is_dunder,
    is_enum_machinery,
    is_frozen,
    is_generated,
    late_attribute,
    origin_unimported,
    unmangled,
)
from .origin import (
    INSTALLED,
    PROJECT,
    distribution_of,
    origin_of,
    origin_of_module,
    public_name,
)
from .scalars import SCALARS
from .scopes import Import
from .source import belongs, own_functions
from .units import Unit, class_unit, function_unit, text_digest
from .values import NODE_LIMIT, Walk, named
from .walk import ORDERED, Expanded, Known, digest_of, graph_leaf

_BY_PLACE = frozenset(
    {
        "__name__",
        "__file__",
        "__spec__",
        "__path__",
        "__package__",
        "__loader__",
        "__cached__",
        "__builtins__",
        "__debug__",
    }
)  # of a module: they change when a file moves
_TOLD = frozenset({"__name__", "__qualname__", "__doc__", "__annotations__"})
"""Of functions and classes: they do not count, unless code asks for them."""

_SAID = frozenset({"__slots__", "__match_args__"})
"""Of a class without source: what its body says that no other attribute shows."""

_SEES_ALL = frozenset({"globals", "eval", "exec"})
"""Who calls these may reach anything in the module, so all of its text counts."""

_SAFE = frozenset({int, float, str, bool, bytes, complex, type(None)})


_LAZY = getattr(types, "LazyImportType", None)  # since Python 3.15


def _imported(value: Any) -> Any:
    """What a lazy import gives; the value itself if it is none.

    What is reached is about to be used, and only what it is tells whether the code is the same.
    """
    if type(value) is not _LAZY:
        return value
    try:
        return value.resolve()
    except (Exception, SystemExit):
        return MISSING


def installed_leaf(module: str) -> bytes:
    """The leaf of an installed distribution."""
    return named(b"n", "distribution", *distribution_of(module))


def is_made_here(module: ModuleType) -> bool:
    """Whether a module was put together at run time: there is no file, so its attributes count."""
    space = vars(module)
    known = space.get("__file__") or space.get("__path__") or space.get("__spec__")
    return not known and module.__name__ != "__main__"


class Reach:
    """One resolution of everything that an object's code reaches.

    Attributes:
        namespaces: by id: a namespace and what was found in it under each name.
        absent: by id: a namespace and the names that were looked for and not found in it.
        cells: closure cells and what they held.
        functions: functions whose parts may be replaced in place.
        sizes: namespaces of classes; a new name in one may matter.
        traits: an object, the name of an attribute, and what that was, to be compared by ``is``.
        mutable: values that may change without a binding changing.
        units: name → unit, for reports.
        leaves: name → leaf of what is no unit, for reports.
    """

    def __init__(self) -> None:
        self.walk = Walk(opaque=True)
        self.walk.inline = self
        self.namespaces: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.absent: dict[int, tuple[Any, set[str]]] = {}
        self.cells: dict[int, tuple[CellType, Any]] = {}
        self.functions: dict[int, FunctionType] = {}
        self.sizes: list[tuple[Any, int]] = []
        self.traits: list[tuple[Any, str, Any]] = []
        self.mutable: dict[int, tuple[str, Any]] = {}
        self.units: dict[str, Unit] = {}
        self.leaves: dict[str, bytes] = {}

    def leaf(self, root: Any) -> bytes:
        """The leaf of an object together with everything that it reaches."""
        self._note_mutable("", root)
        try:
            return graph_leaf(root, self.expand, NODE_LIMIT)
        except RecursionError:
            raise UnidentifiableValueError(
                f"What {root!r:.60} reaches unfolds without end.",
                hint="Use code='function' for this app, or register an identity for the type that "
                "it reaches with id_for_memo.register(type).",
            ) from None

    def expand(self, value: Any) -> Expanded:
        """Functions and classes in full; plain containers at once."""
        kind = type(value)
        encode = SCALARS.get(kind)
        if encode is not None:
            return encode(value)
        if kind in (list, tuple, set, frozenset) and _SAFE.issuperset(map(type, value)):
            return Walk().visit(value)
        return self.walk.expand(value)

    # --- functions

    def function(self, function: FunctionType) -> Expanded:
        """The parts of a function."""
        namespace = function.__globals__
        module = namespace.get("__name__")
        origin = PROJECT
        if isinstance(module, str):
            origin = origin_of_module(module, namespace.get("__file__"))
        self.functions[id(function)] = function
        if origin != PROJECT:
            return self._foreign_function(function, str(module), origin)
        unit = function_unit(function)
        self._report(unit, module, function.__qualname__)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        parts: list[Any] = [Known(b"h" + unit.digest)]
        parts += self._reached(unit, cells, namespace, module)
        if "__class__" in cells:  # super()
            parts += ["super", self._cell("__class__", cells["__class__"])]
        parts += self._defaults("", function)
        attributes = function.__dict__
        if attributes:
            parts += self._attributes(function, attributes)
        return b"q", ORDERED, parts

    def _foreign_function(self, function: FunctionType, module: str, origin: str) -> Expanded:
        """Installed or standard code: by name, and by what of the user's it wraps."""
        parts: list[Any] = [origin, public_name(module), function.__code__.co_name]
        if origin == INSTALLED:
            parts.append(self._distribution(module))
        wrapped = function.__dict__.get("__wrapped__")
        if wrapped is not None:
            parts += ["wrapped", wrapped]
        registry = function.__dict__.get("registry")
        if isinstance(registry, types.MappingProxyType):  # functools.singledispatch
            parts += ["registry", dict(registry)]
            self.sizes.append((registry, len(registry)))
            for kind, implementation in registry.items():
                self._bind(registry, kind, implementation)
        names = function.__code__.co_freevars
        for name, cell in sorted(zip(names, function.__closure__ or (), strict=False)):
            content = content_of(cell)
            if carries_code(content) or is_frozen(content):
                parts += [name, self._cell(name, cell)]
        return b"q", ORDERED, parts

    def _defaults(self, name: str, function: FunctionType) -> list[Any]:
        parts: list[Any] = []
        for label, defaults in (
            ("defaults", function.__defaults__),
            ("kwdefaults", function.__kwdefaults__),
        ):
            if defaults:
                if isinstance(defaults, dict):
                    for key, value in defaults.items():
                        self._bind(defaults, key, value)
                else:
                    for value in defaults:
                        self._note_mutable(f"{function.__qualname__}.{label}", value)
                parts += [name, label, self._each(defaults)]
        return parts

    def _each(self, defaults: Any) -> Any:
        if isinstance(defaults, dict):
            return {name: self.part(value) for name, value in defaults.items()}
        return [self.part(value) for value in defaults]

    def _attributes(self, function: FunctionType, attributes: dict[str, Any]) -> list[Any]:
        parts: list[Any] = ["attributes"]
        for name, value in sorted(attributes.items()):
            if name.startswith("_parsl"):
                continue
            self._bind(attributes, name, value)
            self._note_mutable(f"{function.__qualname__}.{name}", value)
            parts += [name, self.part(value)]
        self.sizes.append((attributes, len(attributes)))
        return parts

    # --- names

    def _reached(
        self, unit: Unit, cells: dict[str, CellType], namespace: dict[str, Any], module: Any
    ) -> list[Any]:
        """Labels and objects for all names that a unit reaches."""
        found: dict[str, Any] = {}
        for chain in unit.chains:
            label, value = self._name(chain, cells, namespace)
            if label not in found:
                found[label] = self.part(value)
                self._report_value(module, label, value)
            if chain[-1] in _TOLD and ".".join(chain) == f"{label}.{chain[-1]}":
                self._told(".".join(chain), value, chain[-1], found)
        for wanted in unit.imports:
            label, value = self._import(wanted, namespace)
            if label not in found:
                found[label] = self.part(value)
                self._report_value(None, label, value)
        return [part for item in sorted(found.items()) for part in item]

    def _told(self, label: str, value: Any, name: str, found: dict[str, Any]) -> None:
        """What code asks for about code: its name, its docstring, its annotations."""
        if isinstance(value, (FunctionType, type)) and origin_of(value) == PROJECT:
            found[label] = told = getattr(value, name, None)
            self.traits.append((value, name, told))
            self._note_mutable(label, told)

    def _name(
        self, chain: tuple[str, ...], cells: dict[str, CellType], namespace: dict[str, Any]
    ) -> tuple[str, Any]:
        """What a chain of names leads to: the label of what was followed, and the object."""
        name = chain[0]
        if name in cells:
            value = self._cell(name, cells[name])
        else:
            key = name if name in namespace else unmangled(name, namespace)
            value = namespace.get(key, MISSING)
            if value is not MISSING and key in _BY_PLACE:
                return name, Known(named(b"n", "module attribute", key))
            if value is not MISSING:
                value = self._bind(namespace, key, value)
                if value is MISSING:
                    return name, Known(named(b"n", "unresolved", name))
            else:
                self._miss(namespace, name)
                builtin = vars(builtins_of(namespace))
                value = builtin.get(name, MISSING)
                if value is MISSING:
                    return name, Known(named(b"n", "unresolved", name))
                self._bind(builtin, name, value)
                if name in _SEES_ALL:
                    return name, Known(b"n" + digest_of(name.encode(), text_digest(namespace)))
        return self._attribute_chain(chain[:1], chain[1:], value)

    def _attribute_chain(
        self, followed: tuple[str, ...], rest: tuple[str, ...], value: Any
    ) -> tuple[str, Any]:
        """Follow attributes as long as they belong to the user's modules."""
        while rest and isinstance(value, ModuleType) and origin_of(value) == PROJECT:
            attributes = vars(value)
            name = rest[0]
            followed, rest = (*followed, name), rest[1:]
            if name in _BY_PLACE:
                return ".".join(followed), Known(named(b"n", "module attribute", name))
            if name in attributes:
                inner = self._bind(attributes, name, attributes[name])
            else:
                self._miss(attributes, name)
                inner = late_attribute(value, name)
            if inner is MISSING:
                return ".".join(followed), Known(named(b"n", "unresolved", name))
            value = inner
        if rest and isinstance(value, FunctionType):  # an attribute of a function
            self.sizes.append((value.__dict__, len(value.__dict__)))
        return ".".join(followed), value

    def _import(self, wanted: Import, namespace: dict[str, Any]) -> tuple[str, Any]:
        """What an import inside a body leads to; only the project's modules are imported."""
        name = wanted.module
        if wanted.level:
            package = str(namespace.get("__package__") or namespace.get("__name__") or "")
            try:
                name = importlib.util.resolve_name("." * wanted.level + name, package)
            except (ImportError, ValueError):
                return f"import {name}", Known(named(b"n", "unresolved", name))
        shown = f"import {'.' * wanted.level}{wanted.module}"
        origin = origin_unimported(name)
        if origin == INSTALLED:
            top = name.partition(".")[0]
            shown = top if distribution_of(top) == distribution_of(name) else name
            return f"import {shown}", Known(self._distribution(name))
        if origin != PROJECT:
            return shown, Known(named(b"n", origin, name))
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit):
            return shown, Known(named(b"n", "unresolved", wanted.module))
        self._bind(sys.modules, name, module)
        attributes = wanted.attributes
        if attributes == ("",):
            return shown, Known(named(b"n", "imported", wanted.module))
        if attributes and attributes[0] not in vars(module):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{name}.{attributes[0]}")
        label, value = self._attribute_chain((shown,), attributes, module)
        return label, value

    # --- classes

    def class_(self, cls: type) -> Expanded:
        """The parts of a class."""
        origin = origin_of(cls)
        if origin == INSTALLED:
            names = cls.__module__, cls.__qualname__
            return b"k", ORDERED, [origin, *names, Known(self._distribution(cls.__module__))]
        if origin != PROJECT:
            return named(b"k", origin, public_name(str(cls.__module__)), cls.__qualname__)
        self.traits.append((cls, "__bases__", cls.__bases__))
        functions = own_functions(cls)
        namespace = self._namespace_of(cls, functions.values())
        unit = class_unit(cls, namespace)
        parts: list[Any] = [cls.__qualname__, [self.part(base) for base in cls.__bases__]]
        if type(cls) is not type and not issubclass(
            cls, enum.Enum
        ):  # EnumMeta, EnumType since 3.11
            parts += ["metaclass", type(cls)]
        if unit is not None:
            self._report(unit, cls.__module__, cls.__qualname__)
            cells = {
                name: cell
                for function in functions.values()
                for name, cell in zip(
                    function.__code__.co_freevars, function.__closure__ or (), strict=False
                )
                if name != "__class__"
            }
            parts.append(Known(b"h" + unit.digest))
            parts += self._reached(unit, cells, namespace, cls.__module__)
        parts += self._members(cls, functions, unit is not None)
        return b"k", ORDERED, parts

    def _members(self, cls: type, functions: dict[str, FunctionType], known: bool) -> list[Any]:
        """What the attributes of a class add to its source, or stand for when there is none."""
        attributes = vars(cls)
        self.sizes.append((attributes, len(attributes)))
        parts: list[Any] = ["members"]
        skipped: frozenset[str] = frozenset()
        if issubclass(cls, enum.Enum):
            members = cls.__members__.items()
            parts.append([[name, member._value_] for name, member in members])
            for name, member in members:
                self._note_mutable(f"{cls.__qualname__}.{name}", member._value_)
            skipped = frozenset(cls.__members__)
        elif issubclass(cls, tuple) and "_fields" in attributes:
            parts.append([cls._fields, cls._field_defaults])  # type: ignore[attr-defined]
            skipped = NAMED_TUPLE | frozenset(cls._fields)  # type: ignore[attr-defined]
        elif not known:
            parts.append([[name, str(kind)] for name, kind in annotations_of(cls).items()])
        for name, value in sorted(attributes.items()):
            if name in VOLATILE:
                continue
            self._bind(attributes, name, value)
            if name in skipped or type(value) in DESCRIPTORS:
                continue
            own = [function for label, function in functions.items() if label.split(".")[0] == name]
            if issubclass(cls, enum.Enum) and is_enum_machinery(name, own):
                continue
            if own:
                covered = known and all(belongs(function, cls) for function in own)
                for function in own:
                    self.functions[id(function)] = function
                    if covered:
                        parts += self._defaults(name, function)
                if covered or (is_dunder(name) and known and all(map(is_generated, own))):
                    continue
            elif is_dunder(name) and (known or name not in _SAID):
                continue
            self._note_mutable(f"{cls.__qualname__}.{name}", value)
            parts += [name, self.part(value)]
        return parts

    def _namespace_of(self, cls: type, functions: Iterable[FunctionType]) -> dict[str, Any]:
        """The globals in which a class was made."""
        for function in functions:
            if belongs(function, cls) and function.__globals__.get("__name__") == cls.__module__:
                return function.__globals__
        return dict(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else {}

    # --- parts and notes

    def part(self, value: Any) -> Any:
        """The object itself, or a placeholder for what counts by name."""
        if isinstance(value, ModuleType):
            return value if is_made_here(value) else Known(self._module_leaf(value))
        return value

    def module(self, module: ModuleType) -> Expanded:
        """A module used as a value."""
        if not is_made_here(module):
            return self._module_leaf(module)
        space = vars(module)
        self.sizes.append((space, len(space)))
        parts: list[Any] = ["module"]
        for name, value in sorted(space.items()):
            if not is_dunder(name):
                parts += [name, self.part(self._bind(space, name, value))]
        return b"n", ORDERED, parts

    def _module_leaf(self, module: ModuleType) -> bytes:
        origin = origin_of(module)
        if origin == INSTALLED:
            return self._distribution(module.__name__)
        if origin != PROJECT or module.__name__ == "__main__":
            return named(b"n", "module", module.__name__)
        return b"n" + digest_of(b"module", text_digest(vars(module)))

    def _distribution(self, module: str) -> bytes:
        leaf = installed_leaf(module)
        name, version, _ = distribution_of(module)
        self.leaves[f"{name} {version}".strip()] = leaf
        return leaf

    def _cell(self, name: str, cell: CellType) -> Any:
        content = content_of(cell)
        self.cells[id(cell)] = cell, content
        if content is MISSING:
            return Known(named(b"n", "empty cell", name))
        self._note_mutable(name, content)
        return self.part(content)

    def _bind(self, namespace: Any, name: Any, value: Any) -> Any:
        """Note what a name is bound to; returns that, or what a lazy import of it gives."""
        self.namespaces.setdefault(id(namespace), (namespace, {}))[1][name] = value
        value = _imported(value)
        self._note_mutable(name if type(name) is str else repr(name), value)
        return value

    def _miss(self, namespace: Any, name: str) -> None:
        self.absent.setdefault(id(namespace), (namespace, set()))[1].add(name)

    def _note_mutable(self, name: str, value: Any) -> None:
        if not is_frozen(value) and not is_code(value):
            self.mutable[id(value)] = name, value

    def _report(self, unit: Unit, module: Any, qualname: str) -> None:
        self.units[f"{module}.{qualname}"] = unit

    def _report_value(self, module: Any, label: str, value: Any) -> None:
        if is_code(value) or isinstance(value, Known):
            return
        name = f"{module}.{label}" if module else label.removeprefix("import ")
        encode = SCALARS.get(type(value))
        if encode is not None:
            self.leaves[name] = encode(value)
            return
        walk = Walk(opaque=True)
        walk.inline = BY_NAME
        self.leaves[name] = walk.leaf(value)
