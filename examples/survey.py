"""A survey of Python's own standard library: a workflow that can be killed and started again.

One task for each module (well over a thousand of them) parses it and measures it; the measurements
come together in one task for each package, and in one for the graph of who imports whom; a last
task ranks the modules in that graph.  Every app is cached and every result goes to the checkpoint
as soon as its task ends, so::

    $ python examples/survey.py              # press Ctrl-C, or kill -9 it, half-way
    $ python examples/survey.py              # only what was missing is computed
    $ python examples/survey.py              # nothing is computed at all

The app takes the *text* of a module and not its path, so that the text is part of the call's
identity: a module that was edited is measured again, and all others are not.
"""

from __future__ import annotations

import argparse
import ast
import json
import sysconfig
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import parsl_ckpt as pc


@dataclass(frozen=True)
class Module:
    """What is measured of one module."""

    name: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    complexity: int = 0  # of all functions together
    worst: str = ""  # the most complex function
    worst_complexity: int = 0
    imports: tuple[str, ...] = ()
    problem: str = ""  # why it could not be parsed


@dataclass(frozen=True)
class Package:
    """What is measured of the modules under one top-level name."""

    name: str
    modules: int
    lines: int
    functions: int
    complexity: int
    worst: str
    worst_complexity: int
    unreadable: int


# --- apps: what is computed ----------------------------------------------------------------------


@pc.python_app(cache=True)
def measure(name: str, is_package: bool, text: bytes) -> Module:
    """Parse one module.  Not every file of the standard library is valid Python: some test that."""
    lines = text.count(b"\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence", in code we only look at
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Module(name, lines, problem=f"{type(error).__name__}: {error}")
    nodes = list(ast.walk(tree))
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    measured = [(complexity(function), function.name) for function in functions]
    worst_complexity, worst = max(measured, default=(0, ""))
    return Module(
        name=name,
        lines=lines,
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        complexity=sum(number for number, _ in measured),
        worst=worst,
        worst_complexity=worst_complexity,
        imports=imported_names(tree, name, is_package),
    )


@pc.python_app(cache=True)
def summarise(name: str, modules: list[Module]) -> Package:
    """Add up the modules of a package."""
    worst = max(modules, key=lambda module: (module.worst_complexity, module.name))
    return Package(
        name=name,
        modules=len(modules),
        lines=sum(module.lines for module in modules),
        functions=sum(module.functions for module in modules),
        complexity=sum(module.complexity for module in modules),
        worst=f"{worst.name}.{worst.worst}" if worst.worst else "",
        worst_complexity=worst.worst_complexity,
        unreadable=sum(bool(module.problem) for module in modules),
    )


@pc.python_app(cache=True)
def link(modules: list[Module]) -> dict[str, list[str]]:
    """The import graph: for each module, the modules of the survey that it imports."""
    known = {module.name for module in modules}
    graph: dict[str, list[str]] = {}
    for module in modules:
        # ``from a.b import c`` may mean the module a.b.c or the name c in the module a.b.
        targets = {longest_known(name, known) for name in module.imports}
        graph[module.name] = sorted(targets - {None, module.name})  # type: ignore[type-var]
    return graph


@pc.python_app(cache=True)
def rank(graph: dict[str, list[str]], damping: float = 0.85) -> dict[str, float]:
    """PageRank (Brin and Page 1998) by power iteration: what is imported by the important is
    important.  A module that imports nothing passes its weight on to all alike."""
    size = len(graph)
    weight = dict.fromkeys(graph, 1 / size)
    for _ in range(100):
        received = dict.fromkeys(graph, 0.0)
        for name, targets in graph.items():
            for target in targets:
                received[target] += weight[name] / len(targets)
        idle = sum(weight[name] for name, targets in graph.items() if not targets)
        new = {
            name: (1 - damping) / size + damping * (amount + idle / size)
            for name, amount in received.items()
        }
        moved = sum(abs(new[name] - weight[name]) for name in graph)
        weight = new
        if moved < 1e-9:
            break
    return weight


# --- helpers, part of the identity of the apps that call them: edit one, and those run again ------

BRANCHES = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.Assert),
    *(ast.ExceptHandler, ast.comprehension, ast.match_case),
)


