"""The pages can be read: as reStructuredText, and as code where they show code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst"), *ROOT.glob("runinfo/*.rst")])


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_shown_on_a_page_is_python(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(
        r"^\.\. code-block:: python\n((?:\n|[ ]+:.*\n)*(?:(?:   .*)?\n)+)", text, re.MULTILINE
    ):
        lines = [line[3:] for line in block.splitlines() if not line.startswith("   :")]
        code = "\n".join(lines)
        if ">>>" not in code:
            compile(code, name(page), "exec")


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "index.rst").read_text(encoding="utf-8")
    pages = [p for p in (ROOT / "docs").glob("*.rst") if p.name != "index.rst"]
    assert [p.name for p in pages if p.name not in index] == []


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
