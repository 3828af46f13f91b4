"""Parsl's keys: those that Parsl itself has given to the same calls, to the byte."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parsl_ckpt.identity.parsl_key import ParslApp

COUNT = 87


def keys(fixtures: Path) -> list[str | None]:
    found: list[str | None] = json.loads((fixtures / "keys.json").read_text())["keys"]
    return found


@pytest.mark.parametrize("number", range(COUNT))
def test_a_call_has_the_key_that_parsl_gave_it(
    number: int, calls: ModuleType, fixtures: Path
) -> None:
    function, args, kwargs, ignored, bash = calls.CALLS[number]
    app = ParslApp.of(function, ignored, bash)
    assert app is not None
    automatic = [name for name, value in kwargs.items() if value is calls.AUTO]
    key = app.key(args, kwargs, automatic, 4)
    assert (key and key.hex()) == keys(fixtures)[number]


def test_all_calls_are_tried(calls: ModuleType, fixtures: Path) -> None:
    given = keys(fixtures)
    assert len(calls.CALLS) == len(given) == COUNT
    assert sum(key is None for key in given) > 10  # what Parsl refuses is among them
    known = [key for key in given if key is not None]
    assert len(set(known)) >= len(known) - 5  # to Parsl a list and a tuple are one


def plain(x: Any) -> Any:
    return x


def test_the_protocol_counts() -> None:
    app = ParslApp.of(plain)
    assert app is not None
    assert len({app.key((1,), {}, (), protocol) for protocol in (2, 3, 4, 5)}) == 4


def test_what_parsl_cannot_make_an_app_of_has_no_key() -> None:
    class Callable:
        def __call__(self) -> None: ...

    assert ParslApp.of(functools.partial(plain, 1), bash=True) is None
    # A Python app of it would have the wrapper's name.
    found = ParslApp.of(Callable())
    assert found is None or found.name == "wrapper"


def test_a_function_that_raises_means_no_key(calls: ModuleType) -> None:
    app = ParslApp.of(plain)
    assert app is not None
    mark = calls.Mark("x")
    assert app.key((mark,), {}) is not None
    mark.name = None  # the registered function fails with it
    assert app.key((mark,), {}) is None
