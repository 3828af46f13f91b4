"""What the README tells a newcomer to type is what is tested."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def lines_of_the_readme() -> list[str]:
    return re.findall(r"^ +(pip install .*&&.*)$", README, re.MULTILINE)


def lines_of_ci() -> dict[str, str]:
    return dict(re.findall(r'^README_(\w+)="(.*)"$', CI, re.MULTILINE))


def test_the_readme_shows_two_lines():
    assert lines_of_the_readme() == [
        "pip install . && parsl-ckpt demo",
        "pip install '.[test]' && pytest",
    ]


def test_ci_runs_the_same_lines_the_second_first():
    demo, test = lines_of_the_readme()
    assert lines_of_ci() == {"TEST": test, "DEMO": demo}
    assert CI.index('step "README: tests" "$README_TEST"') < CI.index('"$README_DEMO"')


def test_ci_is_valid_and_executable():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    subprocess.run([bash, "-n", str(script)], check=True, timeout=60)
