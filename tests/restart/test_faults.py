"""A disk that fails at any operation, keys that sign rows, children that were forked."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import warnings
from typing import Any

import numpy as np
import pytest

from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import StoreError
from parsl_ckpt.restart import Checkpoint
from parsl_ckpt.testing.faults import Fail, FaultyBackend, Late, Tear


@dataclasses.dataclass
class State:
    step: int = -1
    field: Any = None
    same: Any = None


SAME = np.arange(6000.0)


def loop(path, steps=5, **options):
    """Each step is tried until it is written; gives what was acknowledged."""
    acknowledged = []
    failures = 0
    with Checkpoint("run", path, **options) as ckpt:
        state = ckpt.bind(State(same=SAME))
        for step in range(ckpt.write_count, steps):
            state.step, state.field = step, np.full(6000, float(step))
            for _ in range(3):
                before = ckpt.write_count, dict(ckpt.metadata)
                try:
                    entry = ckpt.write(step=step)
                except StoreError:
                    failures += 1
                    assert (ckpt.write_count, dict(ckpt.metadata)) == before
                else:
                    acknowledged.append(entry.commit_id)
                    break
    return acknowledged, failures


def whole(path):
    """The names of the rows, all of which hold what they should."""
    checkpoint = Checkpoint("run", path)
    rows = checkpoint.catalog
    for place, row in enumerate(rows):
        with checkpoint.select(place) as ckpt:
            state = ckpt.bind(State())
            assert state.step == row.write_count - 1 == row.metadata["step"]
            assert (state.field == state.step).all() and state.same.tolist() == SAME.tolist()
    return [row.commit_id for row in rows]


@pytest.mark.parametrize("fault", [Fail(errno.ENOSPC), Tear(0.5), Late()], ids=repr)
def test_a_disk_that_fails_once_costs_a_write_that_is_told_of_and_nothing_else(
    tmp_path, monkeypatch, fault
):
    made = Store.open
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number)
        disk = FaultyBackend(LocalBackend(), {number: fault})
        monkeypatch.setattr(
            Store, "open", lambda *args, disk=disk, **named: made(*args, backend=disk, **named)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                acknowledged, failures = loop(path, mode="append")
            except StoreError:  # at the end, when it could not be synced
                acknowledged, failures = None, 1
        monkeypatch.setattr(Store, "open", made)
        found = whole(path)
        if acknowledged is None:
            assert len(found) == 5
        else:
            # A write that was said to have failed may have been done all the same.
            assert [name for name in found if name in acknowledged] == acknowledged
            assert failures <= 1 and len(acknowledged) == 5
        if number > disk.count:
            break
    assert number > 20


def test_rows_are_signed_and_what_is_not_is_no_row(tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    monkeypatch.setenv("PARSL_CKPT_KEY", str(key))
    rows = tmp_path / "rows"
    loop(rows, 3, mode="append")
    loop(rows, 5, mode="append", history_size=2)
    assert len(whole(rows)) == 2 and Checkpoint("run", rows).prune() > 0
    assert len(whole(rows)) == 2
    monkeypatch.delenv("PARSL_CKPT_KEY")
    assert len(whole(rows)) == 2  # who has no key reads them as any others
    loop(rows, 6, mode="append")
    monkeypatch.setenv("PARSL_CKPT_KEY", str(key))
    with pytest.warns(UserWarning, match="not signed"):
        assert [row.write_count for row in Checkpoint("run", rows).catalog] == [4, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_forked_child_writes_rows_of_its_own(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with Checkpoint("run", tmp_path, "append") as ckpt:
            state = ckpt.bind(State(-1, np.zeros(6000), SAME))

            def step(number):
                state.step, state.field = number, np.full(6000, float(number))
                return ckpt.write(step=number)

            step(0)
            pid = os.fork()
            if not pid:
                signal.alarm(60)  # a child that waits for ever is to be seen
                try:
                    step(1), step(2)
                    ckpt.__exit__(None, None, None)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
            step(1)
    catalog = Checkpoint("run", tmp_path).catalog
    assert sorted(row.write_count for row in catalog) == [1, 2, 2, 3]
    assert [row.parent for row in catalog].count(catalog[0].commit_id) == 2
    assert len(whole(tmp_path)) == 4
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
