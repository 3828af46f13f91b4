"""Take the results of Parsl's checkpoints into a new run, for programs that have left Parsl.

A program whose apps have the same names, in modules of the same names, then finds what Parsl had
recorded of its calls when nothing is recorded of them here. Results that were taken over before are
skipped, and of a file that is cut off or damaged what is whole is taken. Nothing is unpickled now;
it is when a call asks for a result. Unpickling runs code, so nothing is taken over that others own
or can write to, unless you say --trust any.
"""

from __future__ import annotations

import argparse
import os

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", nargs="+", metavar="PATH",
        help="Parsl's run directory (runinfo), one run or checkpoint in it, or a tasks.pkl",
    )  # fmt: skip
    _common.run_dir(parser)
    parser.add_argument(
        "--trust", choices=("owner", "any"), default="owner",
        help="any: also what others own or can write to (default: owner)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.carrying import find_parsl, import_parsl

    paths = [path for source in options.sources for path in find_parsl(source)]
    size = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
    with _common.progress("importing", size) as progress:
        done = import_parsl(options.run_dir, paths, trust=options.trust, progress=progress)
    for path, here in done.skipped.items():
        print(f"{path} is here already, in {here}.")
    for file in done.files:
        print(f"{file.path}: {_common.plural(file.records, 'result')}.")
        if file.failures:
            print(f"  {_common.plural(file.failures, 'failure')} left out.")
        if file.damaged:
            places = _common.plural(file.damaged, "place")
            print(f"  Cut off or damaged in {places}; what is whole was taken.")
    if done.run is not None:
        where = os.path.join(options.run_dir, done.run)
        print(f"{_common.plural(done.records, 'result')} taken over into {where}.")
    elif done.files:
        print("Nothing to take over.")
    return 0
