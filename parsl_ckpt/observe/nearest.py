"""Of all that is recorded of an app, the call that is most like a given one.

Rule of this file: a million records are gone through once per store, by columns of 64-bit numbers
(the hash of each leaf), about fifty bytes a record; a question compares columns.  The record itself
is read again when it has been chosen.

*Most like* means: the most arguments in common; then the same code; then the same version; then the
fewest differences inside the arguments, as far as outlines tell (``why.py`` counts them); then the
newest.  Arguments come first because of what people do: they edit a function, make the same calls
again, and want to be told of the function, not of the argument by which the last call differs.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.recent import Additions
from parsl_ckpt.checkpoint.segment import DamagedFrame, Entry, Segment
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import FormatError

MOST = 4_000_000  # records that are looked at, the newest; about 200 MB
TRIES = 1000  # records that are read again in search of one that is whole and not removed
ALIKE = 32  # records that are compared part by part, if they have equally much in common
_ARGUMENT, _CODE, _VERSION = 4, 2, 1  # what having it in common counts; arguments: each

_CALLS = (fmt.RESULT, fmt.FAILURE)

Place = tuple[tuple[int, int, str], int]
"""Rank of a segment and offset: orders records by age."""


class Found(NamedTuple):
    """A record.

    Attributes:
        result: the record; of :meth:`Why.in_run` also a failure's.
        record_id: its name.
        directory: the checkpoint that it is in.
        place: its age; None while it is held in memory.
    """

    result: Result
    record_id: bytes
    directory: str
    place: Place | None


class _Brief(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a result: what a question is compared with."""

    key: bytes
    lineage: bytes | None = None
    app: str = ""
    code: bytes = b""
    version: str = ""
    names: tuple[str, ...] = ()
    leaves: tuple[bytes, ...] = ()


class _Table:
    """The records of one app with one list of parameters."""

    __slots__ = ("code", "columns", "names", "offset", "segment", "version")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.code = array("q")
        self.version = array("q")
        self.columns = [array("q") for _ in names]
        self.segment = array("i")
        self.offset = array("q")

    def add(self, brief: _Brief, segment: int, offset: int) -> None:
        for column, leaf in zip(self.columns, brief.leaves, strict=True):
            column.append(hash(leaf))
        self.code.append(hash(brief.code))
        self.version.append(hash(brief.version))
        self.segment.append(segment)
        self.offset.append(offset)

    def scores(self, wanted: Wanted) -> list[int]:
        """How much each record has in common with a question."""
        code, version = hash(wanted.code), hash(wanted.version)
        scores = [_CODE if one == code else 0 for one in self.code]
        for leaf, column in self._compared(wanted):
            scores = [
                score + _ARGUMENT if one == leaf else score
                for score, one in zip(scores, column)  # noqa: B905  # as fast as can be
            ]
        return [
            score + _VERSION if one == version else score
            for score, one in zip(scores, self.version)  # noqa: B905
        ]

    def _compared(self, wanted: Wanted) -> Iterator[tuple[int, array[int]]]:
        leaves = dict(zip(wanted.names, wanted.leaves, strict=False))
        for name, column in zip(self.names, self.columns, strict=True):
            if name in leaves:
                yield hash(leaves[name]), column


class Wanted(NamedTuple):
    """A call: what it is compared by.

    Attributes:
        app, code, version, names, leaves: as in :class:`~parsl_ckpt.checkpoint.format.Result`.
        before: only records that are older than that; None for all.
        without: name of a record that does not count: the call's own.
    """

    app: str
    code: bytes
    version: str
    names: Sequence[str]
    leaves: Sequence[bytes]
    before: Place | None = None
    without: bytes = b""


