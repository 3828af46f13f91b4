"""The example prints what the page shows, but for the times."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_prints_what_the_page_shows() -> None:
    path = [part for part in sys.path if part and Path(part).is_dir()]
    answer = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "why.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    page = (ROOT / "docs" / "howto" / "why.rst").read_text(encoding="utf-8")
    block = re.search(r"\.\. code-block:: text\n\n((?:   .*\n|\n)+)", page)
    assert block is not None
    assert timeless(answer.stdout) == timeless(textwrap.dedent(block[1]))


def timeless(text: str) -> str:
    return re.sub(r"\d[\d.]* (µs|ms|s)\b", "N s", text).strip()
