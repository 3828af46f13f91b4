"""Driver processes over a real S3 server: they share, they are killed, they go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import left

DRIVER = Path(__file__).with_name("driver.py")


def start(url: str, what: str, *numbers: int) -> subprocess.Popen[str]:
    paths = f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = {str(DRIVER)!r};"
    run = f"import runpy; runpy.run_path({str(DRIVER)!r}, run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", paths + run, url, what, *map(str, numbers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def test_after_sigkill_the_next_start_on_this_machine_finds_everything(
    s3: str, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = start(s3, "die", 1, 2, 3, 4)
    assert answer(dying)["values"] == [2, 4, 6, 8]
    assert ended(dying) == -signal.SIGKILL
    assert len(left(spool)) == 1

    # Another machine sees what was uploaded.
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(tmp_path / "elsewhere"))
    other = start(s3, "run", 1, 2, 3, 4)
    assert answer(other) == {"run": "001", "values": [2, 4, 6, 8], "ran": [3, 4]}
    assert ended(other) == 0

    # This one has the rest, and uploads it.
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(spool))
    here = start(s3 + "/", "wait", 1, 2, 3, 4)
    assert answer(here) == {"run": "002"}
    assert [name for name in left(spool) if name.startswith("000")] == []
    go_on(here)
    assert answer(here)["ran"] == []
    go_on(here)
    assert ended(here) == 0
    assert left(spool) == []


def test_two_drivers_share_a_prefix(s3: str) -> None:
    one, two = start(s3, "wait", 1, 2), start(s3, "wait", 2, 3)
    assert {answer(one)["run"], answer(two)["run"]} == {"000", "001"}
    go_on(one)
    go_on(two)
    assert answer(one)["values"] == [2, 4]
    assert answer(two)["values"] == [4, 6]
    go_on(one)
    go_on(two)
    assert ended(one) == ended(two) == 0
    third = start(s3, "run", 1, 2, 3)
    assert answer(third)["ran"] == []
    assert ended(third) == 0
