"""One function or class by itself: the digest of what it says, and the names that it reaches.

Rule of this file: a unit is made from source where the source compiles to the code that is running,
else from bytecode (then it holds for one Python version only). Units are kept by code object, so
that resolving a closure again costs a walk over objects and no parsing.
"""

from __future__ import annotations

import ast
import copy
import dis
import functools
import inspect
import sys
from types import CodeType, FunctionType
from typing import Any

from .origin import OURS, origin_of_module
from .parsing import parse
from .scopes import Chain, Import, Syntax
from .source import Source, belongs, own_functions
from .syntax import class_syntax, function_syntax, module_syntax
from .texts import source_of
from .values import leaf
from .walk import Known, digest_of

_OUR_DECORATORS = frozenset({"python_app", "join_app", "bash_app", "App"})
_KEPT = 8192


class Unit:
    """What one function or class says.

    Attributes:
        digest: of its canonical text or bytecode.
        chains: the free names it reaches, with the attributes that follow them.
        imports: what imports in its body reach.
        kept: its syntax tree or text, or None when it was made from bytecode.
    """

    __slots__ = ("chains", "digest", "imports", "kept")

    def __init__(self, digest: bytes, syntax: Syntax, kept: ast.AST | str | None) -> None:
        self.digest = digest
        self.chains = sorted(syntax.chains)
        self.imports = sorted(syntax.imports)
        self.kept = kept

    def source(self) -> str | None:
        """Normalised source text, to be read and compared by people."""
        if self.kept is None:
            return None
        node = parse(self.kept) if isinstance(self.kept, str) else copy.deepcopy(self.kept)
        return ast.unparse(_bare(node))


_functions: dict[int, tuple[CodeType, Unit]] = {}
_modules: dict[int, tuple[Source, bytes]] = {}


def function_unit(function: FunctionType) -> Unit:
    """The unit of a function."""
    code = function.__code__
    known = _functions.get(id(code))
    if known is not None and known[0] is code:
        return known[1]
    source = source_of(code.co_filename, function.__globals__)
    found = source.definition(code, function.__qualname__) if source is not None else None
    if found is None:
        unit = _from_bytecode(code)
    else:
        syntax = function_syntax(found.node, ours_in(function.__globals__))
        unit = Unit(digest_of(b"source", syntax.text.encode()), syntax, found.kept)
    if len(_functions) >= _KEPT:
        _functions.clear()
    _functions[id(code)] = code, unit
    return unit


def class_unit(cls: type, namespace: dict[str, Any]) -> Unit | None:
    """The unit of a class with all its methods; None if its source is not the one that runs."""
    files = [f.__code__.co_filename for f in own_functions(cls).values() if belongs(f, cls)]
    filename = files[0] if files else ""
    source = source_of(filename or namespace.get("__file__") or "", namespace)
    node = source.class_definition(cls) if source is not None else None
    if node is None:
        return None
    syntax = class_syntax(node, ours_in(namespace))
    return Unit(digest_of(b"source", syntax.text.encode()), syntax, node)


def text_digest(namespace: dict[str, Any]) -> bytes:
    """The digest of a whole module's canonical text; of nothing where there is no source."""
    source = source_of(namespace.get("__file__") or "", namespace)
    if source is None or source.whole is None:
        return b""
    known = _modules.get(id(source))
    if known is not None and known[0] is source:
        return known[1]
    digest = digest_of(b"module", module_syntax(source.whole.tree).text.encode())
    if len(_modules) >= 256:
        _modules.clear()
    _modules[id(source)] = source, digest
    return digest


# --- our decorators -------------------------------------------------------------------------------


def is_ours(value: Any) -> bool:
    """Whether a decorator, or a partial of it, is this library's."""
    while isinstance(value, functools.partial):
        value = value.func
    for name in (getattr(value, "__module__", None), type(value).__module__):
        if isinstance(name, str) and origin_of_module(name) == OURS:
            return True
    return False


def ours_in(namespace: dict[str, Any]) -> Any:
    """A test whether a decorator's expression, as it stands in a module, is one of ours."""

    def test(decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        names: list[str] = []
        while isinstance(target, ast.Attribute):
            names.append(target.attr)
            target = target.value
        if not isinstance(target, ast.Name):
            return False
        if target.id not in namespace:  # made inside a function: only its name is known
            return ([target.id, *names[::-1]])[-1] in _OUR_DECORATORS
        value = namespace[target.id]
        for name in reversed(names):
            value = getattr(value, name, None)
        return is_ours(value)

    return test


# --- bytecode -------------------------------------------------------------------------------------

_LOADS = frozenset(
    {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"}
)
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def _from_bytecode(code: CodeType) -> Unit:
    chains: set[Chain] = set()
    imports: set[Import] = set()
    _scan(code, chains, imports)
    syntax = Syntax("", frozenset(chains), frozenset(imports))
    return Unit(digest_of(b"bytecode", leaf(_code_value(code))), syntax, None)


def _code_value(code: CodeType) -> tuple[Any, ...]:
    """Everything about a code object that changes what it does."""
    constants = [
        Known(leaf(_code_value(part))) if type(part) is CodeType else part
        for part in code.co_consts
    ]
    if constants and _has_docstring(code):
        constants[0] = None
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0xFF
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, constants, counts, names, getattr(code, "co_exceptiontable", b"")


def _has_docstring(code: CodeType) -> bool:
    """Whether the first constant of a function is its docstring, or the place for one."""
    is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
    if sys.version_info >= (3, 13):
        return bool(is_function and code.co_flags & 0x4000000)
    return bool(is_function and type(code.co_consts[0]) is str)


def _scan(code: CodeType, chains: set[Chain], imports: set[Import]) -> None:
    """The names that bytecode reaches; a name too many does no harm."""
    chain: Chain = ()
    module = ""
    local = set(code.co_cellvars)
    for instruction in dis.get_instructions(code):
        name, argument = instruction.opname, instruction.argval
        if name in _ATTRIBUTES and chain:
            chain = (*chain, str(argument))
            continue
        if chain:
            chains.add(chain)
            chain = ()
        if name in _LOADS and argument not in local:
            chain = (str(argument),)
        elif name == "IMPORT_NAME":
            module = str(argument)
            imports.add(Import(0, module, ()))
        elif name == "IMPORT_FROM":
            imports.add(Import(0, module, (str(argument),)))
    if chain:
        chains.add(chain)
    for part in code.co_consts:
        if type(part) is CodeType:
            _scan(part, chains, imports)


# --- text for people ------------------------------------------------------------------------------


class _Bare(ast.NodeTransformer):
    """Drops docstrings and annotations."""

    def visit_arg(self, node: ast.arg) -> Any:
        return ast.arg(arg=node.arg, annotation=None)

    def visit_FunctionDef(self, node: Any) -> Any:
        node = type(node)(**{name: getattr(node, name, None) for name in node._fields})
        node.returns = None
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        fields: Any = {name: getattr(node, name, None) for name in node._fields}
        node = ast.ClassDef(**fields)
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)


def _without_docstring(body: list[Any]) -> list[Any]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        body = body[1:]
    return body or [ast.Pass()]


def _bare(node: ast.AST) -> ast.AST:
    bare: ast.AST = _Bare().visit(node)
    return ast.fix_missing_locations(bare)
