"""Finding futures in arguments, and putting values in their places."""

from __future__ import annotations

import builtins
import copy
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.kernel.arguments import gather, substitute

Point = namedtuple("Point", "x y")


class Ordered(OrderedDict):
    """One of the user's own, of which nobody knows how it is made."""


HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=6,
)
NESTED = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


def same(one, other):
    """Equal, of the same types all through, and shared in the same places."""
    seen = {}

    def walk(a, b):
        if type(a) is not type(b):
            return False
        if id(a) in seen:
            return seen[id(a)] == id(b)
        if isinstance(a, (list, dict, set)):
            seen[id(a)] = id(b)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(walk, a, b))
        if isinstance(a, dict):
            return list(a) == list(b) and all(map(walk, a.values(), b.values()))
        return a == b

    return walk(one, other)


@given(st.lists(NESTED, max_size=4).map(tuple), st.dictionaries(st.text(), NESTED, max_size=3))
def test_arguments_without_futures_come_through_unchanged(args, kwargs):
    before = copy.deepcopy((args, kwargs))
    found = gather(args, kwargs)
    assert found.futures == ()
    assert not found.opaque
    assert same((found.args, found.kwargs), (args, kwargs))
    assert same(substitute(found.args, found.kwargs, {}), (args, kwargs))
    assert same(before, (args, kwargs)), "the originals were changed"


@given(NESTED)
def test_what_the_caller_does_to_a_container_later_is_not_seen(value):
    inner = [value]
    outer = {"a": inner, "b": (inner, {1, 2})}
    found = gather((outer,), {"k": inner})
    expected = copy.deepcopy(outer)
    inner.append("later")
    outer["c"] = 1
    assert found.args[0] == expected
    assert found.kwargs["k"] == expected["a"]


@given(NESTED, st.integers(0, 5))
def test_futures_are_found_at_any_depth_and_replaced(value, depth):
    future = Future()
    nested = future
    for level in range(depth):
        nested = [[nested], (nested,), {"k": nested}, Point(1, nested), [value, nested]][level % 5]
    found = gather((value, nested), {"again": nested})
    assert found.futures == (future,)
    assert not found.opaque
    args, kwargs = substitute(found.args, found.kwargs, {future: "here"})
    assert gather(args, kwargs).futures == ()
    assert "here" in repr(args[1])
    assert kwargs["again"] == args[1]


def test_futures_in_dict_keys_and_sets_are_found():
    one, two, three = Future(), Future(), Future()
    found = gather(({one: 1}, {two}, frozenset([three])), {})
    assert set(found.futures) == {one, two, three}
    args, _ = substitute(found.args, {}, {one: "a", two: "b", three: "c"})
    assert args == ({"a": 1}, {"b"}, frozenset("c"))


def test_futures_come_once_each_in_the_order_of_their_appearance():
    one, two = Future(), Future()
    assert gather(([two, one], two), {"k": one}).futures == (two, one)


def test_shared_containers_stay_shared():
    shared = [1, Future()]
    args = gather((shared, {"k": shared}, (shared,)), {}).args
    assert args[0] is args[1]["k"] is args[2][0]
    assert args[0] is not shared


def test_cycles_are_copied_as_cycles():
    ring = [1]
    ring.append(ring)
    knot = {"ring": ring}
    knot["self"] = knot
    (copied, copied_knot) = gather((ring, knot), {}).args
    assert copied is not ring and copied[1] is copied
    assert copied_knot["self"] is copied_knot and copied_knot["ring"] is copied
    future = Future()
    loop = [future]
    loop.append(loop)
    found = gather((loop,), {})
    (filled,), _ = substitute(found.args, {}, {future: 5})
    assert filled[0] == 5 and filled[1] is filled


def test_a_tuple_in_a_cycle_does_not_recurse_for_ever():
    inner = []
    ring = (inner, 1)
    inner.append(ring)
    (copied,) = gather((ring,), {}).args
    assert copied[1] == 1 and copied[0] is not inner


def test_named_tuples_keep_their_type():
    future = Future()
    found = gather((Point(future, [2]),), {})
    (point,), _ = substitute(found.args, {}, {future: 1})
    assert point == Point(1, [2]) and type(point) is Point


def test_other_objects_pass_as_they_are_and_make_the_call_opaque():
    thing, ordered = object(), Ordered(a=1)
    found = gather(([thing], ordered), {})
    assert found.opaque
    assert found.args[0][0] is thing
    assert found.args[1] is ordered
    more = OrderedDict(a=1)
    more.note = "beside its items"
    assert gather((more,), {}).args[0] is more


def test_futures_are_found_in_the_containers_of_collections():
    future = Future()
    groups = defaultdict(list, {"a": [future]})
    ring = deque([future, 1], maxlen=2)
    found = gather((groups, OrderedDict(b=future, a=ring)), {})
    assert found.futures == (future,)
    groups["a"].append(2)
    ring.append(2)
    (filled, ordered), _ = substitute(found.args, {}, {future: 5})
    assert filled == {"a": [5]} and filled.default_factory is list
    assert type(ordered) is OrderedDict and list(ordered) == ["b", "a"]
    assert ordered == {"b": 5, "a": deque([5, 1])} and ordered["a"].maxlen == 2


def test_values_of_futures_are_not_copied():
    future, value = Future(), [1]
    found = gather(([future],), {})
    (filled,), _ = substitute(found.args, {}, {future: value})
    assert filled[0] is value


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there is no frozendict")
def test_futures_in_a_frozendict_are_found():
    frozendict, future = builtins.frozendict, Future()
    plain, found = frozendict(a=1), gather(([frozendict(a=[future])],), {"b": {1: frozendict()}})
    assert found.futures == (future,) and not found.opaque
    (made,), _ = substitute(found.args, found.kwargs, {future: 3})
    assert made == [frozendict(a=[3])] and type(made[0]) is frozendict
    assert gather((plain,), {}).args == (plain,)
