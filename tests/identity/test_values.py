"""Leaves of values: what agrees, what differs, what is refused."""

# ruff: noqa: E501, RUF007
from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import enum
import functools
import pathlib
import pickle
import random
import threading
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.errors import UnidentifiableValueError
from parsl_ckpt.identity import Known, id_for_memo, leaf, values

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
)
hashables = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4)
    ),
    max_leaves=6,
)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=40),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
    ),
    max_leaves=12,
)


def form(value: Any) -> Any:
    """An independent normal form: equal for two values exactly if they are the same argument."""
    kind = type(value)
    if kind in (list, tuple):
        return kind.__name__, tuple(form(part) for part in value)
    if kind is dict:
        items = [(form(key), form(part)) for key, part in value.items()]
        return "dict", tuple(sorted(items, key=repr))
    if kind in (set, frozenset):
        return kind.__name__, tuple(sorted((form(part) for part in value), key=repr))
    if kind is float and value != value:
        return "float", "nan"
    if kind is complex:
        return "complex", form(value.real), form(value.imag)
    return kind.__name__, repr(value)


@given(nested, nested)
@settings(max_examples=300, deadline=None)
def test_leaves_agree_exactly_when_values_do(one, other):
    assert (leaf(one) == leaf(other)) == (form(one) == form(other))


@given(nested)
@settings(max_examples=200, deadline=None)
def test_a_copy_agrees_however_it_was_made(value):
    expected = leaf(value)
    assert leaf(copy.deepcopy(value)) == expected
    assert leaf(pickle.loads(pickle.dumps(value))) == expected
    assert 1 <= len(expected) <= 40


