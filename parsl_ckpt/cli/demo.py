"""Run a real workflow, kill it half-way, and watch it resume.

Surveys the source of the standard library of the running Python: one task for each of its modules,
on several processes. The survey is killed with SIGKILL when a good third of it is in the
checkpoint, started again to finish the rest, and started a third time, when nothing is left to do.
The exit status is not zero if any of that turns out otherwise.

Nothing is left behind: the runs are written to a temporary directory, unless --run-dir or --keep
say otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common
from parsl_ckpt.errors import ParslCkptError

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two looks at the checkpoint of the run that is to be killed.
LOOK = 0.05


class DemoError(ParslCkptError):
    """The demonstration did not show what it is there to show."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="write the runs here, into a directory that is new or empty, and keep them",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the temporary directory and say where it is"
    )
    parser.add_argument(
        "--workers", type=_common.positive, help="number of processes (default: one a core)"
    )
    parser.add_argument(
        "--top", type=_common.positive, default=10, help="how many modules of the ranking"
    )
    # For tests, and for a survey of something else than the standard library.
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console()
    with _run_directory(options) as run_dir:
        survey = _Survey(_script(), run_dir, options, console)
        rows = demonstrate(survey, console)
        _show(rows, survey.ranking, console)
        if options.keep or options.run_dir:
            console.print(f"The runs are in {run_dir}", highlight=False, soft_wrap=True)
    return 0


@dataclass
class Row:
    """What one start of the survey did."""

    name: str
    tasks: int
    run: int
    restored: int
    seconds: float


