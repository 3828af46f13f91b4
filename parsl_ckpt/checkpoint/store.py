"""The checkpoint store: keys to outcomes, append-only, usable by itself.

::

    value ─ encode ─► Encoded ─ stage ─► Entry ─┬─ append ─► open segment ─ seal ─► sealed segments
                      (no I/O)  (blobs)         └─ hold ─► memory, spool ─ publish ─►┘    │
    value ◄─ value ─ Stored ◄───────── find ◄── recent, open segment, indexes ◄───────────┘

Guarantees:

* When :meth:`Store.append` returns, the bytes are with the operating system (``durability="process"``)
  or on the disk (``"power"``).  When it raises, nothing earlier is lost and the next append begins a new
  segment.
* :meth:`Store.find` may be called by any thread at any time and takes no lock.  It gives the newest
  record that is whole, or None; damage is reported once in :attr:`Store.problems` and costs only the
  records it belongs to.
* Any number of processes may read and write in one run directory; each writer has files of its own.

Assumptions: appending to a file that only this process writes, atomic rename, exclusive creation.
``append``, ``hold``, ``publish``, ``seal`` and ``close`` serialise themselves; ``sync`` runs beside them.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Literal

from blake3 import blake3

from parsl_ckpt.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    FormatError,
    StoreClosedError,
    StoreWriteError,
    UnreadableRecordError,
    UnserializableValueError,
)

from . import codec as codecs
from . import format as fmt
from .backend import Backend
from .blobs import Blobs
from .catalog import Catalog, Problem
from .codec import Encoded
from .format import Alias, Code, Failure, Note, Record, Result, Run, Tombstone
from .local import LocalBackend
from .plain import NotPlain, encode_plain
from .segment import DamagedFrame, Entry, Segment
from .trust import Trust, distrusted, refuse
from .unplain import decode_plain
from .writing import Writing

Durability = Literal["process", "power"]
RECENT_BYTES = 4 << 20


class Stored:
    """A result that was found.

    Attributes:
        result: the record.
        record_id: its name.
        parents: (own key, record id) of the inputs of the call that was asked for; those of the
            alias, if it was found through one.
        directory: the checkpoint that it is in, where its blobs are.
    """

    __slots__ = ("directory", "parents", "record_id", "result")

    def __init__(
        self,
        result: Result,
        record_id: bytes,
        parents: tuple[tuple[bytes, bytes], ...],
        directory: str,
    ) -> None:
        self.result = result
        self.record_id = record_id
        self.parents = parents
        self.directory = directory

    def __repr__(self) -> str:
        return f"<Stored {self.result.app or 'value'} {self.record_id.hex()}>"


class Store:
    """A checkpoint directory to write to, and any number of earlier ones to read.

    Attributes:
        path: the directory written to, or None.
        loaded: (directory, number of results) for each checkpoint that was opened.
        problems: what was found wrong and worked around.

    >>> from parsl_ckpt.checkpoint import MemoryBackend
    >>> with Store.open("demo", backend=MemoryBackend()) as store:
    ...     store.put("answer", 42)
    ...     store.get("answer"), "question" in store, list(store)
    (42, False, ['answer'])
    """

    def __init__(
        self,
        path: str | None,
        sources: Sequence[str],
        backend: Backend,
        durability: Durability,
        pickle: bool,
        writing: Writing,
        catalog: Catalog,
    ) -> None:
        self.path = path
        self.sources = list(sources)
        self.pickle = pickle
        self.durability = durability
        self.catalog = catalog
        self._backend = backend
        self._writing = writing
        self._blobs = Blobs(backend, durable=durability == "power")
        self._recent: dict[bytes, Stored] = {}
        self._recent_bytes = 0
        self._lock = threading.RLock()
        self._closed = False
        self.loaded: list[tuple[str, int]] = []
        _open_stores.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        sources: Sequence[str | os.PathLike[str]] = (),
        durability: Durability = "process",
        backend: Backend | None = None,
        pickle: bool = True,
        hold_bytes: int = 64 << 20,
        trust: Trust = "owner",
        named: bool = True,
        on_problem: Callable[[Problem], None] | None = None,
        rotate_records: int = 65536,
        rotate_bytes: int = 256 << 20,
    ) -> Store:
        """Open a store.

        Args:
            path: the checkpoint directory to write to, made when something is written; records that
                it holds already are read.  None: nothing can be written.
            sources: earlier checkpoint directories, oldest first; only read.
            durability: ``"process"``: what is appended survives the death of the process; ``"power"``:
                also the loss of power.
            backend: where the files are; the file system unless given.
            pickle: values may be pickled and unpickled.
            hold_bytes: how much :meth:`hold` keeps in memory before it uses a spool file.
            trust: ``"owner"`` opens only what belongs to this user alone, ``"any"`` everything.
            named: the sources were named by the user: one that is missing or not to be trusted is an
                error; otherwise it is left out and listed in ``problems``.
            on_problem: called once for each problem that is found.
            rotate_records: number of records after which a new segment is begun.
            rotate_bytes: size after which a new segment is begun.

        Raises:
            CheckpointNotFoundError: a named source does not exist.
            UntrustedCheckpointError: a named source, or ``path``, is not to be trusted.
        """
        if durability not in ("process", "power"):
            raise ConfigurationError(
                f"durability is {durability!r}.", hint='Use "process" or "power".', field="durability"
            )
        backend = backend or LocalBackend()
        given: dict[str, str] = {}
        own = None
        if path is not None:
            own = backend.absolute(os.fspath(path))
            given[own] = os.fspath(path)
        catalog = Catalog(backend, (), on_problem)
        for source in sources:
            directory = backend.absolute(os.fspath(source))
            given.setdefault(directory, os.fspath(source))
            if directory != own and _usable(catalog, backend, directory, trust, named):
                catalog.directories.append(directory)
        if own is not None:
            if _exists(backend, own):
                reason = distrusted(backend, own, trust)
                if reason is not None:
                    raise refuse(own, reason)
            catalog.directories.append(own)
        writing = Writing(
            backend, own, catalog, durable=durability == "power", hold_bytes=hold_bytes,
            rotate_records=rotate_records, rotate_bytes=rotate_bytes,
        )  # fmt: skip
        store = cls(
            own, catalog.directories[: -1 if own is not None else None], backend, durability, pickle,
            writing, catalog,
        )  # fmt: skip
        catalog.load(own)
        store.loaded = [
            (given[directory], count)
            for directory, count in catalog.counts()
            if directory != own or count
        ]
        return store

    # --- writing ----------------------------------------------------------------------------------

    def encode(self, value: Any) -> Encoded:
        """Encode a value completely; nothing is written.

        Raises:
            UnserializableValueError: it cannot be encoded.
        """
        return codecs.encode(value, self.pickle)

    def stage(self, encoded: Encoded, **fields: Any) -> Entry:
        """Make a result ready to be appended; large payloads are written as blobs here.

        Args:
            encoded: the encoded value.
            fields: the other fields of :class:`~parsl_ckpt.checkpoint.format.Result`.

        Raises:
            StoreWriteError: a blob could not be written.
        """
        data = encoded.data
        if encoded.buffers or len(data) > fmt.INLINE_LIMIT:
            record = self._stage_large(encoded, fields)
        else:
            record = Result(codec=encoded.codec, value=data, **fields)
        try:
            payload = _encode_result(record)
        except UnicodeEncodeError:
            payload = fmt.encode_record(record)
        key = record.key
        lineage = record.lineage
        return Entry(
            _RESULT,
            (key,) if lineage is None or lineage == key else (key, lineage),
            blake3(payload).digest(16),
            payload,
            record,
        )

    def stage_record(self, record: Record) -> Entry:
        """Make any other record ready to be appended."""
        payload = fmt.encode_record(record)
        kind = fmt.KIND_OF[type(record)]
        return Entry(kind, fmt.keys_of(record), fmt.record_id_of(payload), payload, record)

    def stage_alias(
        self,
        *,
        key: bytes,
        record_id: bytes,
        target: bytes,
        parents: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Entry:
        """Another key for a result that is recorded under ``target``."""
        return self.stage_record(Alias(key, record_id, target, parents))

    def stage_note(self, record_id: bytes, name: str, leaf: bytes) -> Entry:
        """Something learnt late about a record."""
        return self.stage_record(Note(record_id, name, leaf))

    def stage_failure(
        self, *, app: str, tid: int, error: str, trace: bytes, key: bytes = b"", **fields: Any
    ) -> Entry:
        """A failure, kept for reports."""
        return self.stage_record(
            Failure(key=key, app=app, tid=tid, error=error, traceback=trace, **fields)
        )

    def stage_run(self, event: str, data: dict[str, Any]) -> Entry:
        """An event in the life of the run."""
        return self.stage_record(Run(event, data))

    def append(self, entries: Sequence[Entry]) -> None:
        """Write a batch of records, in order, with one system call.

        Raises:
            StoreWriteError: not all of them are recorded; what was appended earlier is.
            StoreClosedError: the store is closed, or has no directory to write to.
        """
        with self._lock:
            self._writing.append(entries)
            recent = self._recent
            path = self.path or ""
            for entry in entries:
                if entry.kind == _RESULT:
                    result: Any = entry.record
                    stored = Stored(result, entry.record_id, result.parents, path)
                    for key in entry.keys:
                        recent[key] = stored
                    self._recent_bytes += len(entry.payload) + 600
                else:
                    self._forget_recent(entry)
            if self._recent_bytes > RECENT_BYTES:
                self._shrink_recent()

    def hold(self, entries: Sequence[Entry]) -> None:
        """Keep records for :meth:`publish`: found by this store, not visible to other processes.

        Raises:
            StoreWriteError: they could not be spooled; they stay in memory.
        """
        with self._lock:
            self._writing.hold(entries)
            for entry in entries:
                self._forget_recent(entry)

    def publish(self) -> int:
        """Make held records visible, in order; returns how many there were.

        Raises:
            StoreWriteError: some could not be written; they are still held.
        """
        with self._lock:
            return self._writing.publish()

    @property
    def dirty(self) -> bool:
        """Whether something is written that :meth:`sync` has not put on disk."""
        return self._writing.dirty

    @property
    def held(self) -> int:
        """Number of records that wait for :meth:`publish`."""
        return self._writing.held_count

    def sync(self) -> None:
        """Put on disk what is written; may run beside appends.

        Raises:
            StoreWriteError: it failed; a new segment is begun, and this sync is never retried.
        """
        self._writing.sync(self._blobs)

    def seal(self) -> None:
        """End the open segment with its index; the next append begins another."""
        with self._lock:
            self._writing.seal()

    def merge(self) -> bool:
        """Merge indexes, if there are so many that lookups suffer."""
        if self.path is None:
            return False
        with self._lock:
            return self.catalog.merge_into(self.path)

    def refresh(self) -> None:
        """See what other processes have appended since."""
        self.catalog.refresh()

    def remove(self, *record_ids: bytes, reason: str = "") -> None:
        """Remove records: they are never found again, in whatever segment they are."""
        self.append([self.stage_record(Tombstone(record_ids, reason))])

    def close(self) -> None:
        """Publish what is held, seal, sync, merge indexes, and let go of all files.

        Raises:
            StoreWriteError: something could not be written; everything else was done.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _open_stores.discard(self)
            try:
                self._writing.close(self._blobs)
            finally:
                self._recent.clear()
                self.catalog.close()

    # --- reading ----------------------------------------------------------------------------------

    def find(self, key: bytes) -> Stored | None:
        """The newest whole result under a value key, a lineage key or an alias.

        Args:
            key: 32 bytes.

        Returns:
            What was found; its value is not decoded, its blobs are not touched.
        """
        recent = self._recent.get(key)
        if recent is not None:
            return recent
        held = self._writing.find_held(key)
        if held is not None and held.record_id not in self.catalog.removed:
            if type(held.record) is Result:
                return Stored(held.record, held.record_id, held.record.parents, self.path or "")
            if type(held.record) is Alias:
                found = self._resolve(held.record)
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
        for place in self.catalog.candidates(key):
            found = self._read(*place, key)
            if found is not None:
                return found
        return None

    def value(self, stored: Stored) -> Any:
        """Decode a result, afresh each time.

        Raises:
            UnreadableRecordError: a blob is missing or damaged, or the value does not decode.
        """
        result = stored.result
        if not result.blobs:
            try:
                return codecs.decode(result.codec, result.value, (), self.pickle)
            except FormatError as error:
                self._unreadable(stored, error)
                raise
        try:
            blobs: list[Any] = [
                self._blobs.read(stored.directory, digest, size) for digest, size in result.blobs
            ]
        except UnreadableRecordError as error:
            self.catalog.report("blob", getattr(error, "path", stored.directory), str(error))
            raise
        codec, data = result.codec, result.value
        if codec & fmt.SPILLED:
            codec &= ~fmt.SPILLED
            data = bytes(blobs.pop(0))
        try:
            return codecs.decode(codec, data, blobs, self.pickle)
        except FormatError as error:
            self._unreadable(stored, error)
            raise

    def note(self, record_id: bytes, name: str) -> bytes | None:
        """What was noted last about a record under a name."""
        for record in self.lookup(record_id):
            if type(record) is Note and record.record_id == record_id and record.name == name:
                return record.leaf
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

    def records(self) -> Iterator[tuple[str, bytes, Record]]:
        """(directory, record id, record) of everything whole, from the oldest on."""
        for segment, _, record_id, record in self._everything():
            yield segment.directory, record_id, record

    # --- by itself: a mapping ---------------------------------------------------------------------

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value under a key, or ``default``.  A record that cannot be read counts as absent."""
        stored = self.find(address(key))
        if stored is None:
            return default
        try:
            return self.value(stored)
        except UnreadableRecordError:
            return default

    def put(self, key: Hashable, value: Any, **fields: Any) -> None:
        """Record a value under a key.

        Args:
            key: 32 bytes (an address), or any plain value.
            value: what to record.
            fields: further fields of :class:`~parsl_ckpt.checkpoint.format.Result`.

        Raises:
            UnserializableValueError: the key or the value cannot be encoded.
            StoreWriteError: it could not be written.
        """
        self.append([self.entry(key, value, **fields)])

    def entry(self, key: Hashable, value: Any, **fields: Any) -> Entry:
        """What :meth:`put` appends, for appending many at once."""
        encoded = codecs.encode(value, self.pickle)
        if type(key) is bytes and len(key) == 32:
            return self.stage(encoded, key=key, began=time.time(), **fields)
        plain = _plain_key(key)
        return self.stage(
            encoded, key=blake3(b"key " + plain).digest(), names=("key",), leaves=(plain,),
            began=time.time(), **fields,
        )  # fmt: skip

    def __contains__(self, key: Hashable) -> bool:
        return self.find(address(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        """Keys of all results that are found, each once: as they were put, else as addresses."""
        for segment, offset, _, record in self._everything():
            if type(record) is Result and self._newest(record.key) == (segment.path, offset):
                yield key_of(record)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """(key, value) of all results that can be read."""
        for key in self:
            try:
                stored = self.find(address(key))
                if stored is not None:
                    yield key, self.value(stored)
            except UnreadableRecordError:
                continue

    def __len__(self) -> int:
        """Number of keys; walks over all records."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def problems(self) -> list[Problem]:
        """What was found wrong and worked around."""
        return list(self.catalog.problems)

    # --- inside -----------------------------------------------------------------------------------

    def _stage_large(self, encoded: Encoded, fields: dict[str, Any]) -> Result:
        if self.path is None:
            raise _read_only()
        codec, data = encoded.codec, encoded.data
        buffers = list(encoded.buffers)
        if len(data) > fmt.INLINE_LIMIT:
            buffers.insert(0, data)
            codec, data = codec | fmt.SPILLED, b""
        blobs: list[tuple[bytes, int]] = []
        try:
            self._backend.make_directory(self.path, durable=self.durability == "power")
            for buffer in buffers:
                digest, size, written = self._blobs.write(self.path, buffer)
                blobs.append((digest, size))
                if written is not None:
                    self._writing.blob_written(written)
        except OSError as error:
            raise StoreWriteError(
                f"A large value could not be written to {self.path}: {error}.",
                hint="Make room or give another run directory; the result itself is not lost.",
                path=self.path,
            ) from error
        return Result(codec=codec, value=data, blobs=tuple(blobs), **fields)

    def _read(self, segment: Segment, offset: int, key: bytes) -> Stored | None:
        """The result at a place, if it is whole, has this key and is not removed."""
        try:
            kind, record_id, payload = segment.frame(offset)
            if kind == _RESULT:
                if record_id in self.catalog.removed:
                    return None
                result = _decode_result(payload)
                if result.key == key or result.lineage == key:
                    return Stored(result, record_id, result.parents, segment.directory)
            elif kind == fmt.ALIAS and record_id not in self.catalog.removed:
                alias: Any = fmt.decode_record(kind, payload)
                if alias.key == key:
                    return self._resolve(alias)
        except DamagedFrame as error:
            self.catalog.report("damage", segment.path, str(error), offset, error.size)  # type: ignore[attr-defined]
        except OSError as error:
            self.catalog.report("directory", segment.path, f"{segment.path}: {error}.")
        except Exception as error:
            self.catalog.report("record", segment.path, f"A record does not decode: {error}", offset)
        return None

    def _resolve(self, alias: Alias) -> Stored | None:
        """The result that an alias names."""
        for segment, offset in self._places(alias.target_key):
            found = self._frame(segment, offset)
            if (
                found is not None
                and found[0] == alias.record_id
                and type(found[1]) is Result
                and found[0] not in self.catalog.removed
            ):
                return Stored(found[1], found[0], alias.parents, segment.directory)
        held = self._writing.find_held(alias.target_key)
        if held is not None and held.record_id == alias.record_id and type(held.record) is Result:
            return Stored(held.record, held.record_id, alias.parents, self.path or "")
        return None

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
            self.catalog.report("damage", segment.path, str(error), offset, error.size)  # type: ignore[attr-defined]
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

    def _everything(self) -> Iterator[tuple[Segment, int, bytes, Record]]:
        for segment in self._all_segments():
            try:
                for frame in segment.walk():
                    found = self._frame(segment, frame.offset)
                    if found is not None:
                        yield segment, frame.offset, *found
            except OSError as error:
                self.catalog.report("directory", segment.path, f"{segment.path}: {error}.")

    def _all_segments(self) -> list[Segment]:
        segments = {s.path: s for s in list(self.catalog.segments.values())}
        own = self._writing.open_segment
        if own is not None:
            segments[own.path] = own
        return sorted(segments.values(), key=lambda segment: segment.rank)

    def _unreadable(self, stored: Stored, error: FormatError) -> None:
        self.catalog.report(
            "record", stored.directory,
            f"A record of {stored.result.app or 'a value'} cannot be read: {error}",
            int.from_bytes(stored.record_id[:6], "little"),
        )  # fmt: skip

    def _forget_recent(self, entry: Entry) -> None:
        if entry.kind == fmt.TOMBSTONE:
            self._recent.clear()
            self._recent_bytes = 0
        for key in entry.keys:
            self._recent.pop(key, None)

    def _shrink_recent(self) -> None:
        """Drop the older half: the dictionary keeps the order in which records came."""
        recent = self._recent
        for key in list(recent)[: len(recent) // 2 + 1]:
            recent.pop(key, None)
        self._recent_bytes //= 2

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self._writing.forked()


# --- keys of the mapping --------------------------------------------------------------------------


def address(key: Hashable) -> bytes:
    """The 32 bytes that a key of the mapping is filed under."""
    if type(key) is bytes and len(key) == 32:
        return key
    return blake3(b"key " + _plain_key(key)).digest()


def key_of(result: Result) -> Any:
    """The key that a result was put under, else its address."""
    if result.names == ("key",) and not result.app and result.leaves:
        try:
            plain = result.leaves[0]
            if blake3(b"key " + plain).digest() == result.key:
                return decode_plain(plain, imports=False)
        except FormatError:
            pass
    return result.key


def _plain_key(key: Hashable) -> bytes:
    try:
        plain, buffers = encode_plain(key)
    except NotPlain as reason:
        raise UnserializableValueError(
            f"A key holds {reason}.", hint="Use plain values as keys.", type=type(key).__name__
        ) from None
    if buffers:
        raise UnserializableValueError("A key is too large.", hint="Use its digest.", type="key")
    return plain


# --- opening --------------------------------------------------------------------------------------


def _exists(backend: Backend, path: str) -> bool:
    try:
        backend.owner(path)
    except OSError:
        return False
    return True


def _usable(catalog: Catalog, backend: Backend, path: str, trust: Trust, named: bool) -> bool:
    try:
        reason = distrusted(backend, path, trust)
    except OSError as error:
        if named:
            raise CheckpointNotFoundError(
                f"There is no checkpoint {path}.",
                hint="Name a directory such as runinfo/000/checkpoint.",
                path=path,
            ) from error
        catalog.report("directory", path, f"The checkpoint {path} cannot be opened: {error}.")
        return False
    if reason is None:
        return True
    if named:
        raise refuse(path, reason)
    catalog.report("untrusted", path, f"The checkpoint {path} is left out: it {reason}.")
    return False


def _read_only() -> StoreClosedError:
    return StoreClosedError(
        "The store has no directory to write to, or is closed.", hint="Open it with a path."
    )


__all__ = ["Entry", "Store", "Stored", "address", "key_of"]

_RESULT = fmt.RESULT
_encode_result = fmt._encode
_decode_result = fmt.decode_result
_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has its own segments: it must neither append to its parent's nor seal it."""
    for store in list(_open_stores):
        store._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
