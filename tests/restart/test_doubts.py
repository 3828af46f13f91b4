"""What a restart does not bring back as it is: told once, when it is first committed."""

from __future__ import annotations

import datetime as dt
import functools
import random
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.restart import Checkpoint, session


@dataclass
class Heat:
    u: Any = None
    inner: Any = None


@dataclass(frozen=True)
class Fixed:
    x: int = 0


@dataclass
class Noise:
    rng: Any = None


@dataclass
class Counted:
    value: int = 0
    steps = 0  # without a type: no field

    def __post_init__(self):
        self.table = [1, 2, 3]

    @functools.cached_property
    def square(self):
        return self.value**2


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    monkeypatch.setattr(session, "_told", set())


def told(path, *states, change=lambda: None, rounds=1, **options):
    """What is told of states that are changed and committed, round after round."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(rounds):
            with Checkpoint("run", path, **options) as ckpt:
                for number, state in enumerate(states):
                    ckpt.bind(state, state_key=str(number))
                change()
                ckpt.write(), ckpt.write()
    assert all(one.category is CheckpointWarning for one in seen)
    return [str(one.message) for one in seen]


def test_a_view_of_another_field_is_told_of_once(tmp_path):
    u = np.zeros(100)
    [text] = told(tmp_path, Heat(u, u[1:-1]), rounds=3)
    assert "'u' of" in text and "'inner' of" in text and "share memory" in text


def test_a_view_in_another_state_is_told_of_as_well(tmp_path):
    u = np.zeros((8, 8))
    [text] = told(tmp_path, Heat(u.T), Heat(u[:, 3]))
    assert "Heat[0]" in text and "Heat[1]" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda u: Heat(u, u),  # comes back as one
        lambda u: Heat(u[0], u[1]),
        lambda u: Heat(u[:, ::2], u[:, 1::2]),
        lambda u: Heat(u, u[1:-1].copy()),
        lambda u: Heat(u[:0], u[:0]),
        lambda u: Heat(np.float64(1), None),
    ],
)
def test_what_comes_back_as_it_is_is_not_told_of(tmp_path, make):
    assert told(tmp_path, make(np.zeros((8, 8)))) == []


def test_a_state_that_was_restored_shares_nothing(tmp_path):
    told(tmp_path, Heat(np.zeros(9000), np.zeros(9000)))
    assert told(tmp_path, Heat(), Heat()) == []


@pytest.mark.parametrize("shared", [random.Random(1), np.random.default_rng(1), [], {}, Heat()])
def test_one_object_in_two_states_is_told_of(tmp_path, shared):
    [text] = told(tmp_path, Noise(shared), Noise(shared))
    assert "'rng' of" in text and "hold one object" in text
    assert told(tmp_path, Noise(shared), Noise(shared), level=0) == []


@pytest.mark.parametrize(
    "shared",
    [
        None, 3, "text", (1, 2), np.float64(1), np.dtype("f8"), 1.5, np.datetime64("2024-01-01"),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), dt.timezone.utc, dt.time(1), Fixed(),
        Path("a"), frozenset({1}),
    ],
)  # fmt: skip
def test_what_cannot_change_may_be_in_two_states(tmp_path, shared):
    assert told(tmp_path, Noise(shared), Noise(shared)) == []


def test_an_attribute_that_is_no_field_is_told_of(tmp_path):
    counted = Counted()

    def change():
        counted.steps += 1
        counted.table[0] = counted.square  # which the program makes anew
        counted._scratch = 1

    [text] = told(tmp_path, counted, change=change)
    assert "no fields" in text and "steps" in text and "steps: ..." in text
    assert not any(name in text for name in ("table", "square", "_scratch"))


def test_a_class_without_a_dictionary_has_fields_alone(tmp_path):
    @dataclass(slots=True)
    class Slotted:
        value: list = field(default_factory=list)

    assert told(tmp_path, Slotted()) == []
