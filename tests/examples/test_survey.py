"""The pure parts of the survey, on sources of known measure."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

import parsl_ckpt as pc

FILE = Path(__file__).resolve().parents[2] / "examples" / "survey.py"


@pytest.fixture(scope="module")
def survey():
    spec = importlib.util.spec_from_file_location("survey_under_test", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def function(source: str) -> ast.AST:
    return ast.parse(source).body[0]


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("def f(): pass", 1),
        ("def f(x):\n if x: pass\n elif x: pass", 3),
        ("def f(x): return x and x or x", 3),
        ("def f(x): return [y for y in x if y if x]", 4),
        ("def f(x):\n for i in x:\n  while i: pass", 3),
        ("def f():\n try: pass\n except A: pass\n except B: pass", 3),
        ("def f(x):\n match x:\n  case 1: pass\n  case _: pass", 3),
    ],
)
def test_complexity_counts_the_ways_through(survey, source, paths):
    assert survey.complexity(function(source)) == paths


def test_relative_imports_are_resolved_from_modules_and_packages(survey):
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..d import e\nimport f.g")
    assert survey.imported_names(tree, "p.q.m", False) == ("f.g", "p.d.e", "p.q.a", "p.q.b.c")
    assert survey.imported_names(tree, "p.q", True) == ("f.g", "p.d.e", "p.q.a", "p.q.b.c")


def test_a_name_counts_as_the_longest_module_that_is_known(survey):
    known = {"a", "a.b"}
    assert survey.longest_known("a.b.c", known) == "a.b"
    assert survey.longest_known("z", known) is None


def test_files_are_named_as_they_are_imported(survey, tmp_path):
    (tmp_path / "p" / "q").mkdir(parents=True)
    (tmp_path / "site-packages").mkdir()
    for place in ("p/__init__.py", "p/q/m.py", "top.py", "site-packages/no.py"):
        (tmp_path / place).write_text("")
    assert [(name, is_package) for name, is_package, _ in survey.sources(tmp_path)] == [
        ("p", True),
        ("p.q.m", False),
        ("top", False),
    ]


@pytest.mark.parametrize("text", [b"def :", b"\x00", b"# coding: uft-8\n", b"x = (" * 500])
def test_what_does_not_parse_is_measured_as_such(survey, text):
    with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
        measured = survey.measure("m", False, text).result()
    assert measured.problem
    assert measured.functions == 0


def test_the_ranking_is_a_distribution_with_the_most_imported_first(survey):
    graph = {"a": ["hub"], "b": ["hub"], "hub": [], "lone": []}
    with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
        ranking = survey.rank(graph).result()
    assert abs(sum(ranking.values()) - 1) < 1e-9
    assert survey.best(ranking, 1)[0][0] == "hub"
    assert ranking["a"] == ranking["b"] == ranking["lone"]
