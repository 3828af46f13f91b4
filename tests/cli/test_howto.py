"""The commands on the pages, run as they stand there, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

HOWTO = Path(__file__).resolve().parent.parent.parent / "docs" / "howto"


def programs_and_commands(page: Path) -> tuple[dict[str, str], list[str]]:
    """Named programs (those with a caption), and the lines after a ``$``."""
    programs: dict[str, str] = {}
    commands: list[str] = []
    for block in re.split(r"(?m)^\.\. code-block:: ", page.read_text(encoding="utf-8"))[1:]:
        body = re.match(r"\w+\n((?:   .*\n|\n)+)", block)
        assert body is not None, block
        text = textwrap.dedent(body[1])
        caption = re.match(r":name: (\S+)\n", text)
        if caption:
            programs[caption[1]] = text[caption.end() :]
        commands += re.findall(r"(?m)^\$ (.*)$", text)
    return programs, commands


PAGES = ["pruning", "moving", "sharing", "why", "bash", "files", "results", "carrying", "keeping"]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_works(name: str, tmp_path: Path) -> None:
    programs, commands = programs_and_commands(HOWTO / f"{name}.rst")
    assert programs and len(commands) > 3
    for file, text in programs.items():
        (tmp_path / file).write_text(text)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for command, words in (("python", ""), ("parsl-ckpt", "-m parsl_ckpt.cli")):
        (bin_ / command).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (bin_ / command).chmod(0o755)
    path = [part for part in sys.path if part and Path(part).is_dir()]
    env = {
        **os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path),
    }  # fmt: skip
    for line in commands:
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stderr == "", f"{line}\n{done.stderr}"
