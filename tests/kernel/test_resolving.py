"""Where futures are found among arguments: anywhere, at the top alone, where a plug-in looks."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

import pytest

from parsl_ckpt.config import Config
from parsl_ckpt.errors import ConfigurationError, DependencyError, UnidentifiableValueError
from parsl_ckpt.kernel import resolving
from parsl_ckpt.kernel.resolving import (
    DEEP_DEPENDENCY_RESOLVER,
    SHALLOW_DEPENDENCY_RESOLVER,
    DependencyResolver,
    Plugged,
    Resolving,
    Shallow,
    resolving_of,
)
from tests.kernel.helpers import Rig, outcome, spec_of


class Box:
    """Something of the user's that a future may be in."""

    def __init__(self, content):
        self.content = content


BOXES = DependencyResolver(
    lambda value: [value.content] if isinstance(value, Box) else [],
    lambda value: value.content.result() if isinstance(value, Box) else value,
)


def same(x):
    return x


def more(x):
    return x + 1


def kinds(x, inputs=()):
    return type(x).__name__, [type(one).__name__ for one in inputs]


def fail(x):
    raise ValueError(f"first {x}")


SAME, MORE = spec_of(same), spec_of(more)
PLAIN, FAIL = spec_of(same, cache=False), spec_of(fail, cache=False)
KINDS = spec_of(kinds, cache=False)


