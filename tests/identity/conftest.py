"""Modules written to disk and imported, as a user's project is."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[..., ModuleType]]:
    """``module(source, name=…)``: a module of that source, in a file, imported."""
    made: list[str] = []

    def make(source: str, name: str = "", folder: str = "") -> ModuleType:
        name = name or f"fixture_{next(_numbers)}"
        place = tmp_path / (folder or f"v{next(_numbers)}")
        place.mkdir(exist_ok=True)
        path = place / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        made.append(name)
        spec.loader.exec_module(loaded)
        return loaded

    yield make
    for name in made:
        sys.modules.pop(name, None)
