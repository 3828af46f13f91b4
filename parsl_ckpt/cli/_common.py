"""What the commands share: options, amounts as people write them, tables, progress.

Rule of this file: nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from parsl_ckpt.checkpoint.backend import Backend
    from parsl_ckpt.checkpoint.inventory import Place
    from parsl_ckpt.checkpoint.prune import Pruned

RUN_DIR = "runinfo"
NARROWEST = 80  # narrower tables would leave out columns; a terminal breaks the lines
# Control characters but for line feed and tab, and what turns the direction of writing.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


# --- options --------------------------------------------------------------------------------------


def run_dir(parser: argparse.ArgumentParser) -> None:
    """The option that says where the runs are."""
    parser.add_argument(
        "-d", "--run-dir", default=RUN_DIR, metavar="DIR", type=named,
        help=f"where the runs are, or one of them, or a single store (default: {RUN_DIR})",
    )  # fmt: skip


def runs(parser: argparse.ArgumentParser, what: str) -> None:
    """Arguments that name runs."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"{what} (default: all)")


def as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")


def filters(parser: argparse.ArgumentParser) -> None:
    """The options that say which records are meant."""
    parser.add_argument(
        "--app", action="append", default=[], metavar="NAME",
        help="of this app; may be repeated, and hold * and ?",
    )  # fmt: skip
    parser.add_argument(
        "--older-than", type=duration, metavar="AGE", help="begun longer ago, such as 30d or 12h"
    )
    parser.add_argument(
        "--larger-than", type=size, metavar="SIZE", help="larger, such as 500k, 10M or 2G"
    )


def dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def confirm(parser: argparse.ArgumentParser) -> None:
    """For what is not to happen by mistake: without this option nothing does."""
    parser.add_argument("-y", "--yes", action="store_true", help="do it")


def key(text: str) -> str:
    """The beginning of a key, in hexadecimal."""
    given = text.strip().lower()
    if not given or len(given) > 64 or set(given) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the beginning of a key, which has up to 64 digits from 0 to f"
        )
    return given


def size(text: str) -> int:
    """A number of bytes.

    >>> size("10G"), size("1.5 kB"), size("4KiB")
    (10000000000, 1500, 4096)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)(b?)", text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500k, 10M, 2G or 1.5GiB")
    base = _UNITS[found[2]]
    if found[3]:
        base = 1024 ** ("kmgt".index(found[2]) + 1)
    return int(float(found[1]) * base)


def duration(text: str) -> float:
    """A number of seconds.

    >>> duration("30d"), duration("1h30m"), duration("90")
    (2592000.0, 5400.0, 90.0)
    """
    from parsl_ckpt.kernel.spans import seconds_of

    seconds = seconds_of(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30d, 12h, 1h30m or 45s")
    return seconds


def moment(text: str) -> float:
    """A point in time: a date, or how long ago.

    >>> moment("2026-01-31T12:00:00+00:00")
    1769860800.0
    """
    import datetime

    with contextlib.suppress(ValueError):
        return datetime.datetime.fromisoformat(text.strip()).timestamp()
    try:
        return time.time() - duration(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no point in time; write 2026-01-31, or how long ago: 30d, 12h"
        ) from None


def named(text: str) -> str:
    """A name; an empty one is a variable of the shell that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text names nothing")
    return text


