"""What comes back of an argument is the argument, or says that it is not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.identity.outline import Node, read_outline
from parsl_ckpt.identity.outlining import outline
from parsl_ckpt.identity.privacy import Privacy
from parsl_ckpt.identity.recover import Abbreviated, argument_of, value_of
from parsl_ckpt.identity.values import Walk, leaf

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.dates(), st.datetimes(), st.timedeltas(), st.decimals(allow_nan=False), st.fractions(),
    st.uuids(), st.complex_numbers(allow_nan=False),
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.text(), inner)
    ),
    max_leaves=20,
)


def found(value, room=260, privacy=None):
    walk = Walk()
    its = walk.leaf(value)
    kept = outline([its], [(0, value, walk)], privacy or Privacy(), room)
    return argument_of(its, read_outline(kept).get(0))


@settings(deadline=None)
@given(VALUES, st.integers(0, 400))
def test_an_argument_comes_back_or_is_abbreviated(value, room):
    back = found(value, room)
    assert isinstance(back, (Abbreviated, str)) or leaf(back) == leaf(value)
    if isinstance(back, str) and not isinstance(back, Abbreviated) and not isinstance(value, str):
        assert len(back) <= 1000  # a description


@given(st.text(max_size=40) | st.text(alphabet="abc/", max_size=180))
def test_a_text_that_there_is_room_for_comes_back(text):
    if len(repr(text).encode("utf-8", "replace")) <= 180:
        assert found(text) == text


@given(st.binary(max_size=64), st.binary(max_size=200))
def test_whatever_the_bytes_are_there_is_an_answer(data, kept):
    node = read_outline(kept).get(0)
    argument_of(data, node if isinstance(node, Node) else None)
    value_of(data)


@given(st.binary(max_size=38))
def test_a_hostile_leaf_allocates_nothing(data):
    for tag in (b"v", b"[", b"(", b"{", b"g"):
        value_of(tag + data)


@pytest.mark.parametrize(
    "parts",
    [["bytearray", 1 << 62], ["Fraction", "1e99999999", 1], ["range", "x"], ["date", "yesterday"]],
)
def test_parts_that_no_value_gave_are_no_value(parts):
    made = b"v" + b"".join(bytes([len(one)]) + one for one in map(leaf, parts))
    assert value_of(made) == (False, None)


def test_a_deep_outline_is_no_value():
    import msgspec

    deep: object = 1
    for _ in range(400):
        deep = [1, deep]
    node = read_outline(msgspec.msgpack.encode([0, deep])).get(0)
    assert type(argument_of(bytes([0xDB]) + bytes(32), node)) is Abbreviated


def test_a_nan_comes_back_as_one():
    assert math.isnan(found(math.nan))


def test_hidden_values_do_not_come_back():
    hidden = Privacy(previews=False)
    assert type(argument_of(hidden.shown([leaf(5)])[0])) is Abbreviated
    assert type(found("x" * 100, privacy=hidden)) is Abbreviated
