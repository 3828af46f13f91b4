"""Objects of a user's classes: enums, named tuples, dataclasses, attrs, pydantic, plain ones."""

from __future__ import annotations

import copy
import functools
import operator
import pickle
from importlib.util import find_spec
from typing import Any

from .project import models, module

ATTRS = """
import attrs

@attrs.define
class Point:
    x: int = 0
    y: list = attrs.Factory(list)

@attrs.define
class Other:
    x: int = 0
    y: list = attrs.Factory(list)

@attrs.frozen
class Frozen:
    x: int = 0

@attrs.define(slots=False)
class Open:
    x: int = 0
"""
PYDANTIC = """
import pydantic

class Point(pydantic.BaseModel):
    x: int = 0
    y: list[int] = []
    inner: "Point | None" = None

class Other(pydantic.BaseModel):
    x: int = 0
    y: list[int] = []
    inner: "Point | None" = None

class Open(pydantic.BaseModel, extra="allow"):
    x: int = 0
"""


def attrs_models() -> Any:
    return module(ATTRS, "battery_attrs")


def pydantic_models() -> Any:
    return module(PYDANTIC, "battery_pydantic")


def _used(value: Any) -> Any:
    assert value.double == 2 * value.x
    return value


def _remembering(value: Any) -> Any:
    assert value.double == 2
    return value


def _flags(*names: str) -> Any:
    flags = [models().Access(0)]
    flags += [type(flags[0])[name] for name in names]
    return functools.reduce(operator.or_, flags)


def _with(value: Any, **fields: Any) -> Any:
    for name, part in fields.items():
        setattr(value, name, part)
    return value


def _child(value: Any) -> Any:
    return _with(models().Table(value), mark=1)


