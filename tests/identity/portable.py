"""Digests that must come out the same under every interpreter and hash seed; run as a script.

Imports nothing but the package and the standard library, and prints one line for each digest.
"""

# ruff: noqa: E501, UP031
from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import re
import sys
import uuid
from typing import Any

from parsl_ckpt.identity import Addresser, Binder, CodeIdentity, leaf

LIMITS = {"low": 1, "high": (2, 3)}
WORDS = frozenset({"alpha", "beta", "gamma", "delta"})
PATTERN = re.compile("a+", re.IGNORECASE)


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0

    def norm(self) -> float:
        return math.hypot(self.x, self.y)


class Base:
    scale = 2

    def __init__(self, items: Any) -> None:
        self.items = items

    @property
    def first(self) -> Any:
        return self.items[0]

    @staticmethod
    def helper(value: Any) -> Any:
        return [v for v in value if v in WORDS]


class Derived(Base):
    def first_two(self) -> Any:
        return super().first, self.items[1]


Pair = collections.namedtuple("Pair", "left right", defaults=(3,))


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@logged
def formatted(value: float, width: int = 10) -> str:
    return f"{value!r:>{width}} {value:.3f} of {LIMITS['low']}!"


def everything(x: int, *rest: Any, key: str = "k", **more: Any) -> Any:
    """Reaches most kinds of syntax."""
    import json

    total = 0
    for n, word in enumerate(sorted(WORDS)):
        if n % 2:
            continue
        total += len(word) if even(n) else -len(word)
    while total > 100:
        total //= 2
    else:
        total += 1
    try:
        value = json.dumps({"a": [Point(1).norm(), Colour.RED.value, *rest], **more})
    except (ValueError, TypeError) as error:
        raise RuntimeError(str(error)) from error
    finally:
        del key
    with open("/dev/" + "null") as file:
        lines = {line: (yes := len(line)) for line in file if line}
    match rest:
        case [1, *others] if others:
            total += 1
        case {"k": Colour.RED, **kept}:
            total += len(kept)
        case Point(x=1) | None:
            total -= 1
        case _:
            pass
    adder = lambda a, b=1, /, *c, d: a + b + d  # noqa: E731
    part = slice(1, None)
    assert x is not None, "message"
    return formatted(total), value, lines, adder, rest[part], rest[1:], (yield_ for yield_ in rest), (
        Derived([1, 2]).first_two(), Base.helper("ab"), Pair(1), PATTERN.match(str(x)), -x, not x, yes
    )  # fmt: skip


VALUES: list[Any] = [
    1, True, 1.0, "1", b"1", None, ..., -0.0, float("nan"), 2**70, -(2**63), 1j, "ä" * 50,
    (1, [2, {3}]), {"b": 1, "a": [1.5] * 20, 3: None}, WORDS, {"x", 1, None, 2.5, b"y"},
    list(range(100)), ["w%d" % n for n in range(50)], bytearray(b"x"), range(3), slice(1, 2),
    decimal.Decimal("1.10"), fractions.Fraction(1, 3), datetime.date(2020, 1, 2),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6, datetime.timezone.utc, fold=1),
    datetime.timedelta(1, 2, 3), pathlib.PurePosixPath("a/b"), PATTERN, uuid.UUID(int=5), Colour.RED,
    Point(1), Derived([1]), Pair(1), collections.OrderedDict(b=1, a=2), collections.Counter("hello"),
    collections.defaultdict(list, a=[1]), collections.deque([1, 2], 5), int, list[int], len, math.sin,
    functools.partial(odd, 3), odd, formatted, lambda x: x + 1, Point, Base([1]).helper, ValueError("a"),
]  # fmt: skip


def main() -> None:
    for place, value in enumerate(VALUES):
        print(f"value {place}", leaf(value).hex())
    knot: list[Any] = [1, {}]
    knot[1]["knot"] = knot
    print("knot", leaf(knot).hex())
    for function in (even, formatted, everything, Derived.first_two, Point, logged):
        print(function.__name__, CodeIdentity(function).digest().hex())
        print(function.__name__, "alone", CodeIdentity(function, "function").digest().hex())
    binder = Binder(everything, app="everything")
    address = Addresser("everything", CodeIdentity(everything), binder, "2").address(
        binder.bind((1, 2), {"b": [1], "a": WORDS})
    )
    print("address", address.key.hex())


if __name__ == "__main__":
    sys.path.insert(0, ".")
    main()
