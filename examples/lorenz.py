"""An ensemble of Lorenz-96 forecasts that can be killed at any step and goes on from there.

Lorenz-96 is the smallest model that behaves like weather: forty points on a circle of latitude,
each pushed along by its neighbours (E. N. Lorenz, *Predictability: a problem partly solved*, 1996).
Every member begins a little apart from the others, and is kicked at random while it runs, so that
an exact restart has to keep the random generator too::

    $ python examples/lorenz.py                 # press Ctrl-C, or kill -9 it, half-way
    $ python examples/lorenz.py                 # goes on in the middle of the member it was at
    $ python examples/lorenz.py --tasks 4       # each member is a task; kill it, and kill workers

Whatever was killed and how often, the files are the same to the last bit: the program prints a
digest of them.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import parsl_ckpt as pc
from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state, task_checkpoint
from parsl_ckpt.restart.workflows import NpySink, ensemble, rollout

POINTS, FORCING, STEP = 40, 8.0, 0.01


def tendency(x: np.ndarray) -> np.ndarray:
    """How the state changes: advection, damping, forcing."""
    return (np.roll(x, -1, -1) - np.roll(x, 2, -1)) * np.roll(x, 1, -1) - x + FORCING


def advance(x: np.ndarray) -> np.ndarray:
    """The state after a time step: Runge-Kutta of fourth order."""
    k1 = tendency(x)
    k2 = tendency(x + STEP / 2 * k1)
    k3 = tendency(x + STEP / 2 * k2)
    k4 = tendency(x + STEP * k3)
    return x + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def at_rest() -> np.ndarray:
    x = np.full(POINTS, FORCING)
    x[POINTS // 2] += 0.01
    return x


# --- by itself: one process, one checkpoint -------------------------------------------------------


def by_itself(options: argparse.Namespace) -> None:
    """All members in one process; one generator is shared, and what it has drawn is on record."""
    rng = np.random.default_rng(options.seed)

    def model(states: list[np.ndarray]) -> list[np.ndarray]:
        return [advance(x) + 1e-3 * rng.standard_normal(POINTS) for x in states]

    checkpoint = Checkpoint(
        "lorenz", path=options.out / "checkpoint", mode="append",
        flush_interval=options.every, history_size=4,
    )  # fmt: skip
    if checkpoint.catalog:
        print(f"Going on after {checkpoint.catalog[-1].write_count} steps.", flush=True)
    ensemble(
        model, at_rest(), options.steps, options.members,
        sink=lambda member: NpySink(options.out / f"member-{member}.npy"),
        checkpoint=checkpoint,
        perturb=lambda x, rng, member: x + 0.1 * rng.standard_normal(POINTS),
        rng=rng, batch_size=options.batch,
    )  # fmt: skip


# --- as tasks: each member is a call, and continues by its own address ----------------------------


@dataclass
class Noise:
    """The random generator of a member."""

    rng: Any


@pc.python_app(cache=True, retries=3)
def forecast(member: int, steps: int, seed: int, every: int, out: str) -> np.ndarray:
    """One member, from its perturbation to its last state."""
    rng = np.random.default_rng([seed, member])
    first = at_rest() + 0.1 * rng.standard_normal(POINTS)
    with task_checkpoint(flush_interval=every) as checkpoint:
        noise = bind_checkpoint_state(Noise(rng))
        return rollout(
            lambda x: advance(x) + 1e-3 * noise.rng.standard_normal(POINTS),
            first, steps, NpySink(Path(out) / f"member-{member}.npy"), checkpoint,
        )  # fmt: skip


def as_tasks(options: argparse.Namespace) -> None:
    """Members beside one another, in processes; killed ones are tried again where they were."""
    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=options.tasks)],
        checkpoint_mode="task_exit", run_dir=str(options.out / "runinfo"),
    )  # fmt: skip
    with pc.load(config):
        members = [
            forecast(member, options.steps, options.seed, options.every, str(options.out))
            for member in range(options.members)
        ]
        for member in members:
            member.result()


# --- the program ----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An ensemble of Lorenz-96 forecasts.")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000, help="time steps of each")
    parser.add_argument("--batch", type=int, default=2, help="members that go together")
    parser.add_argument("--every", type=int, default=10, help="steps between two commits")
    parser.add_argument("--seed", type=int, default=1996)
    parser.add_argument("--tasks", type=int, default=0, help="run as tasks on so many processes")
    parser.add_argument("--out", type=Path, default=Path("lorenz"), help="where all of it goes")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    as_tasks(options) if options.tasks else by_itself(options)
    digest = hashlib.blake2b(digest_size=8)
    for member in range(options.members):
        digest.update(np.load(options.out / f"member-{member}.npy").tobytes())
    print(f"{options.members} members of {options.steps} steps: {digest.hexdigest()}")


if __name__ == "__main__":
    main()
