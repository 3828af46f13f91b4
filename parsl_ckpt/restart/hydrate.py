"""From what was recorded to instances of the classes as they are now.

Rule of this file: nothing that exists is changed; what is given back is built anew, completely or
not at all.  A class is found by its name among the modules that are imported, or by the type of the
field; no module is imported for it, and no code of it runs: fields are set one by one.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from typing import Any

from parsl_ckpt.checkpoint.plain import _find, _schema
from parsl_ckpt.checkpoint.unplain import Member, Recorded
from parsl_ckpt.errors import CheckpointStateSchemaError

from .schema import bare, hints


class Hydration:
    """Builds the values of one state; what was one object becomes one object."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []

    def value(self, value: Any, hint: Any, path: str) -> Any:
        """The value that was recorded.

        Args:
            value: what ``decode_named`` gave.
            hint: the type that it should have.
            path: where it stands, for errors.

        Raises:
            CheckpointStateSchemaError: its class is not there, or has other fields.
        """
        kind = type(value)
        if kind in _LEAVES:
            return value
        made = self._made.get(id(value))
        if made is not None:
            return made
        if kind is Recorded:
            return self._instance(value, hint, path)
        if kind is Member:
            return _member(value, hint, path)
        if kind is tuple:
            inner = _tuple_hints(hint, len(value))
            return tuple(
                self.value(one, inner[at], f"{path}[{at}]") for at, one in enumerate(value)
            )
        if kind is list:
            return self._list(value, hint, path)
        if kind is dict:
            return self._dict(value, hint, path)
        if kind in (set, frozenset):
            return self._set(value, hint, path)
        return value

    def alone(self, value: Any) -> Any:
        """The value of something of which nothing but itself says what it is."""
        return self.value(value, Any, "a value")

    def _remember(self, value: Any, made: Any) -> None:
        self._made[id(value)] = made
        self._kept.append(value)  # so that its id stays its own

    def _list(self, value: list[Any], hint: Any, path: str) -> Any:
        self._remember(value, value)
        inner = _element_hint(hint)
        for at, one in enumerate(value):
            if type(one) not in _LEAVES:
                value[at] = self.value(one, inner, f"{path}[{at}]")
        return value

    def _dict(self, value: dict[Any, Any], hint: Any, path: str) -> Any:
        self._remember(value, value)
        key_hint, value_hint = _pair_hint(hint)
        items = [
            (self.value(key, key_hint, path), self.value(one, value_hint, f"{path}[{key!r}]"))
            for key, one in value.items()
        ]
        value.clear()
        value.update(items)
        return value

    def _set(self, value: Any, hint: Any, path: str) -> Any:
        inner = _element_hint(hint)
        items = [self.value(one, inner, path) for one in value]
        if type(value) is frozenset:
            return frozenset(items)
        self._remember(value, value)
        value.clear()
        value.update(items)
        return value

    def _instance(self, recorded: Recorded, hint: Any, path: str) -> Any:
        kind = _class_of(recorded, hint, dataclasses.is_dataclass)
        if kind is None:
            raise _lost(recorded.module, recorded.qualname, path)
        made = object.__new__(kind)
        self._remember(recorded, made)
        values = self.fields(kind, recorded.fields, path)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    def fields(
        self, kind: Any, recorded: dict[str, Any], path: str, instance: Any = None
    ) -> dict[str, Any]:
        """The value of each field of a class, defaults of those that are new among them.

        Args:
            kind: the class.
            recorded: what was saved.
            path: where the instance stands, for errors.
            instance: has values of fields that are new, as the program has made them; those are
                left out.

        Raises:
            CheckpointStateSchemaError: a field is gone, or is new and has no default.
        """
        known = hints(kind)
        values: dict[str, Any] = {}
        wrong: list[str] = []
        prefix = f"{path}." if path else ""
        names = {field.name for field in dataclasses.fields(kind)}
        wrong += [f"field {prefix}{name} was removed" for name in recorded if name not in names]
        for field in dataclasses.fields(kind):
            place = f"{prefix}{field.name}"
            if field.name in recorded:
                hint = known.get(field.name, Any)
                values[field.name] = self.value(recorded[field.name], hint, place)
            elif instance is not None and hasattr(instance, field.name):
                continue
            elif field.default is not dataclasses.MISSING:
                values[field.name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                values[field.name] = field.default_factory()
            else:
                wrong.append(f"field {place} is new and has no default")
        if wrong:
            raise changed(f"{kind.__module__}.{kind.__qualname__}", wrong)
        return values


def changed(state: str, sentences: list[str]) -> CheckpointStateSchemaError:
    """The error for a class that is not what it was."""
    return CheckpointStateSchemaError(
        f"What was saved of {state} does not fit its class any more: {'; '.join(sentences)}.",
        hint="Give new fields defaults and keep the others as they were, or begin a new session.",
        state=state,
        changes=tuple(sentences),
    )


def _lost(module: str, qualname: str, path: str) -> CheckpointStateSchemaError:
    return CheckpointStateSchemaError(
        f"The class {module}.{qualname} of {path} is not there any more.",
        hint="Import its module before the state is bound, or give the field its type.",
        state=path,
        changes=(f"{module}.{qualname} is gone",),
    )


def _member(member: Member, hint: Any, path: str) -> Any:
    kind = _class_of(member, hint, lambda kind: issubclass(kind, enum.Enum))
    if kind is None:
        raise _lost(member.module, member.qualname, path)
    if isinstance(member.name, str):
        if member.name in kind.__members__:
            return kind.__members__[member.name]
    else:
        try:
            return kind(member.name)
        except ValueError:
            pass
    raise changed(path, [f"{kind.__qualname__} has no member {member.name}"])


def _class_of(named: Any, hint: Any, fits: Any) -> Any:
    """The class that a recorded one is now."""
    allowed = [kind for kind in alternatives(hint) if isinstance(kind, type) and fits(kind)]
    found = _find(sys.modules.get(named.module), named.qualname)
    named_so = isinstance(found, type) and fits(found) and _usable(found)
    if named_so and (not allowed or any(issubclass(found, kind) for kind in allowed)):
        return found
    last = named.qualname.rpartition(".")[2]
    for alike in (
        lambda kind: (kind.__module__, kind.__qualname__) == (named.module, named.qualname),
        lambda kind: kind.__qualname__ == named.qualname,
        lambda kind: kind.__name__ == last,
        lambda kind: True,
    ):
        chosen = [kind for kind in allowed if alike(kind)]
        if len(chosen) == 1:
            return chosen[0]
    return None


def _usable(kind: Any) -> bool:
    return not dataclasses.is_dataclass(kind) or _schema(kind) is not None


# --- types of what is inside ----------------------------------------------------------------------

_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes})


