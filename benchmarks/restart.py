"""What it costs to commit in the middle of a loop, and to come back: restart sessions.

Small states are committed again and again, behind a short history and a long one. An array is
committed changed and unchanged, and restored in a new process; beside it stand a plain write of the
same bytes and their digest. Nothing is synced by anyone.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Goal, Measurement, Row, clock, peak

NAME = "bench"


@dataclass
class Small:
    """What a training loop keeps beside its arrays."""

    step: int = 0
    loss: float = 0.0
    name: str = "small"


@dataclass
class Large:
    """One array."""

    u: Any = None


# --- small states ---------------------------------------------------------------------------------


def commits(megabytes: int, history: int, commits: int, keep: int | None = None) -> Row:
    """The time of a commit, of which the median counts, behind so many others."""
    from parsl_ckpt.restart import Checkpoint

    checkpoint = Checkpoint(NAME, path="small", mode="append", history_size=keep)
    with checkpoint as session:
        state = session.bind(Small())
        for step in range(history):
            state.step = step
            session.write(step=step)
        times = []
        for step in range(history, history + commits):
            state.step, state.loss = step, step / 7
            began = time.perf_counter()
            session.write(step=step, loss=state.loss)
            times.append(time.perf_counter() - began)
    times.sort()
    return {"ms": times[len(times) // 2] * 1e3}


def pickled(megabytes: int, history: int, commits: int) -> Row:
    """What people do by hand: a pickle beside the last one, and a rename."""
    import pickle

    state, times = Small(), []
    for step in range(commits):
        state.step, state.loss = step, step / 7
        began = time.perf_counter()
        with open("state.tmp", "wb") as file:
            pickle.dump(state, file)
        os.replace("state.tmp", "state.pkl")
        times.append(time.perf_counter() - began)
    times.sort()
    return {"ms": times[len(times) // 2] * 1e3}


# --- an array -------------------------------------------------------------------------------------


def _array(megabytes: int) -> Any:
    import numpy

    array = numpy.empty(megabytes * 1_000_000 // 8)
    for start in range(0, array.size, 125_000):
        part = array[start : start + 125_000]
        part[:] = numpy.frombuffer(os.urandom(part.nbytes), dtype=part.dtype)
    return array


def _best(times: list[float], megabytes: int, before: float) -> Row:
    best = min(times)
    return {"ms": best * 1e3, "MB/s": megabytes / best, "peak, MB": peak() - before}


def plain_write(megabytes: int) -> Row:
    array = _array(megabytes)
    before, times = peak(), []
    for number in range(3):
        array[::512] = number
        with clock() as seconds, open(f"file-{number}", "wb", buffering=0) as file:
            view = memoryview(array).cast("B")
            while view:
                view = view[file.write(view) :]
        times.append(seconds())
    return _best(times, megabytes, before)


def digest(megabytes: int) -> Row:
    from blake3 import blake3

    array = _array(megabytes)
    before, times = peak(), []
    for _ in range(3):
        with clock() as seconds:
            blake3(memoryview(array).cast("B"), max_threads=blake3.AUTO).digest()
        times.append(seconds())
    return _best(times, megabytes, before)


def changed(megabytes: int) -> Row:
    return _commit_array(megabytes, change=True)


def unchanged(megabytes: int) -> Row:
    return _commit_array(megabytes, change=False)


def _commit_array(megabytes: int, change: bool) -> Row:
    from parsl_ckpt.restart import Checkpoint

    array = _array(megabytes)
    with Checkpoint(NAME, path="large", mode="append", history_size=1) as session:
        state = session.bind(Large(array[:1000]))
        session.write()
        state.u = array
        if not change:
            session.write()
            session.write()
        before, times = peak(), []
        for number in range(3):
            if change:
                array[::512] = number  # each page
            with clock() as seconds:
                session.write()
            times.append(seconds())
    return _best(times, megabytes, before)


def prepare(prepared: str, megabytes: int) -> None:
    from parsl_ckpt.restart import Checkpoint

    with Checkpoint(NAME, path=Path(prepared) / "large", mode="append") as session:
        session.bind(Large(_array(megabytes)))
        session.write()


def restored(megabytes: int, prepared: str) -> Row:
    from parsl_ckpt.restart import Checkpoint

    before = peak()
    with clock() as seconds:
        with Checkpoint(NAME, path=Path(prepared) / "large", mode="append") as session:
            state = session.bind(Large())
            float(state.u[-1])
        taken = seconds()
    return _best([taken], megabytes, before)


SHORT, LONG = "small state, behind 10 rows", "small state, behind 10,000 rows"
PLAIN, DIGEST = "array: a plain write", "array: its digest"
CHANGED, SAME, BACK = "array: changed", "array: unchanged", "array: restored"

MEASUREMENT = Measurement(
    title="Committing in the middle of a loop (the median of commits; the best of three arrays)",
    columns=["ms", "MB/s", "peak, MB"],
    params={"megabytes": 1000},
    quick={"megabytes": 100},
    digits=3,
    rounds=3,
    aim="a small state in 0.3 ms behind any history; an array at 80 % of a plain write, unchanged "
    "in the time of its digest",
    goals=[
        Goal("a commit of a small state", SHORT, "ms", at_most=0.3, unit=" ms"),
        Goal("a commit of a small state, behind 10,000", LONG, "ms", at_most=0.3, unit=" ms"),
        Goal("a long history, beside a short one", LONG, "ms", at_most=1.2, of=SHORT),
        Goal("an array that changed, speed beside a plain write", CHANGED, "MB/s", at_least=0.8,
             of=PLAIN),
        Goal("an array that did not, time beside its digest", SAME, "ms", at_most=1.25, of=DIGEST),
    ],
    contenders=[
        Contender(SHORT, commits, params={"history": 10, "commits": 500}),
        Contender(LONG, commits, params={"history": 10_000, "commits": 500}),
        Contender("small state, 8 rows kept of 10,000", commits,
                  params={"history": 10_000, "commits": 500, "keep": 8}),
        Contender("a pickle and a rename", pickled, params={"history": 0, "commits": 500}),
        Contender(PLAIN, plain_write),
        Contender(DIGEST, digest),
        Contender(CHANGED, changed),
        Contender(SAME, unchanged),
        Contender(BACK, restored, prepare),
    ],
)  # fmt: skip
