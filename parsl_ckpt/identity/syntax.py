"""A function's or class's syntax tree as one canonical text, and the names that it reaches.

Rule of this file: the text says what the code does and nothing else. Comments, positions,
formatting and docstrings are not in it; annotations only where they may mean something (class
bodies, and under decorators that are not ours); empty fields are left out and the constant parts of
f-strings joined, because Python versions differ in them (``ast.dump`` is different in each). No
object is looked at. Which names it binds and reaches is kept by ``scopes.py``.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any

from .parsing import parse
from .scopes import Import, Scope, Scopes, Syntax
from .values import leaf

IsOurs = Callable[[ast.expr], bool]

FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def function_syntax(node: ast.AST, is_ours: IsOurs) -> Syntax:
    """The syntax of one function; its own name and the values of its defaults do not count.

    Args:
        node: a definition or a lambda.
        is_ours: whether a decorator is one of this library's, which do not count.
    """
    writer = _Writer(is_ours)
    outer = writer.scope
    writer.function(node, root=True)
    return writer.result(outer)


def class_syntax(node: ast.ClassDef, is_ours: IsOurs) -> Syntax:
    """The syntax of a class with all its methods."""
    writer = _Writer(is_ours)
    outer = writer.scope
    writer.class_(node, root=True)
    return writer.result(outer)


def module_syntax(tree: ast.Module) -> Syntax:
    """The syntax of a whole module."""
    writer = _Writer(lambda decorator: False)
    outer = writer.scope
    writer.body(tree.body)
    return writer.result(outer)


_SKIPPED = frozenset({"ctx", "kind", "type_comment", "simple", "lineno", "col_offset"})


class _Writer(Scopes):
    """Writes the canonical text and keeps the scopes."""

    def __init__(self, is_ours: IsOurs) -> None:
        super().__init__()
        self.is_ours = is_ours
        self.out: list[str] = []
        self.keep_annotations = False
        self.in_class_body = False

    def result(self, outer: Scope) -> Syntax:
        self._resolve_imports(outer)
        return Syntax("".join(self.out), frozenset(outer.chains), frozenset(outer.imports))

    # --- text

    def write(self, node: Any) -> None:
        """One node, list, identifier or constant."""
        handler = _HANDLERS.get(type(node))
        if handler is not None:
            handler(self, node)
        else:
            self.generic(node)

    def generic(self, node: ast.AST) -> None:
        out = self.out
        opening, steps = _plan_of(type(node))
        out.append(opening)
        get = _HANDLERS.get
        for name, label in steps:
            part = getattr(node, name, None)
            if part is None or (not part and type(part) is list):
                continue
            out.append(label)
            handler = get(type(part))
            if handler is not None:
                handler(self, part)
            else:
                self.generic(part)
        out.append(")")

    def list_(self, items: list[Any]) -> None:
        out = self.out
        get = _HANDLERS.get
        out.append("[")
        for item in items:
            handler = get(type(item))
            if handler is not None:
                handler(self, item)
            else:
                self.generic(item)
            out.append(" ")
        out.append("]")

    def body(self, statements: list[ast.stmt]) -> None:
        """Statements without those that do nothing: docstrings, other constants, ``pass``."""
        out = self.out
        out.append("[")
        for statement in statements:
            kind = type(statement)
            if kind is ast.Pass:
                continue
            if kind is ast.Expr and type(statement.value) is ast.Constant:  # type: ignore[attr-defined]
                continue
            if kind is ast.AnnAssign and self._only_annotates(statement):  # type: ignore[arg-type]
                continue
            self.write(statement)
            out.append(" ")
        out.append("]")

    def constant(self, value: Any) -> None:
        self.out.append(f"'{leaf(value).hex()}'")

    def name(self, node: ast.Name) -> None:
        name = node.id
        self.out.append(f"`{name}")
        if type(node.ctx) is ast.Load:
            self.scope.chains.add((name,))
        else:
            self.scope.bound.add(name)
            if type(node.ctx) is ast.Del:
                self.scope.chains.add((name,))

    def attribute(self, node: ast.Attribute) -> None:
        names = [node.attr]
        base: ast.expr = node.value
        while type(base) is ast.Attribute:
            names.append(base.attr)
            base = base.value
        if type(base) is ast.Name and type(base.ctx) is ast.Load:
            names.append(base.id)
            names.reverse()
            self.scope.chains.add(tuple(names))
            self.out.append("`" + ".".join(names))
            return
        self.out.append("(. ")
        self.write(base)
        names.reverse()
        self.out.append(f" {'.'.join(names)})")

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string, its neighbouring constants joined and its empty ones dropped."""
        parts: list[Any] = []
        for part in _flat(node):
            if type(part) is str and parts and type(parts[-1]) is str:
                parts[-1] += part
            elif part != "":
                parts.append(part)
        if not parts or (len(parts) == 1 and type(parts[0]) is str):
            self.constant("".join(parts))
            return
        self.out.append("(f")
        for part in parts:
            self.out.append(" ")
            if type(part) is str:
                self.constant(part)
                continue
            self.out.append(f"({part.conversion} ")
            self.write(part.value)
            if part.format_spec is not None:
                self.out.append(" ")
                self.write(part.format_spec)
            self.out.append(")")
        self.out.append(")")

    # --- definitions

    def decorators(self, node: Any, root: bool) -> bool:
        """Write the decorators that count; whether there are any."""
        counted = []
        for decorator in reversed(node.decorator_list):
            if not self.is_ours(decorator):
                counted.append(decorator)
            elif root:  # what stands above ours decorates the app, not its function
                break
        if counted:
            self.out.append("@")
            self.list_(counted[::-1])
        return bool(counted)

    def function(self, node: Any, root: bool = False) -> None:
        out = self.out
        out.append("(async" if type(node) is ast.AsyncFunctionDef else "(def")
        kept = self.keep_annotations
        if type(node) is not ast.Lambda:
            if not root:
                out.append(f" {node.name} ")
                self.bind(node.name)
            if self.decorators(node, root):
                self.keep_annotations = True
        arguments = node.args
        self.push()  # type parameters are visible in annotations and in the body
        for parameter in getattr(node, "type_params", ()):
            self.write(parameter)
        inner = self.scopes.pop()
        self.scope = self.scopes[-1]
        # Defaults are evaluated outside; those of the root have their values in the function.
        probe = Scope() if root else None
        if probe is not None:
            self.scopes.append(probe)
            self.scope = probe
        for label, defaults in ((" =", arguments.defaults), (" *=", arguments.kw_defaults)):
            if defaults:
                out.append(label)
                self.list_(defaults)
        if probe is not None:
            self.scopes.pop()
            self.scope = self.scopes[-1]
        if self.keep_annotations:
            self.annotations(node)
        self.scopes.append(inner)
        self.scope = inner
        for label, parameters in (
            (" /", arguments.posonlyargs),
            (" ", arguments.args),
            (" *", [arguments.vararg] if arguments.vararg else []),
            (" -", arguments.kwonlyargs),
            (" **", [arguments.kwarg] if arguments.kwarg else []),
        ):
            for parameter in parameters:
                out.append(label)
                out.append(parameter.arg)
                inner.bound.add(parameter.arg)
        out.append(":")
        in_class_body, self.in_class_body = self.in_class_body, False
        self.keep_annotations = False
        if type(node) is ast.Lambda:
            out.append("[(Return value=")
            self.write(node.body)
            out.append(") ]")
        else:
            self.body(node.body)
        self.in_class_body = in_class_body
        self.keep_annotations = kept
        self.pop()
        out.append(")")

    def annotations(self, node: Any) -> None:
        if type(node) is ast.Lambda:
            return
        a = node.args
        for parameter in (*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg):
            if parameter is not None and parameter.annotation is not None:
                self.out.append(f" :{parameter.arg}=")
                self.annotation(parameter.annotation)
        if node.returns is not None:
            self.out.append(" ->")
            self.annotation(node.returns)

    def annotation(self, node: ast.expr) -> None:
        """An annotation that counts; one in quotes reaches what it names."""
        if type(node) is ast.Constant and type(node.value) is str:
            with contextlib.suppress(SyntaxError):
                node = parse(node.value, mode="eval").body
        self.write(node)

    def class_(self, node: ast.ClassDef, root: bool = False) -> None:
        out = self.out
        out.append(f"(class {node.name} ")
        if not root:
            self.bind(node.name)
        kept, in_class_body = self.keep_annotations, self.in_class_body
        foreign = self.decorators(node, root=False)
        for parameter in getattr(node, "type_params", ()):
            self.write(parameter)
        self.list_(node.bases)
        self.list_(node.keywords)
        self.push(is_class=True)
        self.in_class_body = True
        self.keep_annotations = foreign or bool(node.keywords)
        self.body(node.body)
        self.keep_annotations, self.in_class_body = kept, in_class_body
        self.pop()
        out.append(")")

    def _only_annotates(self, node: ast.AnnAssign) -> bool:
        """Whether it is ``name: type`` in a function: the name is local, and that is all."""
        if node.value is not None or self.in_class_body:
            return False
        if type(node.target) is ast.Name:
            self.bind(node.target.id)
            return True
        return False

    def annotated(self, node: ast.AnnAssign) -> None:
        if self.in_class_body:
            self.out.append("(: ")
            self.write(node.target)
            self.out.append(" ")
            self.annotation(node.annotation)
        else:
            self.out.append("(Assign targets=[")
            self.write(node.target)
            self.out.append(" ]")
        if node.value is not None:
            self.out.append(" value=")
            self.write(node.value)
        self.out.append(")")

    def comprehension(self, node: Any) -> None:
        self.out.append(f"({type(node).__name__} ")
        first = node.generators[0]
        self.write(first.iter)  # evaluated outside
        self.push(is_comprehension=True)
        for generator in node.generators:
            self.out.append(" async for " if generator.is_async else " for ")
            self.write(generator.target)
            if generator is not first:
                self.out.append(" in ")
                self.write(generator.iter)
            for condition in generator.ifs:
                self.out.append(" if ")
                self.write(condition)
        for name in ("key", "value", "elt"):
            part = getattr(node, name, None)
            if part is not None:
                self.out.append(f" {name}=")
                self.write(part)
        self.pop()
        self.out.append(")")

    def walrus(self, node: ast.NamedExpr) -> None:
        self.out.append(f"(:= {node.target.id} ")
        self.bind_walrus(node.target.id)
        self.write(node.value)
        self.out.append(")")

    # --- statements that bind in their own way

    def import_(self, node: ast.Import) -> None:
        self.out.append("(import")
        for alias in node.names:
            self.out.append(f" {alias.name} as {alias.asname or ''}")
            if alias.asname:
                name, origin = alias.asname, Import(0, alias.name, ())
            else:  # "import a.b" binds a, and a.b is imported whoever uses it
                name = alias.name.partition(".")[0]
                origin = Import(0, name, ())
                if name != alias.name:
                    self.scope.imports.add(Import(0, alias.name, ("",)))
            self._import_as(name, origin)
        self.out.append(")")

    def import_from(self, node: ast.ImportFrom) -> None:
        self.out.append(f"(from {'.' * (node.level or 0)}{node.module or ''} import")
        for alias in node.names:
            self.out.append(f" {alias.name} as {alias.asname or ''}")
            origin = Import(node.level or 0, node.module or "", (alias.name,))
            self._import_as(alias.asname or alias.name, origin)
        self.out.append(")")

    def _import_as(self, name: str, origin: Import) -> None:
        self.scope.bound.add(name)
        self.scope.names.setdefault(name, []).append(origin)

    def declare(self, node: Any) -> None:
        self.scope.declared.update(node.names)
        if type(node) is ast.Global:
            self.scope.globals.update(node.names)
        self.generic(node)

    def handler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bind(node.name)
        self._with_body(node, "body")

    def _with_body(self, node: Any, *bodies: str) -> None:
        """A compound statement: its blocks lose what does nothing."""
        out = self.out
        opening, steps = _plan_of(type(node))
        out.append(opening)
        for name, label in steps:
            part = getattr(node, name, None)
            if part is None or part == []:
                continue
            out.append(label)
            if name in bodies:
                self.body(part)
            else:
                self.write(part)
        out.append(")")

    def compound(self, node: Any) -> None:
        self._with_body(node, "body", "orelse", "finalbody")

    def capture(self, node: Any) -> None:
        name = node.rest if type(node) is ast.MatchMapping else node.name
        if name:
            self.bind(name)
        self.generic(node)

    def type_parameter(self, node: Any) -> None:
        self.bind(node.name)
        self.generic(node)

    def expression(self, node: ast.Expr) -> None:
        self.write(node.value)

    def match_singleton(self, node: ast.MatchSingleton) -> None:
        self.out.append("(is ")
        self.constant(node.value)
        self.out.append(")")


