"""Promise 1: when ``result()`` has returned under ``task_exit``, the record is out of our hands.

"Out of our hands" is what another process, or another life of the machine, finds: the files are
read by another store, after SIGKILL, or as they would stand after a power cut; or else the failure
to put the record there has been announced before the future was done.
"""

from __future__ import annotations

import concurrent.futures
import errno
import random
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
import parsl_ckpt.checkpoint.store as store_module
from parsl_ckpt.checkpoint.backend import Buffer, Writable
from parsl_ckpt.checkpoint.local import LocalBackend, LocalWriter

from .helpers import DEADLINE, FaultyDisk, Zygote, checkpoint, visible


@pc.python_app(cache=True)
def square(x):
    return x * x


@pc.python_app(cache=True)
def large(n):
    return noise(n)


def noise(n):
    return random.Random(n).randbytes(300_000)  # nothing that compression makes small


def config(runs: Path, **options: Any) -> pc.Config:
    options = {"checkpoint_mode": "task_exit", **options}
    return pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], run_dir=runs, **options)


# -- the same process -----------------------------------------------------------------------------


def test_another_reader_finds_it_by_any_way_of_learning_that_it_is_done(runs: Path) -> None:
    with pc.load(config(runs)) as dfk:
        seen: list[set[int]] = []

        def look(future: Any) -> None:
            seen.append(set(visible(dfk.checkpoint_dir, app="square")) - {future.result()})

        assert square(1).result() in visible(dfk.checkpoint_dir)
        future = square(2)
        while not future.done():
            pass
        assert 4 in visible(dfk.checkpoint_dir)
        assert square(3).exception() is None
        assert 9 in visible(dfk.checkpoint_dir)
        for done in concurrent.futures.as_completed([square(n) for n in range(4, 8)]):
            assert done.result() in visible(dfk.checkpoint_dir)
        concurrent.futures.wait([square(8), square(9)])
        assert {64, 81} <= set(visible(dfk.checkpoint_dir))
        assert large(1).result() in visible(dfk.checkpoint_dir, app="large")
        future = square(10)
        future.add_done_callback(look)
        future.result()
        dependant = square(square(square(3)))
        assert dependant.result() == 6561
        assert {81, 6561} <= set(visible(dfk.checkpoint_dir, app="square"))


def test_a_task_that_waits_for_another_finds_it_recorded(runs: Path) -> None:
    """What holds for the caller holds for the code of dependants too."""

    @pc.python_app
    def look(directory: str, _: int) -> list[int]:
        return visible(directory, app="square")

    with pc.load(config(runs)) as dfk:
        assert look(dfk.checkpoint_dir, square(5)).result() == [25]


# -- SIGKILL --------------------------------------------------------------------------------------

KILLED = """
import os, random, sys
import parsl_ckpt as pc

kind, run_dir = sys.argv[1:]

@pc.python_app(cache=True)
def small(i):
    return i

@pc.python_app(cache=True)
def large(i):
    return i.to_bytes(4, "little") + random.Random(i).randbytes(200_000)

@pc.python_app(cache=True)
def total(xs):
    return sum(xs) + 1_000_000

def say(future):
    value = future.result()
    if isinstance(value, bytes):
        value = -int.from_bytes(value[:4], "little")
    os.write(1, b"%d\\n" % value)

pool = pc.ThreadPoolExecutor if kind == "threads" else pc.ProcessPoolExecutor
dfk = pc.load(pc.Config(
    executors=[pool(max_workers=2)], checkpoint_mode="task_exit", run_dir=run_dir))
i = 0
while True:
    futures = [small(i + n) for n in range(20)]
    futures.append(large(i + 1))
    futures.append(total(futures[:20]))
    if i % 40:
        for future in futures:
            say(future)
    else:
        for future in futures:
            future.add_done_callback(say)
    i += 20
"""


