"""The pipeline of commands, on texts of known words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "words.py"

TEXTS = {
    "one.txt": "The fox and the hen. The END",
    "two two.txt": "a fox; the fox\n",  # a space in its name
    "none.txt": "1 2 3",
}


@pytest.fixture
def run(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    path = [part for part in sys.path if part and Path(part).is_dir()]

    def program(*arguments):
        answer = subprocess.run(
            [sys.executable, str(FILE), *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True, encoding="utf-8", timeout=120,
        )  # fmt: skip
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout.splitlines()

    return program


def test_it_counts_words_and_computes_again_only_what_was_edited(run, tmp_path):
    top = ["4 the", "3 fox", "1 a", "1 and", "1 end"]
    assert run(*TEXTS) == [*top, "7 of 7 commands had to run."]
    assert run(*TEXTS) == [*top, "0 of 7 commands had to run."]
    (tmp_path / "one.txt").write_text("the  fox\nAND the hen: the end")  # the same words
    assert run(*TEXTS) == [*top, "1 of 7 commands had to run."]
    (tmp_path / "one.txt").write_text("hen hen hen hen hen hen hen")
    assert run(*TEXTS) == [
        "7 hen", "2 fox", "1 a", "1 the", "3 of 7 commands had to run."
    ]  # fmt: skip
    (tmp_path / "words-of-texts" / "top").unlink()
    assert run(*TEXTS)[-1] == "1 of 7 commands had to run."
