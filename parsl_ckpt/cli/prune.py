"""Remove what is not worth its room: by app, age, size, to a budget, or all but the last runs.

Look first with --dry-run. --app, --older-than, --larger-than and --failures say which records are
meant, and must all hold; with --max-size, only as many of them go as are needed, those first that
are cheapest to compute again for the room that they take. --keep-runs removes older runs wholly.
Live runs are left alone. What was computed from a pruned result stays valid.

What tasks had committed midway (task_checkpoint) goes too, where their results are recorded; with
--older-than alone, also where nothing was committed for so long.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.run_dir(parser)
    _common.filters(parser)
    parser.add_argument("--failures", action="store_true", help="only failures")
    parser.add_argument(
        "--run", action="append", dest="within", default=[], metavar="RUN", help="of this run"
    )
    parser.add_argument(
        "--max-size", type=_common.size, metavar="SIZE", help="bring all runs down to this size"
    )
    parser.add_argument(
        "--keep-runs", type=_common.count, metavar="N", help="remove all but the last N runs"
    )
    _common.dry_run(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain
    from parsl_ckpt.errors import ConfigurationError

    backend, places = _common.places(options, options.within)
    try:
        with _common.progress("pruning", _common.total_size(backend, places)) as progress:
            done = maintain.prune(
                options.run_dir, apps=options.app, older_than=options.older_than,
                larger_than=options.larger_than, max_bytes=options.max_size,
                keep_runs=options.keep_runs, failures=options.failures,
                only=options.within or None, dry_run=options.dry_run, progress=progress,
            )  # fmt: skip
    except ConfigurationError as error:
        if error.fields.get("field") != "only":
            raise
        raise ConfigurationError(
            error.message,
            hint="Give --app, --older-than, --larger-than, --failures, --max-size or --keep-runs.",
        ) from None
    if options.json:
        _common.show_json({"dry_run": options.dry_run, **asdict(done)})
        return 0
    _common.tell_removal(done, options.dry_run)
    return 0
