"""Deterministic simulation: kernel, writer, store, executor, clock and disk in one thread.

    seed ─► universe: a graph of calls, settings, a disk
              └─► lives of processes, one after another or two at once:
                    calls, cancels, checkpoints, faults of the disk, deaths of workers
                    ─► an orderly end, a death at any operation, a power cut ─► the next life

Every choice is drawn from the seed: what is called, which thread goes on, what fails, when the
process dies.  Against it stands a model (:mod:`parsl_ckpt.testing.workload`) that knows the value
of every call and what must be remembered:

* a future never gets a value that is not the one its call must have, and fails only for a reason;
* what was promised is not executed again: in the mode ``task_exit`` what ``result()`` has returned,
  in all modes what a checkpoint or an end has saved; after a power cut what was synced;
* equal calls are executed once at a time; no task hangs, none is left in the tables;
* no event of the kernel goes wrong, and nothing is reported that was not caused.

A seed that fails replays exactly::

    python -m parsl_ckpt.testing.simulate --seed 7 --steps 100000

After FoundationDB's simulator and TigerBeetle's VOPR.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import random
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.memory import MemoryBackend
from parsl_ckpt.checkpoint.store import Durability, Store
from parsl_ckpt.executors import base

from .faults import Died, FaultyBackend
from .life import ROOT, Life
from .simulated import Stuck
from .workload import APPS, Key, draw_calls

T = TypeVar("T")
MODES = ("task_exit", "task_exit", "task_exit", "periodic", "dfk_exit", "manual", None)


class Violation(AssertionError):
    """What was promised did not hold; ``seed`` replays it."""

    def __init__(self, seed: int, step: int, text: str) -> None:
        super().__init__(f"seed {seed}, step {step}: {text}")
        self.seed = seed
        self.step = step
        self.text = text


class Universe:
    """A graph of calls, a disk, and the lives that follow each other on it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.calls = draw_calls(chance, chance.choice((8, 30, 60)))
        self.versions = {app.name: 0 for app in APPS}
        self.mode = chance.choice(MODES)
        self.durability: Durability = chance.choice(("process", "power"))
        self.rotate = chance.choice((3, 10, 65536))
        self.hold_bytes = chance.choice((1500, 20_000, 64 << 20))
        self.retries = chance.choice((0, 1, 2))
        # Drawn by itself, so that seeds which do not follow stay what they were.
        self.follow = random.Random(f"follow {seed}").random() < 0.3
        self.resilient = random.Random(f"resilient {seed}").random() < 0.4
        self.lossy = chance.random() < 0.1  # bits of files flip between lives
        self.backend = MemoryBackend()
        self.backend.make_directory(ROOT)
        self.disk = FaultyBackend(self.backend)
        self.paths: list[str] = []
        self.safe: set[Key] = set()  # survives the death of a process
        self.durable: set[Key] = set()  # survives a power cut
        self.lives: list[Life] = []
        self.steps = 0
        self.digest = 0
        self.problem: str | None = None
        self.cut = False

    def violated(self, text: str) -> None:
        self.problem = self.problem or text

    def run(self, most: int) -> int:
        """Live, for about so many steps; how many were made.

        Raises:
            Violation: what was promised did not hold.
        """
        chance = self.chance
        count = 0
        for _ in range(chance.choice((2, 4, 7))):
            self.begin()
            if chance.random() < (0.7 if self.follow else 0.2):
                self.begin()
            limit = count + chance.choice((100, 500, 2000))
            while self.lives and count < limit:
                count += 1
                self.steps += 1
                self.step(self.lives[0] if len(self.lives) == 1 else chance.choice(self.lives))
                if self.problem:
                    raise Violation(self.seed, self.steps, self.problem)
            self.between()
            if self.problem:
                raise Violation(self.seed, self.steps, self.problem)
            if count >= most:
                break
        return count

    def begin(self) -> None:
        number = len(self.paths)
        self.lives.append(Life(self, number))
        self.paths = [*self.paths, f"{ROOT}/runs/{number:03d}/checkpoint"]

    def step(self, life: Life) -> None:
        chance = self.chance
        try:
            drawn = chance.random()
            if drawn < 0.12:
                life.act()
            elif drawn < 0.13:
                life.scheduler.tick()
            elif not life.scheduler.step():
                life.act()
        except Died:
            life.disk.die()
        except Stuck:
            self.violated("something waits for ever")
        self.digest = (self.digest * 31 + life.scheduler.digest) & 0xFFFFFFFFFFFF
        if life.disk.dead or life.ended:
            life.die()
            self.lives.remove(life)

    def between(self) -> None:
        """How the lives end that have not ended: by an end, a death, or with the power."""
        chance = self.chance
        drawn = chance.random()
        for life in list(self.lives):
            if drawn < 0.3 or (drawn < 0.4 and chance.random() < 0.5):
                life.death = life.rate = 0.0
                try:
                    life.end()
                except Died:
                    pass
                except Stuck:
                    self.violated("the end waits for ever")
            life.die()
        whole = drawn < 0.75
        self.lives.clear()
        if whole:
            if chance.random() < 0.3:
                self.check_closed()
        else:
            self.disk.power_cut(chance if chance.random() < 0.7 else None)
            self.disk.dead = False
            self.cut = True
            self.safe &= self.durable
        if self.lossy:
            self.flip()
        for app in APPS:
            if app.edited and chance.random() < 0.1:
                self.versions[app.name] += 1

    def forget(self, result: Result) -> None:
        """A record was removed: what it was the outcome of may be executed again."""
        self.safe = {key for key in self.safe if key[0] != result.app}
        self.durable = {key for key in self.durable if key[0] != result.app}

    def flip(self) -> None:
        files = [file for _, file in sorted(self.backend.files.items()) if file.data]
        for _ in range(self.chance.choice((0, 1, 5))):
            if files:
                file = self.chance.choice(files)
                file.data[self.chance.randrange(len(file.data))] ^= 1 << self.chance.randrange(8)
                file.generation += 1

    def check_closed(self) -> None:
        """Promise 2: the recorded ancestors of what is visible are visible."""
        if self.lossy or self.cut:
            return  # what the power took may have been the input of what was written since
        store = Store.open(None, sources=self.paths, named=False, backend=self.backend)
        records = list(store.records())
        there = {record_id for _, record_id, _ in records}
        if store.catalog.removed:
            return
        for _, _, record in records:
            if type(record) is Result and not all(one in there for _, one in record.parents):
                self.violated(f"{record.app} is visible and one of its inputs is not")


