"""Modules that stand for a user's project: written to a temporary directory and imported.

Rule of this file: what is hashed here must look as it does in a user's hands.  A function that
stood in this package would count as the package does, by its name; one that was made by ``exec``
has no file.  Each call imports its module afresh under its name, as after a restart.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

MODELS = Path(__file__).with_name("models.py")


@functools.cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="parsl_ckpt-battery-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def module(source: str, name: str = "battery_project") -> ModuleType:
    """A module of that source, imported afresh; it replaces an earlier one of its name."""
    source = textwrap.dedent(source)
    folder = _place() / hashlib.sha256(source.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    if not path.exists():
        path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def function(source: str, **helpers: str) -> Any:
    """What a source calls ``f``; helpers are modules that it may import."""
    for name, text in helpers.items():
        module(text, name)
    return module(source).f


def models(*edit: str) -> ModuleType:
    """The classes of ``models.py``; with ``edit``, after replacing the one text by the other."""
    text = MODELS.read_text(encoding="utf-8")
    if edit:
        old, new = edit
        assert old in text, old
        text = text.replace(old, new)
    return module(text, "battery_models")
