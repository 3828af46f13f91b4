"""The model of the simulation: a random graph of calls, and what each of them must come to.

Rule of this file: pure.  An outcome is computed from the app, its version and the values of its
arguments alone, so it can be told without the library what any call must give in any run.
"""

from __future__ import annotations

import functools
import random
from typing import Any, NamedTuple
from zlib import crc32

from parsl_ckpt.checkpoint.packing import PACKED

Key = tuple[Any, ...]  # app, version, values of the arguments: what must be found again


class App(NamedTuple):
    """An app of the simulated program."""

    name: str
    shape: str = "int"
    kind: str = "python"
    cache: bool = True
    lineage: bool = True
    fails: bool = False
    shaky: bool = False  # an attempt may fail
    recordable: bool = True
    edited: bool = True


APPS = (
    App("one"), App("two"), App("many", "list"), App("table", "dict"), App("pair", "tuple"),
    App("bulk", "blob"), App("plain", cache=False), App("listed", "list", cache=False),
    App("unseen", "list", lineage=False), App("boom", fails=True), App("shaky", shaky=True),
    App("odd", "odd", recordable=False), App("join", kind="join", edited=False),
    App("loose", kind="join", cache=False, edited=False), App("child", edited=False),
)  # fmt: skip
WEIGHTS = (12, 12, 12, 10, 10, 1, 6, 4, 6, 2, 6, 2, 4, 2, 4)
BY_NAME = {app.name: app for app in APPS}


class Part(NamedTuple):
    """An item of another call's value as an argument."""

    call: int


class Ref(NamedTuple):
    """Another call's value as an argument."""

    call: int


class Call(NamedTuple):
    """A call of the graph; its arguments are numbers, :class:`Ref` and :class:`Part`."""

    number: int
    app: App
    args: tuple[Any, ...]


class Failed(NamedTuple):
    """The outcome of what must fail."""

    call: int


class Odd:
    """A value that cannot be recorded."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return type(other) is Odd and other.number == self.number

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        raise ValueError("I am not to be recorded")


def draw_calls(chance: random.Random, count: int) -> list[Call]:
    """A graph: calls take numbers, values of earlier calls, and parts of them."""
    calls: list[Call] = []
    for index in range(count):
        app = chance.choices(APPS, WEIGHTS)[0]
        usable = [c for c in calls if c.app.shape != "odd"][-12:]
        args: list[Any] = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            if usable and chance.random() < 0.7:
                other = chance.choice(usable)
                part = other.app.shape == "dict" and chance.random() < 0.5
                args.append(Part(other.number) if part else Ref(other.number))
            else:
                args.append(chance.randrange(4))
        calls.append(Call(index, app, tuple(args)))
    return calls


def canonical(value: Any) -> Any:
    """A value as part of a key."""
    return ("blob", len(value), crc32(value)) if type(value) is bytes else repr(value)


def outcome(app: App, version: int, args: tuple[Any, ...]) -> Any:
    """What an app gives; every other version changes nothing but the code."""
    args = normal(args)
    if app.kind == "join":
        return outcome(BY_NAME["child"], 0, (number_of(args),))
    number = crc32(repr((app.name, version // 2, [canonical(a) for a in args])).encode())
    if app.shape == "list":
        return [number, "text", None]
    if app.shape == "dict":
        return {"n": number, "l": [number]}
    if app.shape == "tuple":
        return ("t", number, (number,))
    if app.shape == "blob":
        return _bulk(number)
    if app.shape == "odd":
        return Odd(number)
    return number % 5  # few different ones, so that different inputs often agree


@functools.lru_cache(maxsize=64)
def _bulk(number: int) -> bytes:
    """Large enough to be a blob of its own, and not to be compressed."""
    return random.Random(number).randbytes(PACKED + 1000)


def number_of(args: tuple[Any, ...]) -> int:
    """What a join app calls its child with."""
    return crc32(repr([canonical(a) for a in normal(args)]).encode()) % 7


def normal(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without what is the default anyway: every app is ``def app(a, b=0, *rest)``."""
    if len(args) == 2 and type(args[1]) is int and args[1] == 0:
        return args[:1]
    return args


class Model:
    """What the calls come to under the versions that the apps have now."""

    def __init__(self, calls: list[Call], versions: dict[str, int]) -> None:
        self.calls = calls
        self.versions = versions
        self._outcomes: dict[int, Any] = {}
        self._keys: dict[int, Key | None] = {}

    def outcome(self, index: int) -> Any:
        """The value of a call, or :class:`Failed`."""
        found = self._outcomes.get(index)
        if found is None:
            call = self.calls[index]
            args = self.args(call)
            if args is None or call.app.fails:
                found = Failed(index)
            else:
                found = outcome(call.app, self.versions[call.app.name], args)
            self._outcomes[index] = found
        return found

    def args(self, call: Call) -> tuple[Any, ...] | None:
        """The values of a call's arguments; None if one of them fails."""
        values = []
        for arg in call.args:
            if type(arg) is int:
                values.append(arg)
                continue
            value = self.outcome(arg.call)
            if type(value) is Failed:
                return None
            values.append(value["n"] if type(arg) is Part else value)
        return tuple(values)

    def key(self, index: int) -> Key | None:
        """What must be remembered of a call; None for what is not recorded."""
        if index not in self._keys:
            call = self.calls[index]
            args = self.args(call) if call.app.cache and call.app.recordable else None
            self._keys[index] = None if args is None else self.key_of(call.app, args)
        return self._keys[index]

    def key_of(self, app: App, args: tuple[Any, ...]) -> Key:
        return (app.name, self.versions[app.name], tuple(canonical(a) for a in normal(args)))
