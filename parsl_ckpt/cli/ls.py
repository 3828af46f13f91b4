"""List what is recorded: results by app, age, size and duration.

Without options everything is listed, oldest first. 'parsl-ckpt show KEY' tells all about one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.items import Item

SORTS = ("age", "size", "duration", "app")


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.run_dir(parser)
    _common.filters(parser)
    parser.add_argument(
        "--since", type=_common.moment, metavar="WHEN",
        help="begun at this date or later, such as 2026-01-31; or so long ago at most, such as 7d",
    )  # fmt: skip
    parser.add_argument(
        "--run", action="append", dest="within", default=[], metavar="RUN", help="of this run"
    )
    parser.add_argument(
        "--longer-than", type=_common.duration, metavar="TIME", help="took longer, such as 5m"
    )
    parser.add_argument("--failures", action="store_true", help="list failures instead of results")
    parser.add_argument("--by-app", action="store_true", help="one line for each app")
    parser.add_argument("--sort", choices=SORTS, default="age", help="default: age, oldest first")
    parser.add_argument("-n", "--last", type=_common.count, metavar="N", help="the last N only")
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.maintain import Filter, records

    backend, places = _common.places(options, options.within)
    older = options.older_than
    wanted = Filter(
        apps=options.app,
        since=options.since,
        before=None if older is None else time.time() - older,
        larger_than=options.larger_than,
        longer_than=options.longer_than,
        kinds=("failure",) if options.failures else ("result",),
    )
    with _common.progress("reading", _common.total_size(backend, places)) as progress:
        listed = records(options.run_dir, wanted, only=options.within or None, progress=progress)
        found = sorted(listed, key=_order(options.sort))
    if options.last is not None:
        found = found[len(found) - min(options.last, len(found)) :]
    _common.tell_withheld(options, backend, places)
    if options.json:
        _common.show_json([_plain(item) for item in found])
    elif not found:
        _common.show("Nothing that is recorded is of this kind." + _rows(options.run_dir))
    elif options.by_app:
        _common.show(_by_app(found))
    else:
        _common.show(_table(found), _sum(found))
    return 0


def _rows(directory: str) -> str:
    """Where to look for what a user may have looked for here."""
    from parsl_ckpt.restart.listing import directories, listed

    if any(one for path in directories(directory, directory) for one in listed(path)):
        return f" There are rows of restart sessions: parsl-ckpt rows -d {directory}"
    return ""


def _order(name: str) -> Callable[[Item], Any]:
    keys: dict[str, Callable[[Item], Any]] = {
        "age": lambda item: (item.began, item.app),
        "size": lambda item: (item.size, item.began),
        "duration": lambda item: (item.seconds, item.began),
        "app": lambda item: (item.app, item.began),
    }
    return keys[name]


def _table(found: list[Item]) -> object:
    failures = found[0].kind == "failure"
    table = _common.table(
        "key", "app", "run", ">age", ">duration", ">size", *(["error"] if failures else [])
    )
    for item in found:
        table.add_row(
            item.key.hex()[:16] or "-", item.app or "-", item.place.name, _common.ago(item.began),
            _common.span(item.seconds), _common.amount(item.size),
            *([item.error.split("\n")[0][:100]] if failures else []),
        )  # fmt: skip
    return table


def _by_app(found: list[Item]) -> object:
    table = _common.table("app", ">records", ">size", ">computed in", ">newest")
    apps: dict[str, list[Item]] = {}
    for item in found:
        apps.setdefault(item.app, []).append(item)
    for app, some in sorted(apps.items()):
        table.add_row(
            app or "-", f"{len(some):,}", _common.amount(sum(item.size for item in some)),
            _common.span(sum(item.seconds for item in some)),
            _common.ago(max(item.began for item in some)),
        )  # fmt: skip
    return table


def _sum(found: list[Item]) -> str:
    return (
        f"{_common.plural(len(found), 'record')}, {_common.amount(sum(i.size for i in found))}, "
        f"computed in {_common.span(sum(i.seconds for i in found))}"
    )


def _plain(item: Item) -> dict[str, object]:
    return {
        "key": item.key, "record": item.record_id, "kind": item.kind, "app": item.app,
        "run": item.place.name, "began": item.began, "seconds": item.seconds, "size": item.size,
        "error": item.error,
    }  # fmt: skip
