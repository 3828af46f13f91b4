"""A pytest plugin that kills your workflow at every operation of its checkpoint, and restarts it.

On the command line, for a script that needs no arguments::

    pytest -p parsl_ckpt.testing.crash --crash workflow.py --crash-sample 20

or in a test, with the fixture ``crash``::

    pytest_plugins = ["parsl_ckpt.testing.crash"]

    def test_my_workflow_survives(crash):
        crash.survives("workflow.py", "--size", "10")

The script is run once to its end, in an empty directory of its own.  Then, for each operation that
its store made (or a sample of them), it is run in a new directory and killed by SIGKILL there, a
write half done; and run again.  It is asserted that

* every result that the store had acknowledged before the kill is there, with the very bytes that
  were recorded;
* the second run ends as the undisturbed one did, and says the same;
* nothing that was acknowledged is computed again.

Of what the script records nothing is decoded here: its classes need not be importable by pytest.
The plugin is not loaded unless it is asked for, so that it costs other test runs nothing.

The order of operations in a run with several workers is not always the same, so another run may be
killed at another place; the seed only says at which number.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import parsl_ckpt
from parsl_ckpt.checkpoint.blobs import Blobs
from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import ParslCkptError

from .crashing import ACKNOWLEDGED, FATAL, FOLDER, OPERATIONS

__all__ = ["Crash", "Report"]


class Report(NamedTuple):
    """What was tried.

    Attributes:
        operations: that the store made in the undisturbed run.
        killed: how many of the runs died at their operation.
        acknowledged: results that had been acknowledged before the deaths, in all.
    """

    operations: int
    killed: int
    acknowledged: int


class _Run(NamedTuple):
    status: int
    output: str
    errors: str
    operations: int
    results: dict[str, str]  # record id -> key, of what was acknowledged


class Crash:
    """Runs scripts and kills them; what the fixture ``crash`` gives.

    Args:
        folder: where the runs may be.
        sample: at how many operations to kill, at most; None for all of them.
        seed: which ones, if not all.
        timeout: seconds after which a run counts as hanging.
    """

    def __init__(
        self, folder: Path, sample: int | None = None, seed: int = 0, timeout: float = 300.0
    ) -> None:
        self.folder = folder
        self.sample = sample
        self.seed = seed
        self.timeout = timeout

    def survives(
        self,
        script: str | os.PathLike[str],
        *arguments: str,
        run_dir: str = "runinfo",
        same_output: bool = True,
        prepare: Callable[[Path], object] | None = None,
    ) -> Report:
        """Assert that a script survives its death at any operation of its store.

        Args:
            script: a Python file; it is run in an empty directory.
            arguments: its command line.
            run_dir: its run directory, relative to where it is run.
            same_output: what it prints must be the same, however often it was killed.
            prepare: called with each such directory before anything is run in it, to lay out the
                files that the script needs.

        Returns:
            What was tried.

        Raises:
            AssertionError: it does not; the message names the operation.
        """
        command = [os.path.abspath(script), *arguments]
        whole = self._run(command, self._place("whole", prepare), 0)
        assert whole.status == 0, f"{script} fails undisturbed:\n{whole.errors}"
        assert whole.operations, f"{script} writes no checkpoint under {run_dir}"
        killed = acknowledged = 0
        for number in self._numbers(whole.operations):
            place = self._place(f"killed-{number}", prepare)
            where = f"{script}, killed at operation {number} of {whole.operations}"
            first = self._run(command, place, number)
            died = first.status == -signal.SIGKILL
            assert died or first.status == 0, f"{where}: {first.errors}"
            killed += died
            acknowledged += len(first.results)
            self._check_records(place, run_dir, first.results, where)
            second = self._run(command, place, 0)
            assert second.status == 0, f"{where}, fails when started again:\n{second.errors}"
            if same_output:
                assert second.output == whole.output, f"{where}, says something else afterwards"
            again = set(first.results.values()) & set(second.results.values())
            assert not again, f"{where}: {len(again)} recorded result(s) were computed again"
            shutil.rmtree(place)
        return Report(whole.operations, killed, acknowledged)

    def _numbers(self, operations: int) -> list[int]:
        numbers = range(1, operations + 1)
        if self.sample is None or self.sample >= operations:
            return list(numbers)
        return sorted(random.Random(self.seed).sample(numbers, self.sample))

    def _place(self, name: str, prepare: Callable[[Path], object] | None) -> Path:
        place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        if prepare is not None:
            prepare(place)
        return place

    def _run(self, command: list[str], place: Path, fatal: int) -> _Run:
        told = place / f".crash-{fatal}"
        told.mkdir(exist_ok=True)
        for name in (OPERATIONS, ACKNOWLEDGED):
            (told / name).write_bytes(b"")
        home = str(Path(parsl_ckpt.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-m", "parsl_ckpt.testing.crashing", *command],
            cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, FATAL: str(fatal), FOLDER: str(told)},
        )  # fmt: skip
        try:  # until the pipes close: whatever it started is through as well
            output, errors = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
            raise AssertionError(
                f"{command[0]}, to be killed at operation {fatal}, did not end within "
                f"{self.timeout:g} seconds:\n{errors}"
            ) from None
        lines = (told / ACKNOWLEDGED).read_text().split("\n")[:-1]
        results = dict(line.split() for line in lines)
        operations = (told / OPERATIONS).stat().st_size
        return _Run(process.returncode, output, errors, operations, results)

    def _check_records(
        self, place: Path, run_dir: str, results: dict[str, str], where: str
    ) -> None:
        sources = get_all_checkpoints(place / run_dir)
        blobs = Blobs(LocalBackend(), durable=False)
        with Store.open(None, sources=sources, named=False) as store:
            there = {
                record_id.hex(): (directory, record)
                for directory, record_id, record in store.records()
                if isinstance(record, Result)
            }
            for record_id, key in results.items():
                # A record's id is the digest of its bytes, so what has the id is what was written.
                assert record_id in there, f"{where}: an acknowledged result is lost"
                directory, record = there[record_id]
                try:
                    for digest, size in record.blobs:
                        blobs.read(directory, digest, size)
                except ParslCkptError as error:
                    raise AssertionError(f"{where}: the value of a result is lost") from error
                found = store.find(bytes.fromhex(key))
                assert found is not None, f"{where}: an acknowledged result is not found"


# -- pytest -------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parsl_ckpt", "killing workflows at every operation of their store")
    group.addoption(
        "--crash", action="append", default=[], metavar="SCRIPT", help="a workflow to be killed"
    )
    group.addoption(
        "--crash-sample", type=int, default=None, metavar="N",
        help="kill at N operations drawn by chance, not at every one",
    )  # fmt: skip
    group.addoption(
        "--crash-seed", type=int, default=0, metavar="N", help="which operations are drawn"
    )


def pytest_configure(config: pytest.Config) -> None:
    scripts = [str(Path(script).resolve()) for script in config.getoption("--crash", [])]
    if scripts:  # these alone, unless other tests were named too
        named = config.invocation_params.args
        config.args = [arg for arg in config.args if arg in named] + scripts


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    """A script is run, not imported to look for tests in it."""
    scripts = [Path(script).resolve() for script in parent.config.getoption("--crash", [])]
    return _Script.from_parent(parent, path=module_path) if module_path in scripts else None


class _Script(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield _Survives.from_parent(self, name="survives")


class _Survives(pytest.Item):
    def runtest(self) -> None:
        with tempfile.TemporaryDirectory(prefix="parsl_ckpt-crash-") as folder:
            _crash(self.config, Path(folder)).survives(self.path)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        return str(excinfo.value)


def _crash(config: pytest.Config, folder: Path) -> Crash:
    # Without the options, where a test module loads the plugin after they were parsed.
    sample, seed = config.getoption("--crash-sample", None), config.getoption("--crash-seed", 0)
    return Crash(folder, sample, seed)


@pytest.fixture
def crash(request: pytest.FixtureRequest, tmp_path: Path) -> Crash:
    """Kills scripts at operations of their store; see :mod:`parsl_ckpt.testing.crash`."""
    return _crash(request.config, tmp_path)
