"""A plan over files: is it getting warmer? From what weather stations have measured, hour by hour.

    python examples/plan.py [--until clean] [--page FILE] [DIRECTORY]

DIRECTORY has one file for each station (``NAME.csv``, lines ``hour,degrees``, with gaps and with
errors); if it does not exist it is made, with a dozen of them.  Each run prints what it is going to
do before it does it.  Try this::

    python examples/plan.py --until clean     # stops in the middle of the graph
    python examples/plan.py                   # goes on from there: no file is read again
    python examples/plan.py                   # nothing is left to do
    echo 99999,60 >> stations/north.csv
    python examples/plan.py                   # one station is read again, and what depends on it

::

    FILE ─ read ─► clean ─► daily ─┐
    FILE ─ read ─► clean ─► daily ─┼─► trend ─► tell
    FILE ─ read ─► clean ─► daily ─┘
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import parsl_ckpt as pc

NAMES = (
    "north", "east", "south", "west", "harbour", "summit", "valley", "forest", "airport", "lake",
    "market", "island",
)  # fmt: skip
DAYS = 60


@pc.python_app(cache=True)
def read(file):
    """The measurements of a station: hour to degrees."""
    with open(file.filepath, newline="") as lines:
        return {int(hour): float(degrees) for hour, degrees in csv.reader(lines)}


@pc.python_app(cache=True)
def clean(measured, tolerance=8.0):
    """Without what cannot be: far from the median of the hours around it."""
    kept = {}
    for hour, degrees in measured.items():
        around = [measured[h] for h in range(hour - 3, hour + 4) if h in measured]
        if abs(degrees - statistics.median(around)) <= tolerance:
            kept[hour] = degrees
    return kept


@pc.python_app(cache=True)
def daily(measured):
    """The mean of each day of which most hours are known."""
    days = {}
    for hour, degrees in measured.items():
        days.setdefault(hour // 24, []).append(degrees)
    return {day: statistics.fmean(known) for day, known in days.items() if len(known) > 12}


@pc.python_app(cache=True)
def trend(stations):
    """Degrees a day: the slope of a line through the means of all stations (least squares)."""
    points = [point for station in stations for point in station.items()]
    days, means = zip(*points, strict=True)
    return statistics.linear_regression(days, means).slope


@pc.python_app
def tell(slope):
    return f"It gets {'warmer' if slope > 0 else 'colder'} by {abs(slope):.3f} degrees a day."


def make(directory: Path) -> None:
    """Files of a dozen stations, the same each time."""
    directory.mkdir(parents=True)
    for name in NAMES:
        chance = random.Random(name)
        height = chance.uniform(-6, 6)
        with open(directory / f"{name}.csv", "w", newline="") as file:
            lines = csv.writer(file)
            for hour in range(24 * DAYS):
                degrees = 10 + height + hour / 400 + 5 * math.sin(hour * math.pi / 12)
                degrees += chance.gauss(0, 0.7) + (50 if chance.random() < 0.005 else 0)
                if chance.random() > 0.03:  # else nothing was sent
                    lines.writerow([hour, f"{degrees:.1f}"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("stations"))
    parser.add_argument("--until", choices=["clean", "tell"], default="tell")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the plan as a page")
    options = parser.parse_args(arguments)
    if not options.directory.exists():
        make(options.directory)
    files = [pc.File(str(path)) for path in sorted(options.directory.glob("*.csv"))]

    with pc.load(pc.Config(checkpoint_mode="task_exit")) as dfk:
        with dfk.plan() as plan:
            cleaned = [clean(read(file)) for file in files]
            answer = tell(trend([daily(station) for station in cleaned]))
            plan.want(*(cleaned if options.until == "clean" else [answer]))
        print(plan.explain(tasks=6))
        if options.page:
            options.page.write_text(plan.to_html(), encoding="utf-8")
        results = plan.run().results()
    print()
    print(results[0] if options.until == "tell" else f"{len(results)} stations are clean.")


if __name__ == "__main__":
    main()
