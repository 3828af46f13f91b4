"""The way that docs/pipelines.rst describes can be gone: its files, commands, what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipelines.rst"


def blocks(kind: str) -> list[tuple[str, str]]:
    """(name of the file, text) of each block of a language; the name stands in a comment before."""
    found = []
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    name = ""
    for number, line in enumerate(lines):
        if named := re.match(r"\.\. file: (\S+)$", line):
            name = named[1]
        if line.startswith(".. code-block:: "):
            taken = []
            for inner in lines[number + 1 :]:
                if inner.strip() and not inner.startswith("   "):
                    break
                taken.append(inner)
            if line == f".. code-block:: {kind}":
                found.append((name, textwrap.dedent("\n".join(taken)).strip("\n") + "\n"))
            name = ""
    return found


def squeezed(text: str) -> list[str]:
    """What is said, whatever the widths of columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip(" ─━-")]


def test_the_way_from_a_cron_script_to_a_pipeline_can_be_gone(tmp_path):
    pytest.importorskip("yaml")
    for name, text in [*blocks("python"), *blocks("yaml")]:
        if name:
            (tmp_path / name).write_text(text)
    (tmp_path / "orders.csv").write_text("customer,amount\nann,3.50\nbob,\nann,1.25\n")
    path = os.pathsep.join(part for part in sys.path if part)
    environ = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    commands = 0
    for _, text in blocks("console"):
        for asked in re.split(r"(?m)^\$ ", text)[1:]:
            command, _, said = asked.partition("\n")
            status = 0
            if found := re.match(r"\[status (\d)\]\n", said):
                status, said = int(found[1]), said[found.end() :]
            words = command.split()
            if words[0] == "parsl-ckpt":
                words = [sys.executable, "-m", "parsl_ckpt.cli", *words[1:]]
            done = subprocess.run(
                words, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8",
                timeout=120,
            )  # fmt: skip
            assert done.returncode == status, command + done.stdout + done.stderr
            if said.strip():
                assert squeezed(done.stdout) == squeezed(said)
            commands += 1
    assert commands == 7
