"""Modules that begin a run when they are imported, and that worker processes import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.executors.helpers import DEADLINE, environment

# Were a worker to begin a run, its workers would import the module again, and so on.
COUNTED = """
import os, parsl_ckpt as pc
open(f"imports/{os.getpid()}", "w").close()
assert len(os.listdir("imports")) < 5, "endless"

class Point:
    def __init__(self, x):
        self.x = x

from parsl_ckpt.errors import CallTransportError
pools = [pc.ProcessPoolExecutor(max_workers=1), pc.ThreadPoolExecutor(max_workers=1)]
config = pc.Config(executors=pools, checkpoint_mode="task_exit", run_dir="runs")
"""
WITH_ITS_KERNEL = """
dfk = pc.DataFlowKernel(config)

@pc.App("python", dfk, cache=True, executors=["processes"])
def point(x):
    return Point(x)
"""
THAT_RUNS = """
@pc.python_app(cache=True, executors=executor)
def point(x):
    return Point(x)

with pc.load(config):
    for x in (1, 2):
        try:
            print(point(x).result(60).x)
        except CallTransportError as error:
            print(error)
"""


@pytest.fixture
def run(tmp_path):
    """Run a line of Python beside a module ``work``; what it printed."""

    def run(module, line):
        (tmp_path / "imports").mkdir()
        (tmp_path / "work.py").write_text(COUNTED + module)
        done = subprocess.run(
            [sys.executable, "-c", line], capture_output=True, text=True, timeout=DEADLINE,
            env=environment(), cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_apps_of_a_module_with_its_own_kernel_run_and_no_worker_begins_a_run(run, tmp_path):
    said = run(
        WITH_ITS_KERNEL, "import work; print(work.point(1).result(60).x); work.dfk.cleanup()"
    )
    assert said == "1\n"
    assert sorted(name for name in os.listdir(tmp_path / "runs") if name.isdigit()) == ["000"]
    assert len(os.listdir(tmp_path / "imports")) > 1, "a worker has imported it"


def test_a_script_that_is_imported_is_not_run_again_by_its_workers_without_end(run):
    said = run("executor = 'processes'" + THAT_RUNS, "import work")
    first, second = said.splitlines()
    assert first.startswith("The call of app 'point' cannot be loaded in the worker process")
    assert "The module work calls the app point when it is imported" in first
    assert "if __name__ == '__main__'" in first
    assert second == first


def test_threads_do_not_wait_for_the_import_that_waits_for_them(run):
    assert run("executor = 'threads'" + THAT_RUNS, "import work") == "1\n2\n"
