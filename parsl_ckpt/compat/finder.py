"""Makes the modules of :mod:`~parsl_ckpt.compat.table` when they are imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from parsl_ckpt.compat.table import MODULES

ROOT = "parsl_ckpt.compat.parsl"


def names_of(module: str) -> dict[str, tuple[str, str]]:
    """The names of a module of Parsl's, each with our module and our name.

    >>> names_of("config")
    {'Config': ('parsl_ckpt.compat.config', 'Config')}
    """
    found = {}
    for line in MODULES[module]:
        home, _, names = line.partition(": ")
        for name in names.split(", "):
            theirs, _, ours = name.partition("=")
            found[theirs] = f"parsl_ckpt.{home}", ours or theirs
    return found


def value_of(module: str, name: str) -> Any:
    """What stands behind a name of a module of Parsl's.

    Raises:
        AttributeError: Parsl has it and we do not, or neither has.
    """
    names = names_of(module)
    if name in names:
        home, ours = names[name]
        return getattr(importlib.import_module(home), ours)
    below = f"{module}.{name}".lstrip(".")
    if below in MODULES:  # importing parsl imports most of its modules
        return importlib.import_module(f"{ROOT}.{below}")
    shown = f"parsl.{module}".rstrip(".")
    raise AttributeError(
        f"{ROOT} has no {shown}.{name}. docs/migrating-from-parsl.rst says what there is."
    )


class Finder(MetaPathFinder, Loader):
    """Finds the modules below a root.

    Args:
        root: the package under which they are imported.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say whether a module is one of ours."""
        below = name[len(self.root) + 1 :] if name.startswith(f"{self.root}.") else ""
        if not below or below not in MODULES:
            return None
        package = any(other.startswith(f"{below}.") for other in MODULES)
        return ModuleSpec(name, self, is_package=package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The one module there is, under whatever root it is imported."""
        below = spec.name[len(self.root) + 1 :]
        if self.root != ROOT:
            return importlib.import_module(f"{ROOT}.{below}")
        module = ModuleType(spec.name, f"What Parsl has in parsl.{below}.")
        module.__all__ = list(names_of(below))  # type: ignore[attr-defined]
        module.__getattr__ = lambda name: value_of(below, name)  # type: ignore[method-assign]
        module.__dir__ = lambda: sorted(names_of(below))  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: names are looked up when they are asked for."""


def install(root: str) -> None:
    """Have the modules found below a root; harmless if they are already."""
    if not any(isinstance(one, Finder) and one.root == root for one in sys.meta_path):
        sys.meta_path.insert(0, Finder(root))
