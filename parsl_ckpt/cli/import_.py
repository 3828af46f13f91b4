"""Take the runs of an archive into the run directory, under numbers that are free there.

Every checksum is verified before any of it appears; runs that are here already are skipped. Values
in an archive are pickles as a rule, and unpickling runs code: import only what comes from someone
whom you would let run programs as you. '-' reads standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="FILE", help="the archive; - is standard input")
    _common.run_dir(parser)
    parser.add_argument(
        "--salvage", action="store_true", help="of a damaged archive, take what is whole"
    )


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    size = None
    with contextlib.suppress(OSError):
        size = os.path.getsize(options.archive)
    with (
        _source(options.archive) as source,
        _common.progress("importing", size) as progress,
    ):
        moved = maintain.import_runs(
            source, options.run_dir, salvage=options.salvage, progress=progress
        )
    for name, here in moved.skipped.items():
        print(f"{name} is here already, as {here}.")
    for name, here in moved.runs.items():
        print(f"{name} is now {os.path.join(options.run_dir, here)}.")
    if moved.dropped:
        print(f"{_common.plural(moved.dropped, 'damaged record')} left out.")
    print(f"{_common.plural(moved.files, 'file')}, {_common.amount(moved.size)}, verified.")
    return 0


@contextlib.contextmanager
def _source(path: str) -> Iterator[IO[bytes]]:
    from parsl_ckpt.errors import ArchiveError

    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be opened: {error.strerror}.", hint="Name an archive.", path=path
        ) from error
    with file:
        yield file