@given(st.lists(nested, max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_known_stands_for_the_value(parts, data):
    chosen = [Known(leaf(part)) if data.draw(st.booleans()) else part for part in parts]
    assert leaf(chosen) == leaf(parts)
    assert leaf({"k": tuple(chosen)}) == leaf({"k": tuple(parts)})


@given(st.lists(st.one_of(st.integers(), st.floats()), min_size=10, max_size=40))
@settings(max_examples=100, deadline=None)
def test_long_runs_are_encoded_like_single_values(items):
    for kind in (int, float):
        run = [item for item in items if type(item) is kind] * 3
        assert leaf(run) == leaf([Known(leaf(item)) for item in run])


@given(st.integers())
def test_integers_of_any_size(number):
    assert (leaf(number) == leaf(number + 1)) is False


@given(st.text(max_size=100), st.text(max_size=100))
def test_texts(one, other):
    assert (leaf(one) == leaf(other)) == (one == other)
    assert leaf(one) != leaf(one.encode("utf-8", "surrogatepass"))


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Slotted:
    __slots__ = ("a", "b")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Data:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)


class Cached:
    def __init__(self) -> None:
        self.x = 1

    @functools.cached_property
    def y(self) -> int:
        return self.x + 1


Pair = collections.namedtuple("Pair", "a b")
Other = collections.namedtuple("Other", "a b")


class Mode:
    pass


AUTO, NONE = Mode(), Mode()
SENTINEL, ANOTHER = object(), object()


def slotted(**fields: Any) -> Slotted:
    made = Slotted()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def with_cache() -> Cached:
    made = Cached()
    assert made.y == 2
    return made


UTC = datetime.timezone.utc

AGREE = {
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "set order": ({"a", 1, None}, {None, "a", 1}),
    "shared part": ((lambda x: [x, x])([1]), [[1], [1]]),
    "attribute order": (Plain(a=1, b=2), Plain(b=2, a=1)),
    "slots": (slotted(a=1), slotted(a=1)),
    "dataclass": (Data(1), Data(1, [])),
    "cached property": (Cached(), with_cache()),
    "named tuple by keyword": (Pair(1, 2), Pair(a=1, b=2)),
    "flags": (Access.READ | Access.WRITE, Access.WRITE | Access.READ),
    "signs of NaN": (float("nan"), -float("nan")),
    "optional": (typing.Optional[int], int | None),  # noqa: UP045
    "functions": (lambda x: x + 1, lambda x: x + 1),
    "partials": (functools.partial(max, 1, key=len), functools.partial(max, 1, key=len)),
    "partial's keyword order": (
        functools.partial(dict, a=1, b=2), functools.partial(dict, b=2, a=1),
    ),
    "exceptions": (ValueError("a", 1), ValueError("a", 1)),
    "random": (random.Random(3), random.Random(3)),
    "paths": (pathlib.Path("a/b"), pathlib.Path("a") / "b"),
    "stateless objects": (Mode(), Mode()),
    "counter": (collections.Counter("aab"), collections.Counter("baa")),
}  # fmt: skip


@pytest.mark.parametrize("name", AGREE)
def test_agree(name):
    one, other = AGREE[name]
    assert leaf(one) == leaf(other)


def test_all_different():
    different = [
        1, True, 1.0, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: None}, 1j, 0.0, -0.0, 0, False,
        None, "None", "", b"", (), [], {}, set(), frozenset(), bytearray(b"1"), ..., NotImplemented,
        2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**100, float("nan"), float("inf"), range(1),
        range(2), range(0, 3, 2), range(0, 4, 2), slice(1), "\ud800\udc00", "\U00010000", "a\0", "a",
        [1, [2]], [[1], 2], [[1, 2]], [1, 2], {"a": 1}, [["a", 1]], (("a", 1),), {"a": None}, {"a"},
        datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1),
        datetime.datetime(2020, 1, 1, tzinfo=UTC), datetime.datetime(2020, 1, 1, fold=1),
        datetime.time(), pathlib.PurePosixPath("a"), pathlib.Path("a"), int, "int", list[int],
        list[str], typing.List[int], typing.Literal[1], typing.Literal["1"], typing.Any,  # noqa: UP006
        len, max, str.upper, "abc".upper, "abd".upper, [].append, [1].append,
        functools.partial(int), functools.partial(int, base=2), functools.partial(int, "1"),
        collections.OrderedDict(a=1), collections.OrderedDict([("a", 1), ("b", 2)]),
        collections.OrderedDict([("b", 2), ("a", 1)]), collections.Counter(a=1),
        collections.defaultdict(int, a=1), collections.defaultdict(list, a=1),
        collections.deque([1]), collections.deque([1], 3), types.SimpleNamespace(a=1),
        types.MappingProxyType({"a": 1}), Pair(1, 2), Pair(2, 1), Other(1, 2), (1, 2, 3), Colour.RED,
        Colour.BLUE, Number.ONE, Access.READ, Access.READ | Access.WRITE, Data(1), Data(2), Plain(),
        Plain(a=1), Plain(a=2), slotted(a=1), slotted(b=1), AUTO, NONE, SENTINEL, ANOTHER,
        ValueError("a"), ValueError("b"), KeyError("a"), random.Random(1), random.Random(2),
        lambda x: x, lambda y: y, lambda x: x + 1, Plain, Data, Colour, types, collections,
        memoryview(b"1"), "x" * 100, b"x" * 100, ["x" * 100], list(range(20)), tuple(range(20)),
        [float(n) for n in range(20)], ["a"] * 20, [b"a"] * 20, [True] * 20, [1] * 20,
    ]  # fmt: skip
    leaves = [leaf(value) for value in different]
    assert len(set(leaves)) == len(different)
    nested_leaves = [leaf({"k": [value]}) for value in different]
    assert len(set(nested_leaves)) == len(different)


class TestCycles:
    def test_agree_and_differ(self):
        def knot(*extra: Any) -> list[Any]:
            made: list[Any] = [*extra]
            made.append(made)
            return made

        assert leaf(knot()) == leaf(knot())
        assert len({leaf(knot()), leaf([[]]), leaf(knot(1)), leaf(knot(2)), leaf([knot()])}) == 5

    def test_two_parts_of_one_cycle_in_either_order(self):
        one: list[Any] = [1]
        other: list[Any] = [2, one]
        one.append(other)
        assert leaf([one, other]) != leaf([other, one])
        assert leaf([one, other])[:1] == leaf([other, one])[:1]

    def test_cycles_through_sets_and_dicts(self):
        def build(reverse: bool) -> Plain:
            nodes = [Plain(name=n) for n in range(6)]
            for place, node in enumerate(nodes):
                near = [nodes[place - 1], nodes[(place + 1) % 6]]
                node.near = set(near[::-1] if reverse else near)
            return nodes[0]

        assert leaf(build(False)) == leaf(build(True))

    def test_entangled(self):
        def build(mark: int) -> list[Plain]:
            nodes = [Plain(name=n) for n in range(40)]
            for node in nodes:
                node.others = [other for other in nodes if other is not node]
            nodes[7].mark = mark
            return nodes

        assert leaf(build(1)) == leaf(build(1)) != leaf(build(2))

    def test_a_long_chain_of_equal_nodes(self):
        nodes = [Plain(near=[]) for _ in range(2000)]
        for one, other in zip(nodes, nodes[1:], strict=False):
            one.near.append(other)
            other.near.append(one)
        before = leaf(nodes)
        nodes[1000].mark = 1
        assert leaf(nodes) != before

    def test_deeper_than_the_stack(self):
        deep: Any = []
        other: Any = []
        for _ in range(50_000):
            deep, other = [deep], [other]
        assert leaf(deep) == leaf(other) != leaf([other])

    def test_the_walk_of_graphs_agrees_with_recursion(self):
        value = {"a": [1, (2.0, {"x"})], "b": list(range(50)), "c": Data(1), "d": Pair(1, [2])}
        assert values.graph_leaf(value, values.Walk().expand) == leaf(value)


