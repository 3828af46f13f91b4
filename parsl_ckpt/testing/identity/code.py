"""Functions, partials, methods, modules, classes and types as values."""

# ruff: noqa: UP007, UP045
from __future__ import annotations

import functools
import math
import operator
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from .project import function, models, module


def _sources(template: str, *values: str) -> tuple[Any, ...]:
    """Makers of ``f`` out of a source with one place changed."""
    return tuple(lambda value=value: function(template.replace("@@", value)) for value in values)


def _returned(source: str, *arguments: Any) -> Any:
    return function(source)(*arguments)


def _partial(source: str, *args: Any, **kwargs: Any) -> Any:
    return functools.partial(function(source), *args, **kwargs)


CLOSURE = "def f(n):\n    def g(x): return x + n\n    return g"
SUM = "def f(x, y=1): return x + y"


def _made_module(**attributes: Any) -> types.ModuleType:
    made = types.ModuleType("battery_made")
    vars(made).update(attributes)
    return made


def differ() -> dict[str, Any]:
    return {
        "functions: constants": _sources("def f(x): return x + @@", "1", "2"),
        "functions: types of constants": _sources("def f(x): return x + @@", "1", "1.0"),
        "functions: operators": _sources("def f(x): return x @@ 2", "+", "-"),
        "functions: names of parameters": _sources("def f(@@): return 1", "x", "y"),
        "functions: defaults": _sources("N = @@\ndef f(x, y=N): return y", "1", "2"),
        "functions: keyword defaults": _sources("N = @@\ndef f(*, y=N): return y", "1", "2"),
        "functions: lambdas": _sources("f = lambda x: x + @@", "1", "2"),
        "functions: lambdas on one line": _sources(
            "a, b = lambda x: x + 1, lambda x: x + 2\nf = @@", "a", "b"
        ),
        "functions: nested": _sources(
            "def f(x):\n    def g(y): return y @@ 2\n    return g(x)", "+", "-"
        ),
        "functions: coroutines": _sources("@@def f(x): return x", "", "async "),
        "functions: generators": _sources("def f(x): @@ x", "return", "yield"),
        "functions: a helper": _sources("def g(): return @@\ndef f(): return g()", "1", "2"),
        "functions: a helper of a helper": _sources(
            "def h(): return @@\ndef g(): return h()\ndef f(): return g()", "1", "2"
        ),
        "functions: a helper in another module": tuple(
            lambda n=n: function(
                "import battery_h\ndef f(): return battery_h.g()", battery_h=f"def g(): return {n}"
            )
            for n in (1, 2)
        ),
        "functions: a global": _sources("N = @@\ndef f(): return N", "[1]", "[2]"),
        "functions: recursion": _sources(
            "def f(n): return 1 if n < 1 else f(n - 1) * @@", "2", "3"
        ),
        "functions: mutual recursion": _sources(
            "def g(n): return f(n - @@)\ndef f(n): return n and g(n)", "1", "2"
        ),
        "functions: what is decorated": _sources(
            "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n"
            "    return w\n@d\ndef f(x): return @@",
            "1",
            "2",
        ),
        "functions: the decorator": _sources(
            "import functools\ndef d(g):\n    @functools.wraps(g)\n"
            "    def w(*a): return [g(*a), @@]\n    return w\n@d\ndef f(x): return 0",
            "1",
            "2",
        ),
        "functions: attributes": _sources("def f(): return f.n\nf.n = @@", "1", "2"),
        "functions: closures": (lambda: _returned(CLOSURE, 1), lambda: _returned(CLOSURE, 2)),
        "functions: types in closures": (
            lambda: _returned(CLOSURE, 1),
            lambda: _returned(CLOSURE, True),
        ),
        "functions: cached ones": _sources(
            "import functools\n@functools.lru_cache\ndef f(x): return @@", "1", "2"
        ),
        "functions: builtin": (lambda: len, lambda: max),
        "functions: of one name in two modules": (lambda: math.pow, lambda: operator.pow),
        "functions: beside their results": (lambda: int, lambda: 0),
        "functions: in lists": (
            lambda: [function("def f(x): return x")],
            lambda: [function("def f(x): return -x")],
        ),
        "partials: functions": (
            lambda: _partial(SUM, 1),
            lambda: _partial(SUM.replace("+", "-"), 1),
        ),
        "partials: arguments": (lambda: _partial(SUM, 1), lambda: _partial(SUM, 2)),
        "partials: keywords": (lambda: _partial(SUM, y=1), lambda: _partial(SUM, y=2)),
        "partials: position beside keyword": (lambda: _partial(SUM, 1), lambda: _partial(SUM, x=1)),
        "partials: beside functions": (lambda: _partial(SUM), lambda: function(SUM)),
        "methods: which": (lambda: models().Plain().method, lambda: models().Plain().another),
        "methods: state of the instance": (
            lambda: models().Plain(a=1).method,
            lambda: models().Plain(a=2).method,
        ),
        "methods: bound beside not": (
            lambda: models().Plain().method,
            lambda: models().Plain.method,
        ),
        "methods: classes of the instance": (
            lambda: models().Plain().method,
            lambda: models().Child().method,
        ),
        "methods: builtin, bound": (lambda: [1].append, lambda: [2].append),
        "methods: builtin, which": (lambda: "a".join, lambda: "a".split),
        "classes: methods": (
            lambda: models().Plain,
            lambda: models("return self.scale + 1", "return self.scale").Plain,
        ),
        "classes: constants": (
            lambda: models().Plain,
            lambda: models("scale = 2", "scale = 3").Plain,
        ),
        "classes: bases": (
            lambda: models().Child,
            lambda: models("class Child(Plain)", "class Child(Hidden)").Child,
        ),
        "classes: names": (lambda: models().Plain, lambda: models().Node),
        "classes: beside instances": (lambda: models().Mode, lambda: models().Mode()),
        "classes: fields of dataclasses": (
            lambda: models().Point,
            lambda: models("    y: Any = 0\n\n    def", "    y: Any = 1\n\n    def").Point,
        ),
        "classes: enum members": (
            lambda: models().Colour,
            lambda: models("BLUE = 2\n\n\nclass Paint", "BLUE = 3\n\n\nclass Paint").Colour,
        ),
        "classes: made at run time": (
            lambda: module("C = type('Made', (), {'n': 1})").C,
            lambda: module("C = type('Made', (), {'n': 2})").C,
        ),
        "modules: of the library": (lambda: math, lambda: operator),
        "modules: beside their names": (lambda: math, lambda: "math"),
        "modules: of a user, by content": (
            lambda: module("def g(): return 1", "battery_m"),
            lambda: module("def g(): return 2", "battery_m"),
        ),
        "modules: made at run time": (lambda: _made_module(n=1), lambda: _made_module(n=2)),
        "types: builtin": (lambda: int, lambda: bool),
        "types: beside their names": (lambda: int, lambda: "int"),
        "types: of None beside None": (lambda: type(None), lambda: None),
        "generics: bare": (lambda: list, lambda: list[int]),
        "generics: arguments": (lambda: list[int], lambda: list[str]),
        "generics: order of arguments": (lambda: dict[int, str], lambda: dict[str, int]),
        "generics: origins": (lambda: list[int], lambda: set[int]),
        "generics: nested": (lambda: list[list[int]], lambda: list[list[str]]),
        "generics: optional": (lambda: typing.Optional[int], lambda: int),
        "generics: unions": (lambda: int | str, lambda: int | bytes),
        "generics: literals": (lambda: typing.Literal[1], lambda: typing.Literal[2]),
        "generics: types of literals": (lambda: typing.Literal[1], lambda: typing.Literal[True]),
        "generics: literals of texts": (lambda: typing.Literal["1"], lambda: typing.Literal[1]),
        "generics: callables": (lambda: Callable[[int], str], lambda: Callable[[str], int]),
        "generics: callables, nesting": (
            lambda: Callable[[int, str], None],
            lambda: Callable[[int], None],
        ),
        "generics: annotated": (
            lambda: typing.Annotated[int, "a"],
            lambda: typing.Annotated[int, "b"],
        ),
        "generics: forms": (lambda: typing.Any, lambda: typing.NoReturn),
        "generics: of a tuple of any length": (lambda: tuple[int, ...], lambda: tuple[int]),
        "generics: type variables": (lambda: typing.TypeVar("T"), lambda: typing.TypeVar("S")),
        "generics: bounds of type variables": (
            lambda: typing.TypeVar("T", bound=int),
            lambda: typing.TypeVar("T", bound=str),
        ),
        "generics: variance of type variables": (
            lambda: typing.TypeVar("T", covariant=True),
            lambda: typing.TypeVar("T", contravariant=True),
        ),
        "generics: new types": (
            lambda: typing.NewType("A", int),
            lambda: typing.NewType("A", str),
        ),
        "generics: classes of the library": (
            lambda: typing.ClassVar[int],
            lambda: typing.Final[int],
        ),
        "descriptors: properties": (
            lambda: property(function("def f(s): return 1")),
            lambda: property(function("def f(s): return 2")),
        ),
        "descriptors: static beside class": (
            lambda: staticmethod(function(SUM)),
            lambda: classmethod(function(SUM)),
        ),
    }