@dataclass
class _Survey:
    """The example, started as a process of its own."""

    script: Path
    run_dir: Path
    options: argparse.Namespace
    console: Console
    ranking: list[tuple[str, float]] = field(default_factory=list)

    @property
    def report(self) -> Path:
        return self.run_dir / "survey.json"

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The survey under way; it is killed if it still is at the end of the block."""
        command = [sys.executable, str(self.script), "--run-dir", str(self.run_dir)]
        command += ["--json", str(self.report), "--top", str(self.options.top)]
        if self.options.workers:
            command += ["--workers", str(self.options.workers)]
        if self.options.root:
            command += ["--root", str(self.options.root)]
        # Its progress bar goes to our standard error; its tables are left to us.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                if sys.stderr.isatty():
                    sys.stderr.write("\x1b[?25h\n")  # the dead could not show the cursor again
                    sys.stderr.flush()

    def finish(self) -> dict[str, Any]:
        """Run it to its end; what it reports."""
        with self.started() as process:
            process.wait()
        if process.returncode != 0:
            raise DemoError(
                f"The survey ended with exit status {process.returncode}.",
                hint=f"Run it by itself to see why: python {self.script}",
            )
        report: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        self.report.unlink()
        return report

    def recorded(self) -> int:
        """How many results the checkpoints hold by now, as any other process sees them."""
        from parsl_ckpt.checkpoint.store import Store

        checkpoints = sorted(self.run_dir.glob("*/checkpoint"))
        if not checkpoints:
            return 0
        with Store.open(None, sources=checkpoints) as store:
            return sum(results for _, results in store.loaded)


def demonstrate(survey: _Survey, console: Console) -> list[Row]:
    """Three starts of the survey, and the proof that the second and third did what they should."""
    console.rule("first run: killed part of the way")
    expected = _count_modules(survey.script, survey.options.root)
    first = _killed(survey, expected, at_least=max(1, expected // 3))
    console.print(f"Killed with SIGKILL; {first.run:,} results are in the checkpoint.")

    console.rule("second run: resumes")
    began = time.monotonic()
    report = survey.finish()
    second = _row("second, resumed", report, time.monotonic() - began)
    ranking = report["ranking"]
    _claim(second.tasks >= expected, f"of {expected} modules only {second.tasks} were surveyed")
    _claim(
        second.restored >= first.run,
        f"of {first.run} results in the checkpoint only {second.restored} were restored",
    )
    _claim(second.run > 0, "there was nothing left for the second run")

    console.rule("third run: nothing left to do")
    began = time.monotonic()
    report = survey.finish()
    third = _row("third, complete", report, time.monotonic() - began)
    _claim(third.run == 0, f"the third run computed {third.run} tasks again")
    _claim(
        third.restored == second.tasks,
        f"of {second.tasks} results the third run restored {third.restored}",
    )
    _claim(report["ranking"] == ranking, "the third run came to another ranking")

    first.tasks = second.tasks
    survey.ranking = [(name, weight) for name, weight in ranking]
    return [first, second, third]


def _killed(survey: _Survey, expected: int, at_least: int) -> Row:
    """Start the survey and kill it as soon as enough of it is in its checkpoint."""
    began = time.monotonic()
    recorded = 0
    with survey.started() as process:
        while process.poll() is None and (recorded := survey.recorded()) < at_least:
            time.sleep(LOOK)
    seconds = time.monotonic() - began
    if process.returncode != -signal.SIGKILL:
        raise DemoError(
            f"The survey ended with exit status {process.returncode} before it could be killed, "
            f"with {recorded} of {expected} results in its checkpoint.",
            hint=f"Run it by itself to see why: python {survey.script}",
        )
    recorded = survey.recorded()  # what was written between our last look and the kill
    return Row("first, killed", expected, recorded, 0, seconds)


def _row(name: str, report: dict[str, Any], seconds: float) -> Row:
    return Row(name, report["tasks"], report["run"], report["restored"], seconds)


def _claim(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoError(
            f"The demonstration failed: {otherwise}.",
            hint="This is a bug of parsl_ckpt: please report it, with the output above.",
        )


def _show(rows: list[Row], ranking: list[tuple[str, float]], console: Console) -> None:
    from rich.table import Table

    table = Table(title="Three starts of one survey")
    table.add_column("run")
    for heading in ("tasks", "run", "restored", "seconds"):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = (row.tasks, row.run, row.restored)
        table.add_row(row.name, *(f"{number:,}" for number in numbers), f"{row.seconds:.1f}")
    console.print(table)

    table = Table(title="What the standard library leans on (PageRank of imports)")
    table.add_column("", justify="right")
    table.add_column("module")
    table.add_column("rank", justify="right")
    for place, (name, weight) in enumerate(ranking, start=1):
        table.add_row(str(place), name, f"{weight:.4f}")
    console.print(table)


@contextlib.contextmanager
def _run_directory(options: argparse.Namespace) -> Iterator[Path]:
    chosen: Path | None = options.run_dir
    if chosen is not None:
        if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
            raise DemoError(
                f"{chosen} is not an empty directory, so a first run could not be shown.",
                hint="Name a directory that does not exist yet.",
                path=str(chosen),
            )
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen
        return
    temporary = Path(tempfile.mkdtemp(prefix="parsl_ckpt-demo-"))
    try:
        yield temporary
    finally:
        if not options.keep:
            shutil.rmtree(temporary, ignore_errors=True)


def _script() -> Path:
    """The example as a file: installed with the package, or beside it in a source tree."""
    spec = find_spec("parsl_ckpt")
    for place in (spec.submodule_search_locations if spec else None) or []:
        for script in (Path(place, "examples"), Path(place).parent / "examples"):
            if (script / "survey.py").is_file():
                return script / "survey.py"
    with contextlib.suppress(ModuleNotFoundError):  # an editable install maps the folder
        example = find_spec("parsl_ckpt.examples.survey")
        if example is not None and example.origin:
            return Path(example.origin)
    raise DemoError(
        "The example survey.py is not installed.", hint="Install parsl_ckpt again with pip."
    )


def _count_modules(script: Path, root: Path | None) -> int:
    """How many modules there are to survey, found as the survey itself finds them."""
    import runpy
    import sysconfig

    names = runpy.run_path(str(script), run_name="parsl_ckpt_demo_survey")
    return len(names["sources"](root or Path(sysconfig.get_path("stdlib"))))
