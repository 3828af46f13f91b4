"""Input files that change under a call: its result is not filed under what they were."""

from __future__ import annotations

import os
import threading

import pytest

import parsl_ckpt as pc

DEADLINE = 60


@pc.python_app(cache=True, code="function")
def write(text, outputs=()):
    with open(outputs[0], "w") as opened:
        opened.write(text)


class Gate:
    """Holds calls between their beginning and their reading."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()


gate = Gate()


@pc.python_app(cache=True, code="name")
def read_late(file):
    gate.begun.set()
    assert gate.go.wait(DEADLINE)
    while isinstance(file, (list, dict)):
        file = file[0]
    with open(file) as opened:
        return opened.read()


WAYS = {
    "a file": lambda path, future: pc.File(path),
    "a future": lambda path, future: future.outputs[0],
    "a list of them": lambda path, future: [[pc.File(path)]],
    "a future in a dictionary": lambda path, future: {0: future.outputs[0]},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_read_of_a_file_that_changed_meanwhile_is_not_recorded(run, tmp_path, way):
    gate.__init__()
    path = tmp_path / "a"
    with run():
        made = write("abc", outputs=[pc.File(path)])
        made.result(DEADLINE)
        future = read_late(WAYS[way](path, made))
        assert gate.begun.wait(DEADLINE)
        path.write_text("other")
        gate.go.set()
        with pytest.warns(pc.CheckpointWarning, match="an input file of read_late"):
            assert future.result(DEADLINE) == "other"
            pc.dfk().wait_for_current_tasks()
    path.write_text("abc")
    with run():
        future = read_late(WAYS[way](path, write("abc", outputs=[pc.File(path)])))
        assert (future.result(DEADLINE), future.from_memo) == ("abc", False)
    with run():
        future = read_late(WAYS[way](path, write("abc", outputs=[pc.File(path)])))
        assert (future.result(DEADLINE), future.from_memo) == ("abc", True)


def test_a_file_that_a_call_removes_or_rewrites_itself_was_what_it_was(run, tmp_path, recwarn):
    @pc.python_app(cache=True)
    def consume(file):
        os.remove(file)
        return 1

    @pc.python_app(cache=True)
    def add(file, outputs=()):
        with open(outputs[0], "a") as opened:
            opened.write("x")
        return 2

    path = tmp_path / "a"
    for expected in (False, True):
        path.write_text("abc")
        with run():
            future = consume(pc.File(path))
            assert (future.result(DEADLINE), future.from_memo) == (1, expected)
    path.write_text("abc")
    with run():
        assert add(pc.File(path), outputs=[pc.File(path)]).result(DEADLINE) == 2
    assert [one for one in recwarn if one.category is pc.CheckpointWarning] == []


def test_a_file_that_counts_by_its_path_may_change(run, tmp_path, recwarn):
    path = tmp_path / "a"
    path.write_text("abc")

    @pc.python_app(cache=True)
    def append(file):
        with open(file, "a") as opened:
            opened.write("x")

    for expected in (False, True):
        with run():
            future = append(pc.File(path, identity="path"))
            assert (future.result(DEADLINE), future.from_memo) == (None, expected)
    assert [one for one in recwarn if one.category is pc.CheckpointWarning] == []