def _same(one: str, other: str) -> tuple[Any, Any]:
    return lambda: function(one), lambda: function(other)


def agree() -> dict[str, Any]:
    return {
        "functions: comments": _same(
            "def f(x): return x", "# a\ndef f(x):\n    # b\n    return x  # c"
        ),
        "functions: formatting": _same(
            "def f(x): return (x+1,'a')",
            'def f( x ):\n    return (\n        x + 1,\n        "a",\n    )',
        ),
        "functions: docstrings": _same(
            "def f(x): return x", 'def f(x):\n    """What it does."""\n    return x'
        ),
        "functions: annotations": _same(
            "def f(x): return x", "def f(x: int) -> 'list[int]': return x"
        ),
        "functions: moved in their file": _same(
            "def f(x): return x", "A = 1\n\n\ndef f(x): return x\nB = 2"
        ),
        "functions: their own names": _same("def f(x): return x", "def g(x): return x\nf = g"),
        "functions: lambda beside def": _same("f = lambda x: x + 1", "def f(x): return x + 1"),
        "functions: pieces of f-strings": _same(
            "def f(x): return f'a{x}bc'", "def f(x): return f'a{x}b' 'c'"
        ),
        "functions: how numbers are written": _same(
            "def f(): return 1000", "def f(): return 1_000"
        ),
        "functions: what they do not reach": _same(
            "def g(): return 1\ndef f(x): return x", "def g(): return 2\ndef f(x): return x"
        ),
        "functions: a helper's comments": _same(
            "def g(): return 1\ndef f(): return g()",
            "def g():\n    'T'\n    return 1  # c\ndef f(): return g()",
        ),
        "functions: order of definition": _same(
            "def g(): return 1\ndef f(): return g()", "def f(): return g()\ndef g(): return 1"
        ),
        "functions: order of a global set": _same(
            "N = {'a', 'b'}\ndef f(): return N", "N = {'b', 'a'}\ndef f(): return N"
        ),
        "functions: in modules of other names": (
            lambda: module("def f(x): return x", "battery_a").f,
            lambda: module("def f(x): return x", "battery_b").f,
        ),
        "functions: re-imported": (lambda: function(SUM), lambda: function(SUM)),
        "functions: recursion, re-imported": (
            lambda: function("def g(n): return f(n)\ndef f(n): return n and g(n - 1)"),
            lambda: function("def f(n): return n and g(n - 1)\ndef g(n): return f(n)"),
        ),
        "functions: closures": (lambda: _returned(CLOSURE, [1]), lambda: _returned(CLOSURE, [1])),
        "functions: called before": (
            lambda: function("import functools\n@functools.lru_cache\ndef f(x): return x"),
            lambda: _called(function("import functools\n@functools.lru_cache\ndef f(x): return x")),
        ),
        "functions: builtin, by another way": (lambda: math.sin, lambda: getattr(math, "s" + "in")),
        "partials: made twice": (lambda: _partial(SUM, 1, y=2), lambda: _partial(SUM, 1, y=2)),
        "partials: order of keywords": (
            lambda: _partial("def f(**k): return k", a=1, b=2),
            lambda: _partial("def f(**k): return k", b=2, a=1),
        ),
        "partials: of partials": (
            lambda: functools.partial(_partial(SUM, 1), y=2),
            lambda: _partial(SUM, 1, y=2),
        ),
        "methods: of equal instances": (
            lambda: models().Plain(a=1, b=2).method,
            lambda: models().Plain(b=2, a=1).method,
        ),
        "methods: builtin, bound": (lambda: [1].append, lambda: [1].append),
        "classes: re-imported": (lambda: models().Plain, lambda: models().Plain),
        "classes: comments": (
            lambda: models().Plain,
            lambda: models("    scale = 2", "    # why\n    scale = 2").Plain,
        ),
        "classes: others in the file": (
            lambda: models().Plain,
            lambda: models("return 2 * self.x", "return 3 * self.x").Plain,
        ),
        "classes: instances made": (lambda: models().Plain, lambda: type(models().Plain(a=1))),
        "modules: of the library": (lambda: math, lambda: sys.modules["math"]),
        "modules: of a user, comments": (
            lambda: module("def g(): return 1", "battery_m"),
            lambda: module("# new\ndef g():\n    return 1", "battery_m"),
        ),
        "types: by another way": (lambda: int, lambda: int),
        "generics: made twice": (lambda: dict[str, list[int]], lambda: dict[str, list[int]]),
        "generics: made of parts": (lambda: list[int], lambda: types.GenericAlias(list, (int,))),
        "generics: optional written otherwise": (lambda: typing.Optional[int], lambda: int | None),
        "generics: order of a union": (lambda: int | str, lambda: str | int),
        "generics: unions nested": (
            lambda: typing.Union[int, typing.Union[str, bytes]],
            lambda: int | str | bytes,
        ),
        "generics: literals": (lambda: typing.Literal[1, "a"], lambda: typing.Literal[1, "a"]),
        "generics: callables": (lambda: Callable[[int], str], lambda: Callable[[int], str]),
        "generics: new types": (
            lambda: typing.NewType("A", int),
            lambda: typing.NewType("A", int),
        ),
        "generics: type variables": (lambda: typing.TypeVar("T"), lambda: typing.TypeVar("T")),
    }


def _called(fn: Any) -> Any:
    fn(1)
    return fn
