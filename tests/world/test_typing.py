"""Annotations survive the decorators: what mypy says of programs that use apps.

A line of a program that ends in ``# error`` is one that mypy complains of, and no other is.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.apps.typed import BashOptions, JoinOptions, PythonOptions

pytestmark = pytest.mark.once

HEAD = """
from __future__ import annotations
from collections.abc import Iterator
from concurrent.futures import Future
import parsl_ckpt as pc

@pc.python_app
def double(x: int) -> int:
    return 2 * x

@pc.python_app(cache=True, valid_for="7d", executors=["few"])
def scaled(x: int, y: int, *, scale: float = 1.0) -> float:
    return (x + y) * scale

@pc.python_app
async def slow(x: int) -> str:
    return ""

@pc.python_app
def total(xs: list[int], names: dict[str, int] | None = None) -> int:
    return sum(xs)

@pc.join_app
def one(n: int) -> pc.AppFuture[int]:
    return double(n)

@pc.join_app(cache=True)
def many(n: int) -> list[pc.AppFuture[int]]:
    return [double(i) for i in range(n)]

class Model:
    @pc.python_app
    def fit(self, k: int, name: str = "") -> str:
        return name

    @pc.python_app(cache=True)
    @staticmethod
    def load(path: str) -> Model:
        return Model()
"""

PROGRAMS = {
    "the value's type is that of the function": """
        a: pc.AppFuture[int] = double(1)
        b: int = double(1).result()
        c: float = scaled(1, y=2).result()
        d: str = slow(1).result()
        e: Future[int] = double(2)
        f: str = double(1).result()  # error
        """,
    "arguments are those of the function": """
        double(1)
        scaled(1, 2, scale=0.5)
        double("x")  # error
        double(1, 2)  # error
        double(y=1)  # error
        scaled(1, 2, 0.5)  # error
        scaled(1, y="x")  # error
        """,
    "futures stand for arguments": """
        double(double(1))
        scaled(double(1), double(2))
        scaled(1, double(2), scale=0.5)
        scaled(x=double(1), y=double(2))
        total([double(1), double(2)], {"a": double(3)})
        total([1, 2], {"a": 3})
        a: pc.AppFuture[float] = scaled(double(1), 2)
        b: pc.AppFuture[int] = scaled(double(1), 2)  # error
        """,
    "as_value says that a future is meant": """
        scaled(1, y=double(2))  # error
        scaled(1, y=pc.as_value(double(2)))
        scaled(1, y=pc.as_value(slow(2)))  # error
        total([1, pc.as_value(double(2))])
        """,
    "join apps give what their futures give": """
        a: int = one(1).result()
        b: list[int] = many(3).result()
        c: int = many(3).result()  # error
        """,
    "methods are bound": """
        a: str = Model().fit(1, name="x").result()
        b: str = Model.fit(Model(), 1).result()
        c: Model = Model.load("here").result()
        Model().fit("x")  # error
        Model().fit(1, named="x")  # error
        Model().fit.key("x")  # error
        """,
    "the other questions take the same arguments": """
        a: pc.AppFuture[int] = double.fresh(1)
        b: pc.AppFuture[int] | None = double.peek(1)
        c: str = double.key(1)
        d: int = double.forget(double(1))
        e: Iterator[int] = double.map(range(3), max_in_flight=2)
        double.fresh("x")  # error
        double.key(1, 2)  # error
        double.map(range(3), in_flight=2)  # error
        """,
    "options are checked": """
        pc.python_app(cache=True)
        pc.python_app(cach=True)  # error
        pc.join_app(executors=["few"])  # error
        """,
    "a bash app gives a number": """
        @pc.bash_app
        def hello(name: str, stdout: str = "") -> str:
            return f"echo {name}"

        a: pc.AppFuture[int] = hello("you", stdout="out.txt")
        hello(1)  # error
        """,
    "the original way is typed": """
        @pc.App(apptype="python", cache=True)
        def triple(x: int) -> int:
            return 3 * x

        a: pc.AppFuture[int] = triple(1)
        triple("x")  # error
        """,
    "await gives the value": """
        async def main() -> int:
            a: int = await double(1)
            b: str = await double(1)  # error
            return a + len(b)
        """,
    "apps are handed over": """
        def run(app: pc.TypedApp[[int], int]) -> int:
            return app(1).result()

        run(double)
        run(slow)  # error
        """,
    "the standard library takes the futures": """
        from concurrent.futures import as_completed, wait
        import asyncio

        a: list[int] = [one.result() for one in as_completed([double(1), double(2)])]
        done, others = wait([double(1)])

        async def main() -> None:
            b: list[int] = await asyncio.gather(*[double(1), double(2)])
            e: tuple[int, str] = await asyncio.gather(double(1), slow(2))
            c: int = await asyncio.wait_for(double(1), 1)
            d: int = await asyncio.wrap_future(double(1))
        """,
    "AppFuture alone is a future of anything": """
        def first(futures: list[pc.AppFuture]) -> pc.AppFuture:
            return futures[0]

        a: int = first([double(1)]).result()
        """,
}


def _where(package: Path) -> dict[str, str]:
    """What tells mypy of a source tree; what is installed it finds, and must not be told of."""
    return {} if package.name == "site-packages" else {"MYPYPATH": str(package)}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, tuple[set[int], dict[int, str]]]:
    """Of each program: the lines that are to be complained of, and what mypy complains of.

    One run of mypy for all of them: it reads the library once.
    """
    pytest.importorskip("mypy")
    place = tmp_path_factory.mktemp("typed")
    expected, files = {}, {}
    for number, (name, body) in enumerate(PROGRAMS.items()):
        text = HEAD + textwrap.dedent(body)
        file = place / f"program_{number}.py"
        file.write_text(text)
        lines = text.splitlines()
        expected[name] = {at for at, line in enumerate(lines, 1) if line.endswith("# error")}
        files[str(file)] = name
    package = Path(pc.__file__).resolve().parent.parent
    path = [str(package), *[part for part in sys.path if part and Path(part).is_dir()]]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context",
         "--python-version", "3.10", "--follow-imports=silent", "--no-incremental",
         "--config-file=", *files],
        cwd=place, capture_output=True, text=True, timeout=300,
        env={**os.environ, **_where(package), "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    found: dict[str, dict[int, str]] = {name: {} for name in PROGRAMS}
    for line in done.stdout.splitlines():
        parts = re.match(r"(.*?):(\d+)(?::\d+)?: error: (.*)", line)
        if parts:
            file = str(place / parts[1])
            assert file in files, line
            found[files[file]].setdefault(int(parts[2]), parts[3])
    assert done.returncode == 1 and not done.stderr, done.stdout + done.stderr
    return {name: (expected[name], found[name]) for name in PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_type_checker_sees_what_the_program_means(said, name):
    expected, found = said[name]
    assert set(found) == expected, found


@pytest.mark.parametrize(
    ("decorator", "options"),
    [(pc.python_app, PythonOptions), (pc.bash_app, BashOptions), (pc.join_app, JoinOptions)],
)
def test_a_type_checker_knows_all_options(decorator, options):
    parameters = set(inspect.signature(decorator).parameters) - {"function"}
    assert set(options.__annotations__) | set(JoinOptions.__annotations__) == parameters


def test_a_future_as_a_value_is_the_future():
    with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
        future = pc.python_app(abs)(-1)
        assert pc.as_value(future) is future
