"""Schemas: what has changed is named, what has only been spelled differently is not a change."""

# ruff: noqa: UP006, UP007, UP035, UP045 (types are spelled in every way here)

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import typing
from typing import Annotated, Any, Dict, Final, List, Literal, NewType, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.errors import CheckpointStateSchemaError
from parsl_ckpt.restart import Checkpoint, schema


class Mode(enum.Enum):
    FAST = 1


@dataclasses.dataclass
class Inner:
    a: int = 0


Meters = NewType("Meters", float)
T = typing.TypeVar("T", bound=int)

#: Types that are one, however they are spelled; no two rows are.
SPELLINGS: list[list[Any]] = [
    [int, Annotated[int, "any"], T],
    [float, Meters],
    [Optional[int], Union[int, None], Union[None, int], int | None, None | int],
    [List[int], list[int], List[Annotated[int, 1]]],
    [list, List, list[Any], List[Any]],
    [Dict[str, float], dict[str, float], Dict[str, Meters]],
    [dict, Dict, dict[Any, Any]],
    [Tuple[int, ...], tuple[int, ...]],
    [Tuple[int, str], tuple[int, str]],
    [tuple, Tuple, tuple[Any, ...]],
    [Union[int, str, None], Optional[Union[str, int]], int | (None | str)],
    [Literal["a", "b"], Literal["b", "a"]],
    [Inner], [Optional[Inner], Inner | None], [list[Inner], List[Inner]],
    [Mode], [bytes], [complex],
    [collections.abc.Sequence[int], typing.Sequence[int]],
    [np.ndarray],
    [npt.NDArray[np.float64], np.ndarray[Any, np.dtype[np.float64]]],
    [npt.NDArray[np.int32]],
]  # fmt: skip


def of(kind, default=dataclasses.MISSING, name="f"):
    """A dataclass with one field of a type."""
    field = (
        dataclasses.field()
        if default is dataclasses.MISSING
        else dataclasses.field(default=default)
    )
    return dataclasses.make_dataclass("State", [(name, kind, field)])


def tree(kind):
    return schema.loads(schema.dumps(schema.describe(kind)))


@pytest.mark.parametrize("number", range(len(SPELLINGS)))
def test_a_type_is_one_however_it_is_spelled(number):
    marks = {schema.dumps(schema.describe(of(kind))) for kind in SPELLINGS[number]}
    assert len(marks) == 1
    for other, spellings in enumerate(SPELLINGS):
        if other != number:
            assert schema.dumps(schema.describe(of(spellings[0]))) not in marks


def test_annotations_that_are_text_are_the_types_that_they_name():
    source = """
import dataclasses, typing, numpy as np
{0}
@dataclasses.dataclass
class Leaf:
    n: int = 0
@dataclasses.dataclass
class State:
    a: typing.Optional[typing.List[Leaf]] = None
    b: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    c: np.ndarray = None
    d: typing.ClassVar[int] = 3
"""
    trees = []
    for head in ("", "import __future__"):
        flags = 0 if not head else __import__("__future__").annotations.compiler_flag
        space: dict[str, Any] = {"__name__": f"made_by_a_test{len(head)}"}
        import sys
        import types

        module = types.ModuleType(space["__name__"])
        sys.modules[module.__name__] = module
        try:
            exec(
                compile(source.format(head), "s", "exec", flags, dont_inherit=True), module.__dict__
            )
            trees.append(schema.dumps(schema.describe(module.State)))
        finally:
            del sys.modules[module.__name__]
    assert trees[0] == trees[1] and b'"d"' not in trees[0]


def test_a_class_may_hold_itself():
    @dataclasses.dataclass
    class Node:
        value: int = 0
        next: Optional[Node] = None
        others: list[Node] = dataclasses.field(default_factory=list)

    found = tree(Node)
    assert schema.changes(found, found) == []
    assert found[1]["next"][0] == ["union", "None", ["up", 0]] or ["up", 0] in found[1]["next"][0]


