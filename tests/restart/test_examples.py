"""The examples, killed for real and started again: the same to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LORENZ = [EXAMPLES / "lorenz.py", "--members", "3", "--steps", "120", "--every", "7"]
TRAINING = [
    EXAMPLES / "training.py", "--samples", "256", "--batch", "32", "--epochs", "12", "--every", "5"
]  # fmt: skip

# Imported by every interpreter that is started: kills it in that call of a function, once.
SITE = """
import importlib, os, signal

def deadly(module, name, calls):
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function, made = getattr(owner, name), [0]

    def counting(*args, **kwargs):
        made[0] += 1
        if made[0] == calls:
            for life in range(LIVES):
                try:
                    os.close(os.open(f"died-{life}", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, counting)
"""


def run(tmp_path, program, out, site=None):
    path = [part for part in sys.path if part]
    if site is not None:
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / "sitecustomize.py").write_text(site)
        path.insert(0, str(tmp_path / "site"))
    return subprocess.run(
        [sys.executable, *map(str, program), "--out", out],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def last_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_an_ensemble_by_itself(tmp_path):
    straight = last_line(run(tmp_path, LORENZ, "straight"))
    site = SITE.replace("LIVES", "1") + "\ndeadly('numpy', 'roll', 2000)\n"
    killed = run(tmp_path, LORENZ, "killed", site)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run(tmp_path, LORENZ, "killed")
    assert last_line(again) == straight
    assert again.stdout.startswith("Going on after ")


@pytest.mark.slow
def test_an_ensemble_of_tasks_whose_workers_are_killed(tmp_path):
    program = [*LORENZ, "--tasks", "2"]
    straight = last_line(run(tmp_path, program, "straight"))
    site = SITE.replace("LIVES", "3") + "\ndeadly('numpy', 'roll', 700)\n"
    assert last_line(run(tmp_path, program, "killed", site)) == straight
    assert len(list(tmp_path.glob("died-*"))) == 3


@pytest.mark.slow
def test_a_training(tmp_path):
    pytest.importorskip("torch")
    straight = last_line(run(tmp_path, TRAINING, "straight"))
    site = SITE.replace("LIVES", "2") + "\ndeadly('torch', 'optim.Adam.step', 37)\n"
    for _ in range(2):
        killed = run(tmp_path, TRAINING, "killed", site)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run(tmp_path, TRAINING, "killed")
    assert last_line(again) == straight
    assert again.stdout.startswith("Going on after 70 ")