class Nearest:
    """The records of one store, to be asked.  Not for several threads at once.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._additions = Additions(store, (fmt.RESULT, fmt.TOMBSTONE))
        self._clear()

    def _clear(self) -> None:
        self._tables: dict[str, dict[tuple[str, ...], _Table]] = {}
        self._segments: list[Segment] = []
        self._numbers: dict[str, int] = {}
        self._count = 0
        self.tombstones: list[fmt.Tombstone] = []

    def catch_up(self) -> None:
        """Take in what has been recorded since the last question."""
        if self._additions.moved():
            self._clear()
        decode = msgspec.msgpack.Decoder(_Brief).decode
        for segment, offset, kind, _, payload in self._additions.look():
            if kind == fmt.TOMBSTONE:
                self._bury(payload)
                continue
            if self._count >= MOST:
                continue
            try:
                brief = decode(payload)
            except Exception:  # no result; lookups report it
                continue
            if len(brief.names) != len(brief.leaves):
                continue
            self._count += 1
            self._table(brief).add(brief, self._number(segment), offset)

    def known(self, app: str) -> bool:
        """Whether anything of an app is recorded, removed or not."""
        return app in self._tables or any(
            isinstance(entry.record, Result) and entry.record.app == app
            for entry in self._additions.held()
        )

    def reason(self, record_id: bytes) -> str:
        """Why a record was removed, as its tombstone says."""
        held = [entry.record for entry in self._additions.held()]
        for record in [*self.tombstones, *held]:
            if isinstance(record, fmt.Tombstone) and record_id in record.record_ids:
                return record.reason
        return ""

    def find(self, wanted: Wanted) -> list[Found]:
        """The records that have most in common with a call, the newest first.

        Returns:
            At most ``ALIKE`` of them, all with equally much in common.
        """
        held = self._held(wanted)
        rows: list[tuple[int, _Table, int]] = []
        for table in self._tables.get(wanted.app, {}).values():
            scores = table.scores(wanted)
            older = self._older(table, wanted.before)
            least = _least(scores[row] for row in older)
            rows += [(scores[row], table, row) for row in older if scores[row] >= least]
        best = heapq.nlargest(TRIES, rows, lambda at: (at[0], self._place(at[1], at[2])))
        alike: list[Found] = [] if held is None else [held[1]]
        reached = -1 if held is None else held[0]
        for score, table, row in best:
            if score < reached or len(alike) == ALIKE:
                break
            found = self._read(table, row, wanted)
            if found is not None:
                if score > reached:
                    alike = []
                alike.append(found)
                reached = score
        return alike

    def _older(self, table: _Table, before: Place | None) -> Sequence[int]:
        """The records of a table that are older than something."""
        if before is None:
            return range(len(table.offset))
        rank, limit = before
        ranks = [segment.rank for segment in self._segments]
        return [
            row
            for row, (segment, offset) in enumerate(zip(table.segment, table.offset, strict=True))
            if ranks[segment] < rank or (ranks[segment] == rank and offset < limit)
        ]

    def _held(self, wanted: Wanted) -> tuple[int, Found] | None:
        if wanted.before is not None:
            return None  # what is held is newer than all that is written
        best: tuple[int, Found] | None = None
        for entry in self._additions.held():
            if entry.record_id == wanted.without:
                break  # and what comes after it
            record = entry.record
            if isinstance(record, Result) and record.app == wanted.app and not self._gone(entry):
                score = _score(record, wanted)
                if best is None or score >= best[0]:
                    path = self._store.path or ""
                    best = score, Found(record, entry.record_id, path, None)
        return best

    def _gone(self, entry: Entry) -> bool:
        return self._store._gone(entry.record_id)

    def _read(self, table: _Table, row: int, wanted: Wanted) -> Found | None:
        segment = self._segments[table.segment[row]]
        found = read_call(segment, table.offset[row])
        if found is None or found.record_id == wanted.without:
            return None
        return None if self._store._gone(found.record_id) else found

    def _place(self, table: _Table, row: int) -> Place:
        return self._segments[table.segment[row]].rank, table.offset[row]

    def _table(self, brief: _Brief) -> _Table:
        tables = self._tables.setdefault(brief.app, {})
        table = tables.get(brief.names)
        if table is None:
            table = tables[brief.names] = _Table(brief.names)
        return table

    def _number(self, segment: Segment) -> int:
        number = self._numbers.get(segment.path)
        if number is None:
            number = self._numbers[segment.path] = len(self._segments)
            self._segments.append(segment)
        return number

    def _bury(self, payload: Any) -> None:
        try:
            record = fmt.decode_record(fmt.TOMBSTONE, payload)
        except FormatError:
            return
        if isinstance(record, fmt.Tombstone):
            self.tombstones.append(record)


def read_call(segment: Segment, offset: int) -> Found | None:
    """The result or failure at a place; None if it is not whole, or neither."""
    try:
        kind, record_id, payload = segment.frame(offset)
        record: Any = fmt.decode_record(kind, payload) if kind in _CALLS else None
    except (DamagedFrame, OSError, FormatError):
        return None
    if record is None:
        return None
    return Found(record, record_id, segment.directory, (segment.rank, offset))


def _least(scores: Iterable[int]) -> int:
    """The score from which on a record may be chosen.

    That of the best one is not enough, because the best may be removed, or damaged meanwhile.
    """
    counted = Counter(scores)
    enough = least = 0
    for least in sorted(counted, reverse=True):
        enough += counted[least]
        if enough > TRIES:
            break
    return least


def _score(record: Result, wanted: Wanted) -> int:
    leaves = dict(zip(wanted.names, wanted.leaves, strict=False))
    same = sum(
        leaves.get(name) == leaf
        for name, leaf in zip(record.names, record.leaves, strict=False)
    )  # fmt: skip
    score = same * _ARGUMENT + (_VERSION if record.version == wanted.version else 0)
    return score + (_CODE if record.code == wanted.code else 0)
