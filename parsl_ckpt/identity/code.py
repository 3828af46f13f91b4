"""The identity of an app's code, and whether it still is what it was: ``CodeIdentity``.

Rule of this file: the closure is resolved at the first call (by then circular imports are
complete), and at every later call the bindings that led to it are compared by ``is``. A changed
one, a new name where a builtin was used, or a reached container that was changed in place means a
new resolution, so a global that is set at run time never gives a stale hit. Nothing is locked: two
threads that resolve at once get the same answer, and an import that waits inside never holds up
another.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from operator import is_, itemgetter
from types import FunctionType, MethodType
from typing import Any, Literal

from ..errors import IdentityWarning
from . import libraries as libraries  # registers them
from . import living as living  # registers how code inside values is walked
from .lookups import BY_ID, content_of
from .reach import Reach
from .units import function_unit
from .values import Walk
from .walk import digest_of

Mode = Literal["closure", "function", "name"]

WATCHED = 4096
"""A reached container of more parts (or with a megabyte of arrays) is not checked at each call."""


class _State:
    """A digest and what it rests on."""

    __slots__ = (
        "_absent",
        "_bound",
        "_cells",
        "_functions",
        "_sizes",
        "_traits",
        "_watched",
        "digest",
        "reach",
    )

    def __init__(self, digest: bytes, reach: Reach | None, warned: set[int]) -> None:
        self.digest = digest
        self.reach = reach
        self._bound: list[tuple[Callable[[Any], Any], Any, tuple[Any, ...]]] = []
        self._absent: list[tuple[Any, tuple[str, ...]]] = []
        self._cells: tuple[Any, ...] = ()
        self._functions: tuple[tuple[Any, Any, Any, Any], ...] = ()
        self._sizes: list[tuple[Any, int]] = []
        self._traits: list[tuple[Any, str, Any]] = []
        self._watched: list[tuple[Any, bytes]] = []
        if reach is not None:
            self._rest_on(reach, warned)

    def _rest_on(self, reach: Reach, warned: set[int]) -> None:
        for namespace, found in reach.namespaces.values():
            names = list(found)
            if len(names) == 1:  # itemgetter gives no tuple then
                names *= 2
            expected = tuple(found[name] for name in names)
            self._bound.append((itemgetter(*names), namespace, expected))
        self._absent = [(names, tuple(missing)) for names, missing in reach.absent.values()]
        self._cells = tuple(reach.cells.values())
        self._functions = tuple(
            (function, function.__code__, function.__defaults__, function.__kwdefaults__)
            for function in reach.functions.values()
        )
        self._sizes = list(reach.sizes)
        self._traits = list(reach.traits)
        for name, value in reach.mutable.values():
            walk = Walk(opaque=True)
            walk.inline = BY_ID
            fingerprint = walk.leaf(value)
            if walk.weight <= WATCHED:
                self._watched.append((value, fingerprint))
            elif id(value) not in warned:
                warned.add(id(value))
                warnings.warn(
                    f"{name!r} is reached by an app's code and too large to be checked at every "
                    "call: changes made inside it are not seen. Pass it as an argument, or make it "
                    "immutable.",
                    IdentityWarning,
                    stacklevel=4,
                )

    def holds(self) -> bool:
        """Whether everything is bound as it was."""
        try:
            for get, namespace, expected in self._bound:
                if not all(map(is_, get(namespace), expected)):
                    return False
        except KeyError:
            return False
        for namespace, missing in self._absent:
            if not namespace.keys().isdisjoint(missing):
                return False
        for cell, content in self._cells:
            if content_of(cell) is not content:
                return False
        for function, code, defaults, kwdefaults in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not kwdefaults
            ):
                return False
        for namespace, size in self._sizes:
            if len(namespace) != size:
                return False
        for owner, name, expected in self._traits:
            if getattr(owner, name, None) is not expected:
                return False
        for value, fingerprint in self._watched:
            walk = Walk(opaque=True)
            walk.inline = BY_ID
            if walk.leaf(value) != fingerprint:
                return False
        return True


class CodeIdentity:
    """What the code behind a callable is.

    Args:
        fn: a function, or any callable.
        mode: ``"closure"``: the function and everything that it reaches; ``"function"``: itself
            only; ``"name"``: nothing but its name counts, as in Parsl.

    .. code-block:: python

        def double(x): return 2 * x

        def same(x):
            "Another name, another form, and this docstring."
            return 2*x

        assert CodeIdentity(double).digest() == CodeIdentity(same).digest()
    """

    __slots__ = ("_state", "_warned", "fn", "mode")

    def __init__(self, fn: Callable[..., Any], mode: Mode = "closure") -> None:
        if mode not in ("closure", "function", "name"):
            raise ValueError(f"mode is 'closure', 'function' or 'name', not {mode!r}")
        self.fn = fn
        self.mode = mode
        self._state: _State | None = None
        self._warned: set[int] = set()

    def digest(self) -> bytes:
        """32 bytes; resolves at the first call and whenever a binding has changed."""
        state = self._state
        if state is not None and state.holds():
            return state.digest
        return self._resolve().digest

    def leaves(self) -> dict[str, bytes]:
        """Name → digest of each function, class, constant and distribution that is reached."""
        state = self._current()
        if state.reach is None:
            return {}
        units = {name: unit.digest for name, unit in state.reach.units.items()}
        return units | state.reach.leaves

    def sources(self) -> dict[bytes, str]:
        """Digest → normalised source, for those leaves that have one."""
        state = self._current()
        if state.reach is None:
            return {}
        texts = {unit.digest: unit.source() for unit in state.reach.units.values()}
        return {digest: text for digest, text in texts.items() if text is not None}

    def _current(self) -> _State:
        self.digest()
        state = self._state
        assert state is not None
        return state

    def _resolve(self) -> _State:
        if self.mode == "name":
            state = _State(digest_of(b"code", b"name"), None, self._warned)
        elif self.mode == "function":
            state = self._alone()
        else:
            state = self._closure()
        self._state = state
        return state

    def _closure(self) -> _State:
        for _ in range(3):  # another thread may be changing what is being walked
            reach = Reach()
            try:
                leaf = reach.leaf(self.fn)
                return _State(digest_of(b"code", b"closure", leaf), reach, self._warned)
            except RuntimeError as error:
                if isinstance(error, RecursionError) or "changed" not in str(error):
                    raise
        reach = Reach()
        return _State(digest_of(b"code", b"closure", reach.leaf(self.fn)), reach, self._warned)

    def _alone(self) -> _State:
        function = function_of(self.fn)
        if function is None:
            return self._closure()
        reach = Reach()
        unit = function_unit(function)
        reach.functions[id(function)] = function
        reach.units[f"{function.__module__}.{function.__qualname__}"] = unit
        return _State(digest_of(b"code", b"function", unit.digest), reach, self._warned)


def function_of(fn: Any) -> FunctionType | None:
    """The Python function behind partials, bound methods and wrappers, if there is one."""
    for _ in range(100):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        elif callable(getattr(fn, "__wrapped__", None)):
            fn = fn.__wrapped__
        elif isinstance(fn, FunctionType):
            return fn
        else:
            break
    return None


# --- functions and classes as values --------------------------------------------------------------

_KEPT = 1024
_identities: dict[int, CodeIdentity] = {}


def code_digest_of(obj: Any) -> bytes:
    """The digest of a function or class that is an argument, or the class of one.

    Args:
        obj: a function or a class.

    Returns:
        32 bytes.  By code and not by name: a function that was renamed is the same argument.
    """
    known = _identities.get(id(obj))
    if known is not None and known.fn is obj:
        return known.digest()
    identity = CodeIdentity(obj)
    digest = identity.digest()
    # A closure may hold an array of any size, which must not be kept alive by having been seen.
    if isinstance(obj, type) or (isinstance(obj, FunctionType) and obj.__closure__ is None):
        if len(_identities) >= _KEPT:
            _identities.clear()
        _identities[id(obj)] = identity
    return digest
