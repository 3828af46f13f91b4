"""Sessions: what a loop sees of them."""

from __future__ import annotations

import dataclasses

import pytest

from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state


@dataclasses.dataclass
class Sum:
    value: int = 0


def work(path, steps, **options):
    with Checkpoint("run", path, **options) as ckpt:
        total = bind_checkpoint_state(Sum())
        for step in range(ckpt.write_count, steps):
            total.value += step
            ckpt.write(step=step)
        return total.value


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_loop_goes_on_where_it_ended(tmp_path, mode):
    assert work(tmp_path, 3, mode=mode) == 3
    assert work(tmp_path, 5, mode=mode) == 10
    assert len(Checkpoint("run", tmp_path).catalog) == (1 if mode == "overwrite" else 5)
