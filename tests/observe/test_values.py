"""By how much two values differ, and where."""

from __future__ import annotations

import dataclasses
import decimal
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.observe.values import deviations


@dataclasses.dataclass
class Point:
    x: float
    name: str = "p"


class Odd:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise RuntimeError


def told(old: Any, new: Any) -> list[str]:
    return [str(one) for one in deviations(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1.0, 1.5, ["value: 1.0 → 1.5 (difference 0.5, relative 0.333)"]),
        (0, -0.0, ["value: 0 → -0.0, int and float (largest difference 0, relative 0)"]),
        (1 + 1j, 1 + 2j, ["value: (1+1j) → (1+2j) (difference 1, relative 0.447)"]),
        ("a", "b", ["value: 'a' → 'b'"]),
        (1, "1", ["value: 1 (int) → '1' (str)"]),
        (True, 1, ["value: True (bool) → 1 (int)"]),
        ({"a": 1}, {"a": 1, "b": 2}, ['["b"]: new; it is 2']),
        ({"a": 1, "b": 2}, {"a": 1}, ['["b"]: gone; it was 2']),
        ([1, [2, 3]], [1, [2, 4]], ["[1][1]: 3 → 4 (difference 1, relative 0.25)"]),
        (Point(1.0), Point(2.0), [".x: 1.0 → 2.0 (difference 1, relative 0.5)"]),
        (None, [], ["value: None (NoneType) → [] (list)"]),
    ],
)
def test_what_differs_is_told(old: Any, new: Any, expected: list[str]) -> None:
    assert told(old, new) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
)


@given(VALUES)
def test_a_value_does_not_differ_from_its_copy(value: Any) -> None:
    import copy

    assert told(value, copy.deepcopy(value)) == []


def test_numbers_beyond_what_floats_hold_are_compared_too() -> None:
    (huge,) = deviations(10**400, 10**400 + 1)
    assert huge.absolute is not None and math.isnan(huge.absolute)
    (one,) = deviations(decimal.Decimal("1.5"), decimal.Decimal("3"))
    assert (one.absolute, one.relative) == (1.5, 0.5)


def test_arrays_are_told_by_their_largest_deviation() -> None:
    np = pytest.importorskip("numpy")
    old = np.array([[1.0, 2.0, np.nan], [4.0, 0.0, 6.0]])
    new = old.copy()
    assert told(old, new) == []
    new[0, 1], new[1, 2] = 2.5, 6.25
    (one,) = deviations({"a": old}, {"a": new})
    assert (one.path, one.absolute) == ('["a"]', 0.5)
    assert one.relative == pytest.approx(0.2)
    assert str(one).startswith('["a"]: 2 of 6 elements differ, the first at [0, 1]')
    assert told(old, old[0]) == ["value: float64 (2, 3) → float64 (3,)"]
    assert told(np.array(["a"]), np.array(["b"])) == ["value: <U1 (1,), other values"]
    (zero,) = deviations(np.array(1), np.array(3))
    assert zero.absolute == 2.0
    (large,) = deviations(np.array([2**63], "u8"), np.array([0], "u8"))
    assert large.absolute == 2.0**63


def test_data_frames_are_compared_as_wholes() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2]})
    assert told(frame, frame.copy()) == []
    assert len(told(frame, frame + 1)) == 1


def test_objects_that_refuse_to_be_compared_or_shown() -> None:
    assert told([Odd()], [Odd()]) == []  # nothing tells them apart
    assert told([Odd()], [1]) == ["[0]: a Odd (Odd) → 1 (int)"]


def test_values_nested_more_deeply_than_sensible_end() -> None:
    old: list[Any] = [1]
    new: list[Any] = [2]
    for _ in range(200):
        old, new = [old], [new]
    assert len(told(old, new)) == 1
    loop: list[Any] = []
    loop.append(loop)
    other: list[Any] = []
    other.append(other)
    assert isinstance(told(loop, other), list)
