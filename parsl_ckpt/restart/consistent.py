"""Rows of several ranks: those that every rank has committed.  Pure.

Rows belong together that were written in one attempt, of one launch, after as many steps, with the
same labels.  An attempt is one more than that of the newest row that all ranks have, when
the session is opened: all ranks see the same, because nothing of the new attempt is shared by all
before the last of them has opened its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from parsl_ckpt.checkpoint.rows import Row

Group = tuple[Any, ...]


def consistent(rows: Sequence[Row], rank: int) -> list[Row]:
    """The rows of one rank, oldest first, of which all ranks have theirs.

    Args:
        rows: of all ranks, oldest first.
        rank: whose rows are wanted.
    """
    if all(row.session.world_size == 1 for row in rows):
        return list(rows)
    times: dict[bytes, int] = {}
    chosen: list[Row] = []
    for members in _groups(rows).values():
        world_size = next(iter(members.values())).session.world_size
        if len(members) == world_size and rank in members:
            row = members[rank]
            times[row.session.commit] = max(one.session.at for one in members.values())
            chosen.append(row)
    return sorted(chosen, key=lambda row: (times[row.session.commit], row.session.commit))


def members(rows: Iterable[Row], row: Row) -> list[Row]:
    """The rows of all ranks that belong together with one."""
    for group in _groups(rows).values():
        if group.get(row.session.rank) is row:
            return list(group.values())
    return [row]


def next_attempt(rows: Iterable[Row]) -> int:
    """The number of the attempt that begins now."""
    attempts = [
        group[0]
        for group, members in _groups(rows).items()
        if len(members) == next(iter(members.values())).session.world_size
    ]
    return max(attempts, default=0) + 1


def _groups(rows: Iterable[Row]) -> dict[Group, dict[int, Row]]:
    found: dict[Group, dict[int, Row]] = {}
    for row in rows:
        session = row.session
        if session.world_size == 1:
            group: Group = (session.attempt, session.commit)
        else:
            group = (
                session.attempt, session.launch, session.world_size, session.count, session.labels,
            )  # fmt: skip
        members = found.setdefault(group, {})
        if session.rank < session.world_size:
            members[session.rank] = row  # the newest of those that a rank has written
    return {group: members for group, members in found.items() if members}
