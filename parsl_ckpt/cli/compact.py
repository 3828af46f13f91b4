"""Put many runs into one sealed segment: the newest result of each call, and no more.

Readers go on meanwhile, live runs are left alone, and a crash at any moment loses nothing. The
records are then in the last of the runs, and the directories of the others are gone unless you keep
files of your own there; 'parsl-ckpt runs -v' tells which runs are inside. Scripts that name
checkpoints (checkpoint_files) must name that last run.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs; neighbours are put together")
    _common.run_dir(parser)
    _common.dry_run(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    backend, places = _common.places(options, options.runs)
    with _common.progress("compacting", _common.total_size(backend, places)) as progress:
        done = maintain.compact(
            options.run_dir, only=options.runs or None, dry_run=options.dry_run, progress=progress
        )
    if options.json:
        _common.show_json({"dry_run": options.dry_run, **asdict(done)})
        return 0
    _common.tell_left(done.left)
    if not done.runs:
        _common.show("There is nothing to compact.")
        return 0
    for group in done.runs:
        into = f"the segments of {group[0]}" if len(group) == 1 else f"{', '.join(group[:-1])} and "
        into += "" if len(group) == 1 else group[-1]
        verb = "Would put" if options.dry_run else "Put"
        _common.show(f"{verb} {into} together, in {group[-1]}.")
    _common.show(
        f"Kept: {_common.plural(done.records, 'record')}. Left out: {done.superseded:,} for newer "
        f"ones, {done.removed:,} that were removed, {done.unreadable:,} unreadable."
    )
    if not options.dry_run:
        _common.show(f"{_common.amount(done.before)} became {_common.amount(done.after)}.")
    return 0
