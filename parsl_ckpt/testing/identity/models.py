"""Classes of a user's project, of every kind; imported as ``battery_models``: ``project.py``."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from typing import Any, NamedTuple


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Paint(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Word(str, enum.Enum):
    YES = "yes"
    NO = "no"


@dataclasses.dataclass
class Point:
    x: Any = 0
    y: Any = 0

    def norm(self) -> Any:
        return abs(self.x) + abs(self.y)


@dataclasses.dataclass
class Vector:
    x: Any = 0
    y: Any = 0


@dataclasses.dataclass
class Point3(Point):
    z: Any = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any = 0
    parts: tuple[Any, ...] = ()


@dataclasses.dataclass
class Hidden:
    x: int = 0
    noise: int = dataclasses.field(default=0, compare=False, repr=False)


Pair = collections.namedtuple("Pair", "a b")
Couple = collections.namedtuple("Couple", "a b")


class Typed(NamedTuple):
    a: int
    b: int = 2


class Plain:
    scale = 2

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def method(self) -> Any:
        return self.scale

    def another(self) -> Any:
        return self.scale + 1


class Child(Plain):
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)


class Cached:
    def __init__(self, x: int) -> None:
        self.x = x

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.x


class Stateful:
    def __init__(self, kept: Any, scratch: Any) -> None:
        self.kept, self.scratch = kept, scratch

    def __getstate__(self) -> Any:
        return {"kept": self.kept}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state, scratch=None)


class Reduced:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return Reduced, self.parts


class Node:
    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.next: Any = None


class Text(str):
    pass


class Number(int):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


class Bag(set):  # type: ignore[type-arg]
    pass


class Fixed(frozenset):  # type: ignore[type-arg]
    pass


class Mode:
    @functools.cached_property
    def double(self) -> Any:
        return 2


AUTO, NONE = Mode(), Mode()


class Problem(Exception):
    def __init__(self, what: str, code: int = 0) -> None:
        super().__init__(what)
        self.code = code
