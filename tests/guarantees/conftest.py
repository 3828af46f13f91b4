from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_ckpt.checkpoint.store as store_module

from .helpers import FaultyDisk, Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("scripts"))
    yield zygote
    zygote.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    """The disk under every store that is opened from now on."""
    disk = FaultyDisk()
    monkeypatch.setattr(store_module, "LocalBackend", lambda: disk)
    return disk
