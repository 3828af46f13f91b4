"""The examples in docstrings run, and what they show is what comes."""

from __future__ import annotations

import contextvars
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "parsl_ckpt").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
WITH = {"memory://": "fsspec", ">>> import numpy": "numpy"}  # what examples want, and who shows it


def test_examples_are_found() -> None:
    assert len(MODULES) > 50 and "parsl_ckpt.restart.checkpoint" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARSL_CKPT_CACHE", str(tmp_path / "cache"))
    module = importlib.import_module(name)
    for sign, library in WITH.items():
        if sign in inspect.getsource(module):
            pytest.importorskip(library)

    def run() -> doctest.TestResults:  # in a context of its own: as the first thing of a program
        return doctest.testmod(module, optionflags=doctest.ELLIPSIS, report=True)

    found = contextvars.Context().run(run)
    assert not found.failed
