"""YAML, TOML and JSON files, read into plain values, with the lines of YAML remembered.

Rule of this file: nothing here knows what a pipeline is.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections import Counter
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
        written: how the values of the outermost names are written, where it is known: 1.10 is 1.1.
    """

    content: Any = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    lines: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)

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
    twice: list[tuple[Any, str]] = []  # a mapping, and a name that stands twice in it

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            counted = Counter(name for name, _ in found)
            twice.extend((made, name) for name, count in counted.items() if count > 1)
        return made

    try:
        content = json.loads(text, object_pairs_hook=pairs)
    except ValueError as error:
        return Document(problems=[("the file", f"is not JSON: {error}")])
    except RecursionError:
        return Document(problems=[("the file", "is nested too deeply")])
    where = dict(_mappings(content)) if twice else {}
    problems = [
        (".".join(filter(None, (where.get(id(made)), name))), "stands twice in one mapping")
        for made, name in twice
    ]
    return Document(content, problems)


def _mappings(content: Any) -> Iterator[tuple[int, str]]:
    """The places of all mappings, by their identity."""
    todo = [("", content)]
    while todo:
        place, value = todo.pop()
        if isinstance(value, dict):
            yield id(value), place
            before = f"{place}." if place else ""
            todo += [(f"{before}{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            todo += [(f"{place}[{index}]", inner) for index, inner in enumerate(value)]


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
        for place, number in _places(root, "", document, set()):
            lines.setdefault(place, number)
    document.lines = lines
    if root is not None and root.id == "mapping":
        document.written = {
            key.value: inner.value for key, inner in root.value if key.id == inner.id == "scalar"
        }
    return document


def _places(
    node: Any, place: str, document: Document, above: set[int]
) -> Iterator[tuple[str, int]]:
    """The lines of all places; told is where a name stands twice, or something within itself."""
    if id(node) in above:
        document.problems.append((place, "stands for something in which it stands itself"))
        document.content = None  # it has no end
        return
    yield place, node.start_mark.line + 1
    above = above | {id(node)}
    if node.id == "sequence":
        for index, inner in enumerate(node.value):
            yield from _places(inner, f"{place}[{index}]", document, above)
    elif node.id == "mapping":
        seen = set()
        for key, inner in node.value:
            where = f"{place}.{key.value}" if place else str(key.value)
            if where in seen and key.tag != "tag:yaml.org,2002:merge":
                document.problems.append((where, "stands twice in one mapping"))
            seen.add(where)
            yield where, key.start_mark.line + 1
            yield from _places(inner, where, document, above)


def _library(module: str, path: Path, library: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{path}: reading it takes {library}, which is not installed.",
            hint=f"Run: pip install 'parsl_ckpt[{extra}]'.",
            library=library,
        ) from error
