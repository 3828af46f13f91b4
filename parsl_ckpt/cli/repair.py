"""Drop damaged bytes, keep every whole record, make indexes anew.

Without --yes it only says what it would do. Runs that are live are left alone. Exit status: 0 when
there was nothing to do or it was done, 1 when something could not be.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    _common.confirm(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    backend, places = _common.places(options, options.runs)
    with _common.progress("repairing", _common.total_size(backend, places)) as progress:
        done = maintain.repair(
            options.run_dir, only=options.runs or None, dry_run=not options.yes, progress=progress
        )
    if options.json:
        _common.show_json({"dry_run": not options.yes, **asdict(done)})
        return 0
    _common.tell_left(done.left)
    if done.nothing:
        _common.show("Nothing is to be repaired.")
        return 0
    would = "" if options.yes else "Would be "
    _common.show(
        f"{would}{'Rewritten' if options.yes else 'rewritten'}: "
        f"{_common.plural(len(done.rewritten), 'segment')} with "
        f"{_common.plural(done.records, 'whole record')}, which are kept; "
        f"{_common.plural(done.dropped, 'record')} and {_common.amount(done.bytes)} are dropped.",
    )
    if done.blobs or done.indexes or done.leftover:
        _common.show(
            f"{would}{'Removed' if options.yes else 'removed'}: "
            f"{_common.plural(done.blobs, 'damaged blob')}, "
            f"{_common.plural(done.indexes, 'damaged file')} of indexes, "
            f"{_common.amount(done.leftover)} of unfinished files."
        )
    _common.tell_dry(options)
    return 0
