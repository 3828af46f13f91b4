"""Where futures are looked for among the arguments of a call, and how values take their places.

Rule of this file: a resolver only takes arguments apart and puts them together; it waits for
nothing.  Ours finds futures in builtin containers at any depth, and what counts in a call's address
is each future's lineage or value.  A plug-in may find them in whatever it knows, but hands out only
whole arguments with the values in them: such calls are looked up by their values alone.

The plug-in's two functions, and the names of the two that are ready-made, are Parsl's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.arguments import Arguments, Copier, gather, only_atoms, substitute

Values = dict[Future[Any], Any]


@dataclass(frozen=True)
class DependencyResolver:
    """How futures are found in an argument: ``Config(dependency_resolver=...)``.

    Attributes:
        traverse_to_gather: takes an argument, gives the futures in it.
        traverse_to_unwrap: takes an argument whose futures are done, gives what the app is called
            with; it must not change the argument, and may be called more than once.

    >>> class Box:
    ...     def __init__(self, content):
    ...         self.content = content
    >>> boxes = DependencyResolver(
    ...     lambda value: [value.content] if isinstance(value, Box) else [],
    ...     lambda value: value.content.result() if isinstance(value, Box) else value,
    ... )

    The idea is Parsl's.
    """

    traverse_to_gather: Callable[[Any], Sequence[Future[Any]]]
    traverse_to_unwrap: Callable[[Any], Any]


# -- the two that are ready-made: functions that may be registered for further types ---------------


@singledispatch
def shallow_traverse_to_gather(value: Any) -> Sequence[Future[Any]]:
    """The futures of an argument: itself, if it is one."""
    return []


@singledispatch
def shallow_traverse_to_unwrap(value: Any) -> Any:
    """The value of an argument: a future's result, else itself."""
    return value


@singledispatch
def deep_traverse_to_gather(value: Any) -> Sequence[Future[Any]]:
    """The futures in an argument: itself, or what is in builtin containers at any depth."""
    return gather((value,), {}).futures


@singledispatch
def deep_traverse_to_unwrap(value: Any) -> Any:
    """An argument with results in the places of the futures in it."""
    return value


for _function in (shallow_traverse_to_gather, deep_traverse_to_gather):
    _function.register(Future, lambda future: [future])
for _function in (shallow_traverse_to_unwrap, deep_traverse_to_unwrap):
    _function.register(Future, lambda future: future.result())


@deep_traverse_to_gather.register(list)
@deep_traverse_to_gather.register(tuple)
@deep_traverse_to_gather.register(set)
@deep_traverse_to_gather.register(frozenset)
def _(items: Any) -> Sequence[Future[Any]]:
    return [future for item in items for future in deep_traverse_to_gather(item)]


@deep_traverse_to_gather.register
def _(items: dict) -> Sequence[Future[Any]]:  # type: ignore[type-arg]
    return deep_traverse_to_gather([*items, *items.values()])


@deep_traverse_to_unwrap.register(list)
@deep_traverse_to_unwrap.register(set)
@deep_traverse_to_unwrap.register(frozenset)
def _(items: Any) -> Any:
    return type(items)([deep_traverse_to_unwrap(item) for item in items])


@deep_traverse_to_unwrap.register
def _(items: tuple) -> Any:  # type: ignore[type-arg]
    values = [deep_traverse_to_unwrap(item) for item in items]
    return items._make(values) if hasattr(items, "_make") else type(items)(values)


@deep_traverse_to_unwrap.register
def _(items: dict) -> Any:  # type: ignore[type-arg]
    return {deep_traverse_to_unwrap(k): deep_traverse_to_unwrap(v) for k, v in items.items()}


SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(
    shallow_traverse_to_gather, shallow_traverse_to_unwrap
)
"""Futures that are arguments themselves, or items of ``inputs=``."""

DEEP_DEPENDENCY_RESOLVER = DependencyResolver(deep_traverse_to_gather, deep_traverse_to_unwrap)
"""Futures in builtin containers at any depth, as without any resolver."""


