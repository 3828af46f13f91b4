"""Write runs to one archive file, to be moved to another machine.

'-' writes to standard output, so that it can be compressed or sent on its way:
'parsl-ckpt export -o - | ssh elsewhere parsl-ckpt import -'. A run that is live goes in with what
it has recorded so far.
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
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the archive; - is standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    backend, places = _common.places(options, options.runs)
    with (
        _target(options.output, options.force) as target,
        _common.progress("exporting", _common.total_size(backend, places)) as progress,
    ):
        moved = maintain.export_runs(
            target, options.run_dir, only=options.runs or None, progress=progress
        )
    if options.output != "-":
        print(
            f"{options.output}: {_common.plural(len(moved.runs), 'run')}, "
            f"{_common.plural(moved.files, 'file')}, {_common.amount(moved.size)}"
        )
    return 0


@contextlib.contextmanager
def _target(path: str, force: bool) -> Iterator[IO[bytes]]:
    """The file, which appears whole or not at all."""
    from parsl_ckpt.errors import ArchiveError, StoreWriteError

    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(path) and not force:
        raise ArchiveError(f"{path} is there already.", hint="Name another file, or give --force.")
    temporary = f"{path}.part-{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreWriteError(
            f"{path} could not be written: {error}.", hint="Name another place.", path=path
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
