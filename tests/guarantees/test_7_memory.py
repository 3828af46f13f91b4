"""Promise 7: what is flushed, and dropped by the caller, is not in memory any more."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc

from .helpers import DEADLINE, Zygote

pytestmark = pytest.mark.once

MEGABYTES = """
import gc, os, sys
import parsl_ckpt as pc

mode, run_dir = sys.argv[1:]

@pc.python_app(cache=True)
def megabyte(n):
    return os.urandom(1 << 20)

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode=mode,
                       checkpoint_period=0.05, run_dir=run_dir)):
    for value in megabyte.map(range(20), max_in_flight=4):
        pass
    before = resident()
    for value in megabyte.map(range(20, 320), max_in_flight=4):
        assert len(value) == 1 << 20
    del value
    print("megabytes", (resident() - before) >> 20)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("mode", ["task_exit", "periodic", "dfk_exit", "manual"])
def test_300_results_of_a_megabyte_leave_memory_where_it_was(
    zygote: Zygote, runs: Path, mode: str
) -> None:
    """In every mode, flushed or not: large payloads are on the disk before their records are."""
    ended = zygote.run(MEGABYTES, mode, runs)
    shutil.rmtree(runs)
    assert ended.status == 0 and ended.data("megabytes") < 30, ended


SMALL = """
import gc, os, sys
import parsl_ckpt as pc

mode, run_dir, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

@pc.python_app(cache=True)
def cached(n):
    return ("value", n, "x" * 1000)

@pc.python_app
def plain(n):
    return ("value", n)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

def objects():
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects())

def round(first, size):
    for start in range(first, first + size, 1000):
        for future in [app(n) for n in range(start, start + 1000) for app in (cached, plain)]:
            future.result()

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode=mode,
                       checkpoint_period=3600, run_dir=run_dir)) as dfk:
    round(0, 4000)
    dfk.checkpoint()
    before, bytes_before = objects(), resident()
    round(4000, count)
    dfk.wait_for_current_tasks()
    dfk.checkpoint()
    print("objects", objects() - before)
    print("megabytes", (resident() - bytes_before) >> 20)
    print("tables", len(dfk.kernel.tasks), len(dfk.kernel.memo.inflight), dfk.kernel.store.held)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ("task_exit", 20_000),
        ("dfk_exit", 20_000),
        pytest.param("task_exit", 100_000, marks=pytest.mark.slow),
        pytest.param("periodic", 100_000, marks=pytest.mark.slow),
    ],
)
def test_small_tasks_leave_no_objects(zygote: Zygote, runs: Path, mode: str, count: int) -> None:
    """A cache of recent records and the open segment's index, both bounded; nothing else stays."""
    ended = zygote.run(SMALL, mode, runs, count)
    assert ended.status == 0, ended
    assert ended.said("tables") == ["0 0 0"]
    assert ended.data("objects") < 12_000, ended
    if mode == "task_exit":  # what others free after a flush, the allocator may keep
        assert ended.data("megabytes") < (20 if count < 50_000 else 40), ended


class Thing:
    """Something whose life is watched."""

    def __init__(self, name: str) -> None:
        self.name = name


THINGS: weakref.WeakSet[Thing] = weakref.WeakSet()


@pc.python_app(cache=True, code="name")
def make(name, thing=None):
    made = Thing(f"made of {name}")
    THINGS.add(made)
    return made


@pc.python_app(code="name")
def fail(thing):
    raise ValueError(thing.name)


@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit", None])
def test_arguments_and_values_live_no_longer_than_their_futures(
    runs: Path, mode: str | None
) -> None:
    def use() -> None:
        futures: list[Any] = []
        for n in range(5):
            thing = Thing(f"argument {n}")
            THINGS.add(thing)
            futures.append(make(f"first {n}", thing))
            futures.append(make(f"joined {n}", thing))
            futures.append(make(f"joined {n}", thing))
            futures.append(make(f"second {n}", futures[-3]))
            futures.append(make(f"third {n}", futures[-1].name))
            futures.append(fail(thing))
            futures.append(make(f"fourth {n}", futures[-1]))  # a dependency that fails
        for future in futures:
            future.exception(DEADLINE)
        for n in range(5):
            make(f"first {n}", Thing(f"argument {n}")).result(DEADLINE)  # hits
        del thing, future, futures

    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode=mode, run_dir=runs
    )
    with pc.load(config) as dfk:
        use()
        dfk.wait_for_current_tasks()
        dfk.checkpoint()
        make("another", None).result(DEADLINE)  # what a thread did last it may still hold
        make("and another", None).result(DEADLINE)
        gc.collect()
        left = [thing.name for thing in THINGS if "another" not in thing.name]
        assert len(left) <= 2 and not dfk.kernel.tasks, left
    gc.collect()
    assert not [thing.name for thing in THINGS if "another" not in thing.name]


def test_a_chain_of_futures_does_not_keep_its_beginning(runs: Path) -> None:
    config = pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=2)], checkpoint_mode="task_exit", run_dir=runs
    )
    with pc.load(config) as dfk:
        future = make("link 0")
        for n in range(1, 100):
            future = make(f"link {n}", future)
        future.result(DEADLINE)
        dfk.wait_for_current_tasks()
        gc.collect()
        assert len(THINGS) <= 5
        del future


def test_a_kernel_that_has_ended_is_collected(runs: Path) -> None:
    for _ in range(2):
        dfk = pc.DataFlowKernel(pc.Config(checkpoint_mode="task_exit", run_dir=runs))
        dfk.cleanup()
        watched = [weakref.ref(dfk), weakref.ref(dfk.kernel)]
        del dfk
        gc.collect()
        assert [one() for one in watched] == [None, None]
