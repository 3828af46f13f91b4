"""What is wrong with components together, and in which order they run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.pipeline.graph import Node, circles, faults, order


def told(*nodes: Node) -> list[tuple[int, str, str]]:
    return [tuple(fault) for fault in faults(nodes)]  # type: ignore[misc]


def test_nothing_is_wrong_with_a_diamond():
    assert told(Node("d", ["b", "c"]), Node("b", ["a"]), Node("c", ["a"]), Node("a")) == []


def test_a_duplicate_name_says_who_has_it_already():
    assert told(Node("a"), Node("a")) == [
        (1, "name", "has the name 'a', which components[0] has already")
    ]


def test_an_unknown_dependency_is_told_with_what_may_be_meant():
    assert told(Node("extract"), Node("load", ["extrct"])) == [
        (
            1, "depends_on[0]",
            "is 'extrct', which is no component of this pipeline; is 'extract' meant?",
        )
    ]  # fmt: skip


def test_a_duplicate_dependency_is_said_as_such_and_is_no_circle():
    assert told(Node("a"), Node("b", ["a", "a"])) == [
        (1, "depends_on[1]", "names 'a' a second time")
    ]


def test_a_circle_is_told_with_its_path():
    assert told(Node("a"), Node("b", ["d"]), Node("c", ["b"]), Node("d", ["c", "a"])) == [
        (1, "depends_on", "is in a circle of dependencies: b -> d -> c -> b")
    ]


def test_a_component_that_depends_on_itself_is_a_circle():
    assert told(Node("a", ["a"])) == [(0, "depends_on", "is in a circle of dependencies: a -> a")]


def test_each_knot_is_told_once():
    assert circles([Node("a", ["b"]), Node("b", ["a"]), Node("c", ["d"]), Node("d", ["c"])]) == [
        ["a", "b"], ["c", "d"],
    ]  # fmt: skip


def test_a_long_chain_takes_no_recursion():
    nodes = [Node(str(n), [str(n - 1)] if n else []) for n in range(5000)]
    random.Random(1).shuffle(nodes)
    assert faults(nodes) == []
    assert order(nodes) == [str(n) for n in range(5000)]


def test_the_order_is_that_of_the_list_where_dependencies_allow_it():
    assert order([Node("z"), Node("load", ["a"]), Node("a"), Node("b")]) == ["z", "a", "load", "b"]


graphs = st.integers(1, 7).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, n - 1), max_size=3, unique=True), min_size=n, max_size=n
    )
)


@given(graphs)
def test_there_is_an_order_or_a_circle_and_never_both(edges):
    nodes = [Node(str(n), [str(to) for to in of]) for n, of in enumerate(edges)]
    found = order(nodes)
    if circles(nodes):
        assert len(found) < len(nodes)
        for circle in circles(nodes):
            after = [*circle[1:], circle[0]]
            depends = {node.name: node.depends_on for node in nodes}
            assert all(b in depends[a] for a, b in zip(circle, after, strict=True))
    else:
        assert sorted(found) == sorted(node.name for node in nodes)
        for node in nodes:
            assert all(found.index(name) < found.index(node.name) for name in node.depends_on)


@pytest.mark.parametrize("nodes", [[], [Node("a")]])
def test_small_pipelines(nodes):
    assert faults(nodes) == []
    assert order(nodes) == [node.name for node in nodes]
