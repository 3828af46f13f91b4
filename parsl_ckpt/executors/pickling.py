"""Picklers: how functions, classes and exceptions become bytes, on the way there and back.

Rule of this file: what can be imported is named; what cannot (what ``__main__`` defines, lambdas,
closures, local classes) goes by value, through cloudpickle.  A class that has travelled once has an
identity, known on both sides, under which a result refers to the original.
"""

from __future__ import annotations

import enum
import functools
import io
import pickle
import sys
import threading
import types
import typing
import uuid
import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from parsl_ckpt.executors.failures import reduce_exception, reduce_traceback
from parsl_ckpt.signatures import annotated_with_text, annotations_of

__all__ = ["ByValue", "Pickler", "ResultPickler", "collector"]

PLAIN_TYPES = frozenset({bool, int, float, complex, str, bytes, type(None)})

BUFFER_MINIMUM = 1 << 14  # smaller buffers stay within the pickle
BUFFERS = 1024  # as many go out of band

# Classes that have travelled, by identity: the same table on both sides of the border.
_classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_identities: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


class ByValue:
    """A function that goes by value through every pickler, also one that only knows names.

    The standard library's would look ``__main__.f`` up, where a decorator has put an app.  Ours
    takes the function as it is.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __reduce__(self) -> tuple[Any, ...]:
        if _nested.inside:  # the function reaches itself: this pickler has it in its memory
            return _itself, (self.fn,)
        _nested.inside = True
        try:
            file = io.BytesIO()
            Pickler(file).dump(self.fn)
            return pickle.loads, (file.getvalue(),)
        finally:
            _nested.inside = False


class _Nested(threading.local):
    inside = False


_nested = _Nested()


def _itself(fn: Any) -> Any:
    return fn


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, with exceptions complete and with names that decorators have taken.

    Attributes:
        by_value: the functions and classes that went by value, in order.
    """

    def __init__(self, file: Any, protocol: int = 5, buffer_callback: Any = None) -> None:
        super().__init__(file, protocol, buffer_callback)
        self.by_value: list[Any] = []

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.FunctionType or issubclass(kind, type):
            return self.reduce_code(obj)
        if kind is ByValue:
            return _itself, (obj.fn,)
        if isinstance(obj, BaseException):
            return reduce_exception(obj)
        if kind is types.TracebackType:
            return reduce_traceback(obj)
        if kind in _WRAPPERS:
            return _reduce_wrapper(kind, obj)
        if kind is _LAZY:
            return _itself, (obj.resolve(),)
        if kind is _REFERENCE:  # since Python 3.14 it holds all that the module knows
            return kind, (obj.__forward_arg__,)
        return NotImplemented

    def reduce_code(self, obj: Any) -> Any:
        """Reduce a function or a class: by name where a name finds it, else by value."""
        path = _decorated_name(obj)
        if path is not None:
            return _undecorated, path
        try:
            reduced = super().reducer_override(obj)
        except Exception:
            if type(obj) is not types.FunctionType:
                raise
            reduced = super().reducer_override(annotated_with_text(obj))
        if reduced is not NotImplemented and len(reduced) > 2:  # not a builtin like NoneType
            self.by_value.append(obj)
            if isinstance(obj, type) and not isinstance(obj, enum.EnumMeta):
                _complete(obj, *reduced[1:3])
        return reduced


_REFERENCE: Any = typing.ForwardRef if sys.version_info >= (3, 14) else None
_LAZY: Any = getattr(types, "LazyImportType", None)  # since Python 3.15
_CACHED: Any = type(functools.lru_cache(int))
_WRAPPERS: frozenset[Any] = frozenset(
    {_CACHED, functools.cached_property, weakref.WeakKeyDictionary, typing.NewType}
)


def _reduce_wrapper(kind: Any, obj: Any) -> Any:
    """What stands between a script and its functions: it pickles by names alone, or holds a lock.

    The weak dictionary is what ``singledispatch`` remembers by.
    """
    if kind is functools.cached_property:
        kept = {name: value for name, value in vars(obj).items() if name != "lock"}
        return kind, (obj.func,), kept
    if kind is weakref.WeakKeyDictionary:
        return kind, (dict(obj),)
    module = getattr(obj, "__module__", None)
    named = look_up(sys.modules.get(module or ""), getattr(obj, "__qualname__", ""))
    if named is obj and module != "__main__":
        return NotImplemented
    if kind is typing.NewType:
        return kind, (obj.__name__, obj.__supertype__), {"__module__": module}
    return _cached, (obj.__wrapped__, obj.cache_parameters())


def _cached(fn: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(fn)


def _complete(cls: type, made_with: tuple[Any, ...], state: tuple[Any, ...]) -> None:
    """Add what cloudpickle leaves out of a class.

    It sets ``__slots__`` after the class exists, when they have no effect any more, and leaves
    ``__qualname__`` out, by which a nested class is named, and annotations that are made on demand.
    """
    if "__annotate_func__" in vars(cls):
        state[0]["__annotations__"] = annotations_of(cls)
    namespace = made_with[3]
    namespace["__qualname__"] = cls.__qualname__
    if vars(cls).get("__slots__"):
        namespace["__slots__"] = vars(cls)["__slots__"]


class ResultPickler(Pickler):
    """For the way home: what came from there is referred to."""

    def reduce_code(self, obj: Any) -> Any:
        if isinstance(obj, type):
            identity = _identity_of(obj)
            if identity is not None:
                return _class_at_home, (identity,)
        if obj.__module__ == "__main__" and found_in_main(obj):
            return NotImplemented  # by name
        return super().reduce_code(obj)


def collector(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """A buffer callback that keeps large buffers out of band."""

    def collect(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < BUFFER_MINIMUM or len(buffers) >= BUFFERS:
            return True
        buffers.append(raw)
        return False

    return collect


def _decorated_name(obj: Any) -> tuple[str, str, int] | None:
    """Where to find an importable module's function whose name a decorator has taken.

    ``@python_app def f`` leaves the name ``f`` to the app, which knows the function as
    ``__wrapped__``.  Finding it by that way keeps the module's own globals in force there.
    """
    if type(obj) is not types.FunctionType or obj.__module__ == "__main__":
        return None
    found = look_up(sys.modules.get(obj.__module__), obj.__qualname__)
    for depth in range(1, 9):
        found = getattr(found, "__wrapped__", None)
        if found is None:
            return None
        if found is obj:
            return obj.__module__, obj.__qualname__, depth
    return None


def _undecorated(module: str, qualname: str, depth: int) -> Any:
    __import__(module)
    found = attrgetter(qualname)(sys.modules[module])
    for _ in range(depth):
        found = found.__wrapped__
    return found


def look_up(root: Any, qualname: str) -> Any:
    for name in qualname.split("."):
        root = getattr(root, name, None)
    return root


def found_in_main(obj: Any) -> bool:
    return look_up(sys.modules.get("__main__"), obj.__qualname__) is obj


def _identity_of(cls: type) -> str | None:
    try:
        return _identities.get(cls)
    except TypeError:  # an unhashable class: its metaclass defines __eq__ only
        return None


def give_identity(cls: type) -> str | None:
    identity = _identity_of(cls)
    if identity is None:
        identity = uuid.uuid4().hex
        try:
            _identities[cls] = identity
        except TypeError:
            return None
        _classes[identity] = cls
    return identity


def learn_identity(cls: type, identity: str) -> None:
    """A class that came from elsewhere is known there by this identity."""
    try:
        _identities[cls] = identity
    except TypeError:
        return
    _classes[identity] = cls


def _class_at_home(identity: str) -> type:
    return _classes[identity]
