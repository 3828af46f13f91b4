"""``parsl-ckpt rows``: how far loops have come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.restart import Checkpoint, task_checkpoint

from .conftest import Tell


@pytest.fixture(autouse=True)
def cache(told: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSL_CKPT_CACHE", "cache")


def loop(name: str, path: str | None, steps: int, **metadata: object) -> None:
    with Checkpoint(name, path, "append") as ckpt:
        for step in range(steps):
            ckpt.write(step=step, **metadata)


def test_where_nothing_is_said_programs_and_tasks_are_looked_for(told: Tell) -> None:
    assert "no rows of restart sessions in runinfo or cache" in told("rows")[1]

    @pc.python_app(cache=True)
    def fails(step: int) -> None:
        with task_checkpoint("spin up") as ckpt:
            ckpt.write(step=step)
        raise ValueError("not today")

    with pc.load(pc.Config(run_dir="runinfo", checkpoint_mode="task_exit")):
        assert isinstance(fails(41).exception(), ValueError)
    loop("../a b", None, 3)
    status, out, _ = told("rows")
    assert status == 0
    task, program = out.split("session '../a b' in ")
    assert "session 'spin up' of the task " in task and " 41 " in task
    assert [line.split()[:3] for line in program.splitlines()[4:7]] == [
        ["0", "1", "0"], ["1", "2", "1"], ["2", "3", "2"]
    ]  # fmt: skip
    [row] = [row for row in json.loads(told("rows", "--json")[1]) if row["task"]]
    assert row["session"] == "spin up" and row["metadata"] == {"step": 41}
    assert told("rows", "--run-dir", "runinfo")[1].count("session ") == 1


def test_a_directory_is_one_of_rows_or_has_such(told: Tell, tmp_path: Path) -> None:
    loop("mine", "some/mine", 2, note=b"\0", **{"": [1], "> [bold]x": None})
    loop("other", "some/mine", 1)
    loop("third", "some/[odd]", 1)
    _, out, err = told("rows", "-d", "some/mine")
    assert f"session 'mine' in {tmp_path}/some/mine" in out and not err
    assert "a session in " in out and "> [bold]x" in out  # nothing tells the name of the other
    assert told("rows", "-d", "some")[1].count(" in ") == 3
    rows = json.loads(told("rows", "-d", "some/mine", "--json")[1])
    assert [(row["session"], row["write_count"]) for row in rows] == [
        ("mine", 1), ("mine", 2), (None, 1)
    ]  # fmt: skip
    assert rows[1]["parent"] == rows[0]["row"]
    assert rows[0]["metadata"] == {"step": 0, "note": "b'\\x00'", "": "[1]", "> [bold]x": None}


def test_what_is_not_there_is_named(told: Tell, tmp_path: Path) -> None:
    status, _, err = told("rows", "-d", "nowhere")
    assert status == 1 and "There is no directory nowhere." in err
    assert f"no rows of restart sessions in {tmp_path}" in told("rows", "-d", str(tmp_path))[1]


def test_who_lists_results_where_rows_are_is_told_where_to_look(told: Tell) -> None:
    loop("mine", "mine", 2)
    assert "parsl-ckpt rows -d mine" in told("ls", "-d", "mine")[1]


@pytest.mark.usefixtures("runs")
def test_who_lists_results_where_none_are_rows_is_not(told: Tell) -> None:
    assert "rows" not in told("ls", "--app", "nothing")[1]
