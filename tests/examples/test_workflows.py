"""The examples as users run them: killed half-way, started again, extended, edited."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def start(tmp_path):
    """Starts an example in a directory of its own, in a process group of its own."""
    path = [part for part in sys.path if part and Path(part).is_dir()]
    begun: list[subprocess.Popen[str]] = []

    def start(name: str, *argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *argv, "--workers", "2"], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


def finish(process: subprocess.Popen[str]) -> tuple[list[str], int, int]:
    """What a program printed, how many tasks it ran, how many it restored."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    *lines, last = out.splitlines()
    counts = re.fullmatch(r"([\d,]+) tasks run, ([\d,]+) restored\.", last)
    assert counts is not None, out
    return lines, int(counts[1].replace(",", "")), int(counts[2].replace(",", ""))


def kill_after(process: subprocess.Popen[str], lines: int) -> None:
    """Kill a program and its workers, without warning, once it has printed so many lines."""
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline() != ""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def test_pi_goes_on_where_it_was_killed(start):
    argv = ("pi.py", "--streams", "30", "--darts", "60000")
    kill_after(start(*argv), 5)
    lines, run, restored = finish(start(*argv))
    assert restored >= 5  # what was printed was in the checkpoint
    assert run + restored == 31
    value = re.fullmatch(r"pi = (\d\.\d+) \+- (0\.\d+)", lines[-1])
    assert value is not None and abs(float(value[1]) - 3.14159265) < 6 * float(value[2])
    assert finish(start(*argv)) == ([lines[-1]], 0, 31)  # the same to the last digit


def test_pi_gets_better_with_new_streams_only(start, tmp_path):
    finish(start("pi.py", "--streams", "4", "--darts", "1000"))
    _, run, restored = finish(
        start("pi.py", "--streams", "8", "--darts", "1000", "--csv", "pi.csv")
    )
    assert (run, restored) == (4 + 1, 4)
    header, *rows = (tmp_path / "pi.csv").read_text().splitlines()
    assert header == "stream,darts,value"
    assert len({row.split(",")[2] for row in rows}) > 4  # streams differ


def write_files(root: Path, number: int) -> None:
    root.mkdir()
    for n in range(number):
        word = "".join(chr(ord("a") + int(digit)) for digit in f"{n:03d}")
        (root / f"{n:03d}.rst").write_text(f"{word} and " * 2000)


def test_mapreduce_goes_on_where_it_was_killed(start, tmp_path):
    write_files(tmp_path / "docs", 100)
    kill_after(start("mapreduce.py"), 10)
    lines, run, restored = finish(start("mapreduce.py"))
    assert restored >= 10
    assert run + restored == 100 + 7 + 1 + 1
    assert lines[-10:][0].split() == ["200,000", "and"]
    assert finish(start("mapreduce.py")) == (lines[-10:], 0, 109)


def test_mapreduce_computes_what_an_edit_concerns(start, tmp_path):
    write_files(tmp_path / "docs", 40)
    finish(start("mapreduce.py"))
    with open(tmp_path / "docs" / "007.rst", "a") as file:
        file.write("something new, and more of it\n")
    (tmp_path / "docs" / "008.rst").touch()
    lines, run, _ = finish(start("mapreduce.py"))
    assert run == 4  # the file, its branch, the root, the ranking
    assert lines[-10:][0].split() == ["80,001", "and"]


def test_mapreduce_of_no_files_has_no_words(start, tmp_path):
    (tmp_path / "docs").mkdir()
    assert finish(start("mapreduce.py"))[0] == []
