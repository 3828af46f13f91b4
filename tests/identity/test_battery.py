"""The published battery over our own identity: no collision, no needless miss, no refusal."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import parsl_ckpt
from parsl_ckpt.identity import leaf
from parsl_ckpt.testing import identity as battery

ENOUGH_DIFFERENT, ENOUGH_ALIKE = 150, 100
LIBRARIES = {"numpy": "arrays:", "pandas": "frames:", "pyarrow": "arrow:", "attrs": "attrs:",
             "pydantic": "pydantic:", "torch": "tensors:"}  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return battery.run(leaf)


def test_no_two_different_values_are_one(report):
    assert report.collisions == ()


def test_no_value_is_two(report):
    assert report.misses == ()


def test_no_value_is_refused(report):
    assert report.refusals == {}
    assert report.perfect


def test_the_same_in_two_processes_with_different_hash_seeds():
    assert battery.compare_processes(seeds=("1", "2")) == ()


def test_there_are_enough_pairs(report):
    assert report.differ >= ENOUGH_DIFFERENT
    assert report.agree >= ENOUGH_ALIKE
    names = [pair.name for pair in battery.pairs()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("library", LIBRARIES)
def test_pairs_of_a_library_are_there_exactly_if_it_is(library):
    there = any(LIBRARIES[library] in pair.name for pair in battery.pairs())
    assert there == (find_spec(library) is not None)


def test_each_value_is_made_afresh():
    shared = [
        pair.name
        for pair in battery.pairs()
        if (made := pair.one()) is pair.one() and hasattr(made, "__dict__")
        and not callable(made) and type(made).__module__.startswith("battery")
    ]  # fmt: skip
    assert shared == []


class TestReport:
    PAIRS = (
        battery.Pair("numbers", False, lambda: 1, lambda: 1.0),
        battery.Pair("lists", True, lambda: [1], lambda: [1]),
    )

    def test_a_collision(self):
        report = battery.run(lambda value: 0, over=self.PAIRS)
        assert report.collisions == ("numbers",)
        assert not report.perfect

    def test_a_needless_miss(self):
        report = battery.run(lambda value: id(value) if type(value) is list else repr(value),
                             over=[battery.Pair("x", True, lambda: 1, lambda: 2)])  # fmt: skip
        assert report.misses == ("x",)

    def test_a_value_that_is_another_each_time_is_a_needless_miss(self):
        numbers = iter(range(100))
        report = battery.run(lambda value: next(numbers), over=self.PAIRS[:1])
        assert report.misses == ("numbers",)
        assert report.collisions == ()

    def test_a_refusal_says_why(self):
        def hasher(value):
            raise TypeError("no lists\nat all")

        report = battery.run(hasher, over=self.PAIRS[1:])
        assert report.refusals == {"lists": "TypeError: no lists"}

    def test_its_text_names_the_pairs(self):
        text = str(battery.run(lambda value: 0, over=self.PAIRS))
        assert text.splitlines()[:3] == [
            "1 pairs that must differ, 1 that must agree", "collisions: 1", "    numbers",
        ]  # fmt: skip

    def test_pickle_is_no_identity(self):
        report = battery.run(pickle.dumps)
        assert "same lists: shared parts" in report.misses
        assert report.refusals


class TestCommand:
    def run(self, *arguments, folder):
        place = str(Path(parsl_ckpt.__path__[0]).parent)
        return subprocess.run(
            [sys.executable, "-m", "parsl_ckpt.testing.identity", *arguments],
            env={**os.environ, "PYTHONPATH": place},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def test_a_hasher_of_ones_own(self, tmp_path):
        (tmp_path / "mine.py").write_text("def digest(value): return repr(value)\n")
        done = self.run("mine:digest", "--one-process", folder=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "same dicts: order of insertion" in done.stdout

    def test_ours_is_perfect(self, tmp_path):
        done = self.run("--one-process", folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize("spec", ["no_such_module:f", "math:no", "math:pi", "math"])
    def test_no_such_hasher(self, spec, tmp_path):
        done = self.run(spec, folder=tmp_path)
        assert done.returncode == 2
        assert "error:" in done.stderr