CHANGES = [
    (of(int), of(str), ["field f was int and is str"]),
    (of(int), of(float), ["field f was int and is float"]),
    (of(int), of(bool), ["field f was int and is bool"]),
    (of(list[int]), of(list[str]), ["field f was list[int] and is list[str]"]),
    (of(int | None), of(int), ["field f was None | int and is int"]),
    (of(npt.NDArray[np.float64]), of(npt.NDArray[np.float32]), ["ndarray[float64]"]),
    (of(int), of(int, name="g"), ["f was removed (or renamed to g)", "g is new"]),
    (of(int), of(int, default=1, name="g"), ["field f was removed (or renamed to g)"]),
    (of(int), of(str, default="", name="g"), ["field f was removed"]),
    (of(of(int)), of(of(str)), ["field f.f was int and is str"]),
    (of(list[of(int)]), of(list[of(int, name="g")]), ["field f.f was removed", "field f.g is new"]),
    (of(dict[str, of(int)]), of(dict[str, int]), ["field f was dict[str, a dataclass with f]"]),
    (of(Literal["a", "b"]), of(Literal["a"]), ["Literal['a', 'b'] and is Literal['a']"]),
    (of(Mode), of(int), ["field f was Mode and is int"]),
    (of(tuple[int, str]), of(tuple[int]), ["field f was tuple[int, str] and is tuple[int]"]),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_has_changed_is_named(number):
    then, now, told = CHANGES[number]
    found = schema.changes(tree(then), tree(now))
    assert found, "no change was seen"
    for part in told:
        assert any(part in sentence for sentence in found), found


ALLOWED = [
    (of(int), of(int | None)),
    (of(int), of(Any)),
    (of(Any), of(int)),
    (of(int), of(object)),
    (of(list), of(list[int])),
    (of(list[int]), of(list[int | str])),
    (of(Literal["a"]), of(Literal["a", "b"])),
    (of(of(int)), of(of(int) | None)),
    (of(int), dataclasses.make_dataclass("S", [("f", int), ("g", int, 3)])),
    (of(int), dataclasses.make_dataclass("S", [("g", list, dataclasses.field(default_factory=list)),
                                               ("f", int, 0)])),
    (dataclasses.make_dataclass("S", [("a", int), ("b", str)]),
     dataclasses.make_dataclass("S", [("b", str), ("a", int)])),
    (of("Nowhere"), of(int)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_what_still_fits_is_no_change(number):
    then, now = ALLOWED[number]
    assert schema.changes(tree(then), tree(now)) == []


types_ = st.recursive(
    st.sampled_from([int, str, float, bytes, bool, Inner, Mode, np.ndarray]),
    lambda inner: (
        inner.map(lambda one: list[one])
        | inner.map(lambda one: Optional[one])
        | inner.map(lambda one: tuple[one, ...])
        | st.tuples(inner, inner).map(lambda both: dict[both[0], both[1]])
        | st.tuples(inner, inner).map(lambda both: Union[both[0], both[1]])
        | inner.map(of)
    ),
    max_leaves=4,
)
fields = st.dictionaries(st.sampled_from("abcdef"), types_, min_size=1)


def made(spec, optional=()):
    return dataclasses.make_dataclass(
        "State",
        [(name, kind, dataclasses.field(default=None, kw_only=True) if name in optional
          else dataclasses.field(kw_only=True)) for name, kind in spec.items()],
    )  # fmt: skip


@given(fields, fields, st.sets(st.sampled_from("abcdef")))
@settings(max_examples=60)
def test_each_field_that_does_not_fit_is_named_and_no_other(then, now, optional):
    wrong = {name for name in then if name not in now}
    wrong |= {name for name in now if name not in then and name not in optional}
    for name in then.keys() & now.keys():
        if schema.changes(tree(of(then[name])), tree(of(now[name]))):
            wrong.add(name)
    found = schema.changes(tree(made(then)), tree(made(now, optional)))
    assert {sentence.split()[1].partition(".")[0] for sentence in found} == wrong


@given(fields)
@settings(max_examples=40)
def test_the_same_fields_are_never_a_change(spec):
    assert schema.changes(tree(made(spec)), tree(made(dict(reversed(spec.items()))))) == []


# --- restoring ------------------------------------------------------------------------------------


def restored(path, then, now):
    with Checkpoint("run", path) as ckpt:
        ckpt.bind(then)
        ckpt.write()
    with Checkpoint("run", path) as ckpt:
        return ckpt.bind(now)


def test_a_field_with_a_default_may_be_added(tmp_path):
    then = dataclasses.make_dataclass("State", [("u", int)])
    now = dataclasses.make_dataclass(
        "State",
        [("u", int), ("v", str, "new"), ("w", list, dataclasses.field(default_factory=list))],
    )
    state = restored(tmp_path, then(5), now(0))
    assert (state.u, state.v, state.w) == (5, "new", [])


def test_a_field_with_a_default_may_be_added_to_what_is_nested(tmp_path):
    inner = dataclasses.make_dataclass("Inner", [("x", int)])
    more = dataclasses.make_dataclass("Inner", [("x", int), ("y", int, 9)])
    then = dataclasses.make_dataclass("State", [("one", inner), ("all", dict[str, list[inner]])])
    now = dataclasses.make_dataclass("State", [("one", more), ("all", dict[str, list[more]])])
    state = restored(tmp_path, then(inner(1), {"k": [inner(2)]}), now(more(0), {}))
    assert type(state.one) is more and (state.one.x, state.one.y) == (1, 9)
    assert state.all == {"k": [more(2, 9)]}


def test_what_does_not_fit_leaves_the_instance_as_it_was(tmp_path):
    then = dataclasses.make_dataclass("State", [("u", int), ("gone", int), ("same", str)])
    now = dataclasses.make_dataclass("State", [("u", str), ("same", str), ("needed", int)])
    instance = now("u", "same", 3)
    with pytest.raises(CheckpointStateSchemaError) as caught:
        restored(tmp_path, then(1, 2, "saved"), instance)
    assert instance == now("u", "same", 3)
    error = caught.value
    assert error.state.endswith("State") and len(error.changes) == 3
    for told in ("field u was int and is str", "field gone was removed", "field needed is new"):
        assert told in str(error)


def test_an_enum_that_lost_its_member_is_named(tmp_path):
    then, now = enum.Enum("Mode", ["A", "B"]), enum.Enum("Mode", ["A"])
    for kind in (then, now):
        kind.__qualname__ = "f.<locals>.Mode"
    with pytest.raises(CheckpointStateSchemaError, match="no member B"):
        restored(tmp_path, of(then)(then.B), of(now)(now.A))


def test_final_and_class_variables_are_as_one_expects(tmp_path):
    @dataclasses.dataclass
    class State:
        steps: Final[int] = 3
        shared: typing.ClassVar[int] = 9
        given: dataclasses.InitVar[int] = 0

    state = restored(tmp_path, State(5), State())
    assert state.steps == 5
