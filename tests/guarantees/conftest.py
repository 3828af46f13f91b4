from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_ckpt.checkpoint.store as store_module
import parsl_ckpt.dataflow as dataflow

from .helpers import FaultyDisk, Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("scripts"))
    yield zygote
    zygote.close()


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """A test that failed must not leave its kernel to the next."""
    yield
    if dataflow._Loaded.dfk is not None:
        dataflow._Loaded.dfk._end(1.0)
        dataflow.clear()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    """The disk under every store that is opened from now on."""
    disk = FaultyDisk()
    monkeypatch.setattr(store_module, "LocalBackend", lambda: disk)
    return disk
