"""Scripts as Parsl's tutorials have them, with nothing but their import changed.

Each file in ``scripts/`` is written for Parsl and says in its docstring what it prints.  The
ordinary suite runs it here in both ways of moving; the slow tests run it under Parsl itself.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120
TAKES_THE_NAME = (
    "import runpy, sys, parsl_ckpt.compat.as_parsl; "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


def printed(script):
    text = ast.get_docstring(ast.parse(script.read_text()))
    return textwrap.dedent(text.split("Prints:\n")[1]).strip()


def moved(script):
    """A script with the name of the package replaced in its imports, and nothing else."""
    lines = []
    for line in script.read_text().splitlines():
        line = re.sub(r"^import parsl$", "import parsl_ckpt.compat.parsl as parsl", line)
        lines.append(re.sub(r"^from parsl([. ])", r"from parsl_ckpt.compat.parsl\1", line))
    return "\n".join(lines)


def run(tmp_path, *command, python=sys.executable):
    environment = dict(os.environ)
    where = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(where)
    beside = os.path.dirname(python)  # Parsl starts programs of its own by name
    environment["PATH"] = os.pathsep.join([beside, environment.get("PATH", os.defpath)])
    done = subprocess.run(
        [python, *map(str, command)], cwd=tmp_path, env=environment, timeout=LIMIT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_with_its_imports_changed(script, tmp_path):
    changed = tmp_path / script.name
    changed.write_text(moved(script))
    assert "import parsl\n" not in changed.read_text()
    assert run(tmp_path, changed) == printed(script)


@pytest.mark.parametrize("name", ["hello", "processes"])
def test_a_script_runs_as_it_is_where_the_name_is_taken(name, tmp_path):
    script = Path(__file__).parent / "scripts" / f"{name}.py"
    assert run(tmp_path, "-c", TAKES_THE_NAME, script) == printed(script)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_parsl_prints_the_same(script, tmp_path, parsl_python):
    assert run(tmp_path, script, python=parsl_python) == printed(script)