class Complaints(logging.Handler):
    """Errors that the library logs are violations: nothing in it may go wrong."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.universe: Universe | None = None
        self.thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        universe = self.universe if record.thread == self.thread else None
        error = record.exc_info[1] if record.exc_info else None
        if universe is not None and not isinstance(error, (Died, Stuck)):
            universe.violated(f"{record.getMessage()} {error!r}")


@contextlib.contextmanager
def determined(seed: int) -> Iterator[Complaints]:
    """Everything that the library draws or asks the machine for comes from the seed.

    In this thread only: others, of a kernel that lives beside it, neither take from the chance nor
    are given what is not random.
    """
    chance = random.Random(f"ids of {seed}")
    ticks = itertools.count()
    complaints = Complaints()
    log = logging.getLogger("parsl_ckpt")
    before = secrets.token_bytes, secrets.token_hex, base._clock, base._timer, log.propagate
    secrets.token_bytes = _here(lambda nbytes=None: chance.randbytes(nbytes or 32), before[0])
    secrets.token_hex = _here(lambda nbytes=None: chance.randbytes(nbytes or 32).hex(), before[1])
    base._clock = _here(lambda: float(next(ticks)), before[2])
    base._timer = _here(lambda: float(next(ticks)), before[3])
    log.addHandler(complaints)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield complaints
    finally:
        log.removeHandler(complaints)
        secrets.token_bytes, secrets.token_hex, base._clock, base._timer, log.propagate = before


def _here(drawn: Callable[..., T], real: Callable[..., T]) -> Callable[..., T]:
    """A function that is ``drawn`` in this thread and ``real`` in all others."""
    thread = threading.get_ident()
    return lambda *args: (drawn if threading.get_ident() == thread else real)(*args)


def replay(seed: int, steps: int = 1 << 60) -> Universe:
    """Run one universe.

    Args:
        seed: what everything is drawn from.
        steps: after about how many to stop.

    Returns:
        The universe; equal seeds give equal ``digest``.

    Raises:
        Violation: what was promised did not hold.
    """
    with determined(seed) as complaints:
        universe = complaints.universe = Universe(seed)
        try:
            universe.run(steps)
        finally:
            complaints.universe = None
    return universe


def simulate(seed: int, steps: int) -> int:
    """Run universes ``seed``, ``seed + 1``, ... until ``steps`` steps are made.

    Returns:
        How many universes that took.

    Raises:
        Violation: what was promised did not hold; its ``seed`` replays it.

    >>> simulate(seed=1, steps=200) >= 1
    True
    """
    made = 0
    for number in itertools.count():
        if made >= steps:
            return number
        made += replay(seed + number, steps - made).steps
    raise AssertionError


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m parsl_ckpt.testing.simulate", description="Simulate runs from a seed."
    )
    parser.add_argument("--seed", type=int, default=None, help="of the first universe")
    parser.add_argument("--steps", type=int, default=100_000, help="how many to make")
    parser.add_argument("--keep-going", action="store_true", help="after a violation")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}")
    made = failed = 0
    began = time.perf_counter()
    for number in itertools.count(seed):
        if made >= options.steps:
            break
        try:
            made += replay(number, options.steps - made).steps
        except Violation as violation:
            failed += 1
            print(violation, file=sys.stderr)
            made += violation.step
            if not options.keep_going:
                break
    seconds = time.perf_counter() - began
    print(f"{made} steps in {seconds:.1f} s: {made / seconds * 60 / 1e6:.2f} million a minute")
    return 1 if failed else 0


if __name__ == "__main__":
    # Not this copy of the module: names of modules are part of identities, and so of the order.
    from parsl_ckpt.testing import simulate as imported

    sys.exit(imported.main())
