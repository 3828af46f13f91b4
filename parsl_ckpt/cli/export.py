"""Write runs to an archive, or the results of an app to a table.

'parsl-ckpt export -o results.tar' writes runs to one file, to be moved to another machine; '-' is
standard output, so that it can be compressed or sent on its way:
'parsl-ckpt export -o - | ssh elsewhere parsl-ckpt import -'. A run that is live goes in with what
it has recorded so far.

'parsl-ckpt export --csv simulate' prints what is recorded of the app simulate, one row a call, with
parameters and value as columns; 'parsl-ckpt export --parquet simulate -o simulate.parquet' writes
it to a file. Values that were pickled are in it with --value only: unpickling runs code.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.observe.results import Results


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="where to write; - is standard output, which is the default for CSV",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    table = parser.add_argument_group("tables")
    kind = table.add_mutually_exclusive_group()
    kind.add_argument("--csv", metavar="APP", help="write the results of an app as CSV")
    kind.add_argument("--parquet", metavar="APP", help="write the results of an app as Parquet")
    table.add_argument(
        "--all-codes", action="store_true",
        help="also what was computed under other codes of the app than the newest",
    )  # fmt: skip
    table.add_argument("--failures", action="store_true", help="also calls that failed")
    table.add_argument(
        "--details", action="store_true", help="also when, where and how long each call ran"
    )
    table.add_argument(
        "--no-flatten", action="store_true", help="one column for a value, whatever is in it"
    )
    table.add_argument(
        "--value", action="store_true", help="decode values that were pickled, which runs code"
    )
    table.add_argument(
        "--raw", action="store_true",
        help="CSV: write texts as they are that a spreadsheet would take for formulas",
    )  # fmt: skip
    parser.set_defaults(wrong=parser.error)


def run(options: argparse.Namespace) -> int:
    if options.csv is not None or options.parquet is not None:
        return _table(options)
    for option in ("all_codes", "failures", "details", "no_flatten", "value", "raw"):
        if getattr(options, option):
            options.wrong(
                f"--{option.replace('_', '-')} is about tables: give --csv APP or --parquet APP"
            )
    if options.output is None:
        options.wrong(
            "-o/--output FILE is required for an archive of runs (- is standard output); "
            "--csv APP or --parquet APP writes a table of results"
        )
    return _archive(options)


# --- archives -------------------------------------------------------------------------------------


def _archive(options: argparse.Namespace) -> int:
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
    from parsl_ckpt.errors import StoreWriteError

    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    _check_free(path, force)
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


def _check_free(path: str, force: bool) -> None:
    from parsl_ckpt.errors import ArchiveError

    if os.path.lexists(path) and not force:
        raise ArchiveError(f"{path} is there already.", hint="Name another file, or give --force.")


# --- tables ---------------------------------------------------------------------------------------


def _table(options: argparse.Namespace) -> int:
    from parsl_ckpt.errors import StoreWriteError
    from parsl_ckpt.observe.results import results

    app = options.parquet if options.csv is None else options.csv
    path = options.output or "-"
    if options.csv is None and path == "-":
        options.wrong(f"Parquet is no text that could be printed: give -o {app}.parquet")
    if path != "-":
        _check_free(path, options.force)
    table = results(
        app, options.run_dir, runs=options.runs or None, code="all" if options.all_codes else None,
        failures=options.failures, details=options.details, flatten=not options.no_flatten,
        pickle=options.value,
    )  # fmt: skip
    told = _Told(table)
    try:
        if options.csv is None:
            count = told.to_parquet(path)
        elif path == "-":
            count = told.to_csv(sys.stdout, raw=options.raw)
            sys.stdout.flush()
        else:
            count = told.to_csv(path, raw=options.raw)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreWriteError(
            f"{path} could not be written: {error}.", hint="Name another place.", path=path
        ) from error
    if path != "-":
        print(f"{path}: {_common.plural(count, 'row')}")
    told.tell()
    return 0


class _Told:
    """A table that counts what cannot be read while it is written."""

    def __init__(self, table: Results) -> None:
        self._table = table
        self._problems: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        # The writers take whatever gives rows: here they are given through this.
        method = getattr(type(self._table), name)
        return lambda *args, **kwargs: method(self, *args, **kwargs)

    @property
    def parameters(self) -> tuple[str, ...]:
        return self._table.parameters

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._problems.clear()  # values are gone through twice
        for row in self._table:
            problem = row.get("call.error")
            if problem is not None:
                self._problems[problem] += 1
            yield row

    def tell(self) -> None:
        """Say what is not in the table, on standard error."""
        for problem, count in self._problems.most_common(3):
            lines = problem.splitlines() or [""]
            hint = " Give --value if you trust it." if "pickle is not allowed" in problem else ""
            rows = _common.plural(count, "row")
            told = f"{rows} without a value: {lines[0]}{hint}"
            print(_common.printable(told), file=sys.stderr)
        left_out = self._table.left_out
        if left_out:
            print(
                f"{_common.plural(left_out, 'record')} of another code of {self._table.app} "
                f"{'is' if left_out == 1 else 'are'} left out; --all-codes takes all.",
                file=sys.stderr,
            )
