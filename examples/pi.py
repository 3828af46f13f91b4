"""Pi by throwing darts: a Monte Carlo estimate that can be killed, resumed, and made better later.

Every *stream* is one task that throws so many darts at a square and counts those inside the circle.
Its random numbers are seeded by the task's own address, so a stream is the same whenever and
wherever it is computed, and two streams differ.  Each count goes to the checkpoint as soon as it is
known, so::

    $ python examples/pi.py                   # press Ctrl-C, or kill -9 it, half-way
    $ python examples/pi.py                   # goes on with the streams that are missing
    $ python examples/pi.py --streams 200     # twice as good, and only the new ones are computed
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import as_completed
from pathlib import Path

import parsl_ckpt as pc

# --- apps: what is computed -----------------------------------------------------------------------


@pc.python_app(cache=True)
def inside(stream: int, darts: int) -> int:
    """How many of so many darts land inside the circle; ``stream`` says which darts they are."""
    throw = pc.task_rng("standard").random
    return sum(throw() ** 2 + throw() ** 2 < 1.0 for _ in range(darts))


@pc.python_app(cache=True)
def estimate(counts: list[int], darts: int) -> tuple[float, float]:
    """Pi and its standard error, from the counts of all streams."""
    thrown = len(counts) * darts
    share = sum(counts) / thrown
    return 4 * share, 4 * math.sqrt(share * (1 - share) / thrown)


# --- the program ----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Estimate pi by throwing darts.")
    parser.add_argument("--streams", type=int, default=100, help="number of tasks")
    parser.add_argument("--darts", type=int, default=200_000, help="darts of each")
    parser.add_argument("--run-dir", default="runinfo", help="where runs and checkpoints are kept")
    parser.add_argument("--workers", type=int, default=None, help="number of processes")
    parser.add_argument("--csv", type=Path, help="also write the counts to this file")
    options = parser.parse_args(argv)

    config = pc.Config(
        executors=[pc.ProcessPoolExecutor(max_workers=options.workers)],
        checkpoint_mode="task_exit",  # each count is safe as soon as its task is done
        run_dir=options.run_dir,  # earlier checkpoints in it are found and used
    )
    with pc.load(config) as dfk:
        streams = [inside(stream, options.darts) for stream in range(options.streams)]
        pi = estimate(streams, options.darts)  # begins when all of them are known
        missing = [stream for stream in streams if not stream.from_memo]
        for done, _ in enumerate(as_completed(missing), start=1):
            print(f"{done} of {len(missing)} streams", flush=True)
        value, error = pi.result()
        if options.csv is not None:
            dfk.results(inside).to_csv(options.csv)
    counts = dfk.counts()
    print(f"pi = {value:.6f} +- {error:.6f}")
    print(f"{counts['exec_done']:,} tasks run, {counts['memo_done']:,} restored.")


if __name__ == "__main__":
    main()
