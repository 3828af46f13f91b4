"""What is said when code that is passed, or the class of what is passed, is another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import parsl_ckpt as pc


def one() -> Any:
    @dataclasses.dataclass
    class Setting:
        x: int = 1

    return Setting


def other() -> Any:
    @dataclasses.dataclass(order=True)
    class Setting:
        x: int = 1

    return Setting


def stepper(size: int) -> Any:
    class Stepper:
        def __init__(self) -> None:
            self.n = 1

        def step(self) -> int:
            return self.n + size

    return Stepper


Setting = one()


@pc.python_app(cache=True)
def take(value: Any) -> int:
    return 0


@pc.python_app(cache=True)
def reach() -> Any:
    return Setting().x


def told(directory: Path, *values: Any) -> list[str]:
    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=str(directory))):
        for value in values:
            future = take(value)
            future.result()
        return str(future.why()).splitlines()[1:]


def test_a_function(tmp_path: Path) -> None:
    expected = ["  value: another function, or other code of it"]
    assert told(tmp_path, lambda x: x + 1, lambda x: x + 2) == expected


def test_a_class(tmp_path: Path) -> None:
    expected = ["  value: another class, or other code of it"]
    assert told(tmp_path, stepper(1), stepper(2)) == expected


def test_an_object_of_a_class_with_other_code(tmp_path: Path) -> None:
    assert told(tmp_path, stepper(1)(), stepper(2)()) == [
        "  value: Stepper(n=1), the same attributes; most likely its class has other code"
    ]


def test_a_decorated_class_is_called_a_class(tmp_path: Path, monkeypatch: Any) -> None:
    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=str(tmp_path))):
        reach().result()
        monkeypatch.setitem(globals(), "Setting", other())
        future = reach()
        future.result()
        assert {one.kind for one in future.why().differences} == {"class"}
