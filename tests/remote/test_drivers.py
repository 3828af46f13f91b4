"""Driver processes over a real S3 server: they share, they are killed, they go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt
from parsl_ckpt import Config
from parsl_ckpt.checkpoint import ranges

from .conftest import left
from .driver import double, ran

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


def config(url: str, **options: Any) -> Config:
    return Config(run_dir=url, checkpoint_mode="task_exit", upload_period=3600.0, **options)


def doubles(url: str, *numbers: int, **options: Any) -> tuple[list[int], list[int]]:
    """What a run of this process gives, and what it had to compute for that."""
    ran.clear()
    with parsl_ckpt.load(config(url, **options)):
        return [double(x).result() for x in numbers], ran[:]


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
    assert doubles(s3, 1, 2, 3, 4) == ([2, 4, 6, 8], [3, 4])

    # This one has the rest, and uploads it.
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(spool))
    with parsl_ckpt.load(config(f"{s3}/", checkpoint_files=[f"{s3}/000/checkpoint"])) as dfk:
        assert dfk.run_id == "002"
        assert [name for name in left(spool) if name.startswith("000")] == []
        assert [count for _, count in dfk.loaded] == [4]
    assert doubles(s3, 1, 2, 3, 4, checkpoint_files=[f"{s3}/000/checkpoint"])[1] == []
    assert left(spool) == []


@pytest.mark.slow
def test_no_kill_at_any_moment_loses_what_was_returned(s3: str, spool: Path) -> None:
    done: set[int] = set()
    for kill_after in (1, 40, 7, 90, 23, 3, 61, 15):
        driver = start(s3, "go", len(done) + 100)
        assert driver.stdout is not None
        new = 0
        for line in driver.stdout:
            what, number = line.split()
            assert what == "done" or int(number) not in done  # nothing is computed again
            if what == "done":
                new += int(number) not in done
                done.add(int(number))
            if new >= kill_after:
                driver.kill()
                break
        rest, _ = driver.communicate(timeout=60)
        done.update(int(line.split()[1]) for line in rest.splitlines() if line[:5] == "done ")
        assert driver.returncode == -signal.SIGKILL
    assert len(done) >= 240
    assert len(left(spool)) == 1


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
    assert doubles(s3, 1, 2, 3) == ([2, 4, 6], [])


def test_a_run_follows_another_through_the_object_store(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RECENT_SECONDS", 0.0)  # for which a listing serves
    other = start(s3, "share", 7)
    assert answer(other)["values"] == [14]
    with parsl_ckpt.load(config(s3, follow=True)):
        assert double(7).result() == 14
        assert ran == []
    go_on(other)
    assert ended(other) == 0
