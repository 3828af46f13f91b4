"""The survey of Python's standard library as a pipeline: extract, transform, load.

::

    extract ──► transform ──┬──► load_sqlite    survey.db
                            └──► load_parquet   modules.parquet

``extract`` measures every module, one cached task for each, on processes; ``transform`` ranks them
and adds up packages; the two loaders write their files side by side, each whole or not at all.
Progress is kept in readable JSON, so::

    $ python examples/survey_pipeline.py --run-id monday            # press Ctrl-C, or kill -9 it
    $ python examples/survey_pipeline.py --run-id monday --resume   # goes on where it was

Components that have succeeded are restored, and within ``extract`` the modules that were measured.
The Parquet file takes pyarrow: without it that component fails, and after ``pip install pyarrow``
``--resume`` goes on with it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import survey

import parsl_ckpt as pc
from parsl_ckpt.pipeline import (
    CheckpointHooks,
    ComponentConfig,
    CompositeHooks,
    LocalCheckpointStore,
    LoggingHooks,
    PipelineConfig,
    PipelineResult,
    RetryConfig,
    SimplePipelineRunner,
    compute_pipeline_fingerprint,
)

#: The app of the survey, on processes: parsing keeps a processor busy.
measure = pc.python_app(survey.measure.__wrapped__, cache=True, executors="processes")

# --- components ----------------------------------------------------------------------------------


class Extract:
    """Measures all modules under a directory."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def run(self) -> list[survey.Module]:
        found = survey.sources(self.root)
        if not found:
            raise FileNotFoundError(f"There is no Python file under {self.root}.")
        measured = [measure(name, package, path.read_bytes()) for name, package, path in found]
        return [one.result() for one in measured]


class Transform:
    """Makes tables of what was measured."""

    def run(self, inputs: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
        modules: list[survey.Module] = inputs["extract"]
        graph = survey.link.__wrapped__(modules)
        ranking = ranked(graph)
        packages = defaultdict(list)
        for module in modules:
            packages[module.name.partition(".")[0]].append(module)
        return {
            "modules": [
                (one.name, one.lines, one.functions, one.classes, one.complexity, ranking[one.name])
                for one in modules
            ],
            "packages": [
                astuple(survey.summarise.__wrapped__(name, members))
                for name, members in sorted(packages.items())
            ],
            "imports": [(name, target) for name, targets in graph.items() for target in targets],
        }


class LoadSqlite:
    """Writes all tables into a database of SQLite, which appears when it is complete."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def run(self, inputs: dict[str, Any]) -> int:
        tables = inputs["transform"]
        with whole(self.path) as temporary, closing(sqlite3.connect(temporary)) as database:
            for name, columns in COLUMNS.items():
                database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
                marks = ", ".join("?" * len(columns))
                database.executemany(f"INSERT INTO {name} VALUES ({marks})", tables[name])
            database.commit()
        return sum(map(len, tables.values()))


class LoadParquet:
    """Writes the table of modules into a Parquet file, which appears when it is complete."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def run(self, inputs: dict[str, Any]) -> int:
        import pyarrow as pa
        from pyarrow import parquet

        rows = inputs["transform"]["modules"]
        columns = dict(zip(COLUMNS["modules"], zip(*rows, strict=True), strict=True))
        with whole(self.path) as temporary:
            parquet.write_table(pa.table(columns), temporary)
        return len(rows)


COLUMNS = {
    "modules": ("name", "lines", "functions", "classes", "complexity", "rank"),
    "packages": (
        "name", "modules", "lines", "functions", "complexity", "worst", "worst_complexity",
        "unreadable",
    ),
    "imports": ("importer", "imported"),
}  # fmt: skip


def ranked(graph: dict[str, list[str]]) -> dict[str, float]:
    """PageRank of modules by who imports them."""
    weights: dict[str, float] = survey.rank.__wrapped__(graph)
    return weights


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write a file that gets its name when it is complete; run twice, it is the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        temporary = Path(directory, path.name)
        yield temporary
        os.replace(temporary, path)


# --- the pipeline --------------------------------------------------------------------------------


def pipeline(root: Path, out: Path) -> PipelineConfig:
    """What depends on what.

    Args:
        root: the directory that is surveyed.
        out: where the files go.
    """

    def component(name: str, kind: str, cls: str, *deps: str, **config: Any) -> ComponentConfig:
        return ComponentConfig(
            name, kind, f"survey_pipeline.{cls}", config, deps, executors="threads",
            retry=RetryConfig(max_attempts=3, retry_on_exceptions=["OperationalError", "OSError"]),
        )  # fmt: skip

    database, table = str(out / "survey.db"), str(out / "modules.parquet")
    return PipelineConfig(
        "survey",
        version="1.0",
        components=[
            component("extract", "source", "Extract", root=str(root)),
            component("transform", "transformation", "Transform", "extract"),
            component("load_sqlite", "sink", "LoadSqlite", "transform", path=database),
            component("load_parquet", "sink", "LoadParquet", "transform", path=table),
        ],
    )  # fmt: skip


def run(options: argparse.Namespace) -> PipelineResult:
    """Run the pipeline, or what is left to run of it."""
    config = pipeline(options.root.absolute(), options.out.absolute())
    hooks = CompositeHooks(
        LoggingHooks(),
        CheckpointHooks(
            LocalCheckpointStore(options.out / "checkpoints"),
            run_id=options.run_id,
            pipeline_fingerprint=compute_pipeline_fingerprint(config),
        ),
    )
    kernel = pc.Config(
        executors=[
            pc.ThreadPoolExecutor(label="threads"),
            pc.ProcessPoolExecutor(options.workers, "processes"),
        ],
        checkpoint_mode="task_exit",
        run_dir=options.out / "runinfo",
    )
    with pc.load(kernel):
        runner = SimplePipelineRunner(config, hooks)
        return runner.run(resume=options.run_id if options.resume else None)


def main(argv: list[str] | None = None) -> int:
    """The program; its exit status is 0 for success, 1 for failure and 2 for something between."""
    parser = argparse.ArgumentParser(description="Survey the standard library, step by step.")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--out", type=Path, default=Path("survey-out"), help="where files go")
    parser.add_argument("--run-id", default="survey", help="what this run is called")
    parser.add_argument("--resume", action="store_true", help="go on with the run of this id")
    parser.add_argument("--workers", type=int, default=None, help="number of processes")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = run(options)
    print(result)
    return {"success": 0, "failure": 1}.get(result.status.value, 2)


if __name__ == "__main__":
    sys.exit(main())
