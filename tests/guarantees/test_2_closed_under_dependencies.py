"""Promise 2: what a crash leaves is closed under dependencies.

A random graph of cached apps is computed in a process that kills itself at its n-th write or
rename, half of what it was writing done.  Whatever is visible afterwards, so are its ancestors; and
the next run makes the graph whole without computing anything visible again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .helpers import Zygote, checkpoint, reading, visible

pytestmark = pytest.mark.once

PROGRAM = """
import itertools, json, os, random, signal, sys
import parsl_ckpt as pc
from parsl_ckpt.checkpoint.local import LocalBackend, LocalWriter
from parsl_ckpt.checkpoint.store import Store

mode, seed, fatal, run_dir = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

# Small limits, so that segments rotate and what is held is spooled.
original = Store.open.__func__
Store.open = classmethod(lambda cls, *args, **options: original(
    cls, *args, **{**options, "hold_bytes": 20_000, "rotate_records": 40}))

operations = itertools.count(1)
write, rename = LocalWriter.write, LocalBackend.rename

def dying_write(self, data):
    if next(operations) == fatal:
        write(self, memoryview(data).cast("B")[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, data)

def dying_rename(self, old, new):
    if next(operations) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(self, old, new)

LocalWriter.write, LocalBackend.rename = dying_write, dying_rename

@pc.python_app(cache=True)
def node(i, size, *inputs):
    ran.append(i)
    return [i, sum(value[1] for value in inputs) % 1000003 + 1, random.Random(i).randbytes(size)]

ran = []

def main():
    chance = random.Random(seed)
    futures = []
    for i in range(90):
        parents = chance.sample(futures, min(i, chance.choice([0, 1, 1, 2, 3])))
        size = chance.choice([0, 10, 1000, 1000, 160_000])
        futures.append(node(i, size, *parents))
    answer = [future.result()[1] for future in futures]
    print("answer", json.dumps(answer))

with pc.load(pc.Config(
    executors=[pc.ThreadPoolExecutor(max_workers=3)], checkpoint_mode=mode,
    checkpoint_period=0.001, run_dir=run_dir, code="name",
)):
    main()
print("operations", next(operations))
print("ran", json.dumps(ran))
"""


def parents_of(seed: int) -> list[list[int]]:
    """The same random choices as in the program."""
    chance = random.Random(seed)
    parents: list[list[int]] = []
    for i in range(90):
        parents.append(chance.sample(range(i), min(i, chance.choice([0, 1, 1, 2, 3]))))
        chance.choice([0, 10, 1000, 1000, 160_000])
    return parents


@pytest.mark.parametrize("mode", ["task_exit", "periodic", "dfk_exit"])
def test_whatever_is_visible_its_ancestors_are(zygote: Zygote, tmp_path: Path, mode: str) -> None:
    seed = 11
    parents = parents_of(seed)
    whole = zygote.run(PROGRAM, mode, seed, 0, tmp_path / "whole")
    answer, last = whole.data("answer"), whole.data("operations")
    assert sorted(whole.data("ran")) == list(range(90))
    partial = 0
    first = last - 14 if mode == "dfk_exit" else 1  # there the records come with the end
    for fatal in random.Random(mode).sample(range(first, last), 8):
        runs = tmp_path / f"{mode}-{fatal}"
        killed = zygote.run(PROGRAM, mode, seed, fatal, runs)
        found: set[int] = set()
        if checkpoint(runs).exists():
            found = {value[0] for value in visible(checkpoint(runs), app="node")}
            assert_closed(checkpoint(runs))
        for i in found:
            assert found.issuperset(parents[i]), (fatal, i)
        partial += killed.status == -9 and 0 < len(found) < 90
        again = zygote.run(PROGRAM, mode, seed, 0, runs)
        assert again.data("answer") == answer
        assert sorted(again.data("ran")) == sorted(set(range(90)) - found), fatal
    assert partial, "no kill was in the midst of it"


def assert_closed(directory: Path) -> None:
    """Each visible result names records as its parents, and they are there and decode."""
    with reading(directory) as store:
        for _, _, record in list(store.records()):
            if type(record).__name__ != "Result":
                continue
            for key, record_id in record.parents:
                parent = store.find(key)
                assert parent is not None and parent.record_id == record_id
                store.value(parent)