@pytest.mark.parametrize(
    ("kind", "lines"),
    [("threads", n) for n in random.Random(1).sample(range(2, 900), 7)]
    + [("processes", n) for n in random.Random(2).sample(range(2, 300), 3)],
)
def test_sigkill_right_after_result(zygote: Zygote, runs: Path, kind: str, lines: int) -> None:
    """Killed at some line of its output, wherever it is then: each result it told of is there."""
    script = zygote.begin(KILLED, kind, runs)
    for _ in range(lines):
        script.line()
    script.signal(9)
    ended = script.end()
    assert ended.status == -9
    told = [int(line) for line in ended.lines]
    assert len(told) >= lines
    small = set(visible(checkpoint(runs), app="small"))
    sums = set(visible(checkpoint(runs), app="total"))
    bulk = {data[:4] for data in visible(checkpoint(runs), app="large") if len(data) == 200_004}
    for value in told:
        if value > 1_000_000:
            assert value in sums
        elif value < 0:
            assert (-value).to_bytes(4, "little") in bulk
        else:
            assert value in small


# -- a power cut ----------------------------------------------------------------------------------


class PowerDisk(LocalBackend):
    """Remembers what a power cut would leave: what was synced, under names that were synced."""

    def __init__(self) -> None:
        self.synced: dict[str, int] = {}  # file, by its first name -> bytes on the disk
        self.named: dict[str, str] = {}  # name on the disk -> file
        self.names: dict[str, str] = {}  # name -> file

    def create(self, path: str) -> Writable:
        file = PowerFile(path, self)
        self.names[path] = path
        self.synced[path] = 0
        return file

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.names[new] = self.names.pop(old)

    def remove(self, path: str) -> None:
        super().remove(path)
        self.names.pop(path, None)

    def sync_file(self, path: str) -> None:
        super().sync_file(path)
        self.synced[self.names[path]] = Path(path).stat().st_size

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        for name, file in self.names.items():
            if name.rpartition("/")[0] == path:
                self.named[name] = file

    def cut(self, destination: Path, root: Path) -> None:
        """Copy what would be left."""
        destination.mkdir(mode=0o700)
        for name, file in dict(self.named).items():
            current = next(n for n, f in self.names.items() if f == file)
            target = destination / Path(name).relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            target.write_bytes(Path(current).read_bytes()[: self.synced[file]])


class PowerFile(LocalWriter):
    def __init__(self, path: str, disk: PowerDisk) -> None:
        super().__init__(path)
        self._file = path
        self._disk = disk
        self._size = 0

    def write(self, data: Buffer) -> None:
        super().write(data)
        self._size += len(memoryview(data).cast("B"))

    def sync(self) -> None:
        size = self._size
        super().sync()
        self._disk.synced[self._file] = size

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self._size = size


