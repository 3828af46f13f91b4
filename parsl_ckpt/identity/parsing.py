"""Parsing source text, in any thread.

CPython before 3.13 keeps count of how deep it is in a tree once for the whole process, so that a
thread that parses while another does may get a SystemError, though nothing is wrong with the text
(https://github.com/python/cpython/issues/106905).  It is asked again.
"""

from __future__ import annotations

import ast
from typing import Any

_TRIES = 50


def parse(text: str, filename: str = "<unknown>", mode: str = "exec") -> Any:
    """The syntax tree of a text, as :func:`ast.parse` gives it.

    Raises:
        SyntaxError, ValueError, RecursionError: it has none.
    """
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(text, filename, mode)
        except SystemError:
            continue
    return ast.parse(text, filename, mode)
