"""The table of states on the architecture page is the one that the code obeys."""

from __future__ import annotations

import textwrap
from pathlib import Path

from parsl_ckpt.kernel.task import diagram

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.rst"


def test_the_page_shows_the_table_that_the_code_obeys() -> None:
    text = PAGE.read_text()
    begin, end = text.index(".. state-table-begin"), text.index(".. state-table-end")
    shown = text[begin:end].split("::", 1)[1]
    assert textwrap.dedent(shown).strip() == diagram()