def _flat(node: ast.JoinedStr) -> list[Any]:
    """Constants as strings and formatted values as nodes."""
    parts: list[Any] = []
    for part in node.values:
        if isinstance(part, ast.JoinedStr):
            parts.extend(_flat(part))
        elif isinstance(part, ast.Constant):
            parts.append(part.value)
        else:
            parts.append(part)
    return parts


def _plan_of(kind: type[ast.AST]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """How a node of a kind begins, and its fields with their labels."""
    plan = _PLANS.get(kind)
    if plan is None:
        fields = tuple((name, f" {name}=") for name in kind._fields if name not in _SKIPPED)
        plan = _PLANS[kind] = f"({kind.__name__}", fields
    return plan


_PLANS: dict[type[ast.AST], tuple[str, tuple[tuple[str, str], ...]]] = {}


_HANDLERS: dict[type, Callable[[_Writer, Any], None]] = {
    list: _Writer.list_,
    str: lambda writer, text: writer.out.append(text),
    int: lambda writer, number: writer.out.append(str(number)),
    type(None): lambda writer, nothing: writer.out.append("-"),
    ast.Constant: lambda writer, node: writer.constant(node.value),
    ast.Name: _Writer.name,
    ast.Attribute: _Writer.attribute,
    ast.JoinedStr: _Writer.joined,
    ast.FunctionDef: _Writer.function,
    ast.AsyncFunctionDef: _Writer.function,
    ast.Lambda: _Writer.function,
    ast.ClassDef: _Writer.class_,
    ast.AnnAssign: _Writer.annotated,
    ast.ListComp: _Writer.comprehension,
    ast.SetComp: _Writer.comprehension,
    ast.DictComp: _Writer.comprehension,
    ast.GeneratorExp: _Writer.comprehension,
    ast.NamedExpr: _Writer.walrus,
    ast.Import: _Writer.import_,
    ast.ImportFrom: _Writer.import_from,
    ast.Global: _Writer.declare,
    ast.Nonlocal: _Writer.declare,
    ast.ExceptHandler: _Writer.handler,
    ast.MatchAs: _Writer.capture,
    ast.MatchStar: _Writer.capture,
    ast.MatchMapping: _Writer.capture,
    ast.MatchSingleton: _Writer.match_singleton,
    ast.Expr: _Writer.expression,
}
for _name in (
    "If",
    "For",
    "AsyncFor",
    "While",
    "Try",
    "TryStar",
    "With",
    "AsyncWith",
    "match_case",
):
    if hasattr(ast, _name):
        _HANDLERS[getattr(ast, _name)] = _Writer.compound
for _name in ("TypeVar", "ParamSpec", "TypeVarTuple"):
    if hasattr(ast, _name):
        _HANDLERS[getattr(ast, _name)] = _Writer.type_parameter