def differ() -> dict[str, Any]:
    found: dict[str, Any] = {
        "enums: members": (lambda: models().Colour.RED, lambda: models().Colour.BLUE),
        "enums: classes": (lambda: models().Colour.RED, lambda: models().Paint.RED),
        "enums: member beside its value": (lambda: models().Colour.RED, lambda: 1),
        "enums: member beside its name": (lambda: models().Colour.RED, lambda: "RED"),
        "enums: of ints beside ints": (lambda: models().Level.LOW, lambda: 1),
        "enums: of texts beside texts": (lambda: models().Word.YES, lambda: "yes"),
        "enums: flags": (
            lambda: models().Access.READ,
            lambda: _flags("READ", "RUN"),
        ),
        "enums: a member beside its class": (lambda: models().Colour.RED, lambda: models().Colour),
        "named tuples: beside tuples": (lambda: models().Pair(1, 2), lambda: (1, 2)),
        "named tuples: classes": (lambda: models().Pair(1, 2), lambda: models().Couple(1, 2)),
        "named tuples: order": (lambda: models().Pair(1, 2), lambda: models().Pair(2, 1)),
        "named tuples: beside dicts": (
            lambda: models().Typed(1, 2),
            lambda: {"a": 1, "b": 2},
        ),
        "named tuples: inside": (lambda: [models().Pair(1, [2])], lambda: [models().Pair(1, [3])]),
        "dataclasses: fields": (lambda: models().Point(1, 2), lambda: models().Point(1, 3)),
        "dataclasses: which field": (lambda: models().Point(1, 2), lambda: models().Point(2, 1)),
        "dataclasses: classes": (lambda: models().Point(1, 2), lambda: models().Vector(1, 2)),
        "dataclasses: beside dicts": (lambda: models().Point(1, 2), lambda: {"x": 1, "y": 2}),
        "dataclasses: beside tuples": (lambda: models().Point(1, 2), lambda: (1, 2)),
        "dataclasses: base beside derived": (
            lambda: models().Point(1, 2),
            lambda: models().Point3(1, 2),
        ),
        "dataclasses: nested": (
            lambda: models().Point(models().Point(1, 2), 3),
            lambda: models().Point(1, models().Point(2, 3)),
        ),
        "dataclasses: types of values": (lambda: models().Point(1), lambda: models().Point(True)),
        "dataclasses: an attribute more": (
            lambda: models().Point(1),
            lambda: _with(models().Point(1), z=1),
        ),
        "dataclasses: a field that is not compared": (
            lambda: models().Hidden(1, 2),
            lambda: models().Hidden(1, 3),
        ),
        "dataclasses: frozen, their parts": (
            lambda: models().Frozen(1, (1,)),
            lambda: models().Frozen(1, (2,)),
        ),
        "dataclasses: another method": (
            lambda: models().Point(1),
            lambda: models("abs(self.x) +", "abs(self.x) -").Point(1),
        ),
        "objects: attributes": (lambda: models().Plain(a=1), lambda: models().Plain(a=2)),
        "objects: names of attributes": (lambda: models().Plain(a=1), lambda: models().Plain(b=1)),
        "objects: an attribute of None": (lambda: models().Plain(a=None), lambda: models().Plain()),
        "objects: classes": (lambda: models().Plain(a=1), lambda: models().Child(a=1)),
        "objects: a method patched on one": (
            lambda: models().Plain(),
            lambda: _with(models().Plain(), method=len),
        ),
        "objects: another constant of the class": (
            lambda: models().Plain(),
            lambda: models("scale = 2", "scale = 3").Plain(),
        ),
        "objects: another base method": (
            lambda: models().Child(),
            lambda: models("return self.scale + 1", "return self.scale + 2").Child(),
        ),
        "objects: slots": (lambda: models().Slotted(a=1), lambda: models().Slotted(a=2)),
        "objects: which slot": (lambda: models().Slotted(a=1), lambda: models().Slotted(b=1)),
        "objects: a slot not set": (
            lambda: models().Slotted(a=1),
            lambda: models().Slotted(a=1, b=None),
        ),
        "objects: state": (lambda: models().Stateful(1, 0), lambda: models().Stateful(2, 0)),
        "objects: what they reduce to": (lambda: models().Reduced(1), lambda: models().Reduced(2)),
        "objects: stateless, by the name of a constant": (
            lambda: models().AUTO,
            lambda: models().NONE,
        ),
        "objects: nested": (
            lambda: models().Plain(a=models().Plain(b=1)),
            lambda: models().Plain(a=models().Plain(b=2)),
        ),
        "subclasses: of str": (lambda: models().Text("a"), lambda: "a"),
        "subclasses: of int": (lambda: models().Number(1), lambda: 1),
        "subclasses: of list": (lambda: models().Items([1]), lambda: [1]),
        "subclasses: of dict": (lambda: models().Table(a=1), lambda: {"a": 1}),
        "subclasses: values of str": (lambda: models().Text("a"), lambda: models().Text("b")),
        "subclasses: of set": (lambda: models().Bag("a"), lambda: {"a"}),
        "subclasses: parts of set": (lambda: models().Bag("a"), lambda: models().Bag("b")),
        "subclasses: attributes of set": (
            lambda: models().Bag("a"),
            lambda: _with(models().Bag("a"), mark=1),
        ),
        "subclasses: of frozenset": (lambda: models().Fixed("a"), lambda: models().Bag("a")),
        "subclasses: parts of list": (lambda: models().Items([1]), lambda: models().Items([2])),
        "subclasses: parts of dict": (lambda: models().Table(a=1), lambda: models().Table(a=2)),
        "subclasses: an attribute beside the parts": (
            lambda: models().Table(a=1),
            lambda: _child({"a": 1}),
        ),
        "exceptions: attributes": (lambda: models().Problem("a"), lambda: models().Problem("a", 1)),
    }
    for kind, load in _modelling().items():
        found |= _differ_modelled(kind, load)
    if find_spec("pydantic"):
        found |= {
            "pydantic: nested": (
                lambda: _nest(pydantic_models(), 1),
                lambda: _nest(pydantic_models(), 2),
            ),
            "pydantic: which fields were given": (  # as model_dump(exclude_unset=True) tells
                lambda: pydantic_models().Point(),
                lambda: pydantic_models().Point(x=0, y=[]),
            ),
            "pydantic: extra fields": (
                lambda: pydantic_models().Open(x=1),
                lambda: pydantic_models().Open(x=1, z=2),
            ),
        }
    return found


def _differ_modelled(kind: str, load: Any) -> dict[str, Any]:
    return {
        f"{kind}: fields": (
            lambda: load().Point(x=1),
            lambda: load().Point(x=2),
        ),
        f"{kind}: classes": (
            lambda: load().Point(),
            lambda: load().Other(),
        ),
        f"{kind}: beside dicts": (
            lambda: load().Point(x=1, y=[2]),
            lambda: {"x": 1, "y": [2]},
        ),
        f"{kind}: lists inside": (
            lambda: load().Point(y=[1]),
            lambda: load().Point(y=[2]),
        ),
    }


def _nest(loaded: Any, x: int) -> Any:
    return loaded.Point(inner=loaded.Point(x=x))


def _modelling() -> dict[str, Any]:
    known = {"attrs": attrs_models, "pydantic": pydantic_models}
    return {name: load for name, load in known.items() if find_spec(name)}


