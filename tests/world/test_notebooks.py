"""Apps that are defined in cells: executed text, with and without source, defined again and again.

A cell is compiled under a name of its own and executed in ``__main__``, as IPython does it, which
also leaves the text with ``linecache``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

DRIVER = """
import linecache, sys, types
import parsl_ckpt as pc

class Notebook:
    "Executes cells in __main__."

    def __init__(self, source):
        self.source, self.count = source, 0

    def __call__(self, text):
        self.count += 1
        name = f"<ipython-input-{self.count}-0123456789ab>"
        if self.source:
            linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), vars(sys.modules["__main__"]))

kind, source = sys.argv[1:]
executors = {
    "threads": lambda: pc.ThreadPoolExecutor(max_workers=1),
    "processes": lambda: pc.ProcessPoolExecutor(max_workers=1),
}
dfk = pc.load(pc.Config(executors=[executors[kind]()], checkpoint_mode="task_exit"))
cell = Notebook(source == "source")

TEN = "SCALE = 10"
APP = '''
@pc.python_app(cache=True)
def scaled(x):
    return SCALE * x
'''
cell(TEN)
cell(APP)
cell("first = scaled(2)")
print("computed", first.result(), first.from_memo)
cell(APP)  # the cell is executed again, as it was
cell("again = scaled(2)")
print("again", again.result(), again.from_memo)
cell(APP.replace("SCALE * x", "SCALE * x + 1"))
cell("edited = scaled(2)")
print("edited", edited.result(), edited.from_memo)
cell("SCALE = 100")
cell("rescaled = scaled(2)")
print("rescaled", rescaled.result(), rescaled.from_memo)
cell(TEN)
cell(APP)
cell("back = scaled(2)")
print("back", back.result(), back.from_memo)

cell('''
import dataclasses

@dataclasses.dataclass
class Point:
    x: int

@pc.python_app(cache=True)
def mirrored(point):
    return Point(-point.x)
''')
cell("point = mirrored(Point(3)).result()")
print("class", point, type(point) is Point)
cell("key = mirrored.key(Point(3))")
cell("table = list(dfk.results(mirrored))")
print("table", table)

@pc.python_app
def broken():
    return 1 / 0

try:
    broken().result()
except ZeroDivisionError as error:
    print("error", error)
print("after", scaled(3).result())
dfk.cleanup()
"""

EXPECTED = """
computed 20 False
again 20 True
edited 21 False
rescaled 201 False
back 20 True
class Point(x=-3) True
table [{'point': 'Point(x=3)', 'x': -3}]
error division by zero
after 30
"""


@pytest.mark.parametrize("source", ["source", "bare"])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_cells_define_apps_again_and_only_what_changed_is_computed(tmp_path, kind, source):
    script = tmp_path / "notebook.py"
    script.write_text(textwrap.dedent(DRIVER))
    path = [part for part in sys.path if part and Path(part).is_dir()]
    done = subprocess.run(
        [sys.executable, str(script), kind, source], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == EXPECTED.lstrip()


def test_what_the_next_session_executes_is_found(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text(textwrap.dedent(DRIVER).replace('print("computed"', 'print("found"'))
    path = [part for part in sys.path if part and Path(part).is_dir()]
    for expected in ("found 20 False", "found 20 True"):
        done = subprocess.run(
            [sys.executable, str(script), "threads", "source"], cwd=tmp_path, text=True,
            capture_output=True, timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )  # fmt: skip
        assert done.stdout.splitlines()[0] == expected, done.stderr
