"""What makes the code of two apps the same, and what does not."""

# ruff: noqa: E501, RUF012
from __future__ import annotations

import linecache
import sys
import textwrap
import types

import pytest

from parsl_ckpt.identity import CodeIdentity, leaf


def digest(fn, **options):
    return CodeIdentity(fn, **options).digest()


# Each row: a name, a source, and another source in which f does the same.
SAME = {
    "comments and blank lines": (
        "def f(x):\n    return x + 1",
        "# hello\n\ndef f(x):\n\n    # why\n    return x + 1  # because",
    ),
    "formatting": ("def f(x): return (x+1,'a')", 'def f( x ):\n  return (\n  x + 1,\n  "a",)'),
    "docstring": ("def f(x):\n    return x", 'def f(x):\n    """Text."""\n    return x'),
    "annotations": ("def f(x): return x", "def f(x: int, ) -> 'list[int]': return x"),
    "local annotations": (
        "def f(x):\n    y = 1\n    return y",
        "def f(x):\n    y: int = 1\n    return y",
    ),
    "pass": ("def f(x):\n    return x", "def f(x):\n    pass\n    return x"),
    "pass in a block": (
        "def f(x):\n    if x:\n        x = 1\n    return x",
        "def f(x):\n    if x:\n        'note'\n        x = 1\n    return x",
    ),
    "moved in its file": (
        "def g(): return 1\ndef f(x): return g()",
        "A = 1\ndef f(x): return g()\nB = 2\ndef g(): return 1",
    ),
    "what is not reached": (
        "def g(): return 1\ndef f(x): return x",
        "def g(): return 2\ndef f(x): return x",
    ),
    "lambda and def": ("f = lambda x: x + 1", "def f(x): return x + 1"),
    "its own name": ("def f(x): return x", "def h(x): return x\nf = h"),
    "f-string pieces": ("def f(x): return f'a{x}bc'", "def f(x): return f'a{x}b' 'c'"),
    "f-string without values": ("def f(x): return f'ab'", "def f(x): return 'ab'"),
    "u-string": ("def f(x): return u'ab'", "def f(x): return 'ab'"),
    "numbers": ("def f(x): return 1000", "def f(x): return 1_000"),
    "a helper's docstring": (
        "def g():\n    'Text.'\n    return 1\ndef f(): return g()",
        "def g():\n    return 1\ndef f(): return g()",
    ),
    "a module's name for it": (
        "import math\ndef f(x): return math.sin(x)",
        "import math\nimport os\ndef f(x): return math.sin(x)",
    ),
    "a method's docstring": (
        "class C:\n    def m(self):\n        'x'\n        return 1\ndef f(): return C().m()",
        "class C:\n    'Text.'\n    def m(self): return 1\ndef f(): return C().m()",
    ),
    "local with the name of a global": (
        "g = 1\ndef f():\n    g = 3\n    return g",
        "g = 2\ndef f():\n    g = 3\n    return g",
    ),
    "comprehension variable with the name of a global": (
        "g = 1\ndef f(x): return [g for g in x]",
        "g = 2\ndef f(x): return [g for g in x]",
    ),
    "exception variable with the name of a global": (
        "g = 1\ndef f(x):\n    try: x()\n    except E as g: return g\nE = OSError",
        "g = 2\ndef f(x):\n    try: x()\n    except E as g: return g\nE = OSError",
    ),
    "match capture with the name of a global": (
        "g = 1\ndef f(x):\n    match x:\n        case [g, *h]: return g",
        "g = 2\ndef f(x):\n    match x:\n        case [g, *h]: return g",
    ),
    "attribute with the name of a global": (
        "g = 1\ndef f(x): return x.g",
        "g = 2\ndef f(x): return x.g",
    ),
    "order of a set": ("S = {'a', 'b'}\ndef f(): return S", "S = {'b', 'a'}\ndef f(): return S"),
    "walrus in a comprehension": (
        "y = 1\ndef f(x): return [y for z in x if (y := z)]",
        "y = 2\ndef f(x): return [y for z in x if (y := z)]",
    ),
    "logger, lock and module": (
        "import logging, threading, os\nlog = logging.getLogger('a')\nlock = threading.Lock()\n"
        "def f(): log.info(os.getpid()); lock.acquire()",
        "import logging, threading, os\nlog = logging.getLogger('b')\nlock = threading.Lock()\n"
        "def f(): log.info(os.getpid()); lock.acquire()",
    ),
    "where the file is": ("def f(): return __file__", "x = 1\ndef f(): return __file__"),
    "dataclass methods' docstring": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int = 1\ndef f(): return C()",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    'T'\n    x: int = 1\n\ndef f(): return C()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_code(module, name):
    one, other = SAME[name]
    assert digest(module(one).f) == digest(module(other).f)


def variants(template, *values):
    return tuple(template.replace("@@", value) for value in values)


# Each row: a name, a source, and another source in which f may do something else.
DIFFERENT = {
    "constant": variants("def f(x): return x + @@", "1", "2"),
    "type of a constant": variants("def f(x): return x + @@", "1", "1.0"),
    "sign of zero": variants("def f(x): return x + @@", "0.0", "-0.0"),
    "True for 1": variants("def f(x): return @@", "1", "True"),
    "operator": variants("def f(x): return x @@ 2", "+", "-"),
    "comparison chain": variants("def f(x): return 1 < x @@ 3", "<", "<="),
    "is None": variants("def f(x):\n    match x:\n        case @@: return 1", "None", "True"),
    "parameter's name": ("def f(x): return 1", "def f(y): return 1"),
    "default": variants("def f(x, y=@@): return x", "1", "2"),
    "default from a name": variants("N = @@\ndef f(x, y=N): return x", "1", "2"),
    "keyword default": variants("N = @@\ndef f(x, *, y=N): return x", "1", "2"),
    "positional only": ("def f(x): return x", "def f(x, /): return x"),
    "star": ("def f(x): return x", "def f(*x): return x"),
    "return": ("def f(x): return x", "def f(x): x"),
    "yield": ("def f(x): return x", "def f(x): yield x"),
    "async": ("def f(x): return x", "async def f(x): return x"),
    "helper": variants("def g(x): return x + @@\ndef f(x): return g(x)", "1", "2"),
    "helper of a helper": variants(
        "def h(): return @@\ndef g(x): return h()\ndef f(x): return g(x)", "1", "2"
    ),
    "which helper": variants(
        "def g(x): return 1\ndef h(x): return 2\ndef f(x): return @@(x)", "g", "h"
    ),
    "global constant": variants("N = @@\ndef f(x): return N", "1", "2"),
    "constant's type": variants("N = @@\ndef f(x): return N", "1", "True"),
    "constant in a container": variants("N = {'a': [@@]}\ndef f(x): return N", "1", "2"),
    "constant in an instance": variants(
        "class C:\n    pass\nN = C()\nN.x = @@\ndef f(x): return N.x", "1", "2"
    ),
    "global read through a local of the same name elsewhere": variants(
        "N = @@\ndef f(x):\n    def g():\n        N = 1\n        return N\n    return N", "1", "2"
    ),
    "global read in a nested function": variants(
        "N = @@\ndef f(x):\n    def g():\n        return N\n    return g()", "1", "2"
    ),
    "global read in a lambda": variants("N = @@\ndef f(x): return (lambda: N)()", "1", "2"),
    "global read in a class body": variants(
        "N = @@\ndef f(x):\n    class C:\n        N = N\n    return C", "1", "2"
    ),
    "global as first iterable": variants("N = @@\ndef f(): return [N for N in N]", "[1]", "[2]"),
    "global in an f-string": variants("N = @@\ndef f(x): return f'{N}'", "1", "2"),
    "global in a format": variants("N = @@\ndef f(x): return f'{x:>{N}}'", "1", "2"),
    "global in a match value": variants(
        "class C: N = @@\ndef f(x):\n    match x:\n        case C.N: return 1", "1", "2"
    ),
    "global in a default of a nested function": variants(
        "N = @@\ndef f(x):\n    def g(y=N): return y\n    return g()", "1", "2"
    ),
    "global declared": variants("N = @@\ndef f(x):\n    global N\n    N = N + 1", "1", "2"),
    "f-string conversion": variants("def f(x): return f'{x!@@}'", "r", "s"),
    "f-string text": ("def f(x): return f'{x} '", "def f(x): return f'{x}'"),
    "method": variants(
        "class C:\n    def m(self): return @@\ndef f(): return C().m()", "1", "2"
    ),
    "method of a base": variants(
        "class B:\n    def m(self): return @@\nclass C(B): pass\ndef f(): return C().m()", "1", "2"
    ),
    "which base": variants(
        "class A:\n    x = 1\nclass B:\n    x = 2\nclass C(@@): pass\ndef f(): return C().x", "A", "B"
    ),
    "order of bases": variants(
        "class A:\n    x = 1\nclass B:\n    x = 2\nclass C(@@): pass\ndef f(): return C().x",
        "A, B", "B, A",
    ),
    "metaclass": variants(
        "class M(type):\n    def __call__(c): return @@\nclass C(metaclass=M): pass\n"
        "def f(): return C()", "1", "2",
    ),
    "class attribute": variants("class C:\n    x = @@\ndef f(): return C.x", "1", "2"),
    "static method": variants(
        "class C:\n    @staticmethod\n    def m(): return @@\ndef f(): return C.m()", "1", "2"
    ),
    "property": variants(
        "class C:\n    @property\n    def m(self): return @@\ndef f(): return C().m", "1", "2"
    ),
    "helper of a method": variants(
        "def g(): return @@\nclass C:\n    def m(self): return g()\ndef f(): return C().m()", "1", "2"
    ),
    "default of a method": variants(
        "N = @@\nclass C:\n    def m(self, n=N): return n\ndef f(): return C().m()", "1", "2"
    ),
    "dataclass field": variants(
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    @@: int\ndef f(): return C(1)",
        "x", "y",
    ),
    "dataclass type": variants(
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: @@ = 1\ndef f(): return C(1)",
        "int", "float",
    ),
    "enum member": variants(
        "import enum\nclass C(enum.Enum):\n    a = @@\ndef f(): return C.a", "1", "2"
    ),
    "named tuple": variants(
        "import collections\nC = collections.namedtuple('C', '@@')\ndef f(): return C(1, 2)",
        "a b", "b a",
    ),
    "wrapped by a decorator": variants(
        "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n"
        "@d\ndef g(x): return @@\ndef f(x): return g(x)", "1", "2",
    ),
    "wrapped by a decorator without wraps": variants(
        "def d(g):\n    def w(*a): return g(*a)\n    return w\n"
        "@d\ndef g(x): return @@\ndef f(x): return g(x)", "1", "2",
    ),
    "decorator": variants(
        "def d(g):\n    def w(*a): return g(*a) + @@\n    return w\n@d\ndef f(x): return x", "1", "2"
    ),
    "decorator's argument": variants(
        "def d(n):\n    def o(g):\n        def w(*a): return g(*a) + n\n        return w\n    return o\n"
        "@d(@@)\ndef f(x): return x", "1", "2",
    ),
    "annotation under a foreign decorator": variants(
        "def d(g): return g\n@d\ndef f(x: @@): return x", "int", "float"
    ),
    "lru_cache": variants(
        "import functools\n@functools.lru_cache\ndef g(): return @@\ndef f(): return g()", "1", "2"
    ),
    "contextmanager": variants(
        "import contextlib\n@contextlib.contextmanager\ndef g(): yield @@\n"
        "def f():\n    with g() as x: return x", "1", "2",
    ),
    "singledispatch": variants(
        "import functools\n@functools.singledispatch\ndef g(x): return 0\n"
        "@g.register(int)\ndef _(x): return @@\ndef f(x): return g(x)", "1", "2",
    ),
    "partial": variants(
        "import functools\ndef g(x, y): return x + y\nh = functools.partial(g, @@)\n"
        "def f(x): return h(x)", "1", "2",
    ),
    "function in a partial": variants(
        "import functools\ndef g(x): return x + @@\nh = functools.partial(g, 1)\ndef f(): return h()",
        "1", "2",
    ),
    "bound method": variants(
        "class C:\n    def __init__(s, n): s.n = n\n    def m(s): return s.n\nh = C(@@).m\n"
        "def f(): return h()", "1", "2",
    ),
    "callable instance": variants(
        "class C:\n    def __call__(self): return @@\nh = C()\ndef f(): return h()", "1", "2"
    ),
    "function in a table": variants(
        "def g(): return @@\nT = {'g': g}\ndef f(k): return T[k]()", "1", "2"
    ),
    "lambda on a line with another": (
        "a, f = lambda x: x, lambda x: x + 1", "a, f = lambda x: x, lambda x: x + 2",
    ),
    "lambda in a table": variants("T = [lambda: 1, lambda: @@]\ndef f(): return T[1]()", "1", "2"),
    "recursion": variants("def f(x): return f(x - 1) if x else @@", "1", "2"),
    "mutual recursion": variants(
        "def g(x): return f(x - @@)\ndef f(x): return g(x) if x else 1", "1", "2"
    ),
    "recursion through another's name": (
        "def g(x): return g(x)\ndef h(x): return h(x) + 1\ndef f(x): return g(x)",
        "def g(x): return h(x)\ndef h(x): return h(x) + 1\ndef f(x): return g(x)",
    ),
    "closure": variants(
        "def make(n):\n    def f(x): return x + n\n    return f\nf = make(@@)", "1", "2"
    ),
    "function in a closure": variants(
        "def make(g):\n    def f(x): return g(x)\n    return f\nf = make(lambda x: @@)", "1", "2"
    ),
    "attribute of a function": variants(
        "def f(x): return f.n\nf.n = @@", "1", "2"
    ),
    "builtin shadowed": ("def f(x): return len(x)", "def len(x): return 1\ndef f(x): return len(x)"),
    "import inside": variants("def f(x):\n    import @@ as m\n    return m", "json", "math"),
    "from import inside": variants(
        "def f(x):\n    from math import @@ as m\n    return m(x)", "sin", "cos"
    ),
    "standard function": variants("from math import @@ as m\ndef f(x): return m(x)", "sin", "cos"),
    "private global in a class": variants(
        "_C__n = @@\nclass C:\n    def m(self): return __n\ndef f(): return C().m()", "1", "2"
    ),
    "del": ("def f(x):\n    y = 1\n    del y\n    return x", "def f(x):\n    y = 1\n    return x"),
    "super": variants(
        "class B:\n    def m(self): return @@\nclass C(B):\n    def m(self): return super().m()\n"
        "f = C.m", "1", "2",
    ),
    "nested class": variants(
        "def f():\n    class C:\n        def m(self): return @@\n    return C().m()", "1", "2"
    ),
    "class made by a function": variants(
        "def make(n):\n    class C:\n        def m(self): return n\n    return C\nC = make(@@)\n"
        "def f(): return C().m()", "1", "2",
    ),
    "type alias in a typed dict": variants(
        "import typing\nT = typing.@@\ndef f(): return T", "List[int]", "List[str]"
    ),
    "try and finally": (
        "def f(x):\n    try: x()\n    finally: x = 1\n    return x",
        "def f(x):\n    try: x()\n    except E: x = 1\n    return x\nE = OSError",
    ),
    "while and else": (
        "def f(x):\n    while x: x()\n    else: x = 1\n    return x",
        "def f(x):\n    while x: x()\n    x = 1\n    return x",
    ),
    "keyword argument": variants("def f(x): return dict(@@=x)", "a", "b"),
    "starred argument": ("def f(x): return max(x)", "def f(x): return max(*x)"),
    "set and list": ("def f(x): return {x}", "def f(x): return [x]"),
    "nested or flat": ("def f(x): return (x, (x,))", "def f(x): return (x, x)"),
    "bytes and text": ("def f(x): return 'a'", "def f(x): return b'a'"),
    "ellipsis": ("def f(x): return ...", "def f(x): return 'Ellipsis'"),
    "augmented": ("def f(x):\n    x += [1]\n    return x", "def f(x):\n    x = x + [1]\n    return x"),
    "decorated again": variants(
        "def d(g): return @@\n@d\ndef f(x): return x", "g", "lambda x: x + 1"
    ),
    "class decorator": variants(
        "def d(c):\n    c.y = @@\n    return c\n@d\nclass C: pass\ndef f(): return C.y", "1", "2"
    ),
    "class in a module that it is not in": variants(
        "import dataclasses\nC = dataclasses.make_dataclass('C', [('x', int, @@)])\n"
        "def f(): return C()", "1", "2",
    ),
    "slots": variants(
        "class C:\n    __slots__ = ('@@',)\ndef f(): return C()", "x", "y"
    ),
    "object used as a default": variants(
        "N = frozenset({@@})\ndef f(x, y=N): return y", "1", "2"
    ),
    "regular expression": variants("import re\nP = re.compile('@@')\ndef f(x): return P.match(x)",
                                   "a", "b"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_code(module, name):
    one, other = DIFFERENT[name]
    assert digest(module(one).f) != digest(module(other).f)


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_same_code_in_another_file_and_place(module, name):
    for source in DIFFERENT[name]:
        moved = "\n\n# moved\n" + source
        assert digest(module(source).f) == digest(module(moved).f)


@pytest.mark.parametrize("name", DIFFERENT)
def test_bytecode_tells_them_apart_too(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "made_by_exec", types.ModuleType("made_by_exec"))
    one, other = DIFFERENT[name]
    digests = []
    for source in (one, other, one):
        namespace = {"__name__": "made_by_exec"}
        exec(textwrap.dedent(source), namespace)
        digests.append(digest(namespace["f"]))
    # Bytecode has no annotations, and none for an "else" that nothing breaks out of.
    if name not in {"annotation under a foreign decorator", "while and else"}:
        assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_stable_within_a_process(module):
    loaded = module("def g(): return 1\ndef f(x): return g()")
    identity = CodeIdentity(loaded.f)
    first = identity.digest()
    assert identity.digest() == first
    assert digest(loaded.f) == first


class TestChangesAtRunTime:
    """A global set at run time never gives a stale hit."""

    CHANGES = {
        "rebound constant": ("N = 1\ndef f(): return N", "m.N = 2"),
        "rebound helper": ("def g(): return 1\ndef f(): return g()", "m.g = lambda: 2"),
        "rebound to None": ("N = 1\ndef f(): return N", "m.N = None"),
        "deleted": ("N = 1\ndef f(): return N", "del m.N"),
        "defined late": ("def f(): return N", "m.N = 1"),
        "builtin shadowed": ("def f(x): return len(x)", "m.len = lambda x: 1"),
        "list appended": ("N = []\ndef f(): return N", "m.N.append(1)"),
        "dict set": ("N = {'a': {}}\ndef f(): return N", "m.N['a']['b'] = 1"),
        "set added": ("N = set()\ndef f(): return N", "m.N.add(1)"),
        "instance attribute": ("class C: pass\nN = C()\ndef f(): return N.x", "m.N.x = 1"),
        "class attribute": ("class C: x = 1\ndef f(): return C.x", "m.C.x = 2"),
        "class attribute added": ("class C: x = 1\ndef f(): return C.y", "m.C.y = 2"),
        "class attribute mutated": ("class C: x = []\ndef f(): return C.x", "m.C.x.append(1)"),
        "class attribute of a base": (
            "class B: x = 1\nclass C(B): pass\ndef f(): return C.x", "m.B.x = 2",
        ),
        "method patched": (
            "class C:\n    def m(self): return 1\ndef f(): return C().m()", "m.C.m = lambda s: 2",
        ),
        "method patched on an instance": (
            "class C:\n    def m(self): return 1\nc = C()\ndef f(): return c.m()",
            "m.c.m = lambda: 2",
        ),
        "code replaced": ("def g(): return 1\ndef f(): return g()",
                          "m.g.__code__ = (lambda: 2).__code__"),
        "implementation replaced": (
            "import functools\n@functools.singledispatch\ndef g(x): return 0\n"
            "@g.register(int)\ndef _(x): return 1\ndef f(x): return g(x)",
            "m.g.register(int, lambda x: 2)",
        ),
        "own code replaced": ("def f(): return 1", "m.f.__code__ = (lambda: 2).__code__"),
        "defaults replaced": ("def g(x=1): return x\ndef f(): return g()", "m.g.__defaults__ = (2,)"),
        "default mutated": ("def g(x=[]): return x\ndef f(): return g()",
                            "m.g.__defaults__[0].append(1)"),
        "keyword default mutated": ("def g(*, x=1): return x\ndef f(): return g()",
                                    "m.g.__kwdefaults__['x'] = 2"),
        "cell changed": (
            "def make():\n    n = 1\n    def f(): return n\n    def s(v):\n        nonlocal n\n"
            "        n = v\n    return f, s\nf, s = make()", "m.s(2)",
        ),
        "cell's content mutated": (
            "def make():\n    n = []\n    def f(): return n\n    return f, n\nf, n = make()",
            "m.n.append(1)",
        ),
        "function attribute": ("def g(): return g.n\ng.n = 1\ndef f(): return g()", "m.g.n = 2"),
        "function attribute added": ("def g(): return g.n\ndef f(): return g()", "m.g.n = 2"),
        "function in a table": ("T = {'a': len}\ndef f(): return T", "m.T['a'] = max"),
        "own function in a table": (
            "N = 1\ndef g(): return N\nT = {'a': g}\ndef f(): return T['a']()", "m.N = 2",
        ),
        "constant of a reached instance's class": (
            "class C:\n    def m(self): return N\nN = 1\nc = C()\ndef f(): return c.m()", "m.N = 2",
        ),
        "dispatch registered": (
            "import functools\n@functools.singledispatch\ndef g(x): return 0\n"
            "def f(x): return g(x)", "m.g.register(int, lambda x: 1)",
        ),
        "namespace": ("import types\nN = types.SimpleNamespace(a=1)\ndef f(): return N.a",
                      "m.N.a = 2"),
        "array": ("import numpy as np\nN = np.zeros(3)\ndef f(): return N", "m.N[0] = 1"),
        "partial": ("import functools\ndef g(x): return x\nh = functools.partial(g, [])\n"
                    "def f(): return h()", "m.h.args[0].append(1)"),
        "bound method's object": (
            "class C:\n    n = 1\n    def m(self): return self.n\nc = C()\nh = c.m\n"
            "def f(): return h()", "m.c.n = 2",
        ),
        "bytearray": ("N = bytearray(3)\ndef f(): return N", "m.N[0] = 1"),
        "deque": ("import collections\nN = collections.deque()\ndef f(): return N", "m.N.append(1)"),
        "object of a bound builtin": (
            "N = []\nh = N.append\ndef f(): return h", "m.N.append(1)",
        ),
        "base replaced": (
            "class A: x = 1\nclass B: x = 2\nclass C(A): pass\ndef f(): return C.x",
            "m.C.__bases__ = (m.B,)",
        ),
        "class of an instance replaced": (
            "class A: x = 1\nclass B: x = 2\nc = A()\ndef f(): return c.x", "m.c.__class__ = m.B",
        ),
        "docstring": ("def g(): 'a'\ndef f(): return g.__doc__", "m.g.__doc__ = 'b'"),
        "name": ("def g(): pass\ndef f(): return g.__name__", "m.g.__name__ = 'b'"),
        "annotations": (
            "def g(x: int): pass\ndef f(): return g.__annotations__",
            "m.g.__annotations__['x'] = str",
        ),
        "value of an enum's member": (
            "import enum\nclass C(enum.Enum):\n    a = [1]\ndef f(): return C.a.value",
            "m.C.a.value.append(2)",
        ),
        "object of a weak reference": (
            "import weakref\nclass C: pass\nc = C()\nr = weakref.ref(c)\ndef f(): return r().n",
            "m.c.n = 2",
        ),
        "module that is imported inside": (
            "import sys, types\nsys.modules['inside_x'] = types.ModuleType('inside_x')\n"
            "def f():\n    import inside_x\n    return inside_x.N",
            "m.sys.modules['inside_x'] = m.types.ModuleType('inside_x'); m.sys.modules['inside_x'].N = 2",
        ),
        "cell of a method": (
            "def make(n):\n    class C:\n        def m(self): return n\n    return C\n"
            "C = make([1])\ndef f(): return C().m()",
            "m.C.m.__closure__[0].cell_contents.append(2)",
        ),
        "own class used as a registry": (
            "class C:\n    all = []\n    def __init__(self): C.all.append(self)\n"
            "def f(): return C.all", "m.C()",
        ),
    }  # fmt: skip

    @pytest.mark.parametrize("name", CHANGES)
    def test_is_seen(self, module, name):
        source, change = self.CHANGES[name]
        if "numpy" in source:
            pytest.importorskip("numpy")
        loaded = module(source)
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        assert identity.digest() == before
        exec(change, {"m": loaded})
        after = identity.digest()
        assert after != before
        assert identity.digest() == after

    def test_a_builtin_that_is_patched(self, module, monkeypatch):
        loaded = module("def f(x): return ascii(x)")
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        monkeypatch.setattr("builtins.ascii", lambda x: "patched")
        assert identity.digest() != before
        monkeypatch.undo()
        assert identity.digest() == before

    def test_going_back_is_going_back(self, module):
        loaded = module("N = [1]\ndef f(): return N")
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        loaded.N.append(2)
        identity.digest()
        loaded.N.pop()
        assert identity.digest() == before

    def test_an_equal_value_is_no_change(self, module):
        loaded = module("N = [1]\ndef f(): return N")
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        loaded.N = [1]
        assert identity.digest() == before


class TestOtherModules:
    def test_a_function_named_through_a_module(self, module):
        digests = set()
        for number in (1, 2, 1):
            module(f"def f(): return {number}\ndef g(): return {number * 7}", name="helpers_x")
            digests.add(digest(module("import helpers_x\ndef f(): return helpers_x.f()").f))
        assert len(digests) == 2

    def test_only_what_is_named_counts(self, module):
        digests = set()
        for number in (1, 2):
            module(f"def f(): return 1\ndef g(): return {number}", name="helpers_x")
            digests.add(digest(module("import helpers_x\ndef f(): return helpers_x.f()").f))
        assert len(digests) == 1

    def test_a_module_used_bare_counts_whole(self, module):
        digests = set()
        for number in (1, 2):
            module(f"def f(): return {number}", name="helpers_x")
            source = "import helpers_x\ndef f(n): return getattr(helpers_x, n)()"
            digests.add(digest(module(source).f))
        assert len(digests) == 2

    def test_a_constant_set_in_another_module(self, module):
        module("N = 1", name="helpers_x")
        loaded = module("import helpers_x\ndef f(): return helpers_x.N")
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        loaded.helpers_x.N = 2
        assert identity.digest() != before

    def test_import_star(self, module):
        digests = set()
        for number in (1, 2):
            module(f"def g(): return {number}", name="helpers_x")
            digests.add(digest(module("from helpers_x import *\ndef f(): return g()").f))
        assert len(digests) == 2

    @pytest.mark.parametrize(
        "body",
        [
            "import helpers_x\n    return helpers_x.g()",
            "import helpers_x as h\n    return h.g()",
            "from helpers_x import g\n    return g()",
            "from helpers_x import g as h\n    return [h() for _ in '1']",
        ],
    )
    def test_an_import_inside_the_body(self, module, body):
        digests = set()
        for number in (1, 2):
            module(f"def g(): return {number}\ndef h(): return {number}", name="helpers_x")
            digests.add(digest(module(f"def f():\n    {body}").f))
        assert len(digests) == 2

    def test_an_import_that_fails(self, module):
        source = "def f():\n    try:\n        import no_such_module\n    except ImportError:\n        return 1"
        assert digest(module(source).f) == digest(module("#\n" + source).f)

    def test_an_import_inside_is_not_executed_for_installed_modules(self, module):
        import sys

        sys.modules.pop("xdrlib_none", None)
        loaded = module("def f():\n    import antigravity\n    return antigravity")
        digest(loaded.f)
        assert "antigravity" not in sys.modules

    def test_circular_imports(self, module):
        one = module("def f(x): return helpers_y.g(x) if x else 0", name="helpers_x")
        two = module("import helpers_x\ndef g(x): return helpers_x.f(x - 1)", name="helpers_y")
        one.helpers_y = two
        before = digest(one.f)
        again = module("import helpers_x\ndef g(x): return helpers_x.f(x - 2)", name="helpers_y")
        one.helpers_y = again
        assert digest(one.f) != before

    def test_an_installed_distribution_counts_by_version(self, module):
        pytest.importorskip("numpy")
        identity = CodeIdentity(module("import numpy as np\ndef f(x): return np.sum(x)").f)
        assert any(name.startswith("numpy ") for name in identity.leaves())


class TestSource:
    def test_edited_since_import(self, module, tmp_path):
        loaded = module("def f(): return 1", name="edited_x", folder="e")
        original = digest(loaded.f)
        (tmp_path / "e" / "edited_x.py").write_text("def f(): return 2\n")
        fresh = digest(loaded.f)  # by bytecode, or from what was parsed: never as what it is not
        assert fresh != digest(module("def f(): return 2").f)
        (tmp_path / "e" / "edited_x.py").write_text("def f(): return 1\n")
        assert digest(loaded.f) == original

    def test_moved_by_an_edit_above_it(self, module, tmp_path):
        loaded = module("def f(): return 1", name="edited_x", folder="e")
        (tmp_path / "e" / "edited_x.py").write_text("import os\n\n\ndef f(): return 1\n")
        assert digest(loaded.f) == digest(module("def f(): return 1").f)

    def test_a_notebook_cell(self):
        name = "<ipython-input-1-abc>"
        text = "def g():\n    return 1\ndef f(): return g()  # comment\n"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        namespace = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), namespace)
        identity = CodeIdentity(namespace["f"])
        assert "def g():" in "".join(identity.sources().values())

    def test_which_of_several_lambdas_on_a_line(self, module):
        loaded = module("a, b, c = lambda x: x, lambda x: x + 1, lambda x: (x, lambda y: x)")
        assert digest(loaded.a) == digest(module("def f(x): return x").f)
        assert digest(loaded.b) == digest(module("def f(x): return x + 1").f)
        assert digest(loaded.c) == digest(module("f = lambda x: (x, lambda y: x)").f)

    def test_defined_twice(self, module):
        loaded = module("def f(): return 1\ng = f\ndef f(): return 2")
        assert digest(loaded.g) == digest(module("def f(): return 1").f)
        assert digest(loaded.f) == digest(module("def f(): return 2").f)

    def test_sources_are_normalised(self, module):
        identity = CodeIdentity(module("def f(x: int):\n    'Doc.'\n    # no\n    return (x)").f)
        assert list(identity.sources().values()) == ["def f(x):\n    return x"]


class TestModes:
    def test_function_alone(self, module):
        sources = variants("def g(): return @@\ndef f(): return g()", "1", "2")
        one, other = (digest(module(source).f, mode="function") for source in sources)
        assert one == other
        assert digest(module("def f(): return 1").f, mode="function") != one

    def test_name(self, module):
        one, other = (digest(module(f"def f(): return {n}").f, mode="name") for n in "12")
        assert one == other

    def test_unknown(self):
        with pytest.raises(ValueError, match="mode"):
            CodeIdentity(len, mode="bytes")


class TestCallables:
    def test_all_kinds(self, module):
        loaded = module(
            """
            import functools
            def g(x, y): return x
            p = functools.partial(g, 1)
            class C:
                def m(self): return 1
                def __call__(self): return 2
            b = C().m
            i = C()
            """
        )
        found = [digest(fn) for fn in (loaded.g, loaded.p, loaded.C, loaded.b, loaded.i, len, max)]
        assert len(set(found)) == len(found)

    def test_arguments_by_code_and_not_by_name(self, module):
        one = module("def f(x): return x")
        other = module("def other(x):\n    return x")
        assert leaf(one.f) == leaf(other.other)
        assert leaf(one.f) != leaf(module("def f(x): return 2").f)

    def test_an_argument_whose_helper_changes(self, module):
        loaded = module("N = 1\ndef g(): return N\ndef f(): return g()")
        before = leaf(loaded.f)
        loaded.N = 2
        assert leaf(loaded.f) != before


def test_a_large_container_warns_once(module):
    from parsl_ckpt.errors import IdentityWarning

    loaded = module("N = list(range(100_000))\ndef f(): return N")
    identity = CodeIdentity(loaded.f)
    with pytest.warns(IdentityWarning, match="'N'") as caught:
        identity.digest()
        identity.digest()
        loaded.f.__defaults__ = ()
        identity.digest()
    assert len(caught) == 1


def test_a_pool_counts_by_its_kind(module):
    source = "import concurrent.futures as c\nE = c.ThreadPoolExecutor(1)\ndef f(): return E"
    assert digest(module(source).f) == digest(module(source).f)


def test_what_has_no_identity_never_refuses(module):
    loaded = module(
        """
        import threading, socket, logging, sys
        L = threading.Lock(); R = threading.RLock(); T = threading.local(); E = threading.Event()
        S = sys.stdout; G = (i for i in '12'); D = {'lock': L, 'n': 1}
        O = object(); M = sys; H = logging.StreamHandler()
        def f(): return L, R, T, E, S, G, D, O, M, H, undefined
        """
    )
    identity = CodeIdentity(loaded.f)
    before = identity.digest()
    assert identity.digest() == before
    loaded.D["n"] = 2
    assert identity.digest() != before