def agree() -> dict[str, Any]:
    found: dict[str, Any] = {
        "enums: by value and by name": (
            lambda: models().Colour(1),
            lambda: models().Colour["RED"],
        ),
        "enums: flags in any order": (
            lambda: _flags("READ", "RUN"),
            lambda: _flags("RUN", "READ"),
        ),
        "enums: pickled": (
            lambda: models().Colour.RED,
            lambda: pickle.loads(pickle.dumps(models().Colour.RED)),
        ),
        "enums: as keys": (
            lambda: {models().Level.LOW: 1, "a": 2},
            lambda: {"a": 2, models().Level(1): 1},
        ),
        "named tuples: by keyword": (lambda: models().Pair(1, 2), lambda: models().Pair(b=2, a=1)),
        "named tuples: with defaults": (lambda: models().Typed(1), lambda: models().Typed(1, 2)),
        "named tuples: replaced": (
            lambda: models().Pair(1, 2),
            lambda: models().Pair(3, 2)._replace(a=1),
        ),
        "dataclasses: defaults": (lambda: models().Point(), lambda: models().Point(0, 0)),
        "dataclasses: by keyword": (lambda: models().Point(1, 2), lambda: models().Point(y=2, x=1)),
        "dataclasses: set later": (
            lambda: models().Point(1, 2),
            lambda: _with(models().Point(), y=2, x=1),
        ),
        "dataclasses: copied": (
            lambda: models().Point([1], {2: 3}),
            lambda: copy.deepcopy(models().Point([1], {2: 3})),
        ),
        "dataclasses: the file moved and was commented": (
            lambda: models().Point(1),
            lambda: models("class Point:\n", "class Point:  # in the plane\n\n").Point(1),
        ),
        "dataclasses: another class in the file changed": (
            lambda: models().Point(1),
            lambda: models("return self.scale", "return 7").Point(1),
        ),
        "dataclasses: inherited": (
            lambda: models().Point3(1, 2, 3),
            lambda: models().Point3(z=3, y=2, x=1),
        ),
        "objects: order of attributes": (
            lambda: models().Plain(a=1, b=2),
            lambda: models().Plain(b=2, a=1),
        ),
        "objects: an attribute set and deleted": (lambda: models().Plain(a=1), _deleted),
        "objects: pickled": (
            lambda: models().Plain(a=[1]),
            lambda: pickle.loads(pickle.dumps(models().Plain(a=[1]))),
        ),
        "objects: shared parts": (
            lambda: models().Plain(a=[1], b=[1]),
            lambda: (lambda part: models().Plain(a=part, b=part))([1]),
        ),
        "objects: slots in any order": (
            lambda: models().Slotted(a=1, b=2),
            lambda: models().Slotted(b=2, a=1),
        ),
        "objects: what a cached property remembers": (
            lambda: models().Cached(1),
            lambda: _used(models().Cached(1)),
        ),
        "objects: what is no state": (
            lambda: models().Stateful(1, "here"),
            lambda: models().Stateful(1, "there"),
        ),
        "objects: a docstring was written": (
            lambda: models().Plain(),
            lambda: models("    scale = 2", '    """Text."""\n\n    scale = 2').Plain(),
        ),
        "objects: without state": (lambda: models().Mode(), lambda: models().Mode()),
        "objects: without state, what a cached_property remembers": (
            lambda: models().AUTO,
            lambda: _remembering(models().AUTO),
        ),
        "subclasses: of dict, in any order": (
            lambda: models().Table(a=1, b=2),
            lambda: models().Table(b=2, a=1),
        ),
        "subclasses: of list": (
            lambda: models().Items([1, 2]),
            lambda: models().Items(n for n in (1, 2)),
        ),
        "subclasses: of set, order": (
            lambda: models().Bag(["north", "east", "south", "west"]),
            lambda: models().Bag(["west", "south", "east", "north"]),
        ),
        "subclasses: of frozenset, order": (
            lambda: models().Fixed(["north", "east", "south", "west"]),
            lambda: models().Fixed(["west", "south", "east", "north"]),
        ),
        "exceptions: of a user": (
            lambda: models().Problem("a", 3),
            lambda: models().Problem(code=3, what="a"),
        ),
    }
    for kind, load in _modelling().items():
        found |= _agree_modelled(kind, load)
    if find_spec("attrs"):
        found["attrs: defaults"] = (
            lambda: attrs_models().Point(),
            lambda: attrs_models().Point(x=0, y=[]),
        )
        found["attrs: frozen"] = (
            lambda: attrs_models().Frozen(1),
            lambda: attrs_models().Frozen(x=1),
        )
        found["attrs: with a dictionary"] = (
            lambda: attrs_models().Open(1),
            lambda: attrs_models().Open(1),
        )
    return found


def _agree_modelled(kind: str, load: Any) -> dict[str, Any]:
    return {
        f"{kind}: order of keywords": (
            lambda: load().Point(x=1, y=[2]),
            lambda: load().Point(y=[2], x=1),
        ),
        f"{kind}: pickled": (
            lambda: load().Point(x=1, y=[2]),
            lambda: pickle.loads(pickle.dumps(load().Point(x=1, y=[2]))),
        ),
        f"{kind}: set later": (
            lambda: load().Point(x=1),
            lambda: _with(load().Point(), x=1),
        ),
    }


def _deleted() -> Any:
    value = models().Plain(a=1, b=2)
    del value.b
    return value
