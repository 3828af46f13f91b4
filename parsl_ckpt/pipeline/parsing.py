"""YAML, TOML and JSON files, read into plain values, with the lines of YAML remembered.

Rule of this file: nothing here knows what a pipeline is.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl_ckpt.errors import ConfigurationError, MissingLibraryError


@dataclass
class Document:
    """What a file says.

    Attributes:
        content: plain values.
        problems: what is wrong with its form, as (place, text).
        lines: the number of the line of each place, where it is known.
    """

    content: Any = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, place: str) -> int | None:
        """The line of a place, or of the nearest one around it."""
        while place and place not in self.lines:
            place = re.sub(r"(?:\.[^.\[]*|\[\d+\]|^[^.\[]+)$", "", place)
        return self.lines.get(place)


def parsed(path: Path) -> Document:
    """What a file says; its form is told by its suffix.

    Raises:
        ConfigurationError: the suffix is none that is known.
        MissingLibraryError: the library for it is not installed.
        OSError: it cannot be read.
    """
    reader = {".yaml": _yaml, ".yml": _yaml, ".toml": _toml, ".json": _json}.get(
        path.suffix.lower()
    )
    if reader is None:
        raise ConfigurationError(
            f"{path}: a pipeline cannot be read from a file with the suffix {path.suffix!r}.",
            hint="Use .yaml, .yml, .toml or .json.",
            field="path",
        )
    try:
        return reader(path.read_text(encoding="utf-8-sig"), path)
    except UnicodeDecodeError as error:
        return Document(problems=[("the file", f"is not encoded in UTF-8: {error.reason}")])


def _json(text: str, path: Path) -> Document:
    document = Document()

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        for name in {name for name in names if names.count(name) > 1}:
            document.problems.append((name, "stands twice in one mapping"))
        return dict(found)

    try:
        document.content = json.loads(text, object_pairs_hook=pairs)
    except ValueError as error:
        document.problems.append(("the file", f"is not JSON: {error}"))
    except RecursionError:
        document.problems.append(("the file", "is nested too deeply"))
    return document


def _toml(text: str, path: Path) -> Document:
    loads = _toml_loads(path)
    try:
        return Document(loads(text))
    except ValueError as error:
        return Document(problems=[("the file", f"is not TOML: {error}")])
    except RecursionError:
        return Document(problems=[("the file", "is nested too deeply")])


def _toml_loads(path: Path) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads
    return _library("tomli", path, "tomli", "toml").loads


def _yaml(text: str, path: Path) -> Document:
    yaml = _library("yaml", path, "PyYAML", "yaml")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = Document(yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = {"the file": mark.line + 1} if mark else {}
        return Document(problems=[("the file", f"is not YAML: {error.problem}")], lines=line)
    except (yaml.YAMLError, ValueError) as error:
        return Document(problems=[("the file", f"is not YAML: {error}")])
    except RecursionError:
        return Document(problems=[("the file", "is nested too deeply")])
    lines: dict[str, int] = {}
    if root is not None:
        for place, number in _places(root, "", document.problems, set()):
            lines.setdefault(place, number)
    document.lines = lines
    return document


def _places(
    node: Any, place: str, problems: list[tuple[str, str]], above: set[int]
) -> Iterator[tuple[str, int]]:
    """The lines of all places; mappings in which a name stands twice are told."""
    if id(node) in above:  # an anchor within itself
        return
    yield place, node.start_mark.line + 1
    above = above | {id(node)}
    if node.id == "sequence":
        for index, inner in enumerate(node.value):
            yield from _places(inner, f"{place}[{index}]", problems, above)
    elif node.id == "mapping":
        seen = set()
        for key, inner in node.value:
            where = f"{place}.{key.value}" if place else str(key.value)
            if where in seen and key.tag != "tag:yaml.org,2002:merge":
                problems.append((where, "stands twice in one mapping"))
            seen.add(where)
            yield where, key.start_mark.line + 1
            yield from _places(inner, where, problems, above)


def _library(module: str, path: Path, library: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{path}: reading it takes {library}, which is not installed.",
            hint=f"Run: pip install 'parsl_ckpt[{extra}]'.",
            library=library,
        ) from error
