"""Remove whole runs, or records by key or app.

'parsl-ckpt rm 003' removes a run; 'parsl-ckpt rm --key 5be1c7' every record whose key begins so;
'parsl-ckpt rm --app simulate' the records of an app. A removed result is computed again when it is
asked for, and so is what was computed from it. Without --yes it only says what it would do.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="runs; or those that are meant")
    _common.run_dir(parser)
    parser.add_argument(
        "--key", action="append", default=[], metavar="KEY", type=_common.key,
        help="the beginning of a key, as 'ls' shows it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--app", action="append", default=[], metavar="NAME",
        help="all records of this app; may be repeated, and hold * and ?",
    )  # fmt: skip
    _common.confirm(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain
    from parsl_ckpt.errors import CheckpointNotFoundError, ConfigurationError

    if not (options.runs or options.app or options.key):
        raise ConfigurationError(
            "Nothing says what is to be removed.", hint="Name runs, or give --key or --app."
        )
    backend, places = _common.places(options, options.runs)
    with _common.progress("removing", _common.total_size(backend, places)) as progress:
        done = maintain.remove(
            options.run_dir, runs=options.runs, apps=options.app, keys=options.key,
            dry_run=not options.yes, progress=progress,
        )  # fmt: skip
    if not (done.records or done.runs):
        _common.tell_left(done.left)
        raise CheckpointNotFoundError(
            "No record is meant by that.", hint="'parsl-ckpt ls' lists what there is."
        )
    if options.json:
        _common.show_json({"dry_run": not options.yes, **asdict(done)})
        return 0
    _common.tell_removal(done, not options.yes)
    _common.tell_dry(options)
    return 0
