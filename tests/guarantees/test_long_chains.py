"""A dependent chain of a hundred thousand tasks, fresh and restored, in an ordinary stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Zygote

PROGRAM = """
import sys, time
import parsl_ckpt as pc

run_dir, length, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]

@pc.python_app(cache=True)
def step(x):
    if how == "fails" and x == 1:
        raise ValueError("at the beginning")
    return x + 1

def chain(length, held=None):
    future = step(0) if held is None else step(held)
    for _ in range(length - 1):
        future = step(future)
    return future

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)], code="name",
                       checkpoint_mode="task_exit", run_dir=run_dir)) as dfk:
    if how == "held":  # the whole chain is there before its first task may run
        import concurrent.futures
        first = concurrent.futures.Future()
        last = chain(length, first)
        first.set_result(0)
    else:
        last = chain(length)
    try:
        print("value", last.result())
    except pc.DependencyError as error:
        print("cause", repr(error.__cause__), len(str(error)) < 2000, len(error.chain) < 100)
    dfk.wait_for_current_tasks()
    counts = dfk.counts()
    print("ran", counts["exec_done"])
"""


@pytest.mark.parametrize("length", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_chain_fresh_restored_held_and_failed(zygote: Zygote, runs: Path, length: int) -> None:
    fresh = zygote.run(PROGRAM, runs, length, "fresh")
    assert fresh.lines == [f"value {length}", f"ran {length}"], fresh
    restored = zygote.run(PROGRAM, runs, length, "restored")
    assert restored.lines == [f"value {length}", "ran 0"], restored
    held = zygote.run(PROGRAM, runs, length, "held")
    assert held.lines == [f"value {length}", "ran 0"], held
    failed = zygote.run(PROGRAM, runs.with_name("others"), length, "fails")
    assert failed.lines == [
        "cause ValueError('at the beginning') True True", "ran 1"
    ], failed  # fmt: skip
