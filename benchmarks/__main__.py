"""``python -m benchmarks [--quick] [NAME ...]``."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from importlib import metadata

import benchmarks
from benchmarks.harness import Measurement, Preparations, measure, summary, table

NOT_MEASUREMENTS = {"__main__", "harness", "peers"}
PEERS = ("parsl", "diskcache", "joblib", "dask", "lmdb", "loky")


def measurements() -> dict[str, str]:
    """Names of the measurements, each a module here, with the first line of its docstring."""
    names = [found.name for found in pkgutil.iter_modules(benchmarks.__path__)]
    return {
        name: (importlib.import_module(f"benchmarks.{name}").__doc__ or "").splitlines()[0]
        for name in names
        if name not in NOT_MEASUREMENTS
    }


def main(argv: list[str] | None = None) -> int:
    known = measurements()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="smaller, and only once each")
    parser.add_argument("--rounds", type=int, help="how often each contender is measured")
    parser.add_argument("--list", action="store_true", help="say what can be measured")
    options = parser.parse_args(argv)
    if options.list:
        for name, title in known.items():
            print(f"{name:12} {title}")
        return 0
    for name in options.names:
        if name not in known:
            parser.error(f"no measurement is called {name!r}; there are: {', '.join(known)}")
    print(machine(), flush=True)
    judged: list[list[str]] = []
    with Preparations() as preparations:
        for name in options.names or known:
            measurement: Measurement = importlib.import_module(f"benchmarks.{name}").MEASUREMENT
            results = measure(measurement, options.quick, options.rounds, preparations)
            print(f"\n[{name}] {table(measurement, results)}", flush=True)
            judged += filter(None, (goal.judge(results) for goal in measurement.goals))
    if judged:
        print(f"\n{summary(judged)}", flush=True)
    return 0


def machine() -> str:
    versions = []
    for peer in PEERS:
        try:
            versions.append(f"{peer} {metadata.version(peer)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores; {', '.join(versions) or 'no peers installed'}"
    )


if __name__ == "__main__":
    sys.exit(main())