def positive(text: str) -> int:
    """A number that is at least 1."""
    number = count(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 10")
    return number


def count(text: str) -> int:
    """A number that is not negative."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 10")
    return int(text)


def places(options: argparse.Namespace, names: Sequence[str] = ()) -> tuple[Backend, list[Place]]:
    """The runs that a command is about."""
    from parsl_ckpt.checkpoint.inventory import find
    from parsl_ckpt.checkpoint.where import reading

    backend = reading(options.run_dir)
    return backend, find(backend, options.run_dir, list(names) or None)


def signer(options: argparse.Namespace) -> Any:
    """What verifies signatures, if the environment names a key."""
    from parsl_ckpt.checkpoint.maintain import signer_of

    return signer_of(None, options.run_dir)


# --- output ---------------------------------------------------------------------------------------


def amount(number: float) -> str:
    """Bytes as people read them.

    >>> amount(999), amount(1500), amount(2.5e9)
    ('999 B', '1.5 kB', '2.5 GB')
    """
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        number /= 1000
        if number < 999.5 or unit == "PB":
            break
    return f"{number:.1f} {unit}" if number < 99.5 else f"{number:.0f} {unit}"


def span(seconds: float | None) -> str:
    """A time span as people read it.

    >>> span(0.0042), span(7.5), span(75), span(200_000), span(None), span(2e-7)
    ('4.2 ms', '7.5 s', '1m15s', '2d7h', '-', '0.2 µs')
    """
    if seconds is None:
        return "-"
    if 0 < seconds < 0.0001:
        return f"{seconds * 1e6:.1f} µs"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    for unit, below, length, smaller in (
        ("m", "s", 60, 1), ("h", "m", 3600, 60), ("d", "h", 86400, 3600),
    ):  # fmt: skip
        if whole < length * (24 if unit == "h" else 60) or unit == "d":
            rest = whole % length // smaller
            return f"{whole // length}{unit}" + (f"{rest}{below}" if rest else "")
    return ""


def ago(moment: float | None) -> str:
    """How long ago something was."""
    return span(float(int(max(time.time() - moment, 0.0)))) if moment else "-"


def plural(number: int, what: str) -> str:
    """A counted noun.

    >>> plural(1, "record"), plural(2500, "record")
    ('1 record', '2,500 records')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def table(*columns: str) -> Table:
    """An empty table; columns whose names begin with > are aligned to the right."""
    from rich import box
    from rich.table import Table

    class Cleaned(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            texts = (_encodable(one) if isinstance(one, str) else one for one in cells)
            super().add_row(*texts, **options)

    made = Cleaned(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(
            column.lstrip(">"), justify="right" if column[0] == ">" else "left",
            overflow="fold", no_wrap=column[0] == ">",
        )  # fmt: skip
    return made


def show(*what: object) -> None:
    """Print tables and lines."""
    from rich.console import Console

    class Reader(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # as of any other output

    console = Reader(highlight=False, markup=False, soft_wrap=False)
    console.width = max(console.width, NARROWEST)
    for one in what:
        text = _encodable(one) if isinstance(one, str) else one
        console.print(text, soft_wrap=isinstance(one, str))


def printable(text: object) -> str:
    """A text that does nothing to a terminal: names and errors stand in files of anyone's.

    >>> printable("no \\x1b[31mred, two\\nlines")
    'no \\\\x1b[31mred, two\\nlines'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def _encodable(text: str) -> str:
    """A text as the terminal can show it."""
    text = printable(text)
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("→", "->").replace("µ", "u")
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def show_json(data: object) -> None:
    json.dump(data, sys.stdout, indent=1, default=_plain)
    print()


def tell_left(left: dict[str, str]) -> None:
    """Say what was left alone, and why."""
    for name, why in left.items():
        print(printable(f"{name} is left as it is: {why.rstrip('.')}."), file=sys.stderr)


def tell_withheld(options: argparse.Namespace, backend: Backend, places: Sequence[Place]) -> None:
    """Say of which runs nothing is read, because they are signed with another key."""
    from parsl_ckpt.checkpoint.inventory import OTHER_KEY, withheld

    for place in withheld(backend, places, signer(options)):
        if place.foreign == OTHER_KEY:
            print(f"Nothing of {place.name} is read: it {OTHER_KEY}.", file=sys.stderr)


def tell_dry(options: argparse.Namespace) -> None:
    if not options.yes:
        show("Nothing was changed. Give --yes to do it.")


def tell_removal(done: Pruned, dry_run: bool) -> None:
    """Say what was removed, or would be."""
    tell_left(done.left)
    if done.reclaimed:
        show(f"Freed {amount(done.reclaimed)} of records that had been removed before.")
    if done.pinned:
        show(f"Left {plural(done.pinned, 'record')} that named sets need.")
    if not (done.records or done.runs):
        show("Nothing is to be removed.")
        return
    verb = "Would remove" if dry_run else "Removed"
    if done.runs:
        show(f"{verb} {plural(len(done.runs), 'run')}: {', '.join(done.runs)}.")
    if done.records:
        apps = sorted(done.apps.items(), key=lambda at: -at[1])
        listed = ", ".join(f"{app or 'no app'} {number:,}" for app, number in apps[:10])
        more = f" and {len(apps) - 10} more apps" if len(apps) > 10 else ""
        show(f"{verb} {plural(done.records, 'record')}: {listed}{more}.")
    if dry_run:
        show(f"That would free about {amount(done.bytes)} of {amount(done.before)}.")
    else:
        show(f"{amount(done.before)} became {amount(done.after)}.")


@contextlib.contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, for what takes long; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)


def total_size(backend: Backend, chosen: Sequence[Place]) -> int:
    from parsl_ckpt.checkpoint.inventory import size as size_of

    return sum(size_of(backend, place) for place in chosen)


def _plain(value: object) -> object:
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