class Endless:
    def __reduce__(self) -> Any:
        return Endless, (), {"inner": Endless()}


class TestRefusals:
    def test_says_where_and_what_to_do(self):
        with pytest.raises(UnidentifiableValueError) as caught:
            leaf({"a": [1, Plain(lock=threading.Lock())]})
        assert caught.value.path == "['a'][1].lock"
        assert caught.value.type_name == "_thread.lock"
        assert "['a'][1].lock" in str(caught.value)
        assert "ignore_for_cache" in str(caught.value)

    @pytest.mark.parametrize(
        "value",
        [
            (n for n in ""), object(), threading.Lock(), {}.keys(), __builtins__ and open(__file__),  # noqa: SIM115
        ],
    )  # fmt: skip
    def test_nothing_is_guessed(self, value):
        with pytest.raises(UnidentifiableValueError):
            leaf(value)

    def test_what_unfolds_without_end(self, monkeypatch):
        monkeypatch.setattr(values, "NODE_LIMIT", 5000)
        with pytest.raises(UnidentifiableValueError, match="without end"):
            leaf(Endless())

    def test_hostile_objects(self):
        class Evil:
            def __getattr__(self, name: str) -> Any:
                if name == "__getstate__":  # asked for before Python 3.11, and on the class after
                    raise AttributeError
                raise RuntimeError

            def __eq__(self, other: object) -> bool:
                raise RuntimeError

            def __hash__(self) -> int:
                return 1

        class Meta(type):
            def __eq__(cls, other: object) -> bool:
                raise RuntimeError

            __hash__ = type.__hash__

        class Strange(metaclass=Meta):
            pass

        assert leaf([Evil(), {Evil(): 1}])
        assert leaf(Strange())


class TestRegistration:
    def test_a_type_and_its_subclasses(self):
        class Camera:
            def __init__(self, serial: str) -> None:
                self.serial, self.lock = serial, threading.Lock()

        class Better(Camera):
            pass

        @id_for_memo.register(Camera)
        def identify(camera: Camera, output_ref: bool = False) -> bytes:
            return camera.serial.encode() + (b" out" if output_ref else b"")

        assert leaf(Camera("a")) == leaf(Camera("a")) != leaf(Camera("b"))
        assert leaf([Better("a")]) != leaf([Camera("a")])
        assert leaf(Camera("a")) not in (leaf("a"), leaf(b"a"))
        assert values.output_leaf([Camera("a")]) != leaf([Camera("a")])

    def test_wrong_answers_are_refused(self):
        class Wrong:
            pass

        id_for_memo.register(Wrong, lambda value: "text")
        with pytest.raises(UnidentifiableValueError, match="not bytes"):
            leaf(Wrong())

        class Raises:
            pass

        id_for_memo.register(Raises, lambda value: 1 / 0)
        with pytest.raises(UnidentifiableValueError, match="ZeroDivisionError"):
            leaf([Raises()])

    def test_works_as_a_function(self):
        assert id_for_memo(3) == leaf(3)
        assert id_for_memo([3]) == leaf([3])

    def test_outputs_count_by_name(self):
        assert values.output_leaf([pathlib.Path("a")]) == values.output_leaf(["a"])


class TestClassesOfValues:
    def test_a_method_that_changes(self, module):
        found = set()
        for number in (1, 2, 1):
            loaded = module(f"class C:\n    def m(self): return {number}", name="fixture_class")
            found.add(leaf(loaded.C()))
        assert len(found) == 2

    def test_two_classes_of_one_text_in_two_modules(self, module):
        one, other = (module("class C: pass", name=name) for name in ("fixture_a", "fixture_b"))
        assert leaf(one.C()) != leaf(other.C())

    def test_a_patched_method_is_seen(self, module):
        loaded = module("class C:\n    def m(self): return 1")
        before = leaf(loaded.C())
        loaded.C.m = lambda self: 2
        assert leaf(loaded.C()) != before


