"""Lists, tuples, dictionaries, sets and their kin: nested, shared, in cycles."""

from __future__ import annotations

import array
import collections
import copy
import pickle
import types
from typing import Any

from .project import models


def _ring(*values: Any) -> Any:
    """A list of lists that ends in itself: ``[1, [2, [3, ↑]]]``."""
    first: list[Any] = [values[0]]
    last = first
    for value in values[1:]:
        last.append([value])
        last = last[-1]
    last.append(first)
    return first


def _itself(key: str) -> Any:
    table: dict[str, Any] = {"n": 1}
    table[key] = table
    return table


def _unrolled() -> Any:
    """``x = [x]``, written as ``x = [[x]]``."""
    inner: list[Any] = []
    outer = [inner]
    inner.append(outer)
    return outer


def _loop() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def _tangle(last: Any) -> Any:
    """Five lists, each with all the others in it."""
    knot: list[list[Any]] = [[n] for n in range(4)] + [[last]]
    for part in knot:
        part.extend(other for other in knot if other is not part)
    return knot[0]


def _nodes(*values: Any) -> Any:
    made = [models().Node(values[0])]
    made += [type(made[0])(value) for value in values[1:]]
    for one, other in zip(made, [*made[1:], made[0]], strict=True):
        one.next = other
    return made[0]


def _deep(core: Any) -> Any:
    for _ in range(5000):
        core = [core]
    return core


def _thrice(part: Any) -> Any:
    return [part, part, part]


def _doubled(depth: int) -> Any:
    """A list of 2**depth parts, all of them shared."""
    part: Any = [1]
    for _ in range(depth):
        part = [part, part]
    return part


def _grown() -> dict[str, int]:
    table = {str(n): n for n in range(100)}
    for n in range(3, 100):
        del table[str(n)]
    return table


def _set_of(*values: Any) -> set[Any]:
    made: set[Any] = set(range(1000))  # of another size inside than one made at once
    made.clear()
    made.update(values)
    return made


