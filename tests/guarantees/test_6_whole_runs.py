"""Promise 6, in whole runs: whatever becomes of disk, clock or classes, the run goes on.

The user is told once per cause, not once per record, and ``checkpoint()`` and the end say what is
not saved.  The errors are injected, because root may write anywhere; too many open files are real.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_ckpt as pc
import parsl_ckpt.checkpoint.store as store_module
from parsl_ckpt.testing.faults import Fail, FaultyBackend, Operation, When

from .helpers import DEADLINE, FaultyDisk, Zygote, checkpoint, visible
from .test_6_tasks_do_not_fail import config, large, length, small, told

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EINTR,
          errno.EMFILE, errno.ESTALE]  # fmt: skip
NAMES = [errno.errorcode[error] for error in ERRORS]


@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit"])
@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_a_disk_that_fails_for_good(runs: Path, disk: FaultyDisk, error: int, mode: str) -> None:
    with told() as said:
        dfk = pc.load(config(runs, mode))
        assert small(0).result(DEADLINE) == ("small", 0)
        dfk.checkpoint()
        disk.fault = error
        assert [small(n).result(DEADLINE) for n in range(30)] == [("small", n) for n in range(30)]
        assert len(large(1).result(DEADLINE)) == 200_000
        assert length(small(3), error).result(DEADLINE) == f"tuple {error}"
        with pytest.raises(pc.CheckpointNotSavedError, match=dfk.checkpoint_dir) as unsaved:
            dfk.checkpoint()
        assert unsaved.value.held + unsaved.value.unsaved >= 29
        with pytest.raises(pc.CheckpointNotSavedError):
            dfk.cleanup()
    assert 1 <= len(said) == len(set(said)) <= 4, "once per cause"
    assert os.strerror(error) in said[0]
    disk.fault = 0
    assert visible(checkpoint(runs), app="small") == [("small", 0)], "what was there is lost"
    with pc.load(config(runs, mode)):  # the next run computes the rest, and keeps it
        assert [small(n).result(DEADLINE)[1] for n in range(30)] == list(range(30))
    assert len(visible(*(checkpoint(runs, run) for run in ("000", "001")), app="small")) == 30


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_a_disk_that_recovers_gets_what_was_held(runs: Path, disk: FaultyDisk, error: int) -> None:
    with told() as said:
        dfk = pc.load(config(runs, "task_exit"))
        small(0).result(DEADLINE)
        disk.fault = error
        assert small(1).result(DEADLINE) == small(1).result(DEADLINE) == ("small", 1)
        disk.fault = 0
        assert dfk.checkpoint() == dfk.checkpoint_dir
        dfk.cleanup()
    assert len(said) == 1
    assert sorted(visible(checkpoint(runs), app="small")) == [("small", 0), ("small", 1)]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> FaultyBackend:
    """The real file system under a backend that fails when it is told to."""
    from parsl_ckpt.checkpoint.local import LocalBackend

    disk = FaultyBackend(LocalBackend())
    monkeypatch.setattr(store_module, "LocalBackend", lambda: disk)
    return disk


@pytest.mark.parametrize("error", [errno.EINTR, errno.EIO])
@pytest.mark.parametrize("name", ["write", "create", "sync", "sync_directory", "rename"])
def test_a_single_failure_costs_at_most_what_is_said(
    runs: Path, faulty: FaultyBackend, name: str, error: int
) -> None:
    """Of the records nothing; a large value whose file could not be made is not recorded."""
    problems: list[pc.CheckpointNotSavedError] = []
    with told() as said:
        dfk = pc.load(config(runs, "task_exit"))
        faulty.faults = [When(name, Fail(error), path="*checkpoint*", first=2)]
        assert [small(n).result(DEADLINE)[1] for n in range(20)] == list(range(20))
        assert len(large(1).result(DEADLINE)) == 200_000
        for act in (dfk.checkpoint, dfk.checkpoint, dfk.cleanup):
            try:
                act()
            except pc.CheckpointNotSavedError as told_so:
                problems.append(told_so)
    assert len(said) == len(set(said)) <= 2
    assert sorted(n for _, n in visible(checkpoint(runs), app="small")) == list(range(20))
    if not visible(checkpoint(runs), app="large"):
        assert name == "create" and len(said) == 1 and "large" in said[0]
        assert ["large" in str(one) for one in problems] == [True, True]  # once, and at the end
    else:
        assert len(problems) <= 1, "the second time it is all there"


def test_reading_that_fails_is_a_miss_and_no_failure(runs: Path, faulty: FaultyBackend) -> None:
    with pc.load(config(runs, "task_exit")):
        for n in range(5):
            small(n).result(DEADLINE)
        large(1).result(DEADLINE)
    faulty.reads = True

    def unreadable(operation: Operation) -> Fail | None:
        reading = operation.name in ("open", "read", "map", "size")
        return Fail(errno.EIO) if reading and "/000/" in operation.path else None

    faulty.faults = unreadable
    with told(), pc.load(config(runs, "task_exit")):
        assert [small(n).result(DEADLINE)[1] for n in range(5)] == list(range(5))
        assert len(large(1).result(DEADLINE)) == 200_000


def test_too_many_open_files(zygote: Zygote, runs: Path) -> None:
    """The program itself uses up its descriptors, and lets them go again."""
    ended = zygote.run(
        """
        import os, random, resource, sys
        import parsl_ckpt as pc
        @pc.python_app(cache=True)
        def bulk(n):
            return random.Random(n).randbytes(300_000)  # no compression makes it small
        @pc.python_app(cache=True)
        def small(n):
            return n
        dfk = pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=sys.argv[1]))
        small(100).result()
        dfk._diary.wait()  # it opens and closes files in the background
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        print(sum(small(n).result() for n in range(50)), {len(bulk(n).result()) for n in range(5)})
        try:
            dfk.checkpoint()
        except pc.CheckpointNotSavedError as error:
            print("told", error.unsaved + error.held)
        for fd in taken:
            os.close(fd)
        dfk.checkpoint()
        print(bulk(9).result() == random.Random(9).randbytes(300_000))
        """,
        runs,
    )
    assert ended.status == 0, ended
    assert ended.lines == ["1225 {300000}", "told 5", "True"], ended
    told_of = [line for line in ended.errors.splitlines() if "CheckpointWarning: " in line]
    assert len(told_of) == 1 and "Too many open files" in told_of[0], ended
    assert ended.errors.splitlines()[-1].startswith("parsl_ckpt: "), "said at the end as well"
    assert sorted(visible(checkpoint(runs), app="small")) == [*range(50), 100]
    assert len(visible(checkpoint(runs), app="bulk")) == 1


@pytest.mark.parametrize("step", [-3600.0, 3600.0 * 24 * 400])
def test_a_clock_that_jumps(runs: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    real = time.time
    jumps: Iterator[float] = iter(range(10_000))
    with told() as said:
        with pc.load(config(runs, "task_exit")) as dfk:
            small(0).result(DEADLINE)
            monkeypatch.setattr(time, "time", lambda: real() + step * next(jumps))
            assert [small(n).result(DEADLINE)[1] for n in range(20)] == list(range(20))
            dfk.checkpoint()
        with pc.load(config(runs, "task_exit")) as dfk:
            futures = [small(n) for n in range(20)]
            assert [future.result(DEADLINE)[1] for future in futures] == list(range(20))
            assert dfk.counts()["memo_done"] == 20
    assert said == []
    assert sorted(visible(checkpoint(runs), app="small")) == [("small", n) for n in range(20)]
    assert visible(checkpoint(runs, "001"), app="small") == []


CLASSES = """
import sys
import parsl_ckpt as pc
sys.path.insert(0, sys.argv[2])
import shapes

