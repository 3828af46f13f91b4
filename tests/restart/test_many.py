"""Many who write at once: ranks of which one is killed, threads, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state

STEPS = 12


def start(tmp_path, program, *arguments, **environment):
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


# --- ranks ----------------------------------------------------------------------------------------

RANK = """
import os, signal, sys
from dataclasses import dataclass
from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state

@dataclass
class Part:
    x: float = 0.0

kill, interval, keep = (int(argument) for argument in sys.argv[1:])
rank = int(os.environ["RANK"])
with Checkpoint("run", "rows", "append", interval, keep or None) as ckpt:
    part = bind_checkpoint_state(Part(float(rank)))
    for step in range(ckpt.write_count, 12):
        with open(f"steps-{rank}", "a") as file:
            file.write(f"{step}\\n")
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        part.x = 3.7 * part.x * (1 - part.x / 8) + step
        ckpt.write(step=step)
    print(repr(part.x))
"""


def straight(rank):
    x = float(rank)
    for step in range(STEPS):
        x = 3.7 * x * (1 - x / 8) + step
    return repr(x)


def ranks(tmp_path, kill, interval, keep=0):
    """Run three ranks; rank 1 is killed in that step."""
    processes = []
    for rank in range(3):
        dies = kill if rank == 1 else -1
        world = {"RANK": str(rank), "WORLD_SIZE": "3"}
        processes.append(start(tmp_path, RANK, dies, interval, keep, **world))
    return [finish(process) for process in processes]


def steps(tmp_path, rank):
    return [int(line) for line in (tmp_path / f"steps-{rank}").read_text().split()]


@pytest.mark.parametrize("interval", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_when_one_rank_is_killed_all_go_on_from_the_last_step_that_all_have(tmp_path, interval):
    codes = [code for code, _, _ in ranks(tmp_path, kill=7, interval=interval)]
    assert codes == [0, -signal.SIGKILL, 0]
    common = 7 // interval * interval
    for rank in range(3):
        catalog = Checkpoint("run", tmp_path / "rows", "append", rank=rank, world_size=3).catalog
        assert [row.write_count for row in catalog] == [*range(interval, 8, interval)]
        assert {row.rank for row in catalog} == {rank}
    for (code, out, err), rank in zip(ranks(tmp_path, -1, interval), range(3), strict=True):
        assert (code, out.strip()) == (0, straight(rank)), err
        first = list(range(8)) if rank == 1 else list(range(STEPS))
        assert steps(tmp_path, rank) == [*first, *range(common, STEPS)]


@pytest.mark.slow
def test_before_all_ranks_have_committed_there_is_nothing_to_go_on_from(tmp_path):
    ranks(tmp_path, kill=0, interval=1)
    assert Checkpoint("run", tmp_path / "rows", "append", rank=0, world_size=3).catalog == ()
    for (_, out, err), rank in zip(ranks(tmp_path, -1, 1), range(3), strict=True):
        assert out.strip() == straight(rank), err


@pytest.mark.slow
def test_a_history_that_is_kept_short_still_has_a_row_of_all_ranks(tmp_path):
    ranks(tmp_path, kill=7, interval=1, keep=1)
    for (_, out, err), rank in zip(ranks(tmp_path, -1, 1, keep=1), range(3), strict=True):
        assert out.strip() == straight(rank), err
        assert steps(tmp_path, rank)[-5:] == list(range(7, STEPS))
        assert len(steps(tmp_path, rank)) == (8 if rank == 1 else STEPS) + 5
    checkpoint = Checkpoint("run", tmp_path / "rows", "append", rank=0, world_size=3)
    assert checkpoint.catalog[-1].write_count == STEPS


# --- threads and processes ------------------------------------------------------------------------


@dataclass
class Count:
    by_thread: dict[int, int]


def test_eight_threads_write_to_one_session(tmp_path):
    with Checkpoint("it", tmp_path / "rows", "append") as ckpt:
        count = bind_checkpoint_state(Count({}))
        lock = threading.Lock()

        def work(number):
            for _ in range(10):
                with lock:
                    done = {**count.by_thread}
                    done[number] = done.get(number, 0) + 1
                    count.by_thread = done
                ckpt.write(last=number)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ckpt.context().run, [work] * 8, range(8)))
        assert ckpt.write_count == 80
    catalog = Checkpoint("it", tmp_path / "rows", "append").catalog
    assert [row.write_count for row in catalog] == list(range(1, 81))
    assert [row.parent for row in catalog[1:]] == [row.commit_id for row in catalog[:-1]]
    with Checkpoint("it", tmp_path / "rows", "append") as ckpt:
        assert bind_checkpoint_state(Count({})).by_thread == dict.fromkeys(range(8), 10)


WRITER = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state

@dataclass
class Count:
    value: int = 0

def work(thread):
    checkpoint = Checkpoint("it", "rows", "append")
    with checkpoint.select(who=f"{sys.argv[1]}-{thread}") as ckpt:
        count = bind_checkpoint_state(Count())
        for step in range(5):
            count.value += 1
            ckpt.write(step=step)

with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(8)))
"""


def test_four_processes_of_eight_threads_write_to_one_directory(tmp_path):
    for code, _, err in map(finish, [start(tmp_path, WRITER, number) for number in range(4)]):
        assert code == 0, err
    checkpoint = Checkpoint("it", tmp_path / "rows", "append")
    catalog = checkpoint.catalog
    assert len(catalog) == 4 * 8 * 5
    assert len({row.commit_id for row in catalog}) == len(catalog)
    for who in (f"{process}-{thread}" for process in range(4) for thread in range(8)):
        rows = [row for row in catalog if row.labels == {"who": who}]
        assert [row.write_count for row in rows] == [1, 2, 3, 4, 5]
        assert [row.parent for row in rows] == [None, *(row.commit_id for row in rows[:-1])]
    with checkpoint.select(-1, who="2-3") as ckpt:
        assert ckpt.write_count == 5
