"""What bound states hold that a restart does not bring back as it is: told, and not refused.

Rule of this file: what can be seen at little cost, in the fields themselves and not in what they
hold.  A loop that does not depend on such a thing is right as it is, so it is only told of.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from parsl_ckpt.checkpoint.plain import _SCALARS

_MOST = 64  # arrays that are compared with one another
_WORK = 1000  # that numpy may spend on two of them
_UNCHANGING = (str, bytes, tuple, frozenset, type, enum.Enum)


class Field(NamedTuple):
    """A field of a bound state, and what it holds."""

    state: str
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name!r} of {self.state}"


def attributes(instance: Any) -> frozenset[str]:
    """Names of what an instance has beside its fields."""
    fields = {field.name for field in dataclasses.fields(instance)}
    return frozenset(getattr(instance, "__dict__", {})) - fields


def doubts(states: Mapping[str, Any], before: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """What there is to tell, a text for each thing.

    Args:
        states: the instances by name.
        before: what each had beside its fields when it was bound, which the program makes anew.
    """
    for state, instance in states.items():
        more = sorted(
            name
            for name in attributes(instance) - before.get(state, frozenset())
            if not name.startswith("_") and not _cached(type(instance), name)
        )
        if more:
            yield (
                f"The state {state} has attributes that are no fields, so they are not saved: "
                f"{', '.join(more)}. Give them a type in the class ({more[0]}: ...), or have names "
                "that begin with an underscore for what need not be."
            )
    fields = [
        Field(state, field.name, getattr(instance, field.name, None))
        for state, instance in states.items()
        for field in dataclasses.fields(instance)
    ]
    for one, other in _same(fields):
        yield (
            f"The fields {one} and {other} hold one object, and after a restart each has its own: "
            "let only one of the states have it."
        )
    for one, other in _overlapping(fields):
        yield (
            f"The fields {one} and {other} share memory, and after a restart they do not: what is "
            "written to one is not in the other any more. Keep one of them out of the state, and "
            "make it of the other after that is bound."
        )


def _cached(kind: type, name: str) -> bool:
    return any(isinstance(vars(one).get(name), functools.cached_property) for one in kind.__mro__)


def _same(fields: list[Field]) -> Iterator[tuple[Field, Field]]:
    """One object in two states; in one state, it comes back as one."""
    first: dict[int, Field] = {}
    for field in fields:
        if _changes(field.value):
            other = first.setdefault(id(field.value), field)
            if other.state != field.state:
                yield other, field


def _changes(value: Any) -> bool:
    """Whether an object may change, so that it matters who else has it."""
    kind = type(value)
    if kind in _SCALARS or isinstance(value, _UNCHANGING) or kind.__name__ == "dtype":
        return False
    # What is equal to another one by what it holds, and can be a key, does not change: times,
    # frozen dataclasses, numbers of numpy.
    own: Any = kind.__hash__
    return own is None or own is object.__hash__


def _overlapping(fields: list[Field]) -> Iterator[tuple[Field, Field]]:
    """Two arrays of which one is a view of the other, or both of a third."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    arrays = [field for field in fields if type(field.value) is numpy.ndarray][:_MOST]
    for one, other in itertools.combinations(arrays, 2):
        first, second = one.value, other.value
        if first is second or (first.base is None and second.base is None):
            continue
        try:
            if numpy.shares_memory(first, second, max_work=_WORK):
                yield one, other
        except RuntimeError:  # it would take too long to find out
            continue