def alternatives(hint: Any) -> list[Any]:
    """What a type allows: the members of a union, or the type itself."""
    hint = bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for one in typing.get_args(hint) for inner in alternatives(one)]
    origin = typing.get_origin(hint)
    return [origin if isinstance(origin, type) and dataclasses.is_dataclass(origin) else hint]


def reachable(hint: Any, seen: set[type] | None = None) -> set[type]:
    """All dataclasses and enums that a type names, however deep."""
    seen = set() if seen is None else seen
    for one in alternatives(hint):
        for inner in typing.get_args(one):
            if not isinstance(inner, (str, int, bytes)):
                reachable(inner, seen)
        if isinstance(one, type) and one not in seen:
            if dataclasses.is_dataclass(one):
                seen.add(one)
                for field_hint in hints(one).values():
                    reachable(field_hint, seen)
            elif issubclass(one, enum.Enum):
                seen.add(one)
    return seen


def _arguments(hint: Any, count: int) -> list[tuple[Any, ...]]:
    found = []
    for one in alternatives(hint):
        arguments = typing.get_args(one)
        if len(arguments) == count and typing.get_origin(one) is not tuple:
            found.append(arguments)
    return found


def _joined(hints: list[Any]) -> Any:
    if not hints:
        return Any
    joined = hints[0]
    for one in hints[1:]:
        joined = typing.Union[joined, one]  # noqa: UP007 (of values)
    return joined


def _element_hint(hint: Any) -> Any:
    return _joined([one for (one,) in _arguments(hint, 1)])


def _pair_hint(hint: Any) -> tuple[Any, Any]:
    pairs = _arguments(hint, 2)
    return _joined([one for one, _ in pairs]), _joined([two for _, two in pairs])


def _tuple_hints(hint: Any, count: int) -> list[Any]:
    choices: list[list[Any]] = []
    for one in alternatives(hint):
        arguments = typing.get_args(one)
        if typing.get_origin(one) is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                choices.append([arguments[0]] * count)
            elif len(arguments) == count:
                choices.append(list(arguments))
        elif len(arguments) == 1:  # Sequence and its like
            choices.append([arguments[0]] * count)
    if not choices:
        return [Any] * count
    return [_joined([choice[at] for choice in choices]) for at in range(count)]
