"""List the rows of restart sessions: how far loops have come that go on in the middle.

Without --run-dir: those of tasks that are under way or were interrupted, in runinfo, and those of
programs, in the user's cache directory. With it: those in a directory that 'Checkpoint(path=...)'
named, or below it, or those of the tasks of its runs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.restart import CheckpointEntry
    from parsl_ckpt.restart.listing import Listed


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--run-dir", metavar="DIR", help="where they are, or the runs of which they are"
    )
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    import os

    from parsl_ckpt.checkpoint.where import is_url, plain
    from parsl_ckpt.errors import CheckpointNotFoundError
    from parsl_ckpt.restart.listing import directories, listed

    given = None if options.run_dir is None else plain(options.run_dir)
    if given is not None and not is_url(given) and not os.path.isdir(given):
        raise CheckpointNotFoundError(
            f"There is no directory {given}.",
            hint="Name the path of a Checkpoint, or the directory in which your runs are.",
            path=given,
        )
    found = [
        (one, catalog)
        for path in directories(given, _common.RUN_DIR)
        for one in listed(path)
        if (catalog := one.checkpoint.catalog)
    ]
    if options.json:
        _common.show_json([_plain(one, entry) for one, rows in found for entry in rows])
    elif not found:
        _common.show(f"There are no rows of restart sessions{_where(given)}.")
    else:
        for one, rows in found:
            _common.show(_title(one), _table(rows), "")
    return 0


def _where(given: str | None) -> str:
    from parsl_ckpt.restart.location import cache_directory

    if given is not None:
        return f" in {given}"
    return f" in {_common.RUN_DIR} or {cache_directory()}"


def _title(one: Listed) -> str:
    name = "a session" if one.name is None else f"session {one.name!r}"
    of = f" of the task {one.task[:16]}" if one.task else ""
    return f"{name}{of} in {one.path}"


def _table(rows: tuple[CheckpointEntry, ...]) -> object:
    import datetime

    from parsl_ckpt.restart import show

    columns, lines = show.table(rows, datetime.datetime.now(datetime.timezone.utc))
    table = _common.table(*(f" {name}" if name[:1] in ("", ">") else name for name in columns))
    for line in lines:
        table.add_row(*line)
    return table


def _plain(one: Listed, entry: CheckpointEntry) -> dict[str, Any]:
    return {
        "session": one.name, "path": one.path, "task": one.task, "row": entry.commit_id,
        "parent": entry.parent, "labels": dict(entry.labels), "metadata": _values(entry),
        "write_count": entry.write_count, "saved_at": entry.saved_at.isoformat(),
        "rank": entry.rank, "world_size": entry.world_size, "states": list(entry.state_ids),
    }  # fmt: skip


def _values(entry: CheckpointEntry) -> dict[str, Any]:
    from parsl_ckpt.restart.show import shown

    values: dict[str, Any] = {}
    for name in entry.metadata_keys:
        try:
            value = entry.metadata[name]
        except Exception:  # a codec that is not registered here, or damage
            values[name] = None
            continue
        plain = value is None or isinstance(value, (bool, int, float, str))
        values[name] = value if plain else shown(value)
    return values
