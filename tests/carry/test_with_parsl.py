"""Parsl itself on the other side, both ways.

It is the one of this Python if that has it, of the Python that the environment variable
``PARSL_PYTHON`` names, or else one from PyPI, which the extra ``bench`` installs.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from parsl_ckpt.identity.parsl_key import ParslApp
from tests.carry.sides import CALLS, WORK, Side

pytestmark = pytest.mark.slow


@pytest.fixture
def parsl(parsl_python: str, tmp_path: Path) -> Side:
    return Side("parsl", tmp_path / "parsl", parsl_python)


@pytest.fixture
def ours(tmp_path: Path) -> Side:
    return Side("parsl_ckpt", tmp_path / "ours")


def test_what_parsl_has_computed_does_not_run_here(parsl: Side, ours: Side) -> None:
    assert parsl.work() == CALLS
    assert "14 results" in ours.command("import-parsl", str(parsl.runs))
    assert ours.work() == Counter()


def test_what_is_computed_here_does_not_run_with_parsl(
    parsl: Side, ours: Side, tmp_path: Path
) -> None:
    assert ours.work() == CALLS
    ours.command("export-parsl", "-o", str(tmp_path / "back"), "--script", str(WORK))
    assert parsl.work(tmp_path / "back") == Counter()


def test_keys_that_were_worked_out_are_parsls(
    parsl: Side, ours: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHOUT_NOTES", "1")
    ours.work()
    ours.command("export-parsl", "-o", str(tmp_path / "back"), "--script", str(WORK))
    assert parsl.work(tmp_path / "back") == Counter(total=1)  # its list is too long


def test_there_and_back(parsl: Side, ours: Side, tmp_path: Path) -> None:
    parsl.work()
    ours.command("import-parsl", str(parsl.runs))
    ours.work()
    shutil.rmtree(parsl.runs)
    ours.command("export-parsl", "-o", str(tmp_path / "back"), "--script", str(WORK))
    assert parsl.work(tmp_path / "back") == Counter()


def test_the_keys_are_those_of_this_parsl(
    parsl: Side, calls: ModuleType, fixtures: Path, tmp_path: Path
) -> None:
    given = json.loads(parsl.run(str(fixtures / "parsl_keys.py"), str(tmp_path / "runinfo")))
    version = tuple(map(int, given["python"].split(".")))
    protocol = 5 if version >= (3, 14) else 4
    for number, (function, args, kwargs, ignored, bash) in enumerate(calls.CALLS):
        app = ParslApp.of(function, ignored, bash)
        assert app is not None
        automatic = [name for name, value in kwargs.items() if value is calls.AUTO]
        key = app.key(args, kwargs, automatic, protocol)
        assert (key and key.hex()) == given["keys"][number], number
