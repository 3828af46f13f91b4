"""Write results as a checkpoint of Parsl's, for programs that go back to it.

Parsl finds a result by its own key of the call. That is known of what was carried over from Parsl,
and of what was recorded with Config(memoizer=BasicMemoizer(parsl_keys=True)); other results are
left out, which is told. Give DIR to Parsl as one of its checkpoint_files.
"""

from __future__ import annotations

import argparse

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where tasks.pkl is to be written"
    )


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.carrying import export_parsl

    with _common.progress("exporting", None) as progress:
        done = export_parsl(
            options.run_dir, options.output, only=options.runs or None, progress=progress
        )
    print(f"{done.path}: {_common.plural(done.records, 'result')}.")
    if done.unknown:
        print(
            f"{_common.plural(done.unknown, 'result')} left out: Parsl's keys of their calls were "
            "not noted (BasicMemoizer(parsl_keys=True))."
        )
    for app, why in done.unwritten:
        print(f"A result of {app} cannot be written: {why}")
    if done.failed > len(done.unwritten):
        print(f"So cannot {done.failed - len(done.unwritten):,} more.")
    return 1 if done.failed else 0