def differ() -> dict[str, Any]:
    return {
        "lists: beside tuples": (lambda: [1], lambda: (1,)),
        "lists: one part beside the part": (lambda: [1], lambda: 1),
        "lists: empty beside empty tuple": (list, lambda: ()),
        "lists: empty beside a list of an empty one": (list, lambda: [[]]),
        "lists: order": (lambda: [1, 2], lambda: [2, 1]),
        "lists: nesting": (lambda: [[1], [2]], lambda: [[1, 2]]),
        "lists: where the inner border is": (lambda: [[1, 2], [3]], lambda: [[1], [2, 3]]),
        "lists: which part is nested": (lambda: [1, [2]], lambda: [[1], 2]),
        "lists: borders of texts": (lambda: ["ab", "c"], lambda: ["a", "bc"]),
        "lists: an empty text more": (lambda: ["a"], lambda: ["a", ""]),
        "lists: repetitions": (lambda: [[1]] * 2, lambda: [[1]] * 3),
        "lists: long, types of numbers": (
            lambda: list(range(50)),
            lambda: [float(n) for n in range(50)],
        ),
        "lists: long, one part": (
            lambda: list(range(5000)),
            lambda: [*range(2500), 0, *range(2501, 5000)],
        ),
        "lists: long, one bool among ints": (lambda: [1] * 50, lambda: [1] * 49 + [True]),
        "lists: long, the sign of a zero": (lambda: [0.0] * 50, lambda: [0.0] * 49 + [-0.0]),
        "lists: long, texts beside bytes": (lambda: ["a"] * 50, lambda: [b"a"] * 50),
        "lists: long, a big int": (lambda: [2**63] * 50, lambda: [2**63] * 49 + [2**64]),
        "lists: deep, the core": (lambda: _deep(1), lambda: _deep(2)),
        "lists: beside a list's text": (lambda: [1, 2], lambda: "[1, 2]"),
        "lists: which part is shared": (lambda: _thrice([1]), lambda: [[1], [1], [2]]),
        "tuples: nested beside flat": (lambda: (1, (2, 3)), lambda: (1, 2, 3)),
        "tuples: of tuples beside of lists": (lambda: ((1,), (2,)), lambda: ([1], [2])),
        "dicts: values": (lambda: {"a": 1}, lambda: {"a": 2}),
        "dicts: keys": (lambda: {"a": 1}, lambda: {"b": 1}),
        "dicts: types of keys": (lambda: {1: "a"}, lambda: {"1": "a"}),
        "dicts: keys equal in Python": (lambda: {1: "a"}, lambda: {True: "a"}),
        "dicts: keys equal in Python, floats": (lambda: {1: "a"}, lambda: {1.0: "a"}),
        "dicts: which value belongs to which key": (
            lambda: {"a": 1, "b": 2},
            lambda: {"a": 2, "b": 1},
        ),
        "dicts: key and value exchanged": (lambda: {"a": "b"}, lambda: {"b": "a"}),
        "dicts: a key without a value": (lambda: {"a": None}, dict),
        "dicts: beside a list of pairs": (lambda: {"a": 1}, lambda: [("a", 1)]),
        "dicts: empty beside empty set": (dict, lambda: set()),
        "dicts: empty beside empty list": (dict, list),
        "dicts: nested": (lambda: {"a": {"b": 1}}, lambda: {"a": {"b": 2}}),
        "dicts: nested beside flat": (
            lambda: {"a": {"b": 1}, "c": 2},
            lambda: {"a": {"b": 1, "c": 2}},
        ),
        "dicts: beside OrderedDict": (lambda: {"a": 1}, lambda: collections.OrderedDict(a=1)),
        "dicts: beside defaultdict": (
            lambda: {"a": 1},
            lambda: collections.defaultdict(int, a=1),
        ),
        "dicts: beside Counter": (lambda: {"a": 1}, lambda: collections.Counter(a=1)),
        "dicts: beside a read-only view": (
            lambda: {"a": 1},
            lambda: types.MappingProxyType({"a": 1}),
        ),
        "dicts: order of an OrderedDict": (
            lambda: collections.OrderedDict(a=1, b=2),
            lambda: collections.OrderedDict(b=2, a=1),
        ),
        "dicts: factory of a defaultdict": (
            lambda: collections.defaultdict(int, a=1),
            lambda: collections.defaultdict(bool, a=1),
        ),
        "dicts: layers of a ChainMap": (
            lambda: collections.ChainMap({"a": 1}, {"b": 2}),
            lambda: collections.ChainMap({"a": 1, "b": 2}),
        ),
        "dicts: counts": (lambda: collections.Counter("aab"), lambda: collections.Counter("abb")),
        "sets: beside frozensets": (lambda: {1}, lambda: frozenset({1})),
        "sets: beside lists": (lambda: {1}, lambda: [1]),
        "sets: parts": (lambda: {1, 2}, lambda: {1, 3}),
        "sets: of mixed types": (lambda: {1, "a", None}, lambda: {1, b"a", None}),
        "sets: parts equal in Python": (lambda: {1, "x"}, lambda: {True, "x"}),
        "sets: of tuples": (lambda: {(1, 2), (3,)}, lambda: {(1,), (2, 3)}),
        "sets: of sets": (
            lambda: {frozenset({1}), frozenset({2})},
            lambda: {frozenset({1, 2}), frozenset()},
        ),
        "sets: number of parts": (lambda: set(range(100)), lambda: set(range(101))),
        "deques: beside lists": (lambda: collections.deque([1]), lambda: [1]),
        "deques: order": (lambda: collections.deque([1, 2]), lambda: collections.deque([2, 1])),
        "deques: longest": (
            lambda: collections.deque([1], maxlen=3),
            lambda: collections.deque([1], maxlen=4),
        ),
        "arrays of the library: beside bytes": (
            lambda: array.array("B", b"abc"),
            lambda: b"abc",
        ),
        "arrays of the library: type": (
            lambda: array.array("i", [1, 2]),
            lambda: array.array("d", [1, 2]),
        ),
        "arrays of the library: signs": (
            lambda: array.array("B", [1, 2]),
            lambda: array.array("b", [1, 2]),
        ),
        "arrays of the library: values": (
            lambda: array.array("q", range(1000)),
            lambda: array.array("q", [*range(999), 0]),
        ),
        "cycles: what is in them": (lambda: _ring(1), lambda: _ring(2)),
        "cycles: where they begin": (lambda: _ring(1, 2), lambda: _ring(2, 1)),
        "cycles: their length": (lambda: _ring(1, 2), lambda: _ring(1, 2, 2)),
        "cycles: beside what ends": (lambda: _loop(), lambda: [[]]),
        "cycles: through which key": (lambda: _itself("a"), lambda: _itself("b")),
        "cycles: entangled": (lambda: _tangle(4), lambda: _tangle(5)),
        "cycles: list beside dict": (lambda: _loop(), lambda: _itself("a")),
        "cycles: of objects": (lambda: _nodes(1, 2), lambda: _nodes(1, 3)),
        "cycles: of objects, their length": (lambda: _nodes(1, 2), lambda: _nodes(1, 2, 1, 3)),
        "cycles: next to different parts": (lambda: [_loop(), 1], lambda: [_loop(), 2]),
    }


