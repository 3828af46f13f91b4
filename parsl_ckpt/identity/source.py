"""From a running code object to the syntax tree that it was compiled from, if there is one.

Rule of this file: source counts only if compiling it gives the code that is running. A file may
have been edited since it was imported, and a name may have been defined twice; what does not match
is as good as absent, and the caller goes by bytecode. Code is compared without line numbers, so a
function that was only moved by an edit above it is still found.

Most functions stand at the left margin on the line that their code names. Such a one is cut out,
parsed and compiled by itself, so that a large module costs what an app reaches of it. A cut in the
wrong place leaves a string, a bracket or a line open, and then the whole text is looked at.
"""

from __future__ import annotations
import __future__

import ast
import functools
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from ..signatures import annotations_of
from .origin import PROJECT, origin_of_path
from .parsing import parse
from .values import leaf

_FUTURES = __future__.annotations.compiler_flag
_HEADS = ("def ", "async def ", "@")


class Found(NamedTuple):
    """A definition.

    Attributes:
        node: its syntax tree.
        kept: what to keep of it, to show it later: the tree, if that is kept anyway; else its text,
            which is a hundredth of it.
    """

    node: ast.AST
    kept: ast.AST | str


class Source:
    """One source text.

    Args:
        text: the source.
        filename: what the code objects are to be called; only for the compiler's sake.
        compiled: gives what it compiles to, if that is known already.
    """

    def __init__(
        self, text: str, filename: str, compiled: Callable[[], CodeType | None] = lambda: None
    ) -> None:
        self.text = text
        self._filename = filename
        self._compiled = compiled
        self._lines = text.split("\n")

    @functools.cached_property
    def whole(self) -> Whole | None:
        """All of it, parsed and compiled; None if it is not Python."""
        try:
            return Whole(self.text, self._filename, self._module)
        except (SyntaxError, ValueError, RecursionError):
            return None

    def definition(self, code: CodeType, qualname: str) -> Found | None:
        """The function that a code object belongs to, if it compiles to that code."""
        found = self._cut_out(code) if code.co_name == qualname else None
        if found is not None or self.whole is None:
            return found
        node = self.whole.definition(code, qualname)
        return None if node is None else Found(node, node)

    def class_definition(self, cls: type) -> ast.ClassDef | None:
        """The node of a class, if its methods compile to those that are running."""
        return None if self.whole is None else self.whole.class_definition(cls)

    def _cut_out(self, code: CodeType) -> Found | None:
        """A function at the left margin, where its code says that it begins."""
        start = code.co_firstlineno - 1
        lines = self._lines
        if not 0 <= start < len(lines) or not lines[start].startswith(_HEADS):
            return None
        end = start
        while end < len(lines) and not lines[end].startswith(_HEADS[:2]):
            end += 1  # below its decorators
        end += 1
        while end < len(lines) and lines[end][:1] in _INSIDE:
            end += 1
        text = "\n".join(lines[start:end])
        try:
            tree = parse(text)
            if len(tree.body) != 1 or not isinstance(tree.body[0], _FUNCTIONS):
                return None
            if self._ready.get((code.co_name, code.co_firstlineno)) != code:
                compiled = compile(
                    tree, self._filename, "exec", code.co_flags & _FUTURES, dont_inherit=True
                )
                if not any(_is_moved(constant, code) for constant in compiled.co_consts):
                    return None
        except (SyntaxError, ValueError, RecursionError):
            return None
        return Found(tree.body[0], text)

    @functools.cached_property
    def _ready(self) -> dict[tuple[str, int], CodeType]:
        """What is compiled already, by name and line."""
        constants = self._module.co_consts if self._module is not None else ()
        return {(c.co_name, c.co_firstlineno): c for c in constants if type(c) is CodeType}

    @functools.cached_property
    def _module(self) -> CodeType | None:
        return self._compiled()


def _is_moved(constant: Any, code: CodeType) -> bool:
    """Whether a constant of a piece that was compiled by itself is the code looked for."""
    if type(constant) is not CodeType or constant.co_name != code.co_name:
        return False
    return constant.replace(co_firstlineno=code.co_firstlineno) == code or same_code(constant, code)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_INSIDE = frozenset({"", " ", "\t", "\f", "#", ")", "]", "}"})
