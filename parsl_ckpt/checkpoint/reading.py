"""Reading a store: from keys to results, from results to values.

Rule of this file: no lock is taken and nothing is believed.  A record that is damaged, removed or
of another key is passed over for the next older one; what was wrong is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from parsl_ckpt.errors import FormatError, UnreadableRecordError

from . import codec as codecs
from . import format as fmt
from .blobs import Blobs
from .catalog import Catalog, Problem
from .format import Alias, Code, Failure, Note, Record, Result, Run, Unkept
from .packing import gather
from .segment import BadSignature, DamagedFrame, Entry, Segment
from .writing import FINDS, Writing

LIGHT = 8 * 1024  # bytes of a record above which a hit keeps its place and not its value


class Stored(msgspec.Struct, gc=False, eq=False):
    """A result that was found.

    Attributes:
        result: the record.
        record_id: its name.
        parents: (own key, record id) of the inputs of the call that was asked for; those of the
            alias, if it was found through one.
        directory: the checkpoint that it is in, where its blobs are.
        place: segment and offset of a large record, of which ``result`` is without the value: that
            is read again when it is wanted.  There may be a future for each of a million of them.
    """

    # Nothing in it refers back to anything, so the garbage collector need not look at it.
    result: Result
    record_id: bytes
    parents: tuple[tuple[bytes, bytes], ...]
    directory: str
    place: tuple[Segment, int] | None = None

    def __repr__(self) -> str:
        return f"<Stored {self.result.app or 'value'} {self.record_id.hex()}>"


class Reading:
    """The reading half of a store."""

    def __init__(
        self, path: str | None, pickle: bool, catalog: Catalog, writing: Writing, blobs: Blobs
    ) -> None:
        self.path = path
        self.pickle = pickle
        self.catalog = catalog
        self._writing = writing
        self._blobs = blobs
        # The newest results appended here.  Only appends change it, under the store's lock.
        self._recent: dict[bytes, Entry] = {}
        # Ids of records whose values turned out to be lost: an older one of their key stands for
        # each.  That is found out when a value is read, so that a hit stays a look at an index.
        self._lost: set[bytes] = set()

    def find(self, key: bytes) -> Stored | None:
        """The newest whole result under a value key, a lineage key or an alias.

        Args:
            key: 32 bytes.

        Returns:
            What was found; its value is not decoded, its blobs are not touched.  Once
            :meth:`value` has found a record's value lost, the next older one is found.
        """
        entry = self._recent.get(key) or self._writing.find_held(key)
        if entry is not None and self._gone(entry.record_id):
            entry = self._older_held(key)
        if entry is not None:
            record: Any = entry.record
            if entry.kind == _RESULT:
                return Stored(record, entry.record_id, record.parents, self.path or "")
            if entry.kind == fmt.ALIAS:
                found = self._resolve(record)
                if found is not None:
                    return found
        place = self._writing.find_open(key)
        if place is not None:
            found = self._read(*place, key)
            if found is not None:
                return found
            for place in self._writing.places(key):
                found = self._read(*place, key)
                if found is not None:
                    return found
        catalog = self.catalog
        found = None
        for place in catalog.candidates(key):
            found = self._read(*place, key)
            if found is not None:
                break
        # Whatever was found: what is newer may stand elsewhere by now.
        if catalog.vanished and catalog.find_again():
            return self.find(key)
        return found

    def recorded(self, key: bytes, record_id: bytes) -> Stored | None:
        """One result by its name, though there may be newer ones of its key.

        Args:
            key: its value key.
            record_id: its name.
        """
        if self._gone(record_id):
            return None
        for segment, offset in self._places(key):
            found = self._frame(segment, offset)
            if found is not None and found[0] == record_id and type(found[1]) is Result:
                result = found[1]
                return _stored(result, record_id, result.parents, segment, offset, result.value)
        held = self._writing.find_held(key)
        if held is not None and held.record_id == record_id and type(held.record) is Result:
            return Stored(held.record, record_id, held.record.parents, self.path or "")
        return None

    def value(self, stored: Stored, stand_ins: bool = False) -> Any:
        """Decode a result, afresh each time.

        Args:
            stored: the result.
            stand_ins: plain values of classes that are not there any more come as their fields.

        Raises:
            UnreadableRecordError: a blob is missing or damaged, or the value does not decode.
        """
        try:
            return self._value(stored, stand_ins)
        except FormatError as error:
            self._unreadable(stored, error)
            self._lost.add(stored.record_id)
            raise
        except UnreadableRecordError as error:
            moved = self._moved(stored)
            if moved is not None:
                return self.value(moved, stand_ins)
            self.catalog.report("blob", getattr(error, "path", stored.directory), str(error))
            if _for_good(error):
                self._lost.add(stored.record_id)
            raise

    def encoded(self, stored: Stored) -> tuple[int, bytes, Any]:
        """The encoded value of a result: codec, data, buffers.

        Raises:
            UnreadableRecordError: a blob is missing or damaged.
        """
        codec, data, buffers = self._encoded(stored)
        return codec, bytes(data), buffers

    def _value(self, stored: Stored, stand_ins: bool = False) -> Any:
        return codecs.decode(*self._encoded(stored), self.pickle, stand_ins)

    def _encoded(self, stored: Stored) -> tuple[int, Any, Any]:
        result = stored.result if stored.place is None else self._full(stored)
        codec = result.codec
        data: Any = result.value
        buffers: Any = ()
        if codec > _BARE:
            directory = stored.directory
            codec, data, buffers = gather(
                result, lambda digest, size: self._blobs.read(directory, digest, size)
            )
            if codec == codecs.PLAIN and type(data) is not bytes:
                data = bytes(data)
        elif result.blobs:
            directory = stored.directory
            buffers = [self._blobs.read(directory, *blob) for blob in result.blobs]
        return codec, data, buffers

    def _moved(self, stored: Stored) -> Stored | None:
        """The same record where compacting has put it since; None if it was not moved."""
        if not self.catalog.find_again():
            return None
        found = self.find(stored.result.key)
        if found is None or found.record_id != stored.record_id:
            return None
        return found

    def named(self, key: bytes) -> set[bytes]:
        """Ids of all results and unkept records under a key, and of what aliases lead to."""
        found = set()
        for entry in self._writing.held_under(key):
            found |= _results(entry.record_id, entry.record, key)
        for _, record_id, record in self._at(key):
            found |= _results(record_id, record, key)
        return found - self.catalog.removed

    def note(self, record_id: bytes, name: str) -> bytes | None:
        """What was noted last about a record under a name."""
        for record in self.lookup(record_id):
            if type(record) is Note and record.record_id == record_id and record.name == name:
                return record.leaf
        return None

    def unkept(self, key: bytes) -> tuple[bytes, Unkept] | None:
        """What says that a call came to a value that was not kept: (record id, record).

        Args:
            key: its value key or its lineage key.
        """
        for record_id, record in self.identified(key):
            if type(record) is Unkept and key in (record.key, record.lineage):
                return record_id, record
        return None

    def code(self, digest: bytes) -> Code | None:
        """What a code digest was made of."""
        for record in self.lookup(digest):
            if type(record) is Code and record.digest == digest:
                return record
        return None

    def failures(self, key: bytes) -> list[Failure]:
        """Failures recorded under a key, newest first."""
        return [
            record
            for record in self.lookup(key)
            if type(record) is Failure and key in (record.key, record.lineage)
        ]

    def runs(self) -> list[tuple[str, Run]]:
        """(directory, event) for all run records, newest first."""
        return [
            (segment.directory, record)
            for segment, _, record in self._at(fmt.RUN_KEY)
            if type(record) is Run
        ]

    def lookup(self, key: bytes) -> Iterator[Record]:
        """Records of every kind that are indexed under a key's first 8 bytes, newest first.

        The caller compares the whole key.
        """
        for entry in self._writing.held_under(key):
            yield entry.record
        for _, _, record in self._at(key):
            yield record

    def identified(self, key: bytes) -> Iterator[tuple[bytes, Record]]:
        """(record id, record) of what :meth:`lookup` gives, without what is removed."""
        for entry in self._writing.held_under(key):
            if entry.record_id not in self.catalog.removed:
                yield entry.record_id, entry.record
        for _, record_id, record in self._at(key):
            yield record_id, record

    def records(self) -> Iterator[tuple[str, bytes, Record]]:
        """(directory, record id, record) of everything whole, from the oldest on."""
        for segment, _, record_id, record in self._everything():
            yield segment.directory, record_id, record

    def newest_of(self, kind: int) -> Iterator[Record]:
        """Whole records of one kind, from the newest segment on."""
        for segment in reversed(self._all_segments()):
            try:
                places = [place[0] for place in segment.walk().headers() if place[1] == kind]
            except OSError as error:
                self.catalog.report("directory", segment.path, f"{segment.path}: {error}.")
                continue
            for offset in reversed(places):
                found = self._frame(segment, offset)
                if found is not None:
                    yield found[1]

    def sound(self, stored: Stored, whole: bool = False) -> bool:
        """Whether the value of a result seems to be there; if not, an older one is found from now.

        Args:
            stored: the result.
            whole: whether all of it is read and compared with its digests; else it is seen only
                that its blobs are there and have their sizes.
        """
        try:
            self._examine(stored, whole)
        except (FormatError, UnreadableRecordError) as error:
            moved = self._moved(stored)
            if moved is not None and moved.directory != stored.directory:
                return self.sound(moved, whole)
            self.catalog.report("blob", getattr(error, "path", stored.directory), str(error))
            if isinstance(error, FormatError) or _for_good(error):
                self._lost.add(stored.record_id)
            return False
        return True

    def _examine(self, stored: Stored, whole: bool) -> None:
        if whole:
            self._encoded(stored)
        else:
            for digest, size in stored.result.blobs:
                self._blobs.glance(stored.directory, digest, size)

    @property
    def problems(self) -> list[Problem]:
        """What was found wrong and worked around."""
        return list(self.catalog.problems)

    def hear(self, listener: Callable[[Problem], None]) -> None:
        """Have each problem told when it is found; those that were found already at once."""
        self.catalog._on_problem = listener
        for problem in self.problems:
            listener(problem)

    # --- inside -----------------------------------------------------------------------------------

    def _older_held(self, key: bytes) -> Entry | None:
        """What is held under a key whose newest record was removed."""
        for entry in self._writing.held_under(key):
            if entry.kind in FINDS and not self._gone(entry.record_id):
                return entry
        return None

    def _gone(self, record_id: bytes) -> bool:
        return record_id in self.catalog.removed or record_id in self._lost

    def _full(self, stored: Stored) -> Result:
        """The record with its value, which was not kept when it was found."""
        segment, offset = stored.place  # type: ignore[misc]
        found = self._frame(segment, offset)
        if found is None or found[0] != stored.record_id:  # compacted meanwhile, perhaps
            for segment, offset in self._places(stored.result.key):
                found = self._frame(segment, offset)
                if found is not None and found[0] == stored.record_id:
                    stored.directory = segment.directory
                    break
            else:
                raise UnreadableRecordError(
                    f"A record of {stored.result.app or 'a value'} is not in {stored.directory} "
                    "any more.",
                    hint="What it held is computed again.",
                    path=stored.directory,
                )
        record: Any = found[1]
        return record  # type: ignore[no-any-return]

    def _read(self, segment: Segment, offset: int, key: bytes) -> Stored | None:
        """The result at a place, if it is whole, has this key and is not removed."""
        try:
            kind, record_id, payload = segment.frame(offset)
            if kind == _RESULT:
                if self._gone(record_id):
                    return None
                result = _decode_result(payload)
                if result.key == key or result.lineage == key:
                    return _stored(result, record_id, result.parents, segment, offset, payload)
            elif kind == fmt.ALIAS and record_id not in self.catalog.removed:
                alias: Any = fmt.decode_record(kind, payload)
                if alias.key == key:
                    return self._resolve(alias)
        except DamagedFrame as error:
            self._damaged(segment, offset, error)
        except FileNotFoundError:
            self.catalog.vanished = True
        except OSError as error:
            self.catalog.report("directory", segment.path, f"{segment.path}: {error}.")
        except Exception as error:
            text = f"A record does not decode: {error}"
            self.catalog.report("record", segment.path, text, offset)
        return None

    def _resolve(self, alias: Alias) -> Stored | None:
        """The result that an alias names, for the call that the alias is of."""
        found = self.recorded(alias.target_key, alias.record_id)
        if found is not None:
            found.parents = alias.parents
        return found

    def _places(self, key: bytes) -> Iterator[tuple[Segment, int]]:
        yield from self._writing.places(key)
        yield from self.catalog.candidates(key)

    def _at(self, key: bytes) -> Iterator[tuple[Segment, bytes, Record]]:
        for segment, offset in self._places(key):
            found = self._frame(segment, offset)
            if found is not None and found[0] not in self.catalog.removed:
                yield segment, found[0], found[1]

    def _frame(self, segment: Segment, offset: int) -> tuple[bytes, Record] | None:
        try:
            kind, record_id, payload = segment.frame(offset)
            record = fmt.decode_record(kind, payload) if kind != fmt.INDEX else None
        except DamagedFrame as error:
            self._damaged(segment, offset, error)
            return None
        except FileNotFoundError:
            self.catalog.vanished = True
            return None
        except (FormatError, OSError) as error:
            self.catalog.report("record", segment.path, str(error), offset)
            return None
        return None if record is None else (record_id, record)

    def _newest(self, key: bytes) -> tuple[str, int] | None:
        for segment, offset in self._places(key):
            if self._read(segment, offset, key) is not None:
                return segment.path, offset
        return None

    def _recorded_in(self, directory: str) -> Iterator[tuple[bytes, Record]]:
        """(record id, record) of everything whole in one directory."""
        for _, _, record_id, record in self._everything(directory):
            yield record_id, record

    def _everything(
        self, directory: str | None = None
    ) -> Iterator[tuple[Segment, int, bytes, Record]]:
        for segment in self._all_segments():
            if directory is not None and segment.directory != directory:
                continue
            try:
                for offset, *_ in segment.walk().headers():
                    found = self._frame(segment, offset)
                    if found is not None:
                        yield segment, offset, *found
            except OSError as error:
                self.catalog.report("directory", segment.path, f"{segment.path}: {error}.")

    def _all_segments(self) -> list[Segment]:
        segments = {s.path: s for s in list(self.catalog.segments.values())}
        own = self._writing.open_segment
        if own is not None:
            segments[own.path] = own
        return sorted(segments.values(), key=lambda segment: segment.rank)

    def _damaged(self, segment: Segment, offset: int, error: DamagedFrame) -> None:
        if type(error) is BadSignature:  # told once for a segment
            self.catalog.report("signature", segment.path, str(error), 0, error.size)
            return
        self.catalog.report("damage", segment.path, str(error), offset, error.size)

    def _unreadable(self, stored: Stored, error: FormatError) -> None:
        self.catalog.report(
            "record", stored.directory,
            f"A record of {stored.result.app or 'a value'} cannot be read: {error}",
            int.from_bytes(stored.record_id[:6], "little"),
        )  # fmt: skip


def _results(record_id: bytes, record: Record, key: bytes) -> set[bytes]:
    if isinstance(record, (Result, Unkept)) and key in (record.key, record.lineage):
        return {record_id}
    if isinstance(record, Alias) and record.key == key:
        return {record.record_id}
    return set()


def _for_good(error: UnreadableRecordError) -> bool:
    """Whether it is of no use to try again, as it is after too many open files."""
    cause = error.__cause__
    return not isinstance(cause, OSError) or isinstance(cause, _NOT_THERE)


def _stored(
    result: Result,
    record_id: bytes,
    parents: tuple[tuple[bytes, bytes], ...],
    segment: Segment,
    offset: int,
    payload: bytes | memoryview,
) -> Stored:
    if len(payload) <= LIGHT and not result.parts:
        return Stored(result, record_id, parents, segment.directory)
    light = msgspec.structs.replace(result, value=b"", parts=())
    return Stored(light, record_id, parents, segment.directory, (segment, offset))


_BARE = fmt.LAID_OUT - 1  # codecs up to this one have no bit set
_NOT_THERE = (FileNotFoundError, NotADirectoryError)
_RESULT = fmt.RESULT
_decode_result = fmt.decode_result
