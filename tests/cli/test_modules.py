"""The command line without its script."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.executors.helpers import environment


@pytest.mark.parametrize("module", ["parsl_ckpt", "parsl_ckpt.cli"])
def test_it_runs_as_a_module(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "parsl-ckpt" in done.stdout and not done.stderr
