"""Which names a piece of syntax binds, scope by scope, and which it reaches.

Rule of this file: scopes are followed as Python's compiler does it, and no object is looked at.
What is found bound in no scope of the tree is *reached*: a chain of names (``helpers``,
``helpers.f``, ``np.linalg.norm``), so that the attribute of a module can be told from the module.
Names bound by an import inside the body are reached through that import.
"""

from __future__ import annotations

from typing import NamedTuple

Chain = tuple[str, ...]


class Import(NamedTuple):
    """``from ...module import`` followed by attributes; ``level`` counts the leading dots."""

    level: int
    module: str
    attributes: Chain


class Syntax(NamedTuple):
    """What a piece of source is and reaches.

    Attributes:
        text: the canonical text.
        chains: free names, each with the attributes that follow it.
        imports: what imports inside the body reach.
    """

    text: str
    chains: frozenset[Chain]
    imports: frozenset[Import]


class Scope:
    """Names of one scope while it is walked."""

    __slots__ = (
        "bound", "chains", "declared", "globals", "imports", "is_class", "is_comprehension",
        "names",
    )  # fmt: skip

    def __init__(self, is_class: bool = False, is_comprehension: bool = False) -> None:
        self.is_class = is_class
        self.is_comprehension = is_comprehension
        self.bound: set[str] = set()
        self.declared: set[str] = set()  # global or nonlocal here
        self.globals: set[str] = set()
        self.chains: set[Chain] = set()
        self.names: dict[str, list[Import]] = {}  # bound by an import
        self.imports: set[Import] = set()


class Scopes:
    """The scopes around the place in the tree that is being walked."""

    def __init__(self) -> None:
        self.scope = Scope()
        self.scopes = [self.scope]

    def push(self, **kind: bool) -> None:
        self.scope = Scope(**kind)
        self.scopes.append(self.scope)

    def pop(self) -> None:
        """Leave a scope: what it does not bind is looked for further out."""
        inner = self.scopes.pop()
        outer = self.scope = self.scopes[-1]
        self._resolve_imports(inner)
        bound = inner.bound - inner.declared
        # A class body sees the global name until it has bound its own.
        free = {chain for chain in inner.chains if inner.is_class or chain[0] not in bound}
        if inner.globals:  # what the scopes between bind under that name is another
            above = {chain for chain in free if chain[0] in inner.globals}
            self.scopes[0].chains |= above
            free -= above
        outer.chains |= free
        outer.imports |= inner.imports

    @staticmethod
    def _resolve_imports(scope: Scope) -> None:
        if not scope.names:
            return
        used = set()
        for chain in scope.chains:
            for origin in scope.names.get(chain[0], ()):
                scope.imports.add(
                    Import(origin.level, origin.module, origin.attributes + chain[1:])
                )
                used.add(chain[0])
        for name, origins in scope.names.items():
            if name not in used:
                scope.imports.update(origins)

    def bind(self, name: str) -> None:
        self.scope.bound.add(name)

    def bind_walrus(self, name: str) -> None:
        """``:=`` inside a comprehension binds outside of it."""
        for scope in reversed(self.scopes):
            if not scope.is_comprehension:
                scope.bound.add(name)
                return
