from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_ckpt.dataflow as dataflow

from .helpers import Drivers


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def drivers(tmp_path: Path, runs: Path) -> Iterator[Drivers]:
    drivers = Drivers(tmp_path, runs)
    yield drivers
    drivers.close()


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """A test that failed must not leave its kernel to the next."""
    yield
    if dataflow._Loaded.dfk is not None:
        dataflow._Loaded.dfk._end(1.0)
        dataflow.clear()


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()