def test_what_a_sparse_matrix_has_learnt_about_itself_does_not_count(module):
    loaded = module("class M:\n    def __init__(s): s.data = [1.0]")
    loaded.M.__module__ = "scipy.sparse._csr"
    matrix = loaded.M()
    before = leaf(matrix)
    matrix._has_sorted_indices = matrix._has_canonical_format = True
    assert leaf(matrix) == before
    matrix.data.append(2.0)
    assert leaf(matrix) != before


def test_what_a_subclass_of_a_table_says_that_it_keeps(module):
    pytest.importorskip("pandas")
    loaded = module(
        """
        import pandas as pd
        class Places(pd.DataFrame):
            _metadata = ["active"]
            _constructor = property(lambda self: Places)
        class Plain(pd.Series): pass
        def make(active):
            made = Places({"a": [1], "b": [2]})
            made.active = active
            return made
        """
    )
    assert leaf(loaded.make("a")) == leaf(loaded.make("a")) != leaf(loaded.make("b"))
    assert leaf(loaded.Plain([1], name="n")) == leaf(loaded.Plain([1], name="n"))


class TestArrays:
    np: Any = None

    @pytest.fixture(autouse=True)
    def numpy(self):
        type(self).np = pytest.importorskip("numpy")

    def test_memory_order_does_not_count(self):
        np = self.np
        for shape in ((3, 4), (200, 300)):
            array = np.arange(float(np.prod(shape))).reshape(shape)
            views = [
                np.asfortranarray(array), np.repeat(array, 2, 0)[::2], array[::-1][::-1].copy()[:],
                np.concatenate([array, array], 1)[:, : shape[1]], array[::-1][::-1],
            ]  # fmt: skip
            assert {leaf(view) for view in views} == {leaf(array)}

    def test_large_arrays_agree_whatever_the_path(self):
        np = self.np
        array = np.random.default_rng(1).random((50, 60_000))
        assert leaf(np.asfortranarray(array)) == leaf(array)

    def test_all_different(self):
        np = self.np
        array = np.arange(6)
        record = np.dtype([("a", "i1"), ("b", "f8")], align=True)
        different = [
            array, array.astype("i4"), array.astype(">i8"), array.astype("f8"), array.reshape(2, 3),
            array.reshape(3, 2), array[::-1], array.tolist(), tuple(array), np.array(6), np.int64(6), 6,
            np.int32(6), np.float64(6), 6.0, np.array([6]), np.zeros(0), np.zeros((0, 1)),
            np.zeros((1, 0)), np.zeros(0, "i4"), array.astype(object), np.array(["a", "b"]),
            np.array([b"a", b"b"]), np.array(["a", "b"], object), np.zeros(2, "M8[s]"),
            np.zeros(2, "M8[ns]"), np.zeros(2, "m8[s]"), np.zeros(2, record),
            np.zeros(2, [("a", "i1"), ("b", "f8")]), np.zeros(2, [("b", "i1"), ("a", "f8")]),
            np.matrix([[1]]), np.array([[1]]), np.ma.array([1, 2], mask=[0, 1]),
            np.ma.array([1, 2], mask=[1, 0]), np.ma.array([1, 2]), np.dtype("i4"), np.dtype("i8"),
            np.float64, np.sin, np.cos, np.sum, np.bool_(True), True, np.str_("a"), "a", np.nan,
            np.array([0.0]), np.array([-0.0]), np.random.default_rng(1), np.random.default_rng(2),
        ]  # fmt: skip
        assert len({leaf(value) for value in different}) == len(different)

    def test_what_has_no_meaning_does_not_count(self):
        np = self.np
        record = np.dtype([("a", "i1"), ("b", "f8")], align=True)
        one, other = (
            np.zeros(3, record),
            np.frombuffer(b"\xff" * 3 * record.itemsize, record).copy(),
        )
        other["a"], other["b"] = 0, 0
        assert leaf(one) == leaf(other)
        assert leaf(np.ma.array([1, 2], mask=[0, 1])) == leaf(np.ma.array([1, 9], mask=[0, 1]))

    def test_a_mapped_file_is_an_array(self, tmp_path):
        np = self.np
        np.save(tmp_path / "a.npy", np.arange(5.0))
        assert leaf(np.load(tmp_path / "a.npy", mmap_mode="r")) == leaf(np.arange(5.0))
