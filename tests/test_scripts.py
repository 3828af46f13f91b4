"""The two scripts that the library was made for, as a user writes them, each over two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.guarantees.helpers import environment, visible

# -- the original API -----------------------------------------------------------------------------

LEGACY = """
from parsl_ckpt import *
from parsl_ckpt.configs.local import localThreads as config

dfk = DataFlowKernel(config=config)

@App('python', dfk, cache=True)
def slow_double(x, sleep_dur=1):
    import time
    time.sleep(sleep_dur)
    return x * 2

d = [slow_double(i) for i in range(5)]
[i.result() for i in d]
cpt_dir = dfk.checkpoint()
print(cpt_dir)                       # runinfo/000/checkpoint
"""
LATER = """
from parsl_ckpt import *
from parsl_ckpt.configs.local import localThreads as config

import parsl_ckpt
dfk = DataFlowKernel(config=config, checkpointFiles=parsl_ckpt.get_all_checkpoints())

@App('python', dfk, cache=True)
def slow_double(x, sleep_dur=1):
    import time
    time.sleep(sleep_dur)
    return x * 2

d = [slow_double(i) for i in range(5)]
print([i.result() for i in d])
print([i.from_memo for i in d], dfk.counts()["exec_done"], dfk.loaded)
print(slow_double(7, sleep_dur=0).result())
print(dfk.checkpoint())
"""

# -- the modern form ------------------------------------------------------------------------------

MODERN = """
import parsl_ckpt as pc

@pc.python_app(cache=True)
def simulate(seed: int) -> float:
    return seed / 2

with pc.load(pc.Config(executors=[pc.ProcessPoolExecutor(max_workers=4)],
                       checkpoint_mode="task_exit", run_dir="runinfo")) as dfk:
    total = sum(f.result() for f in [simulate(i) for i in range(1000)])

print(total, dfk.counts()["exec_done"], dfk.counts()["memo_done"], dfk.loaded)
"""


def run(script: str, cwd: Path, *argv: str) -> list[str]:
    """The output of a script, run as a user runs it."""
    file = cwd / "script.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", file.name, *argv], cwd=cwd, env=environment(),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["Threads", "Processes"])
def test_the_original_api(tmp_path: Path, kind: str) -> None:
    first, later = (text.replace("localThreads", f"local{kind}") for text in (LEGACY, LATER))
    assert run(first, tmp_path) == ["runinfo/000/checkpoint"]
    assert sorted(visible(tmp_path / "runinfo/000/checkpoint")) == [0, 2, 4, 6, 8]
    assert run(later, tmp_path) == [
        "[0, 2, 4, 6, 8]",
        "[True, True, True, True, True] 0 [('runinfo/000/checkpoint', 5)]",
        "14",
        "runinfo/001/checkpoint",
    ]
    assert visible(tmp_path / "runinfo/001/checkpoint") == [14]


def test_the_modern_form(tmp_path: Path) -> None:
    assert run(MODERN, tmp_path) == ["249750.0 1000 0 []"]
    total, ran, restored, loaded = run(MODERN, tmp_path)[0].split(maxsplit=3)
    assert (total, ran, restored) == ("249750.0", "0", "1000")
    assert loaded.endswith("runinfo/000/checkpoint', 1000)]")
    threads = MODERN.replace("ProcessPoolExecutor(max_workers=4)", "ThreadPoolExecutor()")
    assert run(threads, tmp_path)[0].split()[:3] == ["249750.0", "0", "1000"]


# -- the globals of the original API --------------------------------------------------------------

GLOBALS = """
import json, os, sys
from parsl_ckpt import *

options, kind, what = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
config = {
    "sites": [{"site": "Local", "auth": {"channel": None},
               "execution": {"executor": kind, "provider": None, "maxThreads": 2}}],
    "globals": options,
}
dfk = DataFlowKernel(config=config)

@App("python", dfk, cache=True)
def double(x):
    return x * 2

@App("python", dfk)
def fail_until(path, times):
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        if len(file.read()) < times:
            raise ValueError(times)
    return times

exec(what)
"""


def run_globals(cwd: Path, options: dict[str, Any], what: str, kind: str = "threads") -> list[str]:
    return run(GLOBALS, cwd, json.dumps(options), kind, what)


@pytest.mark.parametrize("mode", ["task_exit", "periodic", "dfk_exit", "manual", None])
def test_checkpoint_mode_of_the_dictionary(tmp_path: Path, mode: str | None) -> None:
    options = {"checkpointMode": mode, "checkpointPeriod": "01:00:00", "runDir": "runs"}
    look = "print([double(i).result() for i in range(3)], dfk.counts()['exec_done'])"
    assert run_globals(tmp_path, options, look) == ["[0, 2, 4] 3"]
    found = tmp_path / "runs/000/checkpoint"
    assert (visible(found) if found.exists() else []) == ([] if mode is None else [0, 2, 4])
    again = "3" if mode is None else "0"
    assert run_globals(tmp_path, options, look, "processes") == [f"[0, 2, 4] {again}"]


def test_the_rest_of_the_dictionary(tmp_path: Path) -> None:
    # one process for what does not depend on which
    assert run_globals(
        tmp_path,
        {"retries": 2, "lazyErrors": True, "memoize": False},
        """
print(fail_until("three", 3).result())
try:
    fail_until("four", 4).result()
except ValueError as error:
    print("failed", error)
print([double(1).result(), double(1).result()], dfk.counts()["exec_done"])
""",
    ) == ["3", "failed 4", "[2, 2] 3"]
    assert len((tmp_path / "four").read_text()) == 3
    assert run_globals(
        tmp_path,
        {"lazyErrors": False, "runDir": "elsewhere"},
        """
print(double(1).result())
try:
    fail_until("once", 9).result()
except ValueError:
    pass
try:
    double(2)
except ValueError as error:
    print("raised at the next call:", error)
""",
    ) == ["2", "raised at the next call: 9"]
    assert (tmp_path / "elsewhere" / "000").is_dir()


def test_checkpoints_are_listed_oldest_first_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import parsl_ckpt

    monkeypatch.chdir(tmp_path)
    assert parsl_ckpt.get_all_checkpoints() == [] == parsl_ckpt.get_last_checkpoint()
    for number in ("1000", "002", "099", "000", "101"):
        (tmp_path / "runinfo" / number / "checkpoint").mkdir(parents=True)
    (tmp_path / "runinfo" / "003").mkdir()
    (tmp_path / "runinfo" / "README.rst").write_text("")
    expected = [f"runinfo/{n}/checkpoint" for n in ("000", "002", "099", "101", "1000")]
    assert parsl_ckpt.get_all_checkpoints() == expected
    assert parsl_ckpt.get_last_checkpoint() == ["runinfo/1000/checkpoint"]
    assert parsl_ckpt.get_all_checkpoints(rundir="nowhere") == []
