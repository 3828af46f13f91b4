"""Promise 6: a task that succeeded is not failed, or left hanging, because of the store.

Whatever happens to the store, the future has the value, the user is told once per cause, and
``checkpoint()`` and the end of the run say what is not saved.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc

from .helpers import DEADLINE, FaultyDisk, Zygote, checkpoint, visible

MODES = ["task_exit", "periodic", "dfk_exit", "manual", None]


class Refuses:
    """A value whose serialisation raises what it is told to."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("I do not pickle")


class RefusesLate:
    """A value that serialises and cannot be read back."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


@pc.python_app(cache=True)
def refuses(kind, n):
    return Refuses(kind)


@pc.python_app(cache=True)
def generator(n):
    return (i for i in range(n))


@pc.python_app(cache=True)
def small(n):
    return ("small", n)


@pc.python_app(cache=True)
def large(n):
    return random.Random(n).randbytes(200_000)


@pc.python_app
def length(value, n=0):
    return f"{type(value).__name__} {n}"


def config(runs: Path, mode: str | None, **options: Any) -> pc.Config:
    return pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode=mode,
        checkpoint_period=3600, run_dir=runs, **options,
    )  # fmt: skip


@contextlib.contextmanager
def told() -> Iterator[list[str]]:
    """The warnings that the user sees."""
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, kind, *rest: (
            said.append(str(message)) if issubclass(kind, pc.CheckpointWarning) else None
        )
        yield said


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, RecursionError])
def test_a_value_whose_serialisation_raises(
    runs: Path, mode: str | None, error: type[BaseException]
) -> None:
    with told() as said:
        dfk = pc.load(config(runs, mode))
        values = [refuses(error, n).result(DEADLINE) for n in range(3)]
        assert all(type(value) is Refuses for value in values)
        assert small(1).result(DEADLINE) == ("small", 1)
        assert length(refuses(error, 7)).result(DEADLINE) == "Refuses 0"
        with pytest.raises(pc.CheckpointNotSavedError, match=r"4 .*refuses") as raised:
            dfk.checkpoint()
        assert raised.value.unsaved >= 4 and raised.value.path == dfk.checkpoint_dir
        assert visible(dfk.checkpoint_dir, app="small") == [("small", 1)]
        dfk.checkpoint()  # it has been said, and nothing new is unsaved
        expected = (
            contextlib.nullcontext() if mode is None
            else pytest.raises(pc.CheckpointNotSavedError, match="refuses")
        )  # fmt: skip
        with expected:
            dfk.cleanup()
    assert len([text for text in said if "refuses" in text]) == 1
    assert visible(checkpoint(runs), app="small") == [("small", 1)]


def test_values_that_nothing_serialises(runs: Path) -> None:
    with told() as said:
        dfk = pc.load(config(runs, "task_exit"))
        assert list(generator(3).result(DEADLINE)) == [0, 1, 2]
        assert list(generator(3).result(DEADLINE)) == [0, 1, 2]  # not a hit: it was not kept
        with pytest.raises(pc.CheckpointNotSavedError, match="generator"):
            dfk.cleanup()
    assert len(said) == 1 and "generator" in said[0]


def test_a_with_block_says_it_at_its_end_and_hides_no_other_exception(runs: Path) -> None:
    with told():
        with (
            pytest.raises(pc.CheckpointNotSavedError, match="refuses"),
            pc.load(config(runs, "task_exit")),
        ):
            refuses(ValueError, 1).result(DEADLINE)
        with pytest.raises(ZeroDivisionError), pc.load(config(runs, "task_exit")):
            refuses(ValueError, 1).result(DEADLINE)
            _ = 1 / 0


def test_a_value_that_cannot_be_read_back_runs_again(runs: Path) -> None:
    ran = []

    @pc.python_app(cache=True, code="name")
    def unreadable() -> Any:
        ran.append(1)
        return RefusesLate()

    for _ in range(2):
        with told(), pc.load(config(runs, "task_exit")):
            assert type(unreadable().result(DEADLINE)) is RefusesLate
            assert type(unreadable().result(DEADLINE)) is RefusesLate
    assert 2 <= len(ran) <= 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["full", "permission", "sync"])
def test_a_disk_that_fails_in_the_middle(
    runs: Path, disk: FaultyDisk, mode: str | None, fault: str
) -> None:
    with told() as said:
        dfk = pc.load(config(runs, mode))
        small(0).result(DEADLINE)
        dfk.checkpoint()
        if fault == "full":
            disk.room = 5
        elif fault == "permission":
            disk.fault = errno.EACCES
        else:
            disk.sync_fault = errno.EIO
        assert [small(n).result(DEADLINE)[1] for n in range(50)] == list(range(50))
        assert [len(large(n).result(DEADLINE)) for n in range(3)] == [200_000] * 3
        assert length(large(0), 5).result(DEADLINE) == "bytes 5"
        assert length(small(9), 5).result(DEADLINE) == "tuple 5"
        dfk.wait_for_current_tasks()
        with pytest.raises(pc.CheckpointNotSavedError, match=dfk.checkpoint_dir):
            dfk.checkpoint()
        if fault == "sync":  # whether anything is left to sync depends on the one in the background
            with contextlib.suppress(pc.CheckpointNotSavedError):
                dfk.cleanup()
        elif mode is None:  # nothing is written at the end
            dfk.cleanup()
        else:
            with pytest.raises(pc.CheckpointNotSavedError):
                dfk.cleanup()
    assert len(said) == len(set(said)), "told once per cause"
    assert said or fault == "sync"  # of which checkpoint() told at once
    assert ("small", 0) in visible(checkpoint(runs), app="small"), "what was there is lost"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_to_any_more(runs: Path) -> None:
    with told() as said:
        dfk = pc.load(config(runs, "dfk_exit"))
        (runs / "000").chmod(0o500)
        try:
            assert small(1).result(DEADLINE) == ("small", 1)
            with pytest.raises(pc.CheckpointNotSavedError):
                dfk.checkpoint()
        finally:
            (runs / "000").chmod(0o700)
        dfk.cleanup()
    assert len(said) == 1
    assert visible(checkpoint(runs)) == [("small", 1)]


@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit"])
def test_a_run_directory_that_is_removed(runs: Path, mode: str) -> None:
    with told():
        dfk = pc.load(config(runs, mode))
        assert small(1).result(DEADLINE) == ("small", 1)
        dfk.checkpoint()
        shutil.rmtree(runs)
        assert [small(n).result(DEADLINE)[1] for n in range(10)] == list(range(10))
        assert large(1).result(DEADLINE) == random.Random(1).randbytes(200_000)
        problems: list[BaseException] = []
        for act in (dfk.checkpoint, dfk.cleanup):
            try:
                act()
            except pc.ParslCkptError as error:
                problems.append(error)
    # Either it is all written to a directory made anew, or the user is told that it is not.
    restored = set(visible(checkpoint(runs), app="small")) if checkpoint(runs).exists() else set()
    assert problems or restored >= {("small", n) for n in range(10)}


def test_the_plain_end_of_a_script_says_what_is_not_saved(zygote: Zygote, runs: Path) -> None:
    ended = zygote.run(
        """
        import sys, warnings
        import parsl_ckpt as pc
        @pc.python_app(cache=True)
        def lines(n):
            return (i for i in range(n))
        dfk = pc.load(pc.Config(checkpoint_mode=sys.argv[1], run_dir=sys.argv[2]))
        print(len(list(lines(3).result())))
        """,
        "dfk_exit",
        runs,
    )
    assert (ended.status, ended.lines) == (0, ["3"]), ended
    assert "CheckpointWarning: A result of lines" in ended.errors
    (last,) = [line for line in ended.errors.splitlines() if line.startswith("parsl_ckpt: ")]
    assert "1 of lines" in last and str(checkpoint(runs)) in last


def test_warnings_that_are_errors_fail_nothing(runs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(pc.CheckpointNotSavedError), pc.load(config(runs, "task_exit")):
            assert type(refuses(ValueError, 1).result(DEADLINE)) is Refuses


def test_values_that_come_home_from_processes_and_are_not_recorded(
    zygote: Zygote, runs: Path
) -> None:
    """With ``pickle=False`` a value that travels home cannot be recorded; the task succeeds."""
    ended = zygote.run(
        """
        import sys, warnings
        import parsl_ckpt as pc
        @pc.python_app(cache=True)
        def slope(n):
            return {n: range(n), "f": sys.getsizeof}
        dfk = pc.load(pc.Config(executors=[pc.ProcessPoolExecutor(max_workers=1)],
                                checkpoint_mode="task_exit", run_dir=sys.argv[1], pickle=False))
        print(sorted(map(str, slope(3).result())))
        try:
            dfk.cleanup()
        except pc.CheckpointNotSavedError as error:
            print("told", "slope" in str(error))
        """,
        runs,
    )
    assert ended.lines == ["['3', 'f']", "told True"], ended
