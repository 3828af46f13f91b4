"""Which records of an app are the rows of its table.

A row is the record that a call finds: of each call the newest that is not removed.  Calls made
under an earlier code of the app are other calls; they are left out and counted, unless all are
asked for or they were blessed.

Rule of this file: one pass over the records, whose values are not looked at.  What is kept of a
record is its place and the beginning of its key, 25 bytes; a million of them are not felt.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import Failure, Result
from parsl_ckpt.checkpoint.recent import Additions
from parsl_ckpt.checkpoint.segment import DamagedFrame, Entry, Segment
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import FormatError
from parsl_ckpt.identity.address import SCHEMA
from parsl_ckpt.identity.walk import digest_of


class Edition(NamedTuple):
    """A code of an app, with what else of it counts in addresses.

    Attributes:
        code: digest of the code.
        version: what the user said about the app's version.
        names: the parameters that count.
    """

    code: bytes
    version: str
    names: tuple[str, ...]


class Found(NamedTuple):
    """A record that is a row.

    Attributes:
        record: the record.
        record_id: its name.
        directory: the checkpoint that it is in.
    """

    record: Result | Failure
    record_id: bytes
    directory: str


class _Brief(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a result."""

    key: bytes
    lineage: bytes | None = None
    app: str = ""
    code: bytes = b""
    version: str = ""
    names: tuple[str, ...] = ()
    leaves: tuple[bytes, ...] = ()


