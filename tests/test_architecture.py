"""The rooms import in one direction only, and nothing optional is needed to start.

Every import statement counts, wherever it stands: inside a function, under ``TYPE_CHECKING``, or as
``importlib.import_module("...")`` with a constant name.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(find_spec("parsl_ckpt").origin).parent  # found, not imported: it may not even import
ROOT = Path(__file__).resolve().parent.parent

#: A room may import itself and the rooms before it.
ORDER = (
    "errors",
    "signatures",
    "identity",
    "checkpoint",
    "kernel",
    "executors",
    "config",
    "apps",
    "plan",
    "restart",
    "observe",
    "dataflow",
    "pipeline",
    "surface",
)
#: What users touch; these may import one another.
SURFACE = {"__init__", "__main__", "cli", "compat", "configs", "testing"}
MODULE_LINES = 600
#: Rooms that exist for a tool that is there whenever they are used.
ALLOWED_EXTRAS = {"testing": {"pytest", "hypothesis"}}


class Import(NamedTuple):
    module: str  # file, relative to the package
    line: int
    target: str  # absolute dotted name
    runs_at_import: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> list[Path]:
    # examples are users of the library, not a room of it
    return sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "examples")


def dotted(path: Path) -> str:
    parts = ["parsl_ckpt", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str | None:
    """Room of a dotted name; None outside the package, '' for a name nobody knows."""
    first, _, rest = name.partition(".")
    if first != "parsl_ckpt":
        return None
    room = rest.partition(".")[0] or "__init__"
    if room in SURFACE:
        return "surface"
    return room if room in ORDER else ""


def is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imports_of(source: str, module: str, path: str, is_package: bool) -> Iterator[Import]:
    """Every import in one file, resolved to absolute names; a name taken from a package counts as
    its submodule where there is one."""
    package = module if is_package else module.rpartition(".")[0]
    late = set()  # nodes that do not run when the module is imported
    for node in ast.walk(tree := ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            late.update(map(id, ast.walk(node)))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            late.update(id(inner) for child in node.body for inner in ast.walk(child))
    for node in ast.walk(tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                targets.append(full if is_module(full) else base)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                targets = [str(name.value)]
                if targets[0].startswith("."):
                    targets = [resolve_name(targets[0], package)]
        for target in targets:
            yield Import(path, getattr(node, "lineno", 0), target, id(node) not in late)


def imports(path: Path) -> list[Import]:
    return list(
        imports_of(
            path.read_text(encoding="utf-8"),
            dotted(path),
            str(path.relative_to(PACKAGE.parent)),
            path.name == "__init__.py",
        )
    )


ALL = {path: imports(path) for path in modules()}


def against_the_order(module: str, target: str) -> bool:
    mine, theirs = room_of(module), room_of(target)
    return theirs is not None and (
        theirs not in ORDER or mine not in ORDER or ORDER.index(theirs) > ORDER.index(mine)
    )


def test_every_module_stands_in_a_room_of_the_table():
    assert [dotted(path) for path in ALL if room_of(dotted(path)) == ""] == []


def test_imports_point_to_earlier_rooms_only():
    wrong = [
        str(found)
        for path, all_of_it in ALL.items()
        for found in all_of_it
        if against_the_order(dotted(path), found.target)
    ]
    assert wrong == []


def test_the_config_knows_no_concrete_executor():
    wrong = [
        str(found)
        for path, all_of_it in ALL.items()
        for found in all_of_it
        if dotted(path) == "parsl_ckpt.config"
        and found.target.startswith("parsl_ckpt.executors")
        and found.target != "parsl_ckpt.executors.base"
    ]
    assert wrong == []


def test_futures_know_no_app():
    wrong = [
        str(found)
        for path, all_of_it in ALL.items()
        for found in all_of_it
        if dotted(path) == "parsl_ckpt.kernel.futures"
        and found.target.startswith("parsl_ckpt.apps")
    ]
    assert wrong == []


def core_dependencies() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split()
    return {re.split(r"[^A-Za-z0-9_]", line)[0].lower() for line in lines}


def test_only_core_dependencies_are_imported_when_a_module_is():
    standard = {*sys.stdlib_module_names, "annotationlib"}  # that is there since Python 3.14
    allowed = {*standard, "parsl_ckpt", *core_dependencies()}
    wrong = [
        str(found)
        for path, all_of_it in ALL.items()
        for found in all_of_it
        if found.runs_at_import
        and (top := found.target.partition(".")[0]) not in allowed
        and top not in ALLOWED_EXTRAS.get(path.relative_to(PACKAGE).parts[0], ())
    ]
    assert wrong == []


def test_importing_the_package_loads_no_optional_library():
    code = (
        "import sys; before = set(sys.modules); import parsl_ckpt\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    optional = {"numpy", "pandas", "torch", "pyarrow", "dask", "joblib", "parsl", "fsspec", "attr"}
    assert optional.isdisjoint(answer.stdout.split())


@pytest.mark.parametrize("path", ALL, ids=dotted)
def test_a_module_can_be_held_in_the_head(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", ALL, ids=dotted)
def test_a_module_says_what_it_is(path):
    source = path.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source))


def test_every_package_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    tree = ROOT / "parsl_ckpt"
    there = {
        ".".join(["parsl_ckpt", *init.parent.relative_to(tree).parts])
        for init in tree.rglob("__init__.py")
    }
    assert there - listed == set()
    assert {p for p in listed - there if p != "parsl_ckpt.examples"} == set()


# The test that tests: what would break the rules is indeed seen.
SEEN = {
    "from parsl_ckpt.apps import nothing_so_named": "parsl_ckpt.apps",
    "def f():\n    import parsl_ckpt.apps.app": "parsl_ckpt.apps.app",
    "if TYPE_CHECKING:\n    from ..apps import nothing_so_named": "parsl_ckpt.apps",
    "from .. import anything_else": "parsl_ckpt",
    "import parsl_ckpt": "parsl_ckpt",
    "importlib.import_module('parsl_ckpt.dataflow')": "parsl_ckpt.dataflow",
    "import_module('..dataflow')": "parsl_ckpt.dataflow",
}


@pytest.mark.parametrize("source", SEEN)
def test_an_import_in_the_wrong_direction_is_seen_however_it_is_written(source):
    found = list(imports_of(source, "parsl_ckpt.kernel.task", "x.py", is_package=False))
    assert len(found) == 1
    assert found[0].target == SEEN[source]
    assert against_the_order("parsl_ckpt.kernel.task", found[0].target)


def test_what_runs_at_import_is_told_from_what_does_not():
    source = (
        "import one\nif TYPE_CHECKING:\n    import two\nelse:\n    import three\n"
        "def f():\n    import four\nclass C:\n    import five\n"
    )
    found = imports_of(source, "parsl_ckpt.errors", "x.py", is_package=False)
    assert {f.target for f in found if f.runs_at_import} == {"one", "three", "five"}
