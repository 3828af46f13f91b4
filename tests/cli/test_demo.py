"""The demonstration demonstrates, and says so when it does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from parsl_ckpt.cli import demo

pytestmark = pytest.mark.once


@pytest.fixture
def small_tree(tmp_path):
    """Some modules, dear enough to parse that the first run is killed before its end."""
    root = tmp_path / "tree"
    for package in ("alpha", "beta"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("from . import m0\n")
        for number in range(20):
            lines = [f"import alpha.m{number // 2}", f"NUMBER = {number}"]
            lines += [f"def f{i}(x):\n    return x if x > {i} else -x" for i in range(2000)]
            (root / package / f"m{number}.py").write_text("\n".join(lines))
    (root / "broken.py").write_text("def :\n")
    return root


def demo_process(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "parsl_ckpt.cli", "demo", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_it_is_killed_resumes_and_finds_everything_done(small_tree, tmp_path):
    runs = tmp_path / "runs"
    answer = demo_process("--root", small_tree, "--run-dir", runs, "--workers", 2)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Killed with SIGKILL" in answer.stdout
    # 43 modules, 3 packages, the graph and its ranking
    third = next(line for line in answer.stdout.splitlines() if "third" in line and "│" in line)
    numbers = [word.strip() for word in third.strip("│ ").split("│")]
    assert numbers[1:4] == ["48", "0", "48"]
    assert "alpha.m0" in answer.stdout
    assert sorted(p.name for p in runs.iterdir())[:3] == ["000", "001", "002"]


def test_a_claim_that_does_not_hold_is_an_error():
    with pytest.raises(demo.DemoError, match="restored too little"):
        demo._claim(False, "restored too little")


def test_a_survey_that_fails_is_reported_and_leaves_no_directory(tmp_path):
    nothing = tmp_path / "empty"
    nothing.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    answer = subprocess.run(
        [sys.executable, "-m", "parsl_ckpt.cli", "demo", "--root", str(nothing)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 1
    assert "parsl-ckpt: The survey ended" in answer.stderr
    assert not list(temporary.glob("parsl_ckpt-demo-*"))
