"""Whole runs in one thread under a seed, against a model of what must be remembered."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt
from parsl_ckpt.checkpoint.reading import Reading
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.checkpoint.writing import Writing
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.memo import Memo
from parsl_ckpt.testing import simulate
from parsl_ckpt.testing.simulate import Violation, replay

pytestmark = pytest.mark.once

#: Seeds that failed once, and what they found.
FOUND = {
    35: "a task cancelled between being entered and being launched was never forgotten",
    37: "the same, in a run whose inputs were hits",
    41: "a rename that was done and said to have failed left a spool that was never found again",
    98: "records in a file whose sync had failed were never synced by a later one",
    33: "a segment given up after a failed write was never synced",
    68: "a retry that waited was begun before its time, by a caller who launched the task late",
    777272: "another run recorded a call again, and what depended on it lost its lineage",
    990043: "a failure that was held after a result of the same call hid that result",
}


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_failed_once(seed: int) -> None:
    replay(seed)


def test_a_hundred_thousand_steps_hold_what_is_promised() -> None:
    simulate.simulate(1, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1000, 2000])
def test_a_million_steps_hold_what_is_promised(seed: int) -> None:
    simulate.simulate(seed, 1_000_000)


def test_a_seed_replays_exactly() -> None:
    for seed in (3, 4, 5):
        first = replay(seed)
        assert (first.steps, first.digest) == (replay(seed).steps, replay(seed).digest)
    assert len({replay(seed).digest for seed in range(5)}) == 5


def test_a_seed_replays_exactly_in_any_process() -> None:
    script = (
        "from parsl_ckpt.testing.simulate import replay; print(*(replay(n).digest for n in (6, 7)))"
    )
    home = str(Path(parsl_ckpt.__file__).parent.parent)
    answers = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": home, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert answers == {f"{replay(6).digest} {replay(7).digest}\n"}


def test_other_threads_take_no_part_in_it() -> None:
    expected = replay(6).digest
    ended = threading.Event()

    def other() -> None:
        while not ended.is_set():
            drawn.append(secrets.token_hex(16))
            logging.getLogger("parsl_ckpt").error("not of the simulation")
            began.set()

    drawn: list[str] = []
    began = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert began.wait(60)
        assert replay(6).digest == expected
    finally:
        ended.set()
        thread.join()
    assert drawn and len(set(drawn)) == len(drawn)


def test_the_command_line_tells_its_seed_and_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seed", "1", "--steps", "500"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 1\n") and "million a minute" in said


# -- the simulation sees what is wrong ----------------------------------------------------------


def broken_append(store: Any, entries: Any) -> None:
    """Says that it wrote."""
    Store.hold(store, entries)


def unsynced(writing: Any, path: str) -> None:
    """Names of directories are not synced."""


def forgetful_find(memo: Any, key: bytes, valid: Any = None) -> Any:
    """Finds nothing by value."""
    return None


def stale_find(reading: Any, key: bytes) -> Any:
    """Takes a few bits of a key for the whole of it."""
    return next((s for k, s in _seen.items() if k[0] % 16 == key[0] % 16), None) or _remember(
        reading, key
    )


def careless_start(kernel: Any, task: Any) -> None:
    """Loses every fiftieth task."""
    if task.tid % 50 != 49:
        _start(kernel, task)


_seen: dict[bytes, Any] = {}
_find, _start = Reading.find, Kernel.start


def _remember(reading: Any, key: bytes) -> Any:
    found = _find(reading, key)
    if found is not None:
        _seen[key] = found
    return found


@pytest.mark.parametrize(
    ("owner", "name", "broken", "says"),
    [
        (Store, "append", broken_append, "executed again|not written"),
        (Writing, "_sync_names", unsynced, "executed again"),
        (Memo, "find", forgetful_find, "executed again"),
        (Reading, "find", stale_find, "gave"),
        (Kernel, "start", careless_start, "hangs|not done"),
        (Memo, "leave", lambda memo, task: None, "left|gave|hangs|executed|waits|failed"),
        (Memo, "enter", lambda memo, key, task: task, "executed twice at once|executed again"),
    ],
)
def test_what_is_broken_on_purpose_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, broken: Any, says: str
) -> None:
    monkeypatch.setattr(owner, name, broken)
    _seen.clear()
    with pytest.raises(Violation, match=says) as found:
        simulate.simulate(1, 60_000)
    with pytest.raises(Violation):  # and replays
        _seen.clear()
        replay(found.value.seed)