def test_power_durability_syncs_before_the_future_is_done(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = PowerDisk()
    monkeypatch.setattr(store_module, "LocalBackend", lambda: disk)
    with pc.load(config(runs, durability="power")) as dfk:
        root = Path(dfk.checkpoint_dir)
        for n in range(8):
            value = (large if n % 3 == 2 else square)(n).result()
            left = tmp_path / f"left-{n}"
            disk.cut(left, root)
            assert value in visible(left), n
            shutil.rmtree(left)
    left = tmp_path / "left"
    disk.cut(left, root)
    assert len(visible(left)) == 8


def test_process_durability_is_on_the_disk_after_checkpoint(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = PowerDisk()
    monkeypatch.setattr(store_module, "LocalBackend", lambda: disk)
    with pc.load(config(runs)) as dfk:
        values = [large(1).result(), *(square(n).result() for n in range(5))]
        dfk.checkpoint()
        disk.cut(tmp_path / "left", Path(dfk.checkpoint_dir))
        assert visible(tmp_path / "left") == values


def test_a_batch_of_futures_shares_a_sync(runs: Path, disk: FaultyDisk) -> None:
    """Group commit: a thousand tasks in power durability take far fewer than a thousand syncs."""
    with pc.load(config(runs, durability="power")):
        for future in [square(n) for n in range(1000)]:
            future.result()
        assert 0 < disk.syncs < 900


# -- or the failure has been announced ------------------------------------------------------------


FAULTS = {
    "full": lambda disk: setattr(disk, "room", 10),
    "no permission": lambda disk: setattr(disk, "fault", errno.EACCES),
    "broken": lambda disk: setattr(disk, "fault", errno.EIO),
}


@pytest.mark.parametrize("begun", [True, False], ids=["a segment", "no segment"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_disk_is_announced_before_the_future_is_done(
    runs: Path, disk: FaultyDisk, fault: str, begun: bool
) -> None:
    said: list[str] = []
    told: list[bool] = []
    events: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: said.append(str(message))
        dfk = pc.load(config(runs))
        dfk.events.subscribe(events.append)
        if begun:
            square(1).result()
        FAULTS[fault](disk)
        for n in range(2, 40):
            assert square(n).result() == n * n  # it succeeds all the same
            told.append(bool(said))
        assert all(told)
        with pytest.raises(pc.CheckpointNotSavedError, match="held in memory") as raised:
            dfk.checkpoint()
        assert raised.value.held >= 38 and raised.value.path in str(raised.value)
        assert len(said) == 1, "one cause, one warning"
        assert visible(dfk.checkpoint_dir, app="square") == ([1] if begun else [])

        disk.fault, disk.room = 0, 1 << 40
        assert dfk.checkpoint() == dfk.checkpoint_dir
        expected = [n * n for n in range(1 if begun else 2, 40)]
        assert sorted(visible(dfk.checkpoint_dir, app="square")) == expected
        square(40).result()
        assert 1600 in visible(dfk.checkpoint_dir, app="square")
        dfk.cleanup()
    assert [event.kind for event in events].count("problem") == 1
    assert sorted(visible(checkpoint(runs), app="square")) == [*expected, 1600]


def test_a_failing_sync_is_announced_before_the_future_is_done_in_power(
    runs: Path, disk: FaultyDisk
) -> None:
    with pytest.warns(pc.CheckpointWarning, match="could not be written"):
        dfk = pc.load(config(runs, durability="power"))
        square(1).result()
        disk.sync_fault = errno.EIO
        assert square(2).result() == 4
    with pytest.raises(pc.CheckpointNotSavedError):
        dfk.checkpoint()
    disk.sync_fault = 0
    dfk.checkpoint()
    dfk.cleanup()
    assert set(visible(checkpoint(runs), app="square")) == {1, 4}


def test_a_full_disk_with_large_values_is_announced_and_costs_only_them(
    runs: Path, disk: FaultyDisk
) -> None:
    with pytest.warns(pc.CheckpointWarning, match="large"):
        dfk = pc.load(config(runs))
        square(1).result()
        disk.room = 100_000
        assert large(1).result() == noise(1)
    with pytest.raises(pc.CheckpointNotSavedError, match="large"):
        dfk.checkpoint()
    disk.room = 1 << 40
    assert square(2).result() == 4 and large(2).result() == noise(2)
    with pytest.raises(pc.CheckpointNotSavedError, match="large"):
        dfk.cleanup()
    assert visible(checkpoint(runs)) == [1, 4, noise(2)]


def test_space_that_comes_back_is_used_without_being_asked(runs: Path, disk: FaultyDisk) -> None:
    """What ``task_exit`` promised is late; it is not left to the next checkpoint()."""
    with pytest.warns(pc.CheckpointWarning):
        dfk = pc.load(config(runs))
        disk.room = 10
        square(1).result()
    disk.room = 1 << 40
    deadline = time.monotonic() + DEADLINE
    while not visible(dfk.checkpoint_dir) and time.monotonic() < deadline:
        pass
    assert visible(dfk.checkpoint_dir) == [1]
    dfk.cleanup()
