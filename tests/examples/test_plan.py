"""The plan over files: stopped in the middle, gone on with, and told before it is done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "examples" / "plan.py"


@pytest.fixture
def run(tmp_path):
    path = [part for part in sys.path if part and Path(part).is_dir()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONIOENCODING": "utf-8"}

    def program(*arguments, before=(str(FILE),)):
        answer = subprocess.run(
            [sys.executable, *before, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=120,
        )  # fmt: skip
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout.splitlines()

    return program


def test_it_goes_on_from_the_middle_and_redoes_what_changed(run, tmp_path):
    first = run("--until", "clean")
    assert first[0] == "Plan of 38 tasks: 24 run, none is restored, 14 are cut away."
    assert first[-1] == "12 stations are clean."

    second = run("--page", "plan.html")  # no file is read again
    assert second[0] == "Plan of 38 tasks: 14 run, 12 are restored, 12 are cut away."
    assert "read     -         -   12     -" in second
    assert second[-1] == "It gets warmer by 0.060 degrees a day."
    assert "<svg" in (tmp_path / "plan.html").read_text(encoding="utf-8")

    with open(tmp_path / "stations" / "north.csv", "a") as file:
        file.write("99999,60\n")
    told = run("plan", str(FILE), before=("-m", "parsl_ckpt.cli"))
    assert told[0] == "Plan of 38 tasks: 5 run, 11 are restored, 22 are cut away."
    assert len(list((tmp_path / "runinfo").iterdir())) == 2

    third = run()
    assert third[0] == told[0] and third[-1] == second[-1]  # one measurement alone counts nothing
    assert timeless(third[:-2]) == timeless(shown_on_the_page())
    assert run()[0] == "Plan of 38 tasks: 1 runs, 1 is restored, 36 are cut away."


def shown_on_the_page():
    page = (ROOT / "docs" / "plan.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^\.\. code-block:: text\n\n((?:   .*\n|\n)+)", page)
    (block,) = (block for block in blocks if "Forecast" in block)
    return textwrap.dedent(block).strip().splitlines()


def timeless(lines):
    """What is printed on whatever machine."""
    return [
        re.sub(r" +", " ", re.sub(r"\d[\d.]* (µs|ms|s|workers?)\b", "N", line)).strip()
        for line in lines
    ]
