from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import Drivers


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def drivers(tmp_path: Path, runs: Path) -> Iterator[Drivers]:
    drivers = Drivers(tmp_path, runs)
    yield drivers
    drivers.close()


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()