@pc.python_app(cache=True, code="name")
def shape(n):
    print("ran", "shape", n)
    return getattr(shapes, "Circle", None) and shapes.Circle(n) or shapes.Round(n)

@pc.python_app(cache=True, code="name")
def square(n):
    print("ran", "square", n)
    return shapes.Square(n)

@pc.python_app(cache=True, code="name")
def number(n):
    print("ran", "number", n)
    return n

with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=sys.argv[1])):
    for n in range(3):
        print("got", type(shape(n).result()).__name__, square(n).result().size, number(n).result())
"""


def test_a_class_that_was_renamed_since(zygote: Zygote, runs: Path, tmp_path: Path) -> None:
    """The app whose results cannot be read runs again; everything else is restored."""
    names = tmp_path / "names"
    names.mkdir()
    text = "class Square:\n    def __init__(self, size): self.size = size\n"
    (names / "shapes.py").write_text(text + text.replace("Square", "Circle"))
    first = zygote.run(CLASSES, runs, names)
    assert first.status == 0 and len(first.said("ran")) == 9, first
    (names / "shapes.py").write_text("# since renamed\n" + text + text.replace("Square", "Round"))
    second = zygote.run(CLASSES, runs, names)
    assert second.status == 0, second
    assert second.said("ran") == [f"shape {n}" for n in range(3)]
    assert second.said("got") == [f"Round {n} {n}" for n in range(3)]
    assert second.errors.count("CheckpointWarning: ") == 1 and "shape" in second.errors, second
    third = zygote.run(CLASSES, runs, names)
    assert (third.said("ran"), third.errors) == ([], ""), third
