"""From a value to columns: a dictionary, or an object with fields, is one column for each.

Columns are named so that two things never share one: the fields of a value by their own names,
inner ones by their path (``fit.slope``), with ``value.`` before a name that a parameter has; what
we say about the call begins with ``call.``.

Rule of this file: pure, and bounded in depth and width; nothing of the user's is called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from typing import Any

VALUE, CALL = "value", "call."
MOST = 256  # fields; what has more is one column
DEEPEST = 6
_OURS = ("value.", CALL)
_ATOMS = frozenset({int, float, str, bool, bytes, type(None)})


def columns_of(value: Any, parameters: Set[str]) -> Iterator[tuple[str, Any]]:
    """The columns of a value.

    Args:
        value: the value of a call.
        parameters: names that are taken.

    >>> list(columns_of({"loss": 0.5, "fit": {"a": 1}, "x": 2}, {"x"}))
    [('loss', 0.5), ('fit.a', 1), ('value.x', 2)]
    >>> list(columns_of(7, {"x"}))
    [('value', 7)]
    """
    found = fields_of(value)
    if found is None:
        yield named(VALUE, parameters), value
    else:
        for name, part in _walk("", found, (id(value),)):
            yield named(name, parameters), part


def named(name: str, parameters: Set[str]) -> str:
    """The column of a value's field."""
    return f"{VALUE}.{name}" if name in parameters or name.startswith(_OURS) else name


def _walk(
    prefix: str, fields: Mapping[str, Any], above: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
    # A name with a dot in it could be taken for a path, so there are no paths beside one.
    open_ = len(above) < DEEPEST and not any("." in name for name in fields)
    for name, part in fields.items():
        inner = fields_of(part) if open_ and id(part) not in above else None
        if inner and not any("." in one for one in inner):
            yield from _walk(f"{prefix}{name}.", inner, (*above, id(part)))
        else:
            yield prefix + name, part


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """The fields of a value that is a dictionary with names as keys, or has fields; else None."""
    if type(value) in _ATOMS or isinstance(value, type):
        return None
    if isinstance(value, dict):
        if not 0 < len(value) <= MOST or not all(type(key) is str for key in value):
            return None
        return value
    kind = type(value)
    names: Any = None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif isinstance(value, tuple):
        names = getattr(kind, "_fields", None)
    elif hasattr(kind, "__attrs_attrs__"):
        names = [attribute.name for attribute in kind.__attrs_attrs__]
    elif isinstance(getattr(kind, "model_fields", None), dict):  # pydantic
        names = list(kind.model_fields)
    elif hasattr(kind, "__struct_fields__"):  # msgspec
        names = kind.__struct_fields__
    if not names or len(names) > MOST or not all(type(name) is str for name in names):
        return None
    missing = object()
    found = {name: getattr(value, name, missing) for name in names}
    return {name: part for name, part in found.items() if part is not missing}
