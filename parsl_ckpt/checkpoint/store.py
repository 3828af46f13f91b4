"""The checkpoint store: keys to outcomes, append-only, usable by itself.

::

    value ─ encode ─► Encoded ─ stage ─► Entry ─┬─ append ─► open segment ─ seal ─► sealed segments
                      (no I/O)  (blobs)         └─ hold ─► memory, spool ─ publish ─►┘    │
    value ◄─ value ─ Stored ◄───────── find ◄── recent, open segment, indexes ◄───────────┘

Guarantees:

* When :meth:`Store.append` returns, the bytes are with the operating system
  (``durability="process"``) or on the disk (``"power"``).  When it raises, nothing earlier is lost
  and the next append begins a new segment.
* :meth:`Store.find` may be called by any thread at any time and takes no lock.  It gives the newest
  record that is whole, or None; damage is reported once in :attr:`Store.problems` and costs only
  the records it belongs to.
* Any number of processes may read and write in one run directory; each writer has files of its own.

Assumptions: appending to a file that only this process writes, atomic rename, exclusive creation.
``append``, ``hold``, ``publish``, ``seal`` and ``close`` serialise themselves; ``sync`` runs beside
them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    StoreClosedError,
    StoreWriteError,
)

from ..identity.keys import SIGNING, KeySource, derive, signing_secret
from . import codec as codecs
from . import format as fmt
from .backend import Backend
from .blobs import Blobs, path_of
from .catalog import Catalog, Problem
from .codec import Encoded
from .follow import Follower
from .format import Alias, Failure, Note, Record, Result, Run
from .growing import refresh
from .local import LocalBackend
from .mapping import address, key_of
from .packing import lay_out, whole_limit
from .reading import LIGHT, Stored
from .removing import Removing
from .segment import Entry
from .signing import Signer
from .tending import Tending
from .trust import Trust, distrusted, refuse
from .where import has_directory, remote_backend
from .writing import Writing
from .zstd import Compression, Zstd, codec_of

Durability = Literal["process", "power"]
RECENT_BYTES = 4 << 20


class Store(Tending, Removing):
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
        trust: Trust = "owner",
        zstd: Zstd | None = None,
    ) -> None:
        blobs = Blobs(backend, durable=durability == "power", trust=trust)
        super().__init__(path, pickle, catalog, writing, blobs)
        self.sources = list(sources)
        self.durability = durability
        self._backend = backend
        self._zstd = zstd
        self._whole = whole_limit(zstd)
        self.trust: Trust = trust
        self._follower: Follower | None = None
        self._recent_bytes = 0
        self._lock = threading.RLock()
        self._closed = False
        self._owned: Backend | None = None  # a backend that nobody else closes
        self.loaded: list[tuple[str, int]] = []
        self.leaving: weakref.finalize[..., Store] | None = None  # removes what was not kept
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
        signing_key: KeySource | None = None,
        compression: Compression = "auto",
        on_problem: Callable[[Problem], None] | None = None,
        rotate_records: int = 65536,
        rotate_bytes: int = 256 << 20,
    ) -> Store:
        """Open a store.

        Args:
            path: the checkpoint directory to write to, or a URL, made when something is written;
                records that it holds already are read.  None: nothing can be written.
            sources: earlier checkpoint directories, oldest first; only read.
            durability: ``"process"``: what is appended survives the death of the process;
                ``"power"``: also the loss of power.
            backend: where the files are; the file system, and what URLs say, unless given.
            pickle: values may be pickled and unpickled.
            hold_bytes: how much :meth:`hold` keeps in memory before it uses a spool file.
            trust: ``"owner"`` opens only what belongs to this user alone, files included; ``"any"``
                everything.
            named: the sources were named by the user: one that is missing or not to be trusted is
                an error; otherwise it is left out and listed in ``problems``.
            signing_key: what is written is signed with it, and nothing that is not is decoded: at
                least 16 bytes, or the path of a file that holds them, outside of the store; None
                for the environment variable PARSL_CKPT_KEY.
            compression: ``"auto"`` compresses what shrinks, if zstd is installed; ``"zstd"`` all
                that shrinks at all; ``"none"`` nothing.
            on_problem: called once for each problem that is found.
            rotate_records: number of records after which a new segment is begun.
            rotate_bytes: size after which a new segment is begun.

        Raises:
            CheckpointNotFoundError: a named source does not exist.
            UntrustedCheckpointError: a named source, or ``path``, is not to be trusted.
            KeyFileError: the signing key cannot be used.
        """
        if durability not in ("process", "power"):
            raise ConfigurationError(
                f"durability is {durability!r}.",
                hint='Use "process" or "power".',
                field="durability",
            )
        owned = remote_backend(path, *sources) if backend is None else None
        backend = backend or owned or LocalBackend()
        given: dict[str, str] = {}
        own = None
        if path is not None:
            own = backend.absolute(os.fspath(path))
            given[own] = os.fspath(path)
        places = [os.fspath(place) for place in (path, *sources) if place is not None]
        secret = signing_secret(signing_key, places)
        signer = Signer(derive(secret, SIGNING)) if secret is not None else None
        catalog = Catalog(backend, (), on_problem, signer)
        for source in sources:
            directory = backend.absolute(os.fspath(source))
            given.setdefault(directory, os.fspath(source))
            if directory != own and _usable(catalog, backend, directory, trust, named):
                catalog.directories.append(directory)
        if own is not None:
            if has_directory(backend, own):
                reason = distrusted(backend, own, trust)
                if reason is not None:
                    raise refuse(own, reason)
            catalog.directories.append(own)
        writing = Writing(
            backend, own, catalog, durable=durability == "power", hold_bytes=hold_bytes,
            rotate_records=rotate_records, rotate_bytes=rotate_bytes,
        )  # fmt: skip
        store = cls(
            own, [d for d in catalog.directories if d != own], backend, durability, pickle,
            writing, catalog, trust, codec_of(compression),
        )  # fmt: skip
        store._owned = owned
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

    def stage(
        self,
        encoded: Encoded,
        *,
        key: bytes,
        lineage: bytes | None = None,
        app: str = "",
        code: bytes = b"",
        version: str = "",
        names: tuple[str, ...] = (),
        leaves: tuple[bytes, ...] = (),
        parents: tuple[tuple[bytes, bytes], ...] = (),
        began: float = 0.0,
        seconds: float = 0.0,
        tries: int = 1,
        worker: str = "",
        tid: int = -1,
        outline: bytes = b"",
    ) -> Entry:
        """Make a result ready to be appended; large payloads are written as blobs here.

        Args:
            encoded: the encoded value.
            key, lineage, app, code, version, names, leaves, parents, began, seconds, tries, worker,
                tid, outline: the fields of :class:`~parsl_ckpt.checkpoint.format.Result`.

        Raises:
            StoreWriteError: a blob could not be written.
        """
        codec, data = encoded.codec, encoded.data
        blobs: tuple[tuple[bytes, int], ...] = ()
        parts: tuple[tuple[int, bytes], ...] = ()
        if encoded.buffers or len(data) > self._whole:
            codec, data, blobs, parts = self._lay_out(encoded)
        record = Result(
            key, lineage, app, code, version, names, leaves, parents, codec, data, blobs, began,
            seconds, tries, worker, parts, tid, outline,
        )  # fmt: skip
        try:
            payload = _encode_result(record)
        except UnicodeEncodeError:
            payload = fmt.encode_record(record)
        record_id = blake3(payload).digest(16)
        removed, lost = self.catalog.removed, self._lost
        if (removed or lost) and (record_id in removed or record_id in lost):
            record, payload, record_id = self._renamed(record)
        return Entry(
            _RESULT,
            (key,) if lineage is None or lineage == key else (key, lineage),
            record_id,
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
            held = 0
            for entry in entries:
                if entry.kind == _RESULT:
                    size = len(entry.payload)
                    if size > LIGHT:  # its hits are to keep a place, not the value
                        self._forget_recent(entry)
                        continue
                    for key in entry.keys:
                        recent[key] = entry
                    held += size + 600
                else:
                    self._forget_recent(entry)
            self._recent_bytes += held
            if self._recent_bytes > RECENT_BYTES:
                self._shrink_recent()

    def hold(self, entries: Sequence[Entry]) -> None:
        """Keep records for :meth:`publish`: found by this store, not visible to other processes.

        Raises:
            StoreWriteError: they could not be spooled; they stay in memory.
        """
        with self._lock:
            for entry in entries:  # first: they are held even if they cannot be spooled
                self._forget_recent(entry)
            self._writing.hold(entries)

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
        refresh(self.catalog)

    def follow(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        directories: Sequence[str] | None = None,
        now: Callable[[], float] = time.monotonic,
        joined: Callable[[str], None] | None = None,
    ) -> None:
        """Have :meth:`look` see what the runs append whose checkpoints are the sources.

        Args:
            root: where runs are kept; those that begin there later are followed as well.
            directories: the checkpoints to follow, if not all of the sources.
            now: a clock that never goes backwards.
            joined: called with the checkpoint of each of those, when it is first read, or left out
                because it is not to be trusted; must not wait.
        """
        if root is not None:
            root = self._backend.absolute(os.fspath(root))
        if directories is None:
            directories = self.sources
        found = {self._backend.absolute(path) for path in directories}.difference({self.path})
        self._follower = Follower(
            self.catalog, self._backend,
            [path for path in self.catalog.directories if path in found],
            root=root, own=self.path, trust=self.trust, now=now, joined=joined,
        )  # fmt: skip

    def look(self) -> bool:
        """See what the runs that are followed have appended since; whether there is anything.

        Costs little where there is nothing, and no more than what there is otherwise.
        """
        follower = self._follower
        return follower is not None and follower.look()

    def close(self, publish: bool = True) -> None:
        """Publish what is held, seal, sync, merge indexes, and let go of all files.

        Args:
            publish: False drops what is held.

        Raises:
            StoreWriteError: something could not be written; everything else was done.
            NotUploadedError: it is in the spool, and not where the URL says.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _open_stores.discard(self)
            try:
                spools, blobs = self._writing.held() if not publish else ([], set())
                self._writing.close(self._blobs, publish)
                self._drop_pruned_blobs()
                self._drop_later(spools, blobs)
            finally:
                self._recent.clear()
                self.catalog.close()
                if self._owned is not None:
                    self._owned.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------------

    def _drop_later(self, spools: Sequence[str], blobs: set[tuple[bytes, int]]) -> None:
        """Remove what is not kept once nobody can ask for it: a hit is read when it is wanted."""
        if self.path is None or self._backend.uploads:  # what was uploaded stays
            return
        paths = [*spools, *(path_of(self.path, digest) for digest in self._unnamed(blobs))]
        if paths:
            self.leaving = weakref.finalize(self, _remove, self._backend, paths, os.getpid())

    def _lay_out(
        self, encoded: Encoded
    ) -> tuple[int, bytes, tuple[tuple[bytes, int], ...], tuple[tuple[int, bytes], ...]]:
        """What is left to stand in the record, once the large parts are written as blobs."""
        if self.path is None:
            raise _read_only()
        try:
            return lay_out(encoded, self._zstd, self._write_blob)
        except OSError as error:
            raise StoreWriteError(
                f"A large value could not be written to {self.path}: {error}.",
                hint="Make room or give another run directory; the result itself is not lost.",
                path=self.path,
            ) from error

    def _write_blob(self, buffer: Any, known: bytes | None = None) -> tuple[bytes, int]:
        assert self.path is not None
        self._backend.make_directory(self.path, durable=self.durability == "power")
        digest, size, written = self._blobs.write(self.path, buffer, known)
        if written is not None:
            self._writing.blob_written(written)
        return digest, size

    def _renamed(self, record: Result) -> tuple[Result, bytes, bytes]:
        """A record that equals one which is removed, under another id: it began a trice later.

        Tombstones name records by what is in them, wherever they stand.
        """
        began = record.began if math.isfinite(record.began) else 0.0
        while True:
            began = math.nextafter(began, math.inf)
            record = msgspec.structs.replace(record, began=began)
            payload = fmt.encode_record(record)
            record_id = fmt.record_id_of(payload)
            if not self._gone(record_id):
                return record, payload, record_id

    def _forget_recent(self, entry: Entry) -> None:
        if entry.kind == fmt.TOMBSTONE:
            self._recent.clear()
            self._recent_bytes = 0
        for key in entry.keys:
            self._recent.pop(key, None)

    def _shrink_recent(self) -> None:
        """Drop the older half: the dictionary keeps the order in which records came."""
        recent = self._recent
        for key in list(itertools.islice(recent, len(recent) // 2 + 1)):
            recent.pop(key, None)
        self._recent_bytes //= 2

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self.catalog.forked()
        self._blobs.forked()
        self._writing.forked()


# --- opening --------------------------------------------------------------------------------------


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


__all__ = ["Durability", "Entry", "Store", "Stored", "address", "key_of"]

_RESULT = fmt.RESULT
_encode_result = fmt._encode


def _remove(backend: Backend, paths: Sequence[str], process: int) -> None:
    if os.getpid() == process:  # a child's end is not that of its parent
        for path in paths:
            with contextlib.suppress(OSError):
                backend.discard(path)


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has its own segments: it must neither append to its parent's nor seal it."""
    for store in list(_open_stores):
        store._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
