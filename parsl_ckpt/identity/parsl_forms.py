"""The ways in which a recorded call may have been written; to Parsl each is another call.

A record keeps its arguments bound to parameters: ``f(1)``, ``f(x=1)`` and ``f(1, y=2)`` with a
default of ``y=2`` are one.  What of them is short stands in the record as it is; from that, and the
function's signature, every plausible way to write the call is told.  They all come to the same.

Rule of this file: where one argument is not known in full, nothing is told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..signatures import signature
from .recover import value_of
from .values import leaf as leaf_of

Form = tuple[tuple[Any, ...], dict[str, Any]]
_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
_MOST = 16


def forms_of(
    function: Callable[..., Any],
    names: Sequence[str],
    leaves: Sequence[bytes],
    ignored: Sequence[str] = (),
) -> list[Form]:
    """How a call may have been written; empty where that cannot be told.

    Args:
        function: what was called.
        names, leaves: of a record: the parameters that count, and their leaves.
        ignored: parameters that do not count; Parsl wants them as keywords.

    >>> from parsl_ckpt.identity.values import leaf
    >>> for form in forms_of(lambda x, y=2: None, ("x", "y"), (leaf(1), leaf(2))): print(form)
    ((1,), {})
    ((), {'x': 1})
    ((1, 2), {})
    ((1,), {'y': 2})
    ((), {'x': 1, 'y': 2})
    """
    parameters = signature(function).parameters
    if any(p.kind is not _PLAIN for p in parameters.values()):
        return []
    counted = [name for name in parameters if name not in ignored]
    if tuple(counted) != tuple(names) or len(leaves) != len(names):
        return []  # it had another signature then
    values = {}
    for name, leaf in zip(names, leaves, strict=True):
        known, value = value_of(leaf)
        if not known or leaf_of(value) != leaf:  # a numpy scalar is told as a number
            return []
        values[name] = value
    unseen = {name: None for name in ignored if name in parameters}
    found: list[Form] = []
    for left_out in (True, False):
        for positional in range(len(counted), -1, -1):
            form = _form(counted, values, parameters, positional, left_out)
            whole = (form[0], {**form[1], **unseen})
            if repr(whole) not in map(repr, found) and len(found) < _MOST:
                found.append(whole)
    return found


def _form(
    counted: Sequence[str], values: dict[str, Any], parameters: Any, positional: int, left_out: bool
) -> Form:
    """So many arguments by position and the others by keyword, with or without what is usual."""
    usual = [name for name in counted if _usual(values[name], parameters[name].default)]
    given = [name for name in counted if not (left_out and name in usual)]
    args = counted[:positional]
    while args and args[-1] not in given:
        args = args[:-1]
    named = {name: values[name] for name in given if name not in args}
    return tuple([values[name] for name in args]), named


def _usual(value: Any, default: Any) -> bool:
    return type(value) is type(default) and repr(value) == repr(default)
