"""Apps as what they decorate: names, signatures, help, doctests, pickles, methods."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import os
import pickle
import pydoc
import subprocess
import sys
import types

import cloudpickle
import dill
import pytest

import parsl_ckpt as pc


@pc.python_app(cache=True)
def double(x: int, unit: str = "m") -> int:
    """Twice as much.

    >>> 2 * 21
    42
    """
    return 2 * x


@pc.join_app
def countdown(n):
    return countdown(n - 1) if n else double(1)


class Model:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @pc.python_app(cache=True)
    def fit(self, x: int) -> int:
        """Fit it."""
        return self.factor * x

    @pc.python_app
    @staticmethod
    def load(path: str) -> str:
        return path

    @staticmethod
    @pc.python_app
    def save(path: str) -> str:
        return path


@pytest.fixture
def kernel(tmp_path):
    executors = [pc.ThreadPoolExecutor(max_workers=2)]
    with pc.load(pc.Config(executors=executors, run_dir=str(tmp_path / "runinfo"))) as dfk:
        yield dfk


def test_an_app_has_the_metadata_of_its_function():
    assert (double.__name__, double.__qualname__, double.__module__) == (
        "double", "double", __name__,
    )  # fmt: skip
    assert double.__doc__.startswith("Twice as much.")
    assert double.__annotations__ == {"x": "int", "unit": "str", "return": "int"}
    assert double.__wrapped__(21) == 42


def test_the_signature_is_that_of_the_function():
    assert str(inspect.signature(double)) == "(x: 'int', unit: 'str' = 'm') -> 'int'"
    assert str(inspect.signature(Model.fit)) == "(self, x: 'int') -> 'int'"
    assert str(inspect.signature(Model(1).fit)) == "(x: 'int') -> 'int'"


def test_help_tells_what_the_function_would():
    text = pydoc.plain(pydoc.render_doc(double))
    assert f"double{inspect.signature(double)}".replace("'", "") in text.replace("'", "")
    assert "Twice as much." in text
    assert "Fit it." in pydoc.plain(pydoc.render_doc(Model(1).fit))


UNKNOWN = """
import functools
import parsl_ckpt as pc

@pc.python_app(cache=True, secret=["token"])
def f(x: Nowhere, token: Nowhere | "None" = None) -> Nowhere:
    return x + 1

@pc.python_app(cache=True)
def g(x: "Nowhere" | None):  # fails as text too
    return x + 2

def same(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@pc.python_app(cache=True)
@same
def h(x: "Nowhere" | None, y: Nowhere = 3):
    return x + y

@pc.bash_app
def command(x: Nowhere, stdout: Nowhere = pc.AUTO_LOGNAME):
    return f"echo {x}"

@pc.join_app
def joined(x: Nowhere):
    return f(x)

class Held:
    a: Nowhere
    @pc.python_app(cache=True)
    def method(self, x: Nowhere) -> Nowhere:
        return x * 2

@pc.python_app(cache=True)
def through(x: Nowhere, kind: type[Nowhere] = Held) -> Nowhere:
    return kind.__name__, Held.__qualname__, x

with pc.load(pc.Config(checkpoint_mode="task_exit")) as dfk:
    calls = [f(1), g(1), h(1), h(1, y=4), command(1), joined(2), Held().method(5), through(6)]
    print([call.result() for call in calls])
    print([call.from_memo for call in calls].count(True))
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_annotations_that_mean_nothing_are_no_obstacle(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNKNOWN)
    outs = [
        subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, check=False,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [out.stderr for out in outs] == ["", ""]
    values = "[2, 3, 4, 5, 0, 3, 10, ('Held', 'Held', 6)]"
    assert [out.stdout.splitlines() for out in outs] == [[values, "0"], [values, "6"]]


def test_doctest_finds_what_stands_in_an_app(tmp_path, monkeypatch):
    doc = '"""\n    >>> 6 * 7\n    42\n    """'
    text = f"import parsl_ckpt as pc\n@pc.python_app\ndef f():\n    {doc}\n"
    (tmp_path / "documented_apps.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("documented_apps")
    results = doctest.testmod(module)
    assert (results.attempted, results.failed) == (1, 0)


@pytest.mark.parametrize("library", [pickle, cloudpickle, dill])
def test_an_app_that_can_be_imported_is_pickled_by_name(library, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    assert library.loads(library.dumps(double)) is double


def _this_module():
    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


SCRIPT = """
import pickle, sys
import cloudpickle, dill
import parsl_ckpt as pc

UNIT = 3

@pc.python_app(cache=True)
def triple(x):
    return UNIT * x

@pc.join_app
def countdown(n):
    return countdown(n - 1) if n else triple(1)

if __name__ == "__main__":
    for library in (pickle, cloudpickle, dill):
        for app in (triple, countdown):
            data = library.dumps(app)
            there = library.loads(data)
            with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
                print(library.__name__, there.__name__, there(2).result())
    sys.stdout.flush()
"""


def test_an_app_of_a_script_is_pickled_by_value(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = [part for part in sys.path if part]
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path)},
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == [
        f"{library} {app} {value}"
        for library in ("pickle", "cloudpickle", "dill")
        for app, value in (("triple", 6), ("countdown", 3))
    ], done.stderr


def test_a_pickled_app_of_a_script_runs_in_a_process_that_never_saw_the_script(tmp_path):
    maker = (
        "import pickle, sys, parsl_ckpt as pc\n"
        "@pc.python_app\ndef triple(x):\n    return 3 * x\n"
        "open('app', 'wb').write(pickle.dumps(triple))\n"
    )
    user = (
        "import pickle, parsl_ckpt as pc\napp = pickle.load(open('app', 'rb'))\n"
        "with pc.load(): print(app(5).result())\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(part for part in sys.path if part)}
    for text in (maker, user):
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, env=env,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout == "15\n"


def test_a_copy_of_an_app_is_the_app_or_one_like_it():
    assert copy.copy(double).__name__ == "double"
    assert copy.deepcopy(double).__wrapped__(1) == 2


def test_a_method_is_called_with_its_instance(kernel):
    model = Model(3)
    assert model.fit(2).result() == 6
    assert Model.fit(model, 2).from_memo
    assert list(model.fit.map([1, 2, 3])) == [3, 6, 9]


def test_questions_about_a_method_have_its_instance(kernel):
    model = Model(3)
    model.fit(2).result()
    assert model.fit.key(2) == Model.fit.key(model, 2)
    assert model.fit.peek(2).result() == 6
    again = model.fit.fresh(2)
    assert again.result() == 6 and not again.from_memo
    assert model.fit.forget(2) == 2  # the first record, and that of the call that was made anew
    assert model.fit.peek(2) is None


def test_a_bound_app_equals_itself_and_is_like_a_method():
    model = Model(3)
    assert model.fit == model.fit
    assert hash(model.fit) == hash(model.fit)
    assert model.fit != Model(3).fit
    assert (model.fit.__self__, model.fit.__name__, model.fit.kind) == (model, "fit", "python")
    assert repr(model.fit) == "<python_app fit of Model>"


def test_a_bound_app_is_pickled_with_its_instance():
    there = dill.loads(dill.dumps(Model(3).fit))
    assert there.__self__.factor == 3


def test_static_methods_get_no_instance(kernel):
    model = Model(3)
    assert [model.load("a").result(), Model.load("b").result()] == ["a", "b"]
    assert [model.save("a").result(), Model.save("b").result()] == ["a", "b"]
