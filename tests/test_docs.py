"""The pages can be read, their links lead somewhere, and the programs they show run.

A ``.. code-block:: python`` is a whole program and is run in a directory of its own.  A comment
before it may say otherwise: ``.. run: twice`` (a second process in the same directory), ``.. run:
no`` (it is compiled only).  A block after the comment ``.. prints`` is what the program printed the
last time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst"), *ROOT.glob("runinfo/*.rst")])


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str
    remark: str  # the comment just before it
    prints: str | None = None

    def __str__(self) -> str:
        return f"{name(self.page)}:{self.line}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    remark = ""
    for number, line in enumerate(lines):
        directive = re.match(r"( *)\.\. code-block:: (\w+)$", line)
        if directive:
            text = body(lines[number + 1 :], len(directive[1]))
            if remark == "prints" and found:
                found[-1] = found[-1]._replace(prints=text)
            else:
                found.append(Block(page, number + 1, directive[2], text, remark))
        comment = re.match(r" *\.\. (prints|run: \w+)$", line)
        if line.strip():
            remark = comment[1] if comment else ""
    return found


def body(lines: list[str], indent: int) -> str:
    """The indented lines that begin here, without the options of the directive."""
    taken: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        if taken or not line.strip().startswith(":"):
            taken.append(line)
    return textwrap.dedent("\n".join(taken)).strip("\n") + "\n"


PROGRAMS = [b for page in PAGES for b in blocks(page) if b.language == "python"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_parses_without_a_warning(page):
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    problems: list[str] = []

    class Stream:
        def write(self, text: str) -> None:
            problems.append(text)

    core.publish_doctree(
        page.read_text(encoding="utf-8"),
        source_path=str(page),
        settings_overrides={
            "report_level": 1,
            "halt_level": 6,
            "warning_stream": Stream(),
            "syntax_highlight": "none",  # so that Pygments is not needed to parse
            "file_insertion_enabled": False,
        },
    )
    assert "".join(problems) == ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_links_to_files_that_exist(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"`[^`<]+<([^`>]+)>`__?", text)
    missing = [
        link
        for link in links
        if "://" not in link
        and not link.startswith(("#", "mailto:"))
        and not (page.parent / link.partition("#")[0]).exists()
    ]
    assert missing == []


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "index.rst").read_text(encoding="utf-8")
    pages = [p for p in (ROOT / "docs").glob("*.rst") if p.name != "index.rst"]
    assert [p.name for p in pages if p.name not in index] == []


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_on_a_page_does_what_the_page_says(block, tmp_path):
    if block.remark == "run: no" or ">>>" in block.text:
        compile("" if ">>>" in block.text else block.text, str(block), "exec")
        return
    script = tmp_path / "program.py"
    script.write_text(block.text, encoding="utf-8")
    path = [part for part in sys.path if part and Path(part).is_dir()]
    for _ in range(2 if block.remark == "run: twice" else 1):
        answer = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
    if block.prints is not None:
        assert answer.stdout == block.prints


def test_blocks_are_found_with_what_belongs_to_them(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(
        "Title\n=====\n\n.. run: twice\n\n.. code-block:: python\n   :caption: x\n\n"
        "   print(1)\n\n   print(2)\n\nIt prints\n\n.. prints\n\n.. code-block:: text\n\n"
        "   1\n   2\n\nText.\n\n.. code-block:: console\n\n   $ ls\n"
    )
    program, console = blocks(page)
    assert (program.text, program.remark) == ("print(1)\n\nprint(2)\n", "run: twice")
    assert program.prints == "1\n2\n"
    assert (console.language, console.text, console.prints) == ("console", "$ ls\n", None)
