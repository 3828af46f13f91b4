"""From the path of a class to the class, and what can be wrong on the way."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from parsl_ckpt.apps.app import AppBase
from parsl_ckpt.errors import ComponentError
from parsl_ckpt.pipeline.component import misrun


def locate(path: str) -> Any:
    """What a path names.

    Args:
        path: ``"package.module.Class"``, or ``"package.module:Outer.Inner"``.

    Raises:
        ComponentError: it cannot be imported, or is nothing that can be a component.

    >>> locate("fractions.Fraction")
    Traceback (most recent call last):
    parsl_ckpt.errors.ComponentError: fractions.Fraction: the class has no method run. Give it a \
method run(self) or run(self, inputs).
    """
    try:
        found = _imported(path)
    except Exception as error:  # whatever a module does when it is imported
        raise ComponentError(
            f"{path}: it cannot be imported: {type(error).__name__}: {error}.",
            hint="Put its directory on the path of Python (PYTHONPATH)."
            if isinstance(error, ModuleNotFoundError)
            else "",
            class_path=path,
        ) from error
    if isinstance(found, AppBase):
        return found
    if not inspect.isclass(found):
        what = "a function" if inspect.isroutine(found) else f"a {type(found).__name__}"
        hint = "Decorate it with python_app." if inspect.isroutine(found) else "Name a class."
        raise ComponentError(
            f"{path}: it is {what}, neither a class nor an app.", hint=hint, class_path=path
        )
    if not callable(getattr(found, "run", None)):
        raise ComponentError(
            f"{path}: the class has no method run.",
            hint="Give it a method run(self) or run(self, inputs).",
            class_path=path,
        )
    if inspect.isabstract(found):
        lacks = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ComponentError(
            f"{path}: the class is abstract.", hint=f"It lacks {lacks}.", class_path=path
        )
    if fault := misrun(found):
        raise ComponentError(
            f"{path}: {fault}.",
            hint="Write run(self) or run(self, inputs), and have it return its value.",
            class_path=path,
        )
    return found


def fault_of(path: str) -> str | None:
    """What is wrong with the class of a path, as a clause; None if nothing is."""
    try:
        locate(path)
    except ComponentError as error:
        return str(error)[len(path) + 2 :].rstrip(".")
    return None


def _imported(path: str) -> Any:
    module, colon, inner = path.partition(":")
    if colon:
        return _within(importlib.import_module(module), inner.split("."))
    parts = path.split(".")
    if len(parts) < 2 or not all(parts):
        raise ModuleNotFoundError(f"{path!r} is not of the form package.module.Class")
    for count in range(len(parts) - 1, 0, -1):  # the longest module that there is
        name = ".".join(parts[:count])
        try:
            module_found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            itself = error.name is not None and f"{name}.".startswith(f"{error.name}.")
            if count == 1 or not itself:  # else it may be a class in which the class is
                raise
        else:
            return _within(module_found, parts[count:])
    raise AssertionError(path)  # the loop has returned or raised


def _within(found: Any, names: list[str]) -> Any:
    for name in names:
        found = getattr(found, name)
    return found
