"""Parsl's own key of a call, so that what Parsl has computed is found, and the other way round.

Parsl files an outcome under an MD5 of three pickles: of the keywords of the call, of the function's
name and module, of the list of positional arguments; and before them, if there is a keyword
``outputs``, of that.  It hashes the call as it was written: ``f(1)`` and ``f(x=1)`` are two calls
there.  Nothing of the code counts but the function's name.

Rule of this file: a key is Parsl's to the byte, or there is none.  Calls that Parsl itself refuses
to hash have none, and neither have those with arguments of types that only this library knows.  The
bytes are pickles, so they depend on the protocol that Parsl's Python writes by default: 4 up to
Python 3.13, 5 from 3.14 on.

Source of the scheme: ``parsl.dataflow.memoization``.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from ..signatures import signature
from .values import id_for_memo

PROTOCOL = 5 if sys.version_info >= (3, 14) else 4
"""The protocol of pickle that Parsl's keys are made with under this Python."""

AUTOMATIC = ("stdout", "stderr")
"""Keywords that do not count where their value lets Parsl choose a name."""

_DEFAULTED = (
    "stdout", "stderr", "walltime", "parsl_resource_specification", "outputs", "inputs",
)  # fmt: skip
"""Parameters of a Python app whose defaults Parsl adds to the keywords of every call."""


class Unhashable(Exception):
    """Parsl has no key for such a call."""


class ParslApp(NamedTuple):
    """What Parsl's key says of an app.

    Attributes:
        name, module: of the function that Parsl hashes; its wrapper's, which are the user's
            function's for Python apps, while every bash app stands in ``functools``.
        defaults: what Parsl adds to the keywords of a call.
        ignored: names of keywords that do not count.
    """

    name: str
    module: str
    defaults: Mapping[str, Any]
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, function: Callable[..., Any], ignored: Iterable[str] = (), bash: bool = False
    ) -> ParslApp | None:
        """What Parsl would make of a function; None if it could not make an app of it.

        Args:
            function: the user's function.
            ignored: ``ignore_for_cache``.
            bash: it is a bash app.
        """

        def wrapper() -> None: ...

        wrapper.__module__ = "parsl.app.errors"
        wrapped: Any = function
        try:
            if bash:
                wrapped = functools.partial(function)
                wrapped.__name__ = function.__name__
            functools.update_wrapper(wrapper, wrapped)
            parameters = signature(function).parameters
        except (AttributeError, TypeError, ValueError):
            return None
        names = parameters if bash else [name for name in _DEFAULTED if name in parameters]
        defaults = {
            name: parameters[name].default
            for name in names
            if parameters[name].default is not inspect.Parameter.empty
        }
        return cls(wrapper.__name__, wrapper.__module__, defaults, tuple(ignored))

    def key(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        automatic: Iterable[str] = (),
        protocol: int = PROTOCOL,
    ) -> bytes | None:
        """Parsl's key of a call, 16 bytes; None if Parsl has none.

        Args:
            args, kwargs: as in the call, without futures.
            automatic: which of :data:`AUTOMATIC` have a name of Parsl's choice.
            protocol: that of Parsl's Python.

        >>> def double(x): ...
        >>> ParslApp("double", "work", {}).key((21,), {}, protocol=4).hex()
        'e5f64c7f2e2e00c0d27565b352b69b3f'
        """
        try:
            return self._key(args, {**self.defaults, **kwargs}, automatic, protocol)
        except Exception:  # what Parsl would fail with, or a user's function
            return None

    def _key(
        self, args: Sequence[Any], kwargs: dict[str, Any], automatic: Iterable[str], protocol: int
    ) -> bytes:
        if "inputs" in kwargs:
            inputs = kwargs["inputs"]
            if inputs and not isinstance(inputs, list):
                raise Unhashable  # Parsl puts what it has fetched into the list itself
            kwargs["inputs"] = list(inputs)
        counted = dict(kwargs)
        for name in {**dict.fromkeys(self.ignored), **dict.fromkeys(automatic)}:
            del counted[name]  # as Parsl does: what is to be ignored must be there
        identify = _Identities(protocol)
        parts: list[bytes] = []
        if "outputs" in kwargs:
            del counted["outputs"]
            parts.append(identify(kwargs["outputs"], output_ref=True))
        parts.append(identify(counted))
        parts.append(pickle.dumps(["types.FunctionType", self.name, self.module], protocol))
        parts.append(identify(list(args)))
        return hashlib.md5(b"".join(parts), usedforsecurity=False).digest()


class _Identities:
    """Parsl's ``id_for_memo``; functions that users register for types of theirs are ours.

    Where Parsl would give the same bytes object twice, so does this: pickle writes what it has
    written before as a reference.  One of it serves one key.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._functions: dict[Any, bytes] = {}

    def __call__(self, value: Any, **flag: bool) -> Any:
        return _rule_of(value.__class__)(self, value, **flag)

    def plain(self, value: Any, output_ref: bool = False) -> bytes:
        return pickle.dumps(value, self._protocol)

    def sequence(self, value: Any, output_ref: bool = False) -> bytes:
        if type(value) not in (list, tuple):
            raise Unhashable
        return self.plain([self(part, output_ref=output_ref) for part in value])

    def mapping(self, value: Any, output_ref: bool = False) -> bytes:
        if type(value) is not dict:
            raise Unhashable
        parts = []
        for key in sorted(value):
            parts.append(self(key))
            parts.append(self(value[key], output_ref=output_ref))
        return self.plain(parts)

    def function(self, value: FunctionType, **flag: bool) -> bytes:
        # One object for all mentions of a function that are asked for alike.
        asked = (value, *flag.items())
        if asked not in self._functions:
            named = ["types.FunctionType", value.__name__, value.__module__]
            self._functions[asked] = self.plain(named)
        return self._functions[asked]


_RULES: dict[type, Callable[..., Any]] = {
    str: _Identities.plain,
    int: _Identities.plain,
    float: _Identities.plain,
    type(None): _Identities.plain,
    list: _Identities.sequence,
    tuple: _Identities.sequence,
    dict: _Identities.mapping,
    FunctionType: _Identities.function,
}


def _rule_of(kind: type) -> Callable[..., Any]:
    """How Parsl identifies values of a type: by the nearest class that somebody registered."""
    custom: Any = id_for_memo.dispatch(kind)
    if (getattr(custom, "__module__", None) or "").partition(".")[0] == "parsl_ckpt":
        custom = None  # ours, which Parsl does not have
    for base in kind.__mro__:
        if custom is not None and id_for_memo.registry.get(base) is custom:
            break
        if base in _RULES:
            return _RULES[base]
    if custom is None:
        raise Unhashable
    return lambda _, value, **flag: custom(value, **flag)