def complexity(function: ast.AST) -> int:
    """Cyclomatic complexity (McCabe 1976): the number of independent ways through a function."""
    total = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            total += 1
        if isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += len(node.ifs)
    return total


def imported_names(tree: ast.AST, module: str, is_package: bool) -> tuple[str, ...]:
    """Absolute dotted names of everything that a module imports, sorted."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}".lstrip(".") for alias in node.names)
    return tuple(sorted(names))


def longest_known(name: str, known: set[str]) -> str | None:
    """The longest beginning of a dotted name that is a module of the survey."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


# --- the workflow: what depends on what ----------------------------------------------------------


def sources(root: Path) -> list[tuple[str, bool, Path]]:
    """Every Python file under a directory: module name, whether it is a package, path."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "site-packages" in parts or "dist-packages" in parts:
            continue
        is_package = parts[-1] == "__init__" and len(parts) > 1
        found.append((".".join(parts[:-1] if is_package else parts), is_package, path))
    return found


def survey(root: Path) -> tuple[list[Package], dict[str, float]]:
    """Start everything at once; each task waits for what it needs."""
    modules = {
        name: measure(name, is_package, path.read_bytes())
        for name, is_package, path in sources(root)
    }
    packages = defaultdict(list)
    for name, module in modules.items():
        packages[name.partition(".")[0]].append(module)
    # A list of futures is an argument like any other: the task begins when all of them are known.
    summaries = [summarise(name, members) for name, members in packages.items()]
    ranking = rank(link(list(modules.values())))
    return [summary.result() for summary in summaries], ranking.result()


# --- the program ---------------------------------------------------------------------------------


def show(packages: list[Package], ranking: dict[str, float], top: int) -> None:
    console = Console()
    table = Table(title=f"Most imported of {len(ranking):,} modules")
    for heading in ("", "module", "rank"):
        table.add_column(heading, justify="left" if heading == "module" else "right")
    for place, (name, weight) in enumerate(best(ranking, top), start=1):
        table.add_row(str(place), name, f"{weight:.4f}")
    console.print(table)

    table = Table(title=f"Largest of {len(packages):,} packages")
    for heading in ("package", "modules", "lines", "functions", "most complex function", "paths"):
        numeric = heading not in ("package", "most complex function")
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for package in sorted(packages, key=lambda package: -package.lines)[:top]:
        numbers = (package.modules, package.lines, package.functions)
        table.add_row(
            package.name,
            *(f"{number:,}" for number in numbers),
            package.worst,
            str(package.worst_complexity),
        )
    console.print(table)


def best(ranking: dict[str, float], top: int) -> list[tuple[str, float]]:
    return sorted(ranking.items(), key=lambda item: (-item[1], item[0]))[:top]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Survey the standard library of this Python.")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--run-dir", default="runinfo", help="where runs and checkpoints are kept")
    parser.add_argument("--workers", type=int, default=None, help="number of processes")
    parser.add_argument("--top", type=int, default=10, help="length of the tables")
    parser.add_argument("--json", type=Path, help="also write the outcome to this file")
    options = parser.parse_args(argv)

    began = time.monotonic()
    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=options.workers)],
        checkpoint_mode="task_exit",  # each result is safe as soon as its task is done
        run_dir=options.run_dir,  # earlier checkpoints in it are found and used
    )
    with pc.load(config) as dfk, dfk.progress(description="survey"):
        packages, ranking = survey(options.root)
    counts = dfk.counts()

    seconds = time.monotonic() - began

    show(packages, ranking, options.top)
    print(
        f"{counts['exec_done']:,} tasks run, {counts['memo_done']:,} restored, in {seconds:.1f} s."
    )
    if options.json:
        outcome = {
            "tasks": counts["exec_done"] + counts["memo_done"],
            "run": counts["exec_done"],
            "restored": counts["memo_done"],
            "ranking": best(ranking, options.top),
        }
        options.json.write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main()