"""What a line may begin with that does not begin a new statement at the left margin."""


class Whole:
    """A source text, parsed and compiled; the definitions in it, by name.

    Args:
        text: the source.
        filename: what the code objects are to be called.
        compiled: what it compiles to, where that is known.
    """

    def __init__(self, text: str, filename: str, compiled: CodeType | None) -> None:
        self.tree = parse(text, filename)
        # The tree is compiled and not the text, which would be parsed once more.
        self.code = compiled or compile(self.tree, filename, "exec", dont_inherit=True)
        self._defs: dict[str, list[tuple[str, Any]]] = {}
        self._lambdas: list[ast.Lambda] | None = None
        self._codes: dict[str, list[CodeType]] = {}
        self._collect_codes(self.code)
        self._collect_defs(self.tree.body, "")

    def _collect_codes(self, code: CodeType) -> None:
        for constant in code.co_consts:
            if type(constant) is CodeType:
                self._codes.setdefault(constant.co_name, []).append(constant)
                self._collect_codes(constant)

    def _collect_defs(self, statements: list[ast.stmt], prefix: str) -> None:
        for node in statements:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = prefix + node.name
                self._defs.setdefault(node.name, []).append((name, node))
                self._collect_defs(node.body, name + ".<locals>.")
            elif isinstance(node, ast.ClassDef):
                name = prefix + node.name
                self._defs.setdefault(node.name, []).append((name, node))
                self._collect_defs(node.body, name + ".")
            else:
                for field in ("body", "orelse", "finalbody"):
                    block = getattr(node, field, None)
                    if block:
                        self._collect_defs(block, prefix)
                for field in ("handlers", "cases"):
                    for part in getattr(node, field, ()):
                        self._collect_defs(part.body, prefix)

    def definition(self, code: CodeType, qualname: str) -> ast.AST | None:
        """The node of the function that a code object belongs to, if it compiles to that code."""
        if code.co_name == "<lambda>":
            return self._lambda(code)
        compiled = [
            (candidate.co_firstlineno != code.co_firstlineno, candidate.co_firstlineno)
            for candidate in self._codes.get(code.co_name, ())
            if same_code(candidate, code)
        ]
        if not compiled:
            return None
        line = min(compiled)[1]
        lines = {line for _, line in compiled}
        # functools.wraps forges __qualname__, so it only decides between nodes of the right name.
        nodes = [
            (first_line(node) != line, name != qualname, place, node)
            for place, (name, node) in enumerate(self._defs.get(code.co_name, ()))
            if not isinstance(node, ast.ClassDef) and first_line(node) in lines
        ]
        return min(nodes)[3] if nodes else None

    def _lambda(self, code: CodeType) -> ast.AST | None:
        if not any(same_code(candidate, code) for candidate in self._codes.get("<lambda>", ())):
            return None
        if self._lambdas is None:
            self._lambdas = [node for node in ast.walk(self.tree) if isinstance(node, ast.Lambda)]
        here = [node for node in self._lambdas if node.lineno == code.co_firstlineno]
        for nodes in (here, self._lambdas):
            found = self._only_match(nodes, code)
            if found is not None:
                return found
        return None

    def _only_match(self, nodes: list[ast.Lambda], code: CodeType) -> ast.Lambda | None:
        """Which of several lambdas: each gets a line of its own and all are compiled again."""
        before = [(n.lineno, n.end_lineno, n.col_offset, n.end_col_offset) for n in nodes]
        far = 10_000_000
        for position, node in enumerate(nodes):
            node.lineno = node.end_lineno = far + position
            node.col_offset = node.end_col_offset = 0
        try:
            compiled = compile(self.tree, code.co_filename, "exec", dont_inherit=True)
        finally:
            for node, place in zip(nodes, before, strict=True):
                node.lineno, node.end_lineno, node.col_offset, node.end_col_offset = place
        matches = [
            candidate.co_firstlineno - far
            for candidate in _all_codes(compiled)
            if candidate.co_firstlineno >= far and same_code(candidate, code)
        ]
        if not matches:
            return None
        if len(matches) > 1:  # the same bytecode, so only a detail of writing is between them
            matches.sort(
                key=lambda position: (_start(nodes[position]) != _body_start(code), position)
            )
        return nodes[matches[0]]

    def class_definition(self, cls: type) -> ast.ClassDef | None:
        """The node of a class, if its methods compile to those that are running.

        Two branches may each define it, with another decorator or other fields.  If the lines of
        its methods do not tell which one is running, then it counts by what it has.
        """
        nodes = [
            node
            for name, node in self._defs.get(cls.__name__, [])
            if name == cls.__qualname__
            and isinstance(node, ast.ClassDef)
            and self._is_class(node, cls)
        ]
        if len(nodes) < 2:
            return nodes[0] if nodes else None
        own = [f for f in own_functions(cls).values() if belongs(f, cls)]
        lines = {function.__code__.co_firstlineno for function in own}
        nodes = [n for n in nodes if lines & set(map(first_line, _methods(n)))] or nodes
        return nodes[-1] if len(set(map(ast.dump, nodes))) == 1 else None

    def _is_class(self, node: ast.ClassDef, cls: type) -> bool:
        bodies = [
            code
            for code in self._codes.get(node.name, ())
            if code.co_firstlineno == first_line(node)
        ]
        if not bodies:
            return False
        compiled = [constant for constant in bodies[0].co_consts if type(constant) is CodeType]
        for function in own_functions(cls).values():
            if belongs(function, cls) and not any(
                same_code(candidate, function.__code__) for candidate in compiled
            ):
                return False
        return _annotated(node) == sorted(annotations_of(cls))


