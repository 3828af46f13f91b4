from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import parsl_ckpt as pc
from parsl_ckpt.identity.values import id_for_memo

FIXTURES = Path(__file__).resolve().parent / "fixtures"


@pytest.fixture
def fixtures() -> Path:
    """Files that Parsl has written, and what it has written them with; see README.rst there."""
    return FIXTURES


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The calls whose keys Parsl has told, imported under the name that they have there."""
    spec = importlib.util.spec_from_file_location("calls", FIXTURES / "calls.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "calls", module)
    spec.loader.exec_module(module)
    module.register(id_for_memo)
    yield module


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A run directory; what a failed test has left loaded is let go of."""
    yield tmp_path / "runs"
    with contextlib.suppress(pc.NoDataFlowKernelError):
        pc.dfk()._end(1.0)
