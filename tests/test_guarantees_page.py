"""The page of guarantees names tests that exist, for every promise, and every file of promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "guarantees.rst").read_text(encoding="utf-8")
NAMED = re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", TEXT)
SECTIONS = re.split(r"(?m)^(\d)\. .+\n-+\n", TEXT)[1:]


def test_there_are_eight_promises_each_with_its_tests_and_its_limits() -> None:
    numbers, bodies = SECTIONS[::2], SECTIONS[1::2]
    assert numbers == [str(n) for n in range(1, 9)]
    for number, body in zip(numbers, bodies, strict=True):
        assert f"``tests/guarantees/test_{number}_" in body, number
        assert "*Shown by*" in body and "*Not promised" in body, number


@pytest.mark.parametrize("title", ["Plans", "Restart sessions", "Pipelines"])
def test_what_is_built_on_apps_has_its_promises_and_limits_too(title: str) -> None:
    body = TEXT.split(f"\n{title}\n{'-' * len(title)}\n", 1)[1].split("\n---", 1)[0]
    assert "*Shown by* ``tests/" in body and "*Not promised*" in body


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert name in {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_file_of_promises_is_named() -> None:
    files = (ROOT / "tests" / "guarantees").glob("test_[0-9]_*.py")
    named = {path for path, _ in NAMED}
    assert [path.name for path in files if f"tests/guarantees/{path.name}" not in named] == []


def test_the_page_speaks_of_every_kind_of_file_system() -> None:
    for word in ("local", "NFS", "Lustre", "object store", "flock", "fsync", "O_EXCL"):
        assert word in TEXT, word