class _BriefFailure(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a failure."""

    key: bytes
    app: str = ""
    tid: int = -1
    error: str = ""
    traceback: bytes = b""
    lineage: bytes | None = None
    code: bytes = b""
    version: str = ""
    names: tuple[str, ...] = ()
    leaves: tuple[bytes, ...] = ()


_DECODERS: dict[int, Any] = {
    fmt.RESULT: msgspec.msgpack.Decoder(_Brief).decode,
    fmt.FAILURE: msgspec.msgpack.Decoder(_BriefFailure).decode,
}
_Brieves = Any  # a _Brief or a _BriefFailure: they have the same fields, or more


class Selection:
    """The rows of one app's table, as the store was when this was made.

    Args:
        store: the records.
        app: name of the app.
        edition: the code that is meant, None for that of the newest record; ``"all"`` for each.
        failures: calls that have no result, and failed, are rows as well.

    Attributes:
        editions: the editions of the rows.
        apps: names of all apps that are recorded.
        left_out: number of records of other editions.
    """

    def __init__(
        self, store: Store, app: str, edition: Edition | str | None = None, failures: bool = False
    ) -> None:
        self._store = store
        self._app = app
        self._failures = failures
        self._segments: list[Segment] = []
        self._numbers: dict[str, int] = {}
        self._held: list[Entry] = []
        self._held_under: dict[tuple[int, bytes], int] = {}  # the newest of each call
        self._of: list[Edition] = []  # by number
        self.apps: set[str] = set()
        self.left_out = 0
        segment, offset, number, kind = array("i"), array("q"), array("i"), array("b")
        prefix = array("Q")
        numbers: dict[Edition, int] = {}
        newest = None
        for at, place, form, brief in self._everything():
            self.apps.add(brief.app)
            if brief.app != app or not brief.key:
                continue
            its = Edition(brief.code, brief.version, tuple(brief.names))
            known = numbers.setdefault(its, len(numbers))
            if known == len(self._of):
                self._of.append(its)
            segment.append(at)
            offset.append(place)
            number.append(known)
            kind.append(form)
            prefix.append(int.from_bytes(brief.key[:8], "little"))
            if form == fmt.RESULT or failures:
                rank = self._rank(at), place
                if newest is None or rank > newest[0]:
                    newest = rank, known
        if edition == "all":
            self.editions = list(self._of)
        elif isinstance(edition, Edition):
            self.editions = [edition]
        else:
            self.editions = [self._of[newest[1]]] if newest is not None else []
        self._segment, self._offset = array("i"), array("q")
        inorder = sorted(prefix)
        several = {one for one, following in pairwise(inorder) if one == following}
        alone = (one not in several for one in prefix)
        self._choose(zip(segment, offset, number, kind, alone, strict=True))

    def __len__(self) -> int:
        return len(self._offset)

    def __iter__(self) -> Iterator[Found | None]:
        """The records, oldest first; None for one that cannot be read any more."""
        for at in range(len(self)):
            yield self.read(at)

    def read(self, at: int) -> Found | None:
        """One of the records; None if it cannot be read any more."""
        segment, offset = self._segment[at], self._offset[at]
        if segment < 0:
            entry: Any = self._held[offset]
            return Found(entry.record, entry.record_id, self._store.path or "")
        return _read(self._segments[segment], offset)

    def number(self, found: Found) -> int:
        """Which of ``editions`` a record is of; the only one, for one that was blessed."""
        its = Edition(found.record.code, found.record.version, tuple(found.record.names))
        return self.editions.index(its) if its in self.editions else 0

    # --- the first pass ---

    def _everything(self) -> Iterator[tuple[int, int, int, _Brieves]]:
        """(number of the segment, offset, kind, beginning of the record); -1 for what is held."""
        kinds = (fmt.RESULT, fmt.FAILURE) if self._failures else (fmt.RESULT,)
        additions = Additions(self._store, kinds)
        for seen in additions.look():
            try:
                brief = _DECODERS[seen.kind](seen.payload)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if not self._store._gone(seen.record_id):
                yield self._number(seen.segment), seen.offset, seen.kind, brief
        for spool in self._store._writing._spools:
            for offset, kind, *_ in spool.reader.walk().headers():
                found = _read(spool.reader, offset) if kind in kinds else None
                if found is not None and not self._store._gone(found.record_id):
                    yield self._number(spool.reader), offset, kind, found.record
        for entry in additions.held():
            if entry.keys and not self._store._gone(entry.record_id):
                self._held_under[entry.kind, entry.keys[0]] = len(self._held)
                self._held.append(entry)
                yield -1, len(self._held) - 1, entry.kind, entry.record

    def _number(self, segment: Segment) -> int:
        number = self._numbers.get(segment.path)
        if number is None:
            number = self._numbers[segment.path] = len(self._segments)
            self._segments.append(segment)
        return number

    def _rank(self, segment: int) -> tuple[Any, ...]:
        return (1,) if segment < 0 else (0, *self._segments[segment].rank)

    # --- which of them are rows ---

    def _choose(self, candidates: Iterator[tuple[int, int, int, int, bool]]) -> None:
        """Keep the newest of each call, in the order in which they were recorded."""
        order = sorted(range(len(self._segments)), key=self._rank)
        turn = {segment: at for at, segment in enumerate(order)} | {-1: len(order)}
        wanted = set(self.editions)
        chosen = []
        for segment, offset, number, kind, alone in candidates:
            its = self._of[number]
            if (alone and its in wanted) or self._is_row(segment, offset, its, kind, wanted):
                chosen.append((turn[segment] << 48) | offset)
            elif its not in wanted:
                self.left_out += 1
        chosen.sort()
        back = [*order, -1]
        self._segment.extend(back[at >> 48] for at in chosen)
        self._offset.extend(at & ((1 << 48) - 1) for at in chosen)

    def _is_row(
        self, segment: int, offset: int, its: Edition, kind: int, wanted: set[Edition]
    ) -> bool:
        if its in wanted:
            key = self._key(segment, offset)
            return key is not None and self._newest(key, kind) == (segment, offset)
        if kind != fmt.RESULT or len(wanted) != 1:
            return False
        (meant,) = wanted
        if meant.names != its.names or meant.version != its.version:
            return False
        return self._blessed(segment, offset, meant)

    def _key(self, segment: int, offset: int) -> bytes | None:
        if segment < 0:
            return self._held[offset].keys[0]
        found = _read(self._segments[segment], offset)
        return None if found is None else found.record.key

    def _newest(self, key: bytes, kind: int) -> tuple[int, int] | None:
        """Where the newest record of a call is: a result, or else a failure."""
        for wanted in (fmt.RESULT, fmt.FAILURE):
            held = self._held_under.get((wanted, key))
            if held is not None:
                return -1, held
            for segment, offset in self._store._places(key):
                found = _read(segment, offset)
                if (
                    found is not None
                    and found.record.key == key
                    and type(found.record) is (Result if wanted == fmt.RESULT else Failure)
                    and not self._store._gone(found.record_id)
                ):
                    return self._number(segment), offset
            if wanted == kind:
                break
        return None

    def _blessed(self, segment: int, offset: int, meant: Edition) -> bool:
        """Whether a record of another code is what a call under the code that is meant finds."""
        record: Any
        if segment < 0:
            record, record_id = self._held[offset].record, self._held[offset].record_id
        else:
            found = _read(self._segments[segment], offset)
            if found is None:
                return False
            record, record_id = found.record, found.record_id
        rest = bytes(map(len, record.leaves)) + b"".join(record.leaves)
        for head in _heads(self._app, meant):
            stored = self._store.find(blake3(head + rest).digest())
            if stored is not None:
                return stored.record_id == record_id
        return False


def _heads(app: str, edition: Edition) -> Iterator[bytes]:
    """What the addresses of its calls begin with: those of functions, those of commands."""
    parts = [
        SCHEMA, app.encode("utf-8", "surrogatepass"), edition.code,
        edition.version.encode("utf-8", "surrogatepass"), *map(str.encode, edition.names),
    ]  # fmt: skip
    yield digest_of(*parts)
    yield digest_of(*parts, b"\0bash")


def _read(segment: Segment, offset: int) -> Found | None:
    try:
        kind, record_id, payload = segment.frame(offset)
        record: Any = fmt.decode_record(kind, payload) if kind in _DECODERS else None
    except (DamagedFrame, OSError, FormatError):
        return None
    return None if record is None else Found(record, record_id, segment.directory)


__all__: Sequence[str] = ["Edition", "Found", "Selection"]
