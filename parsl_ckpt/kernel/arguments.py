"""Arguments of a call: finding the futures in them, and putting values in the futures' places.

Pure functions over builtin containers and those of ``collections``, at any depth.  What they return
is a copy down to the first value that is neither, so that what the caller does to a list after the
call is never seen by the task.
"""

from __future__ import annotations

import builtins
import datetime
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from parsl_ckpt.kernel.request import Request

ATOMS = frozenset(
    {
        int, float, str, bytes, bool, type(None), complex, type(...), range,
        datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    }
)  # fmt: skip
"""Types whose values cannot change and hold nothing: they are passed on as they are."""


class Arguments(msgspec.Struct, gc=False, eq=False):
    """What :func:`gather` found.

    Attributes:
        args, kwargs: the arguments, builtin containers copied.
        futures: the futures in them, each once, in the order of their appearance.
        opaque: whether something else than atoms, futures and builtin containers is in them.
        request: what the call asks for beside them, or None.
    """

    # Not looked at by the garbage collector: there is one for each hit nobody has looked at.
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    futures: tuple[Future[Any], ...] = ()
    opaque: bool = False
    request: Request | None = None


def only_atoms(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether there is nothing in the arguments to be found or copied.

    >>> only_atoms((1, "x"), {}), only_atoms(([1],), {})
    (True, False)
    """
    # In C as a whole: it is asked of every call.
    return ATOMS.issuperset(map(type, args)) and (
        not kwargs or ATOMS.issuperset(map(type, kwargs.values()))
    )


def gather(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Copy the builtin containers among the arguments and find what is in them.

    >>> found = gather(([1, {"a": Future()}],), {})
    >>> len(found.futures), found.opaque
    (1, False)
    """
    found = Arguments(args, kwargs)
    if only_atoms(args, kwargs):
        return found
    futures: dict[Future[Any], None] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, Future):
            futures[value] = None
        else:
            found.opaque = True
        return value

    copy = Copier(visit)
    found.args = tuple([copy(value) for value in args])
    found.kwargs = {name: copy(value) for name, value in kwargs.items()}
    found.futures = tuple(futures)
    return found


def substitute(
    args: tuple[Any, ...], kwargs: dict[str, Any], values: dict[Future[Any], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with ``values`` in the places of the futures.

    >>> f = Future()
    >>> substitute(([f, 2],), {"x": f}, {f: 1})
    (([1, 2],), {'x': 1})
    """

    def visit(value: Any) -> Any:
        return values[value] if isinstance(value, Future) else value

    copy = Copier(visit)
    return tuple([copy(value) for value in args]), {k: copy(v) for k, v in kwargs.items()}


class Copier:
    """Copies containers; shared and recursive ones are copied once and stay shared."""

    __slots__ = ("_done", "_visit")

    def __init__(self, visit: Callable[[Any], Any]) -> None:
        self._visit = visit
        self._done: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind not in _CONTAINERS and not (isinstance(value, tuple) and hasattr(value, "_make")):
            return self._visit(value)
        if kind is OrderedDict and vars(value):
            return self._visit(value)  # it is more than its items
        try:
            return self._done[id(value)]
        except KeyError:
            return self._container(value, kind)

    def _container(self, value: Any, kind: type) -> Any:
        copied: Any
        if kind is list:
            copied = self._done[id(value)] = []
            if set(map(type, value)) <= ATOMS:
                copied.extend(value)
            else:
                copied.extend([self(item) for item in value])
        elif kind is dict or kind is OrderedDict:
            copied = self._done[id(value)] = kind()
            for key, item in value.items():
                copied[self(key)] = self(item)
        elif kind is defaultdict:  # such as futures by group
            copied = self._done[id(value)] = kind(self(value.default_factory))
            for key, item in value.items():
                copied[self(key)] = self(item)
        elif kind is deque:
            copied = self._done[id(value)] = deque(maxlen=value.maxlen)
            copied.extend([self(item) for item in value])
        else:
            # Immutable ones can only be registered when they are complete; one that contains
            # itself (through a list) is left as it is at the place where it comes round.
            self._done[id(value)] = value
            if kind is _FROZENDICT:
                copied = kind({self(key): self(item) for key, item in value.items()})
            elif set(map(type, value)) <= ATOMS:
                copied = kind(value) if kind is set else value
            elif kind in (tuple, set, frozenset):
                copied = kind([self(item) for item in value])
            else:  # a named tuple
                copied = value._make([self(item) for item in value])
            self._done[id(value)] = copied
        return copied


_FROZENDICT: Any = getattr(builtins, "frozendict", dict)  # since Python 3.15
_CONTAINERS = frozenset(
    {list, tuple, dict, set, frozenset, OrderedDict, defaultdict, deque, _FROZENDICT}
)
