"""What a script defines, used in worker processes: run as scripts, without a ``__main__`` guard."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.executors.helpers import DEADLINE, environment

PRELUDE = """
import threading
from parsl_ckpt.executors.processes import ProcessPoolExecutor
from parsl_ckpt.kernel.attempt import Attempt

pool = ProcessPoolExecutor(max_workers=2)
pool.start()

def call(fn, *args, encode=False, **kwargs):
    done, out = threading.Event(), []
    def finished(attempt, value, error, encoded=None):
        out.extend([value, error, encoded])
        done.set()
    pool.launch(Attempt(fn, args, kwargs, app="app", encode=bool(encode)), finished)
    assert done.wait(30), "hangs"
    if out[1] is not None:
        raise out[1]
    if encode == "required":
        from parsl_ckpt.checkpoint.codec import decode
        again = decode(out[2].codec, out[2].data, out[2].buffers)
        assert type(again).__name__ == type(out[0]).__name__
    return out[0]
"""


def run(tmp_path, body):
    """Run a script; what it printed."""
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(body) + "\npool.shutdown()\nprint('end')\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("end\n"), done.stdout + done.stderr
    assert done.stdout.count("end\n") == 1  # the script ran once, in this process only
    return done.stdout


@pytest.mark.parametrize("encode", ["", "required"], ids=["value", "encoded"])
def test_classes_of_the_script_are_themselves_when_they_come_home(tmp_path, encode):
    run(
        tmp_path,
        f"""
        import dataclasses, enum, typing, collections
        ENCODE = {encode!r}

        @dataclasses.dataclass
        class Point:
            x: int
            y: float = 2.0
            def doubled(self):
                return Point(self.x * 2, self.y)

        class Color(enum.Enum):
            RED = 1
            BLUE = "b"

        class Flags(enum.IntFlag):
            A = 1
            B = 2

        class Pair(typing.NamedTuple):
            left: Point
            right: Color

        Old = collections.namedtuple("Old", "a b")

        class Slotted:
            __slots__ = ("a",)
            def __init__(self, a):
                self.a = a

        class Outer:
            class Inner:
                tag = "t"

        class Meta(type):
            pass

        class WithMeta(metaclass=Meta):
            pass

        class Child(Point):
            def doubled(self):
                return super().doubled()

        def make(p):
            return p.doubled(), Point(1), Color.BLUE

        a, b, c = call(make, Point(3), encode=ENCODE)
        assert a == Point(6) and type(a) is Point and type(b) is Point and c is Color.BLUE
        assert call(lambda: Pair(Point(1), Color.RED), encode=ENCODE) == Pair(Point(1), Color.RED)
        assert type(call(lambda: Pair(Point(1), Color.RED), encode=ENCODE)) is Pair
        assert type(call(lambda: Old(1, 2), encode=ENCODE)) is Old
        assert call(lambda f: f | Flags.B, Flags.A, encode=ENCODE) is not None
        assert type(call(lambda f: f | Flags.B, Flags.A, encode=ENCODE)) is Flags
        assert type(call(lambda s: Slotted(s.a + 1), Slotted(1), encode=ENCODE)) is Slotted
        assert call(lambda s: Slotted(s.a + 1), Slotted(1), encode=ENCODE).a == 2
        assert type(call(Outer.Inner, encode=ENCODE)) is Outer.Inner
        assert type(call(lambda: Outer.Inner(), encode=ENCODE)) is Outer.Inner
        assert type(call(WithMeta, encode=ENCODE)) is WithMeta
        assert type(call(lambda c: c, Child(1), encode=ENCODE)) is Child
        assert type(call(lambda c: c.doubled(), Child(1), encode=ENCODE)) is Point
        assert call(lambda: Point, encode=False) is Point
        assert call(lambda k: k, Color, encode=False) is Color
        assert call(lambda x: isinstance(x, Point), Point(1), encode=ENCODE)
        assert call(lambda x: x is Color.RED, Color.RED, encode=ENCODE)
        assert call(Point, 5, encode=ENCODE) == Point(5)          # a class as the function
        assert call(Point(5).doubled, encode=ENCODE) == Point(10)  # a bound method
        """,
    )


def test_local_classes_keep_their_identity(tmp_path):
    run(
        tmp_path,
        """
        def make():
            registry = []
            class Local:
                made = registry
                def __init__(self, x=0):
                    self.x = x
            return Local

        Local = make()
        x = call(lambda v: v, Local(3))
        assert type(x) is Local and x.x == 3
        x = call(lambda: Local(4))
        assert type(x) is Local and x.x == 4
        x = call(lambda: Local(4), encode=True)
        assert type(x) is Local
        Other = make()
        assert type(call(lambda: Other())) is Other and Other is not Local
        registry = Local.made
        call(lambda v: [v.made.append(1), v][1], Local())
        assert Local.made is registry == []   # what comes home does not overwrite the original
        """,
    )


def test_exceptions_of_the_script(tmp_path):
    run(
        tmp_path,
        """
        import traceback

        class Oops(Exception):
            def __init__(self, code, *, where):
                super().__init__(f"{code} at {where}")
                self.code, self.where = code, where

        class Quiet(BaseException):
            pass

        class Unpicklable(Exception):
            def __init__(self):
                super().__init__("it holds a lock")
                self.lock = threading.Lock()

        def fail(kind, *args, **kwargs):
            raise kind(*args, **kwargs)

        try:
            call(fail, Oops, 3, where="here")
        except Oops as exc:
            assert (exc.code, exc.where, str(exc)) == (3, "here", "3 at here")
            assert traceback.extract_tb(exc.__traceback__)[-1].name == "fail"
        else:
            raise AssertionError
        try:
            call(lambda: fail(Quiet, "q"))
        except Quiet as exc:
            assert exc.args == ("q",)
            assert [f.name for f in traceback.extract_tb(exc.__traceback__)][-2:] == [
                "<lambda>", "fail"]
        else:
            raise AssertionError

        from parsl_ckpt.errors import RemoteError
        try:
            call(fail, Unpicklable)
        except RemoteError as exc:
            assert exc.app == "app" and exc.kind == "__main__.Unpicklable"
            assert "it holds a lock" in str(exc)
            assert "in fail" in exc.traceback_text
            assert traceback.extract_tb(exc.__traceback__)[-1].name == "fail"
        else:
            raise AssertionError
        """,
    )


def test_functions_closures_globals_and_recursion(tmp_path):
    run(
        tmp_path,
        """
        import math, json as j
        SCALE = 3

        def helper(x):
            return x * SCALE

        def task(x, *, plus=0):
            return helper(x) + plus + int(math.sqrt(4)) + len(j.dumps([]))

        assert call(task, 2, plus=1) == 6 + 1 + 2 + 2

        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        def even(n):
            return True if n == 0 else odd(n - 1)

        def odd(n):
            return False if n == 0 else even(n - 1)

        assert call(fib, 10) == 55
        assert call(even, 10) is True

        def outer(k):
            def inner(x):
                return x + k
            return inner

        assert call(outer(5), 1) == 6
        assert call(lambda f: f(2), outer(5)) == 7
        assert call(outer, 4)(1) == 5                 # a closure as result
        assert call(lambda: helper) is helper         # a function of the script as result
        assert call(sorted, [3, 1, 2], key=lambda v: -v) == [3, 2, 1]
        import functools
        assert call(functools.partial(task, 2), plus=1) == 11

        try:
            call(lambda: __import__("sys").setrecursionlimit(10000) or fib)
            def deep(n):
                return deep(n + 1)
            call(deep, 0)
        except RecursionError:
            pass
        """,
    )


def test_what_a_function_reaches_is_as_it_is_at_the_call(tmp_path):
    run(
        tmp_path,
        """
        class Settings:
            level = 1
            names = ["a"]

        SCALE, TABLE, ITEMS = 2, {"a": 1}, [1]

        def helper(x):
            return x * SCALE

        def task(x):
            return helper(x), TABLE["a"], len(ITEMS), Settings.level, len(Settings.names)

        assert call(task, 1) == (2, 1, 1, 1, 1)
        SCALE = 5
        assert call(task, 1) == (5, 1, 1, 1, 1)
        TABLE["a"] = 7
        ITEMS.append(2)
        Settings.level = 9
        Settings.names.append("b")
        for _ in range(5):  # in either worker
            assert call(task, 1) == (5, 7, 2, 9, 2)

        def helper(x):
            return -x
        assert call(task, 1)[0] == -1

        def counter():
            n = 0
            def bump():
                nonlocal n
                n += 1
            return bump, lambda: n
        bump, read = counter()
        assert call(read) == 0
        bump()
        assert call(read) == 1

        def later():
            return DEFINED_LATER
        try:
            call(later)
        except NameError:
            pass
        DEFINED_LATER = 4
        assert call(later) == 4
        """,
    )


def test_a_class_that_is_defined_again_replaces_the_old_one(tmp_path):
    run(
        tmp_path,
        """
        class P:
            v = 1
        assert call(lambda: P().v) == 1
        class P:
            v = 2
        for _ in range(4):
            got = call(lambda: P())
            assert type(got) is P and got.v == 2
        """,
    )


def test_workers_never_run_the_script_and_see_its_arguments(tmp_path):
    out = run(
        tmp_path,
        """
        import sys
        print("once")
        def look():
            import __main__, sys
            return hasattr(__main__, "pool"), sys.argv, sys.path
        has_pool, argv, path = call(look)
        assert not has_pool and argv == sys.argv and path == sys.path
        """,
    )
    assert out.count("once") == 1


def test_functions_that_decorators_hide(tmp_path):
    (tmp_path / "library.py").write_text(
        textwrap.dedent(
            """
            import functools, threading
            LOCK = threading.Lock()      # does not pickle: the module's own must be used

            class App:
                def __init__(self, fn):
                    functools.update_wrapper(self, fn)

            @App
            def app(x):
                with LOCK:
                    return x + 1

            class Holder:
                @App
                def method(self, x):
                    return x + 2
            """
        )
    )
    run(
        tmp_path,
        """
        import library
        assert call(library.app.__wrapped__, 1) == 2
        assert call(library.Holder.__dict__["method"].__wrapped__, None, 1) == 3
        assert call(lambda f: f(1), library.app.__wrapped__) == 2
        """,
    )


def test_output_of_tasks_is_seen(tmp_path):
    out = run(
        tmp_path,
        """
        def talk():
            print("from a worker", end="")
        call(talk)
        print(flush=True)
        """,
    )
    assert "from a worker" in out


def test_what_functools_makes_of_the_scripts_functions_works_in_workers(tmp_path):
    run(
        tmp_path,
        """
        import functools, typing

        Metres = typing.NewType("Metres", int)

        @functools.lru_cache(maxsize=8)
        def table(n):
            return n * 10 if n < 1 else table(n - 1) + 1

        @functools.singledispatch
        def kind(x):
            return "other"

        @kind.register
        def _(x: int):
            return "int"

        class Body:
            @functools.cached_property
            def mass(self):
                return 5

            @functools.lru_cache
            def times(self, n):
                return self.mass * n

        def task(x):
            return table(x), kind(x), kind("x"), Body().mass, Body().times(x), table.cache_info()

        assert call(task, 3)[:5] == (3, "int", "other", 5, 15)
        assert call(task, 3)[5].maxsize == 8
        assert call(lambda: (Metres(3), Metres.__module__)) == (3, "__main__")
        assert call(table, 2) == 2, "as the function itself"
        assert call(lambda f: f(2), table) == 2, "and as an argument"
        body = call(lambda: Body())
        assert type(body) is Body and body.mass == 5
        assert call(functools.partial(table, 4)) == 4
        assert call(functools.lru_cache(lambda x: -x), 4) == -4, "without a name"
        """,
    )


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_annotations_that_mean_nothing_here_are_no_obstacle(tmp_path):
    out = run(
        tmp_path,
        """
        import annotationlib, dataclasses

        @dataclasses.dataclass
        class Point:
            x: Nowhere
            y: list[Nowhere] = ()
            z: int = 0
            def double(self, by: Nowhere) -> Nowhere:
                return Point(self.x * by)

        def told(point: Nowhere, more: Nowhere = None) -> Nowhere:
            known = annotationlib.get_annotations(
                Point, format=annotationlib.Format.FORWARDREF
            )
            return point.double(2).x, told.__annotations__, known["z"], known["x"].__forward_arg__

        print(call(told, Point(3)))
        print(call(lambda point: point.double(4), Point(3)).x)
        """,
    )
    assert out.splitlines()[:2] == [
        "(6, {'point': 'Nowhere', 'more': 'Nowhere', 'return': 'Nowhere'}, <class 'int'>, "
        "'Nowhere')",
        "12",
    ]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are there already")
def test_annotations_of_a_class_of_the_script_travel_with_it(tmp_path):
    out = run(
        tmp_path,
        """
        import typing

        class Node:
            value: int
            after: Node | None

        print(call(lambda: str(typing.get_type_hints(Node))))
        """,
    )
    assert out.splitlines()[0] == "{'value': <class 'int'>, 'after': __main__.Node | None}"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there are no lazy imports")
def test_what_a_script_imports_lazily_is_imported_in_the_worker(tmp_path):
    out = run(
        tmp_path,
        """
        lazy import colorsys
        lazy from wave import Error

        print(call(lambda: colorsys.rgb_to_hsv(1, 0, 0)), call(lambda: Error.__module__))
        """,
    )
    assert out.splitlines()[0] == "(0.0, 1.0, 1) wave"