def _methods(node: ast.ClassDef) -> list[Any]:
    return [statement for statement in ast.walk(node) if isinstance(statement, _FUNCTIONS)]


def own_functions(cls: type) -> dict[str, FunctionType]:
    """The functions that a class defines itself, under their names there."""
    functions: dict[str, FunctionType] = {}
    for name, value in sorted(vars(cls).items()):
        for suffix, function in (
            ("", value),
            ("", getattr(value, "__func__", None)),
            (".get", getattr(value, "fget", None)),
            (".set", getattr(value, "fset", None)),
            (".del", getattr(value, "fdel", None)),
        ):
            if type(function) is FunctionType:
                functions[name + suffix] = function
    return functions


def belongs(function: FunctionType, cls: type) -> bool:
    """Whether a function was written in the body of a class (and not generated or borrowed)."""
    code = function.__code__
    return (
        function.__qualname__ == f"{cls.__qualname__}.{code.co_name}"
        and not code.co_filename.startswith(("<string", "<attrs", "<frozen"))
        and origin_of_path(code.co_filename) == PROJECT
    )


def _annotated(node: ast.ClassDef) -> list[str]:
    return sorted(
        {
            statement.target.id
            for statement in node.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        }
    )


def first_line(node: Any) -> int:
    """Where Python says that a definition begins: its first decorator."""
    if not node.decorator_list:
        return int(node.lineno)
    return int(min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]))


def _all_codes(code: CodeType) -> list[CodeType]:
    found = []
    for constant in code.co_consts:
        if type(constant) is CodeType:
            found.append(constant)
            found.extend(_all_codes(constant))
    return found


def _start(node: ast.Lambda) -> tuple[int, int]:
    return node.body.lineno, node.body.col_offset


def _body_start(code: CodeType) -> tuple[int, int]:
    positions = getattr(code, "co_positions", tuple)
    known = [(line, column) for line, _, column, _ in positions() if line and column]
    return min(known, default=(0, 0))


_FLAGS = 0xFF  # optimised, newlocals, varargs, varkeywords, nested, generator, nofree, coroutine


def same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    if one == other:
        return True
    return (
        one.co_name == other.co_name
        and one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and one.co_cellvars == other.co_cellvars
        and one.co_argcount == other.co_argcount
        and one.co_posonlyargcount == other.co_posonlyargcount
        and one.co_kwonlyargcount == other.co_kwonlyargcount
        and one.co_flags & _FLAGS == other.co_flags & _FLAGS
        and getattr(one, "co_exceptiontable", b"") == getattr(other, "co_exceptiontable", b"")
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same_constant, one.co_consts, other.co_consts))
    )


def _same_constant(one: Any, other: Any) -> bool:
    if type(one) is CodeType and type(other) is CodeType:
        return same_code(one, other)
    if type(one) is CodeType or type(other) is CodeType:
        return False
    return leaf(one) == leaf(other)
