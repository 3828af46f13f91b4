"""One identity in every process, under every hash seed and every interpreter that is at hand."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_ckpt

SCRIPT = Path(__file__).with_name("portable.py")


def interpreters() -> list[str]:
    """Supported interpreters on the path and among those that the environment names."""
    found = [sys.executable]
    for minor in range(10, 20):
        path = shutil.which(f"python3.{minor}")
        if path:
            found.append(path)
    found += os.environ.get("PARSL_CKPT_TEST_PYTHONS", "").split(os.pathsep)
    return [path for path in dict.fromkeys(found) if path]


@functools.cache
def output(python: str, seed: str) -> str:
    place = str(Path(parsl_ckpt.__path__[0]).parent)
    environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=place)
    done = subprocess.run(
        [python, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=60
    )
    if done.returncode and ("ModuleNotFoundError" in done.stderr or "not found" in done.stderr):
        pytest.skip(f"{python} has not what the package needs")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", ["1", "77"])
def test_hash_seeds(seed):
    assert output(sys.executable, seed) == output(sys.executable, "0")


@pytest.mark.parametrize("python", interpreters())
def test_interpreters(python):
    assert output(python, "3") == output(sys.executable, "0")


def test_golden():
    """Identity is stable across our own releases: a change here costs users their checkpoints."""
    golden = SCRIPT.with_name("golden.txt").read_text()
    assert output(sys.executable, "0") == golden