@pytest.fixture
def rig_with():
    rigs = []

    def make(resolver, **options):
        rigs.append(Rig(dependency_resolver=resolver, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        assert rig.end() == []


@pytest.mark.parametrize("resolver", [None, DEEP_DEPENDENCY_RESOLVER])
@pytest.mark.parametrize("spec", [SAME, PLAIN])
def test_futures_in_containers_are_found_at_any_depth(rig_with, resolver, spec):
    rig = rig_with(resolver)
    future = rig.call(spec, {"a": [rig.call(spec, 1), (rig.call(spec, 2),)]})
    rig.run()
    assert outcome(future) == {"a": [1, (2,)]}


def test_the_shallow_one_passes_on_futures_inside_containers(rig_with):
    rig = rig_with(SHALLOW_DEPENDENCY_RESOLVER)
    one = rig.call(PLAIN, 1)
    inside, beside = rig.call(PLAIN, [one]), rig.call(KINDS, one)
    rig.run()
    assert outcome(inside) == [one]
    assert outcome(beside) == ("int", [])


def test_a_future_may_be_an_argument_and_inside_another(rig_with):
    rig = rig_with(SHALLOW_DEPENDENCY_RESOLVER)
    one = rig.call(PLAIN, 1)
    both = rig.call(spec_of(lambda x, more: (x, more), cache=False, name="both"), one, [one])
    rig.run()
    assert outcome(both) == (1, [one])


def test_the_shallow_one_takes_the_items_of_inputs(rig_with):
    rig = rig_with(SHALLOW_DEPENDENCY_RESOLVER)
    one = rig.call(PLAIN, 1)
    future = rig.call(KINDS, one, inputs=[one, [one]])
    rig.run()
    assert outcome(future) == ("int", ["int", "list"])


def test_the_shallow_one_finds_by_lineage(rig_with):
    rig = rig_with(SHALLOW_DEPENDENCY_RESOLVER)
    rig.call(SAME, rig.call(MORE, 1))
    assert rig.run() == 2
    later = rig.again("later", dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER)
    future = later.call(SAME, later.call(MORE, 1))
    assert outcome(future) == 2 and future.from_memo
    assert later.run() == 0
    later.end()


def test_a_cached_call_with_a_future_that_is_passed_on_is_refused(rig_with):
    rig = rig_with(SHALLOW_DEPENDENCY_RESOLVER)
    future = rig.call(SAME, [rig.call(PLAIN, 1)])
    rig.run()
    assert isinstance(future.exception(), UnidentifiableValueError)


def test_what_a_plug_in_finds_is_waited_for_and_unwrapped(rig_with):
    rig = rig_with(BOXES)
    future = rig.call(PLAIN, Box(rig.call(PLAIN, [1])))
    rig.run()
    assert outcome(future) == [1]


def test_calls_that_a_plug_in_resolves_are_cached_by_their_values(rig_with):
    rig = rig_with(BOXES)
    rig.call(SAME, Box(rig.call(PLAIN, [1])))
    assert rig.run() == 2
    later = rig.again("later", dependency_resolver=BOXES)
    other = later.call(SAME, Box(later.call(PLAIN, [1])))
    different = later.call(SAME, Box(later.call(PLAIN, [2])))
    assert later.run() == 3, "the two that are not cached, and the one that is new"
    assert (outcome(other), other.from_memo) == ([1], True)
    assert (outcome(different), different.from_memo) == ([2], False)
    assert later.kernel.calls.peek(SAME, (Box(other),), {}).result() == [1]
    later.end()


def test_a_plug_in_may_unwrap_what_holds_no_future(rig_with):
    rig = rig_with(DependencyResolver(lambda value: [], lambda value: value * 2))
    future = rig.call(PLAIN, 3)
    cached = rig.call(SAME, 3)
    rig.run()
    assert (outcome(future), outcome(cached)) == (6, 6)


def test_a_failure_that_a_plug_in_finds_is_a_dependency_error(rig_with):
    rig = rig_with(BOXES)
    future = rig.call(PLAIN, Box(rig.call(FAIL, 1)))
    rig.run()
    assert isinstance(future.exception(), DependencyError)
    assert future.task_status() == "dep_fail"


@pytest.mark.parametrize("where", ["gather", "unwrap"])
def test_what_a_plug_in_raises_is_the_calls_failure(rig_with, where):
    def broken(value):
        raise KeyError(where)

    steps = {"gather": lambda value: [], "unwrap": lambda value: value, where: broken}
    rig = rig_with(DependencyResolver(steps["gather"], steps["unwrap"]))
    future = rig.call(PLAIN, 1)
    rig.run()
    assert isinstance(future.exception(), KeyError)


@pytest.mark.parametrize("given", [3, None, [3], "text"])
def test_a_plug_in_that_gives_no_futures_is_named(rig_with, given):
    rig = rig_with(DependencyResolver(lambda value: given, lambda value: value))
    future = rig.call(PLAIN, 1)
    rig.run()
    error = future.exception()
    assert isinstance(error, ConfigurationError) and error.field == "dependency_resolver"
    assert "traverse_to_gather gave" in error.message and error.hint


def test_the_ready_made_ones_are_done_our_way_until_types_are_registered(monkeypatch):
    assert type(resolving_of(DEEP_DEPENDENCY_RESOLVER)) is Resolving
    assert type(resolving_of(SHALLOW_DEPENDENCY_RESOLVER)) is Shallow
    counted = resolving._types(DEEP_DEPENDENCY_RESOLVER)
    monkeypatch.setattr(resolving, "_types", lambda resolver: counted + 1)
    assert type(resolving_of(DEEP_DEPENDENCY_RESOLVER)) is Plugged


class Pair(NamedTuple):
    one: object
    two: object


def test_the_functions_of_the_ready_made_ones_can_be_called():
    done, other = Future(), Future()
    done.set_result(1)
    other.set_result(2)
    deep, shallow = DEEP_DEPENDENCY_RESOLVER, SHALLOW_DEPENDENCY_RESOLVER
    for value, futures, plain in [
        ([done, {"a": other}], [done, other], [1, {"a": 2}]),
        (Pair(done, {other}), [done, other], Pair(1, {2})),
        ({done: (other,), "b": frozenset({done})}, [done, other, done], {1: (2,), "b": {1}}),
        (done, [done], 1),
        ("text", [], "text"),
    ]:
        assert list(deep.traverse_to_gather(value)) == futures
        assert deep.traverse_to_unwrap(value) == plain
    assert list(shallow.traverse_to_gather([done])) == []
    assert list(shallow.traverse_to_gather(done)) == [done]
    assert shallow.traverse_to_unwrap(done) == 1
    assert shallow.traverse_to_unwrap([done]) == [done]


def test_a_resolver_that_is_none_is_refused_by_the_configuration():
    with pytest.raises(ConfigurationError, match="dependency_resolver"):
        Config(dependency_resolver=lambda value: value)
