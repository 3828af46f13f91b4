"""Named sets and values that are not kept, of a program that is killed at any operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsl_ckpt.testing.crash import Crash

SCRIPT = """
import parsl_ckpt as pc
from parsl_ckpt.checkpoint.pins import Pins
from parsl_ckpt.plan import PersistSpec

@pc.python_app(cache=True)
def read(n: int) -> bytes:
    return bytes([n]) * 100_000

@pc.python_app(persist=False)
def widen(data: bytes) -> bytes:
    return data * 2

@pc.python_app(cache=True)
def count(data: bytes) -> int:
    return len(data)

for of in ("one", "two"):
    with pc.load(pc.Config(checkpoint_mode="task_exit")) as dfk:
        spec = PersistSpec("runinfo", retrieve_id="one", persist_id=of)
        with dfk.plan(persist=spec) as plan:
            plan.want([count(widen(read(n))) for n in range(3)])
        plan._sets.look()
        for name, named in plan._sets.names("one").items():
            assert plan._sets.pins.result(named) is not None, name  # a promise that is not kept
        outcomes = plan.run()
        print(outcomes.results(), outcomes.persisted.result().missing)
"""


@pytest.mark.slow
def test_a_name_never_promises_what_is_not_there(tmp_path: Path) -> None:
    script = tmp_path / "names.py"
    script.write_text(SCRIPT)
    report = Crash(tmp_path, sample=12, seed=7).survives(script)
    assert report.killed >= 10
