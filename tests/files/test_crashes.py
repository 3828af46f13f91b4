"""Killed anywhere: a record of a call with output files is there with its note, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_ckpt
import parsl_ckpt as pc
from parsl_ckpt.testing.crash import Crash

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")

WORKFLOW = """
import parsl_ckpt as pc

@pc.python_app(cache=True)
def write(text, outputs=()):
    with open(outputs[0], "w") as file:
        file.write(text * 1000)

@pc.python_app(cache=True)
def join(inputs=(), outputs=()):
    with open(outputs[0], "w") as file:
        for one in inputs:
            file.write(open(one).read())
    return len(inputs)

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)],
                       checkpoint_mode="task_exit")):
    parts = [write(letter, outputs=[pc.File(f"{letter}.txt")]).outputs[0] for letter in "abc"]
    whole = join(inputs=parts, outputs=[pc.File("all.txt")])
    print(whole.result(), len(open(whole.outputs[0].result()).read()))
"""

# The process dies between the last byte of the output and the record of the call.
DIES = """
import os, signal, sys
import parsl_ckpt as pc
from parsl_ckpt.kernel.execution import Execution

@pc.python_app(cache=True, code="function")
def write(text, outputs=()):
    with open("log", "a") as log:
        log.write(".")
    with open(outputs[0], "w") as file:
        file.write(text)
    return text

if sys.argv[1] == "die":
    Execution.record = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)],
                       checkpoint_mode="task_exit")):
    future = write("abc", outputs=[pc.File("a.txt")])
    print(future.result(), future.from_memo)
"""


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(parsl_ckpt.__file__).resolve().parent.parent)
    env = {**os.environ, "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, script.name, *arguments], cwd=script.parent, env=env, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_killed_between_the_output_and_the_record_it_runs_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DIES)
    assert run(script, "die").returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "abc"
    assert run(script, "live").stdout == "abc False\n"
    assert run(script, "live").stdout == "abc True\n"
    assert (tmp_path / "log").read_text() == ".."


def test_a_workflow_of_files_survives_its_death(tmp_path):
    script = tmp_path / "workflow.py"
    script.write_text(WORKFLOW)
    (tmp_path / "runs").mkdir()
    report = Crash(tmp_path / "runs", sample=4, seed=1).survives(script)
    assert report.killed >= 3


@pytest.mark.slow
def test_a_workflow_of_files_survives_its_death_anywhere(tmp_path):
    script = tmp_path / "workflow.py"
    script.write_text(WORKFLOW)
    (tmp_path / "runs").mkdir()
    report = Crash(tmp_path / "runs").survives(script)
    assert report.killed > report.operations // 2


def test_a_worker_that_dies_while_it_writes_leaves_no_record(tmp_path):
    @pc.python_app(cache=True, code="function")
    def die(log, outputs=()):
        import os
        import signal

        with open(outputs[0], "w") as file:
            file.write("half")
        if not os.path.exists(log):
            open(log, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        with open(outputs[0], "a") as file:
            file.write(" whole")
        return 1

    pc.clear()
    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=1)], run_dir=tmp_path / "runs", retries=1,
        checkpoint_mode="task_exit",
    )  # fmt: skip
    file = pc.File(tmp_path / "a")
    with pc.load(config):
        assert die(str(tmp_path / "log"), outputs=[file]).result(60) == 1
        assert (tmp_path / "a").read_text() == "half whole"
        assert die(str(tmp_path / "log"), outputs=[file]).from_memo
    pc.clear()