def agree() -> dict[str, Any]:
    return {
        "dicts: order of insertion": (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
        "dicts: order of insertion, nested": (
            lambda: {"x": {"a": 1, "b": [1]}, "y": 2},
            lambda: {"y": 2, "x": {"b": [1], "a": 1}},
        ),
        "dicts: keys of mixed types": (
            lambda: {1: "a", "b": 2, None: 3, (1,): 4},
            lambda: {(1,): 4, None: 3, "b": 2, 1: "a"},
        ),
        "dicts: grown and shrunk": (lambda: {"0": 0, "1": 1, "2": 2}, _grown),
        "dicts: by keywords": (lambda: {"a": 1}, lambda: dict(a=1)),  # noqa: C408
        "dicts: order in a defaultdict": (
            lambda: collections.defaultdict(int, a=1, b=2),
            lambda: collections.defaultdict(int, b=2, a=1),
        ),
        "dicts: order in a Counter": (
            lambda: collections.Counter("aab"),
            lambda: collections.Counter("baa"),
        ),
        "dicts: equal keys, not the same object": (
            lambda: {"key": 1, "k": 2},
            lambda: {"".join(["k", "ey"]): 1, "k": 2},
        ),
        "dicts: an OrderedDict from pairs": (
            lambda: collections.OrderedDict(a=1, b=2),
            lambda: collections.OrderedDict([("a", 1), ("b", 2)]),
        ),
        "dicts: read-only views": (
            lambda: types.MappingProxyType({"a": 1, "b": 2}),
            lambda: types.MappingProxyType({"b": 2, "a": 1}),
        ),
        "sets: order": (lambda: {"a", "b", "c"}, lambda: {"c", "b", "a"}),
        "sets: order, many": (
            lambda: {str(n) for n in range(500)},
            lambda: {str(n) for n in reversed(range(500))},
        ),
        "sets: of mixed types": (
            lambda: {1, "a", None, 2.5, b"y", (1, "z")},
            lambda: _set_of((1, "z"), b"y", 2.5, None, "a", 1),
        ),
        "sets: numbers that collide": (lambda: {0, 8, 16, 24}, lambda: {24, 16, 8, 0}),
        "sets: grown and emptied": (lambda: {1, 2, 3}, lambda: _set_of(3, 2, 1)),
        "sets: of frozensets": (
            lambda: {frozenset({"a", "b"}), frozenset()},
            lambda: {frozenset(), frozenset({"b", "a"})},
        ),
        "sets: frozensets computed": (
            lambda: frozenset("abc"),
            lambda: frozenset("cab") | frozenset("a"),
        ),
        "lists: shared parts": (lambda: _thrice([1]), lambda: [[1], [1], [1]]),
        "lists: a shared text": (lambda: _thrice("ab" * 30), lambda: ["ab" * 30 for _ in "123"]),
        "lists: shared in a dict": (
            lambda: (lambda part: {"a": part, "b": part})([1]),
            lambda: {"a": [1], "b": [1]},
        ),
        "lists: repeated": (lambda: [0] * 100, lambda: [0 for _ in range(100)]),
        "lists: shared again and again": (lambda: _doubled(12), lambda: _doubled(12)),
        "lists: copied": (lambda: [1, [2, {3: "x"}]], lambda: copy.deepcopy([1, [2, {3: "x"}]])),
        "lists: pickled": (
            lambda: [1, ("a", {"k": [None]})],
            lambda: pickle.loads(pickle.dumps([1, ("a", {"k": [None]})])),
        ),
        "lists: with room to spare": (lambda: [1, 2], lambda: [*range(1, 9)][:2]),
        "lists: deep": (lambda: _deep(1), lambda: _deep(1)),
        "lists: NaNs that are not the same": (lambda: [float("nan")] * 30, lambda: _nans(30)),
        "tuples: shared parts": (lambda: _thrice((1, 2)), lambda: [(1, 2), (1, 2), (1, 2)]),
        "tuples: a constant beside one computed": (lambda: (1, 2, 3), lambda: tuple([1, 2, 3])),  # noqa: C409
        "deques: turned": (
            lambda: collections.deque([1, 2, 3]),
            lambda: _turned(collections.deque([2, 3, 1])),
        ),
        "arrays of the library: put together": (
            lambda: array.array("q", range(10)),
            lambda: array.array("q", range(5)) + array.array("q", range(5, 10)),
        ),
        "cycles: made twice": (lambda: _ring(1, 2, 3), lambda: _ring(1, 2, 3)),
        "cycles: unrolled": (_loop, _unrolled),
        "cycles: going round twice": (lambda: _ring(1, 2), lambda: _ring(1, 2, 1, 2)),
        "cycles: through a dict": (lambda: _itself("a"), lambda: _itself("a")),
        "cycles: copied": (lambda: _ring(1, 2), lambda: copy.deepcopy(_ring(1, 2))),
        "cycles: entangled": (lambda: _tangle(4), lambda: copy.deepcopy(_tangle(4))),
        "cycles: of objects": (lambda: _nodes(1, 2), lambda: _nodes(1, 2)),
        "cycles: entered elsewhere": (lambda: _ring(2, 1), lambda: _ring(1, 2)[1]),
    }


def _nans(count: int) -> list[float]:
    return [float("nan") for _ in range(count)]


def _turned(value: collections.deque[Any]) -> collections.deque[Any]:
    value.rotate(1)
    return value
