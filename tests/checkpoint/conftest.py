from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, Store
from parsl_ckpt.checkpoint.backend import Backend


class Place:
    """A backend, and directories in it; ``open`` opens stores there and closes them at the end."""

    def __init__(self, backend: Backend, root: str) -> None:
        self.backend = backend
        self.root = root
        self._stores: list[Store] = []

    def path(self, name: str = "000") -> str:
        return f"{self.root}/{name}/checkpoint"

    def open(
        self, name: str | None = "000", sources: tuple[str, ...] = (), **options: Any
    ) -> Store:
        store = Store.open(
            None if name is None else self.path(name),
            sources=[self.path(source) for source in sources],
            backend=self.backend,
            **options,
        )
        self._stores.append(store)
        return store

    def abandon(self, store: Store) -> None:
        """As if its process had died."""
        self._stores.remove(store)

    def names(self, name: str = "000") -> list[str]:
        return sorted(self.backend.list(self.path(name)))

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    backend = LocalBackend() if request.param == "local" else MemoryBackend()
    place = Place(backend, str(tmp_path))
    yield place
    place.close()


@pytest.fixture
def local(tmp_path: Path) -> Any:
    place = Place(LocalBackend(), str(tmp_path))
    yield place
    place.close()


@pytest.fixture
def key() -> Callable[[int], bytes]:
    return key_number


def key_number(number: int) -> bytes:
    """Keys spread like digests, each the same in every process."""
    from blake3 import blake3

    return blake3(number.to_bytes(8, "little")).digest()
