"""How calls travel to another process, and what they become there.

::

    Packer (here)                                   Unpacker (there)
    function ──► Definition, once per content ────► defined: by serial number, loaded on first use
    classes of __main__ ──► Definition ───────────► the same class ever after, put into __main__
    arguments ──► pickle 5, buffers out of band ──► arguments, with references to definitions

What can be imported there travels by name.  What cannot (what ``__main__`` defines, lambdas,
closures, local classes) travels by value, through cloudpickle, as a *definition* that is sent once
to each process and referred to by number from then on.  A definition is made anew when a global or
a closure cell that the function reaches is bound to something else, or when it reaches a builtin
container, an array or an object of a class of ``__main__`` whose content has changed (looked at
for definitions of up to 16 KB; a larger one is taken to be constant).

Whatever is module-level in ``__main__`` is also put into the other process's ``__main__``, so that
results name it by reference and resolve to the original at home.  Local classes cannot be named;
each carries an identity, under which a result refers to the original.

Guarantees
    * A class keeps its identity: an instance that goes there and comes back is an instance of the
      class it was, and all calls see one class there.
    * A function that is changed by rebinding what it reaches is never run as it was before.

Assumptions
    * One thread uses a packer.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import io
import itertools
import pickle
import sys
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from parsl_ckpt.errors import CallTransportError
from parsl_ckpt.executors.pickling import (
    PLAIN_TYPES,
    Pickler,
    collector,
    found_in_main,
    give_identity,
    learn_identity,
    look_up,
)
from parsl_ckpt.kernel.attempt import Attempt, worker
from parsl_ckpt.signatures import signature

__all__ = ["Definition", "Packer", "Parcel", "Unpacker"]

_INLINE_ABOVE = 1 << 18  # a larger definition is not kept; its function travels with each call
_VOLATILE_UP_TO = 1 << 14  # a definition up to this size is pickled again if it reaches mutables
_CACHED = 256  # definitions a packer keeps

_MUTABLE = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
_MISSING = object()


class Definition(NamedTuple):
    """A function or class by value.

    Attributes:
        serial: its number; unique among the packers of all processes of a run with ``origin``.
        payload: its pickle.
    """

    serial: int
    payload: bytes


class Parcel(NamedTuple):
    """A call that is ready to travel.

    Attributes:
        function: serial number of its function's definition; 0 if that is among the arguments.
        needs: the definitions that must be there before it.
        data: the pickle of ``(args, kwargs, seed)``, or of ``(fn, args, kwargs, seed)``.
        buffers: large payloads of it, as they lie in the memory of the arguments.
        size: bytes in all.
    """

    function: int
    needs: tuple[Definition, ...]
    data: bytes
    buffers: list[memoryview]
    size: int


# --- here -----------------------------------------------------------------------------------------


class ArgumentPickler(Pickler):
    """Refers to definitions, except for ``inline``, which goes by value."""

    def __init__(self, packer: Packer, file: Any, buffers: list[memoryview], inline: Any) -> None:
        super().__init__(file, 5, collector(buffers))
        self.packer = packer
        self.inline = inline
        self.needs: dict[int, Definition] = {}

    def reduce_code(self, obj: Any) -> Any:
        if obj is self.inline:
            return super().reduce_code(obj)
        definition = self.packer.definition(obj, named=False)
        if definition is None:
            return super().reduce_code(obj)
        self.needs[definition.serial] = definition
        return _defined, (definition.serial,)


class _Known:
    """A function or class that was defined: its definition, and what to compare to trust it."""

    __slots__ = ("bindings", "cells", "definition", "named", "of", "payload", "volatile")

    def __init__(self, of: Any, payload: bytes, definition: Definition | None) -> None:
        self.of = of  # a weak reference
        self.payload = payload
        self.definition = definition  # None: it is too large to be kept
        self.named = False  # another process finds it by its name
        self.bindings: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.volatile = False

    def stale(self) -> bool:
        for namespace, name, value in self.bindings:
            if namespace.get(name, _MISSING) is not value:
                return True
        return any(_contents(cell) is not value for cell, value in self.cells)

    def watch(self, objects: Iterable[Any]) -> None:
        """Remember what the objects that went by value are bound to."""
        for obj in objects:
            if isinstance(obj, type):
                self._watch_class(obj)
            else:
                self._watch_function(obj)

    def _watch_function(self, fn: types.FunctionType) -> None:
        for name in _names(fn.__code__):
            value = fn.__globals__.get(name, _MISSING)
            if value is not _MISSING or name not in _BUILTINS:
                self.bindings.append((fn.__globals__, name, value))
                self._notice(value)
        for cell in fn.__closure__ or ():
            value = _contents(cell)
            self.cells.append((cell, value))
            self._notice(value)
        for value in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            self._notice(value)

    def _watch_class(self, cls: type) -> None:
        for name, value in vars(cls).items():
            if name not in ("__dict__", "__weakref__"):
                self.bindings.append((vars(cls), name, value))
                if not name.startswith("_"):
                    self._notice(value)

    def _notice(self, value: Any) -> None:
        kind = type(value)
        if kind in _MUTABLE or kind.__module__ in ("__main__", "numpy"):
            constant = isinstance(value, (type, types.FunctionType, enum.Enum))
            self.volatile = self.volatile or not constant


_BUILTINS = frozenset(dir(__import__("builtins")))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _MISSING


class Packer:
    """Makes parcels of calls; remembers what it has defined."""

    _serials = itertools.count(1)  # of the whole process

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def pack(self, attempt: Attempt) -> Parcel:
        """Make a parcel.

        Raises:
            CallTransportError: something in the call does not pickle; names app and parameter.
        """
        try:
            return self._pack(attempt.fn, tuple(attempt.args), attempt.kwargs, attempt.seed)
        except BaseException as exc:  # user code runs in there
            raise _explain(self, attempt, exc) from exc

    def _pack(
        self, fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], seed: bytes
    ) -> Parcel:
        definition = self.definition(fn) if _is_code(fn) else None
        if definition is not None:
            if PLAIN_TYPES.issuperset(map(type, args)) and (
                not kwargs or PLAIN_TYPES.issuperset(map(type, kwargs.values()))
            ):
                data = pickle.dumps((args, kwargs, seed), 5)
                return Parcel(definition.serial, (definition,), data, [], len(data))
            return self._pickle((args, dict(kwargs), seed), definition)
        return self._pickle((fn, args, dict(kwargs), seed), None, inline=fn)

    def _pickle(self, call: Any, function: Definition | None, inline: Any = None) -> Parcel:
        file, buffers = io.BytesIO(), list[memoryview]()
        pickler = ArgumentPickler(self, file, buffers, inline)
        pickler.dump(call)
        data = file.getvalue()
        if function is not None:
            pickler.needs[function.serial] = function
        return Parcel(
            0 if function is None else function.serial,
            tuple(pickler.needs.values()),
            data,
            buffers,
            len(data) + sum(buffer.nbytes for buffer in buffers),
        )

    def definition(self, obj: Any, *, named: bool = True) -> Definition | None:
        """The definition of a function or class as it is now; None if it goes with the arguments.

        Args:
            obj: the function or class.
            named: it is defined even if it travels by name (it saves a look-up per call).  What is
                very large is never defined.
        """
        known = self._known.get(id(obj))
        if known is None or known.of() is not obj or known.stale() or known.volatile:
            known = self._define(obj, known)
        return known.definition if named or not known.named else None

    def _define(self, obj: Any, before: _Known | None) -> _Known:
        file = io.BytesIO()
        pickler = Pickler(file)
        pickler.dump(obj)
        by_value = _unique(pickler.by_value)
        pickler.dump((_installable(by_value), _identified(by_value)))
        payload = file.getvalue()
        if before is not None and before.of() is obj and before.payload == payload:
            before.bindings, before.cells = [], []
            before.watch(by_value)
            return before
        definition = None
        if len(payload) <= _INLINE_ABOVE:
            definition = Definition(next(self._serials), payload)
        known = _Known(self._reference(obj), payload if definition else b"", definition)
        known.named = not by_value
        if definition:
            known.watch(by_value)
            known.volatile = known.volatile and len(payload) <= _VOLATILE_UP_TO
        self._known[id(obj)] = known
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return known

    def _reference(self, obj: Any) -> Callable[[], Any]:
        key, table = id(obj), self._known

        def forget(reference: Any) -> None:
            known = table.get(key)
            if known is not None and known.of is reference:
                table.pop(key, None)

        return weakref.ref(obj, forget)


def _is_code(fn: Any) -> bool:
    """Whether a callable is worth a definition: it exists once, and says all by itself."""
    kind = type(fn)
    if kind is types.BuiltinFunctionType:
        return isinstance(fn.__self__, types.ModuleType)
    return kind is types.FunctionType or issubclass(kind, type)


def _unique(objects: Iterable[Any]) -> list[Any]:
    return list({id(obj): obj for obj in objects}.values())


def _installable(objects: Iterable[Any]) -> list[tuple[str, Any]]:
    """What the other process puts into its ``__main__``, outer classes before inner ones."""
    main = sys.modules.get("__main__")
    found: dict[str, Any] = {}
    for obj in objects:
        if obj.__module__ == "__main__" and found_in_main(obj):
            outermost = obj.__qualname__.partition(".")[0]
            found.setdefault(outermost, look_up(main, outermost))
            found[obj.__qualname__] = obj
    return list(found.items())


def _identified(objects: Iterable[Any]) -> list[tuple[str, type]]:
    pairs = ((give_identity(obj), obj) for obj in objects if isinstance(obj, type))
    return [(identity, obj) for identity, obj in pairs if identity is not None]


def _explain(packer: Packer, attempt: Attempt, exc: BaseException) -> CallTransportError:
    """Find out which part of a call does not travel."""
    what, parameter, uses = "", "", ""
    for name, value in _reached(attempt.fn):
        try:
            packer._pickle(value, None)
        except BaseException:
            uses = f" uses {name!r} ({type(value).__name__}), and"
            break
    for name, value in _named_arguments(attempt):
        try:
            packer._pickle(value, None)
        except BaseException as culprit:
            what, parameter, exc = f"argument {name!r} ({type(value).__name__})", name, culprit
            uses = ""
            break
    return CallTransportError(
        f"The {what or 'function'} of app {attempt.app!r}{uses} cannot travel to a worker process: "
        f"{type(exc).__name__}: {exc}.",
        hint="Pass something that pickles, make the object inside the app, or run the app on "
        "threads.",
        app=attempt.app,
        parameter=parameter,
    )


def _reached(fn: Any) -> list[tuple[str, Any]]:
    """What a function names, of its module and of the functions around it."""
    fn = inspect.unwrap(fn) if inspect.isfunction(fn) else fn
    if not inspect.isfunction(fn):
        return []
    found = [
        (name, fn.__globals__[name]) for name in fn.__code__.co_names if name in fn.__globals__
    ]
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not set yet
            found.append((name, cell.cell_contents))
    return found


def _named_arguments(attempt: Attempt) -> list[tuple[str, Any]]:
    names: list[str] = []
    with contextlib.suppress(TypeError, ValueError):
        parameters = signature(attempt.fn).parameters.values()
        names = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    positional = [
        (names[i] if i < len(names) else f"args[{i}]", value)
        for i, value in enumerate(attempt.args)
    ]
    return positional + list(attempt.kwargs.items())


# --- there ----------------------------------------------------------------------------------------


class Unpacker:
    """Makes calls of parcels."""

    def __init__(self) -> None:
        self._payloads: dict[int, bytes] = {}
        self._objects: dict[int, Any] = {}

    def define(self, serial: int, payload: bytes) -> None:
        """Take a definition; it is loaded when a call needs it, so that the call pays for it."""
        self._payloads[serial] = payload

    def has(self, serial: int) -> bool:
        return serial in self._objects or serial in self._payloads

    def forget(self, serial: int) -> None:
        self._payloads.pop(serial, None)
        self._objects.pop(serial, None)

    def defined(self, serial: int) -> Any:
        try:
            return self._objects[serial]
        except KeyError:
            obj = self._objects[serial] = self._load(self._payloads[serial])
            del self._payloads[serial]  # only now: one that does not load may be asked for again
            return obj

    def call(self, function: int, data: Any, buffers: Iterable[Any]) -> tuple[Any, Any, Any]:
        """Function, arguments and keyword arguments of a parcel; its seed is this thread's now."""
        global _unpacker
        _unpacker = self
        if function:
            args, kwargs, worker.seed = pickle.loads(data, buffers=buffers)
            return self.defined(function), args, kwargs
        fn, args, kwargs, worker.seed = pickle.loads(data, buffers=buffers)
        return fn, args, kwargs

    def _load(self, payload: bytes) -> Any:
        unpickler = pickle.Unpickler(io.BytesIO(payload))
        obj = unpickler.load()
        installable, identified = unpickler.load()
        for identity, cls in identified:
            learn_identity(cls, identity)
        main = sys.modules["__main__"]
        for qualname, part in installable:
            path, _, name = qualname.rpartition(".")
            owner = look_up(main, path) if path else main
            with contextlib.suppress(AttributeError, TypeError):
                setattr(owner, name, part)
        return obj


_unpacker = Unpacker()


def _defined(serial: int) -> Any:
    return _unpacker.defined(serial)
