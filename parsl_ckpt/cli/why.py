"""Tell why a task of a run ran: what differs from the nearest call that was recorded before.

TASK is the task's number, or the beginning of its key as 'parsl-ckpt ls' shows it. A task that did
not have to run has left no record in its run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.observe.nearest import Found


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("within", metavar="RUN", help="the run, such as 003")
    parser.add_argument(
        "task",
        metavar="TASK",
        type=_common.named,
        help="number of the task, or beginning of its key",
    )
    _common.run_dir(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.store import Store
    from parsl_ckpt.observe.why import Why, call_of

    _, (place,) = _common.places(options, [options.within])
    _, places = _common.places(options)
    names = [one.name for one in places]
    earlier = [one.directory for one in places[: names.index(place.name) + 1]]
    with Store.open(None, sources=earlier, named=False, pickle=False) as store:
        why = Why(store)
        found = _chosen(why.in_run(place.directory), options.task, place.name)
        record: Any = found.result
        reason = None
        if record.key:
            reason = why.explain(call_of(record, found.record_id))
    error = getattr(record, "error", "")
    if options.json:
        told = {"run": place.name, "task": record.tid, "key": record.key, "app": record.app}
        told |= {"error": error} if error else {}
        _common.show_json(told | ({"why": reason.to_dict()} if reason is not None else {}))
        return 0
    task = f"task {record.tid}" if record.tid >= 0 else "a task"
    _common.show(f"{task} of run {place.name}, key {record.key.hex()[:16] or '-'}")
    if error:
        _common.show(f"It failed: {error.splitlines()[0]}")
    _common.show(str(reason) if reason is not None else "It has no address: it is not cached.")
    return 0


def _chosen(recorded: Iterable[Found], task: str, run: str) -> Found:
    """The record that is meant; the newest, if a task has several.

    Raises:
        CheckpointNotFoundError: there is none, or the beginning of a key is that of several calls.
    """
    from parsl_ckpt.errors import CheckpointNotFoundError

    number = int(task) if task.isascii() and task.isdigit() and len(task) < 16 else -1
    prefix = task.lower()
    numbered: list[Found] = []
    keyed: list[Found] = []
    for found in recorded:
        record = found.result
        if number >= 0 and record.tid == number:
            numbered.append(found)
        elif record.key.hex().startswith(prefix) or (record.lineage or b"").hex().startswith(
            prefix
        ):
            keyed.append(found)
    meant = numbered or keyed
    if not meant:
        raise CheckpointNotFoundError(
            f"No record of run {run} is of task {task}.",
            hint="A task that did not have to run leaves none, and neither does one that is not "
            f"cached. 'parsl-ckpt ls --run {run}' lists what there is.",
        )
    calls = sorted({found.result.key.hex() for found in meant if found.result.key})
    if len(calls) > 1:
        some = ", ".join(key[:16] for key in calls[:8])
        raise CheckpointNotFoundError(
            f"{len(calls)} calls of run {run} are meant by {task}: {some}.",
            hint="Give more of the key.",
        )
    return meant[-1]