def _types(resolver: DependencyResolver) -> int:
    """For how many types functions are registered with it."""
    functions = (resolver.traverse_to_gather, resolver.traverse_to_unwrap)
    return sum(len(getattr(one, "registry", ())) for one in functions)


_AS_IT_COMES = {
    id(one): _types(one) for one in (SHALLOW_DEPENDENCY_RESOLVER, DEEP_DEPENDENCY_RESOLVER)
}


# -- as the kernel uses them -----------------------------------------------------------------------


class Resolving:
    """Our own: builtin containers at any depth.

    Attributes:
        by_lineage: whether what stands for a future may be put into its place.
    """

    by_lineage = True
    gather = staticmethod(gather)
    substitute = staticmethod(substitute)


class Shallow(Resolving):
    """Futures that are arguments themselves, or items of ``inputs=``; others are passed on."""

    @staticmethod
    def gather(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Find the futures; containers are copied, so that nobody changes them after the call."""
        found = Arguments(args, kwargs)
        if only_atoms(args, kwargs):
            return found
        futures: dict[Future[Any], None] = {}
        copy = Copier(_opaque(found))

        def visit(value: Any) -> Any:
            if isinstance(value, Future):
                futures[value] = None
                return value
            return copy(value)

        found.args, found.kwargs = _each(visit, args, kwargs)
        found.futures = tuple(futures)
        return found

    @staticmethod
    def substitute(
        args: tuple[Any, ...], kwargs: dict[str, Any], values: Values
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with ``values`` in the places of the futures."""
        return _each(lambda v: values[v] if isinstance(v, Future) else v, args, kwargs)


class Plugged(Resolving):
    """A resolver of the user's."""

    by_lineage = False

    def __init__(self, resolver: DependencyResolver) -> None:
        self._find = resolver.traverse_to_gather
        self._unwrap = resolver.traverse_to_unwrap

    def gather(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Ask for the futures; where there are none the values are taken at once."""
        futures: dict[Future[Any], None] = {}

        def visit(value: Any) -> Any:
            futures.update(dict.fromkeys(_futures(self._find(value))))
            return value

        found = Arguments(*_each(visit, args, kwargs))
        found.futures = tuple(futures)
        if not futures:
            found.args, found.kwargs = self.substitute(found.args, found.kwargs, {})
        copy = Copier(_opaque(found))
        found.args = tuple([copy(value) for value in found.args])
        found.kwargs = {name: copy(value) for name, value in found.kwargs.items()}
        return found

    def substitute(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], values: Values
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the plug-in unwraps them; it takes the values from the futures."""
        return _each(self._unwrap, args, kwargs)


def _futures(found: Any) -> Sequence[Future[Any]]:
    """What a plug-in gave, if it is futures."""
    listed = (
        [found] if isinstance(found, (str, bytes)) or not isinstance(found, Iterable) else found
    )
    futures = list(listed)
    for one in futures:
        if not isinstance(one, Future):
            raise ConfigurationError(
                f"Config.dependency_resolver: traverse_to_gather gave {one!r:.80}, which is no "
                "future.",
                hint="Return a list of the futures in the argument, [] for none.",
                field="dependency_resolver",
            )
    return futures


def resolving_of(resolver: DependencyResolver | None) -> Resolving:
    """What the kernel does for a resolver; None for ours.

    The ready-made ones are done our way, which counts futures by lineage too, unless functions for
    further types have been registered with them.
    """
    if resolver is None:
        return Resolving()
    if _AS_IT_COMES.get(id(resolver)) != _types(resolver):
        return Plugged(resolver)
    return Shallow() if resolver is SHALLOW_DEPENDENCY_RESOLVER else Resolving()


def _each(
    visit: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Visit each argument, and each item of ``inputs=``."""
    visited = {}
    for name, value in kwargs.items():
        if name == "inputs" and type(value) in (list, tuple):
            visited[name] = type(value)([visit(item) for item in value])
        else:
            visited[name] = visit(value)
    return tuple([visit(value) for value in args]), visited


def _opaque(found: Arguments) -> Callable[[Any], Any]:
    def keep(value: Any) -> Any:
        found.opaque = True
        return value

    return keep
