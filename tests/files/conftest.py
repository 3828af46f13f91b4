"""What the tests of files share: a run on threads or processes, and later runs of the same."""

from __future__ import annotations

import pytest

import parsl_ckpt as pc

DEADLINE = 60


class Runs:
    """Runs over one run directory, one after the other."""

    def __init__(self, pool, place):
        self.pool = pool
        self.place = place

    def __call__(self, **options):
        """A run, in a ``with`` block."""
        pc.clear()
        options.setdefault("checkpoint_mode", "task_exit")
        options.setdefault("executors", [self.pool(max_workers=2)])
        return pc.load(pc.Config(run_dir=self.place / "runs", **options))


@pytest.fixture(params=["threads", "processes"])
def runs(request, tmp_path):
    pool = pc.ThreadPoolExecutor if request.param == "threads" else pc.ProcessPoolExecutor
    yield Runs(pool, tmp_path)
    pc.clear()


@pytest.fixture
def run(tmp_path):
    yield Runs(pc.ThreadPoolExecutor, tmp_path)
    pc.clear()
