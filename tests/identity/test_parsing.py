"""Source is parsed beside other threads that do so, which some versions of CPython mix up."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from parsl_ckpt.identity import parsing


def test_what_only_another_thread_made_fail_is_parsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, fails = ast.parse, iter([True] * 9)

    def mixed_up(*args: Any, **kwargs: Any) -> Any:
        if next(fails, False):
            raise SystemError("AST constructor recursion depth mismatch (before=207, after=32)")
        return real(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", mixed_up)
    assert ast.dump(parsing.parse("a + 1", mode="eval")) == ast.dump(real("a + 1", mode="eval"))


def test_what_fails_for_good_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise SystemError("broken")

    monkeypatch.setattr(ast, "parse", broken)
    with pytest.raises(SystemError, match="broken"):
        parsing.parse("a")


def test_errors_of_the_text_are_told_at_once() -> None:
    with pytest.raises(SyntaxError):
        parsing.parse("a +")
