"""The plugin that users point at their own workflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_ckpt
from parsl_ckpt.testing.crash import Crash

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")]

WORKFLOW = """
import sys
import parsl_ckpt as pc

@pc.python_app(cache=True)
def double(x):
    return x * 2

@pc.python_app(cache=True)
def bulk(x):
    return x.to_bytes(4, "little") * 70_000

@pc.python_app(cache=True)
def total(xs):
    return sum(xs)

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)],
                       checkpoint_mode=sys.argv[1] if len(sys.argv) > 1 else "task_exit")):
    numbers = [double(n) for n in range(4)]
    print(total(numbers).result(), len(bulk(3).result()))
"""
FORGETFUL = """
from parsl_ckpt.checkpoint.store import Store
find = Store.find
Store.find = lambda store, key: None
"""
RANDOM = "import random; print(random.random())"
# The store says that it has written what it has not.
LOSING = """
from parsl_ckpt.checkpoint.writing import Writing
Writing.append = lambda writing, entries: None
"""
LIBRARY = """
import dataclasses
import pathlib
import sys
import parsl_ckpt as pc

@dataclasses.dataclass
class Reading:  # known in this script alone
    number: int
    kind: type

@pc.python_app(cache=True)
def read(n, kind):
    return Reading(n, kind)

if __name__ == "__main__":
    numbers = map(int, pathlib.Path("numbers.txt").read_text().split())
    executors = [pc.ProcessPoolExecutor(max_workers=2)]
    with pc.load(pc.Config(executors=executors, checkpoint_mode="task_exit", run_dir="runs")):
        print(sorted(f.result().number for f in [read(n, Reading) for n in numbers]))
"""
IN_A_TEST = """
from pathlib import Path
pytest_plugins = ["parsl_ckpt.testing.crash"]

def test_it(crash):
    crash.sample = 1
    report = crash.survives(
        {script!r}, run_dir="runs",
        prepare=lambda place: (place / "numbers.txt").write_text("5 6 7"),
    )
    assert report.operations > 4
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "workflow.py"
    path.write_text(WORKFLOW)
    return path


def test_a_workflow_survives_a_sample_of_deaths(workflow: Path, tmp_path: Path) -> None:
    report = Crash(tmp_path, sample=4).survives(workflow)
    assert report.killed >= 2 and report.operations > 8 and report.acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit"])
def test_a_workflow_survives_every_death(workflow: Path, tmp_path: Path, mode: str) -> None:
    report = Crash(tmp_path).survives(workflow, mode)
    assert report.killed >= report.operations - 3


@pytest.mark.slow
def test_a_workflow_on_processes_survives_every_death(tmp_path: Path) -> None:
    """Its classes are those of its own ``__main__``; the workers are orphans when it is killed."""
    script = tmp_path / "library.py"
    script.write_text(LIBRARY)
    report = Crash(tmp_path).survives(
        script,
        run_dir="runs",
        prepare=lambda place: (place / "numbers.txt").write_text("1 2 3 4"),
    )
    assert report.acknowledged


def test_results_computed_again_are_noticed(workflow: Path, tmp_path: Path) -> None:
    workflow.write_text(FORGETFUL + WORKFLOW)
    with pytest.raises(AssertionError, match="computed again"):
        Crash(tmp_path, sample=6).survives(workflow)


def test_a_result_that_was_not_written_is_noticed(workflow: Path, tmp_path: Path) -> None:
    workflow.write_text(LOSING + WORKFLOW)
    with pytest.raises(AssertionError, match="an acknowledged result is lost"):
        Crash(tmp_path, sample=3).survives(workflow)


def test_a_script_that_writes_no_checkpoint_is_no_proof(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print(1)")
    with pytest.raises(AssertionError, match="writes no checkpoint under runinfo"):
        Crash(tmp_path).survives(script)
    script.write_text("1 / 0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        Crash(tmp_path).survives(script)


def test_a_script_that_hangs_is_noticed_and_ended(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import threading; threading.Event().wait()")
    with pytest.raises(AssertionError, match="did not end within"):
        Crash(tmp_path, timeout=0.5).survives(script)


def test_other_output_is_noticed(workflow: Path, tmp_path: Path) -> None:
    workflow.write_text(WORKFLOW + RANDOM)
    with pytest.raises(AssertionError, match="says something else"):
        Crash(tmp_path, sample=1).survives(workflow)


def pytest_run(place: Path, *arguments: str) -> str:
    home = str(Path(parsl_ckpt.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=place, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": home},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_the_command_line(workflow: Path, tmp_path: Path) -> None:
    plugin = ("-p", "parsl_ckpt.testing.crash", "--crash-sample", "1")
    assert "1 passed" in pytest_run(tmp_path, *plugin, "--crash", str(workflow))


def test_as_a_fixture_of_a_test_module(tmp_path: Path) -> None:
    script = tmp_path / "library.py"
    script.write_text(LIBRARY)
    (tmp_path / "test_it.py").write_text(IN_A_TEST.format(script=str(script)))
    assert "1 passed" in pytest_run(tmp_path, "test_it.py")
