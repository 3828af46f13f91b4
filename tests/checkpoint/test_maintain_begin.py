"""A run that begins while somebody looks after its directory is not taken for one that ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import LocalBackend, Store, maintain
from parsl_ckpt.checkpoint.compact import compact
from parsl_ckpt.checkpoint.heartbeat import Heartbeat
from parsl_ckpt.checkpoint.inventory import find
from parsl_ckpt.checkpoint.rundir import claim

HERE = LocalBackend()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for n in range(2):
        with Store.open(f"{claim(root)}/checkpoint") as store:
            store.put(n, n)
    return root


def test_a_run_that_is_claimed_and_has_not_begun_is_live_for_a_while(runs: Path) -> None:
    claimed = claim(runs)
    assert [place.live for place in find(HERE, runs)] == [False, False, True]
    maintain.compact(runs)
    maintain.prune(runs, keep_runs=0)
    assert os.path.isdir(claimed), "nobody else may claim its number"
    os.utime(claimed, (1, 1))  # its process died before it had begun
    assert not find(HERE, runs)[-1].live


def test_a_run_that_begins_after_the_others_were_listed_is_left_alone(runs: Path) -> None:
    claimed = claim(runs)
    os.utime(claimed, (1, 1))  # stopped for a long time after it had claimed its directory
    places = find(HERE, runs)
    assert not places[-1].live
    heart = Heartbeat(claimed)
    heart.start()
    store = Store.open(f"{claimed}/checkpoint")
    store.put("before", 1)
    done = compact(HERE, places)
    store.put("after", 2)
    heart.stop()
    assert done.left["002"] == "it has begun"
    sources = [place.directory for place in find(HERE, runs)]
    with Store.open(None, sources=sources) as reader:
        assert [reader.get(key) for key in (0, 1, "before", "after")] == [0, 1, 1, 2]
