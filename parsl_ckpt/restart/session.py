"""A session: what a loop has open while it runs.

::

    write(**metadata) ─► count, merge ─ due? ─► commit ─► entry
                              └──────── an error anywhere: count and metadata as they were
    commit: bound states ─ encode (all) ─► blobs ─► row ─► older rows dropped
            states of the row before that are not bound ─ by reference ─►┘

Guarantees: a commit that fails leaves session and catalog as they were.  A resumed session of level
2 never commits before every state of its row has been bound.  What is pending at the end is not
committed with the state of a step that does not count.  One thread at a time writes; the others
wait.

Assumptions: states do not change while ``write`` or ``flush`` runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from parsl_ckpt.checkpoint.format import Session
from parsl_ckpt.errors import CheckpointError, IncompleteRestore, ParslCkptError

from . import current
from .current import Carried
from .doubts import attributes, doubts
from .drafts import Draft, EncodedState
from .encoding import Encoded, Packer, encode_metadata, encode_state
from .entry import CheckpointEntry, Metadata
from .history import Row, warn
from .looping import loop
from .pacing import Pace
from .restoring import Saved, decoded, restore
from .schema import described
from .state import CheckpointState, StateId, proxy_of

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

T = TypeVar("T")
E = TypeVar("E")


class CheckpointSession:
    """A row that is gone on from, or the beginning of a new history.

    Made by ``with checkpoint``, and by :meth:`Checkpoint.select`; usable as a context manager, any
    number of times one inside the other.

    Attributes:
        checkpoint: what it belongs to.

    >>> import tempfile
    >>> from parsl_ckpt.restart import Checkpoint
    >>> with tempfile.TemporaryDirectory() as path:
    ...     with Checkpoint("example", path, flush_interval=2) as session:
    ...         for step in range(3):
    ...             entry = session.write(step=step)
    ...             print(session.write_count, entry is not None)
    ...     with Checkpoint("example", path).select(-1) as session:
    ...         session.write_count, session.metadata["step"], session.exists
    1 False
    2 True
    3 False
    (3, 2, True)

    The idea is that of Earth2Studio's class of the same name.
    """

    def __init__(
        self, checkpoint: Checkpoint, row: Row | None, labels: Mapping[str, Any], *, chosen: bool
    ) -> None:
        self.checkpoint = checkpoint
        self._lock = threading.RLock()
        self._row = row
        self._chosen = chosen  # by the user: it is this row, or an error
        self._labels = dict(labels)
        self._entry: CheckpointEntry | None = None if row is None else checkpoint._entry_of(row)
        self._count = 0 if row is None else row.session.count
        self._saved: Saved | None = None
        self._metadata: dict[str, Encoded] = {}
        self._bound: dict[StateId, CheckpointState[Any]] = {}
        self._soft: set[StateId] = (
            set()
        )  # bound because they once were; others may take their place
        self._beside: dict[str, frozenset[str]] = {}  # what states had that is no field
        self._doubted = False
        self._resumed = row is not None
        self._restored = not self._resumed  # or it need not be
        self._pending = False
        self._halfway = False  # a state may hold part of a step that does not count yet
        self._depth = 0
        self._attempt = 0
        self._pace = Pace(checkpoint.flush_interval, checkpoint.stop_on_signal)
        history = checkpoint._history
        self._packer = Packer(history.write_blob, history.has_blob)
        _sessions.add(self)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether it goes on from a row, or has committed one."""
        return self._entry is not None

    @property
    def is_open(self) -> bool:
        """Whether it has been entered and not left."""
        return self._depth > 0

    @property
    def is_active(self) -> bool:
        """Whether it is the session that is open in this context."""
        return self.is_open and current.active.get() is self

    @property
    def commit_id(self) -> str | None:
        """Name of the row that it goes on from, or of the last one that it has committed."""
        return None if self._entry is None else self._entry.commit_id

    @property
    def entry(self) -> CheckpointEntry | None:
        """That row."""
        return self._entry

    @property
    def write_count(self) -> int:
        """How many steps are done."""
        return self._count

    @property
    def attempt(self) -> int:
        """Which opening of the checkpoint this is, by the rows on record: 1 for the first."""
        return self._attempt

    @property
    def labels(self) -> Mapping[str, Any]:
        """What its rows are labelled with."""
        return MappingProxyType(self._labels)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was written so far, the newest of each key, decoded when it is asked for."""
        with self._lock:
            known = dict(self._metadata)
        before: Mapping[str, Any] = {}
        if self._saved is not None:
            before = self._saved.metadata
        elif self._entry is not None:  # not entered yet
            before = self._entry.metadata
        names = tuple(dict.fromkeys((*before, *known)))

        def load(name: str) -> Any:
            if name not in known:
                return before[name]
            return _decoded(known[name])

        return Metadata(names, load)

    def metadata_value(self, key: str, default: Any = ...) -> Any:
        """One value of the metadata.

        Args:
            key: its key.
            default: what is given if there is none.

        Raises:
            KeyError: there is none, and no default.
        """
        known = self.metadata
        if key in known or default is ...:
            return known[key]
        return default

    @property
    def bound_states(self) -> Mapping[str, CheckpointState[Any]]:
        """The states that are bound, by name."""
        return MappingProxyType({str(name): state for name, state in self._bound.items()})

    @property
    def device(self) -> Any:
        """Where tensors are put when they are restored."""
        return self.checkpoint.device

    @property
    def lead_time(self) -> Any:
        """What was written as ``lead_time``; None if nothing was."""
        return self.metadata_value("lead_time", None)

    @property
    def catalog(self) -> tuple[CheckpointEntry, ...]:
        """The rows of the checkpoint."""
        return self.checkpoint.catalog

    @property
    def is_flush_due(self) -> bool:
        """Whether the next write is going to commit."""
        return self._due(self._count + 1)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A CheckpointSession cannot be copied, or sent to another process; open one there, "
            "with a Checkpoint of the same name and path."
        )

    def __repr__(self) -> str:
        state = "open" if self.is_open else "not open"
        return (
            f"<CheckpointSession of {self.checkpoint.name!r}, {state}, "
            f"write_count={self._count}, commit_id={self.commit_id}>"
        )

    # --- states -----------------------------------------------------------------------------------

    def bind(
        self, state: T | CheckpointState[T], *, state_key: str | None = None
    ) -> CheckpointState[T]:
        """Have a dataclass instance saved and restored; see :func:`bind_checkpoint_state`.

        Args:
            state: the instance.
            state_key: tells it from others of its class.

        Raises:
            CheckpointError: the session is not open.
            CheckpointStateCollision: another instance of its class is bound.
            CheckpointStateSchemaError: what was saved does not fit the class any more.
        """
        proxy = proxy_of(state, state_key)
        with self._lock:
            self._require_open("A state can be bound")
            if proxy._p_id not in self._soft:
                self.checkpoint._collide(self._bound.get(proxy._p_id), proxy)
            if self._bound.get(proxy._p_id) is proxy:
                return proxy
            self._soft.discard(proxy._p_id)
            loaded = False
            if self._saved is not None:
                loaded = restore(self._saved, proxy, set(self._bound), self.device)
            put = object.__setattr__
            put(proxy, "_p_mark", weakref.ref(self.checkpoint))
            put(proxy, "_p_session", self)
            put(proxy, "_p_loaded", loaded)
            self._bound[proxy._p_id] = proxy
            self._beside[str(proxy._p_id)] = attributes(proxy._p_object)
            return proxy

    # --- committing -------------------------------------------------------------------------------

    def write(self, /, **metadata: Any) -> CheckpointEntry | None:
        """A step is done: count it, and commit if that is due.

        Args:
            metadata: is merged into what was written before.

        Returns:
            The row, if one was committed.

        Raises:
            CheckpointSerializationError: a value or a state is not carried; nothing was written.
            IncompleteRestore: states of the row that was resumed were not bound.
            StoreWriteError: it could not be written.
        """
        with self._lock:
            self._require_open("A step can be written")
            self._halfway = True  # until the step counts
            encoded = {key: encode_metadata(key, value) for key, value in metadata.items()}
            with self._or_as_before():
                self._check_restored()
                self._count += 1
                self._metadata.update(encoded)
                self._pending, self._halfway = True, False
                self._pace.wrote()
                if not self._due(self._count):
                    return None
                began = time.monotonic()
                entry = self._commit()
                self._pace.committed(time.monotonic() - began)
                self._pace.answer()
                return entry

    def flush(self, /, **metadata: Any) -> CheckpointEntry | None:
        """Commit now.

        Args:
            metadata: is merged into what was written before.

        Returns:
            The row; None if it would be the same as the last one.

        Raises:
            CheckpointSerializationError: a value or a state is not carried; nothing was written.
            IncompleteRestore: states of the row that was resumed were not bound.
            StoreWriteError: it could not be written.
        """
        encoded = {key: encode_metadata(key, value) for key, value in metadata.items()}
        with self._lock:
            self._require_open("A session can be flushed")
            with self._or_as_before():
                self._check_restored()
                self._metadata.update(encoded)
                return self._commit(only_if_changed=not (encoded or self._pending))

    def _due(self, count: int) -> bool:
        return self._pace.due(count)

    @contextlib.contextmanager
    def _or_as_before(self) -> Iterator[None]:
        """Take back count and metadata if anything fails before a row is committed."""
        before = self._count, dict(self._metadata), self._pending, self._halfway
        row = self._row
        try:
            yield
        except BaseException:
            if self._row is row:
                self._count, self._metadata, self._pending, self._halfway = before
            raise

    def _check_restored(self) -> None:
        if self._restored or self.checkpoint.level < 2 or not self.checkpoint.strict:
            return
        saved = self._saved
        if saved is None:
            return
        missing = saved.unbound(self._bound)
        if not saved.states and saved.session.count:
            raise IncompleteRestore(
                f"The row {self.commit_id} of {self.checkpoint.name!r} holds no state, so that the "
                f"{saved.session.count} steps it has done cannot be gone on from.",
                hint="Bind what the loop changes before it is written, or say that nothing has to "
                "be restored: level=0, or strict=False.",
                checkpoint=self.checkpoint.name,
                missing=(),
            )
        if missing:
            raise IncompleteRestore(
                f"The row {self.commit_id} of {self.checkpoint.name!r} has states that were not "
                f"restored: {', '.join(map(str, missing))}.",
                hint="Bind them before the next step is written; or say that the loop can do "
                "without them: level=1, or strict=False.",
                checkpoint=self.checkpoint.name,
                missing=tuple(map(str, missing)),
            )
        self._restored = True

    def _commit(self, only_if_changed: bool = False) -> CheckpointEntry | None:
        checkpoint, saved = self.checkpoint, self._saved
        if not checkpoint._may_commit():
            return None
        checkpoint._tidy()
        states = self._encoded_states()
        if only_if_changed and saved is not None and saved.equals(states, self._metadata):
            return None
        before = () if saved is None else saved.session.blobs
        draft = Draft(self._packer.begin(before))
        draft.add(states, self._metadata)
        if saved is not None:
            draft.carry(saved, self._bound, states=checkpoint.level > 0)
        made: list[Session] = []

        def make(at: int) -> Session:
            made.append(self._record(draft, at))
            return made[0]

        row = checkpoint._append(make)
        self._row, self._entry = row, checkpoint._entry_of(row)
        directory = row.segment.directory if row.segment is not None else checkpoint.path
        claimed = {} if saved is None else saved.claimed
        self._saved = Saved(made[0], directory, checkpoint._history, claimed)
        self._packer.committed(draft.packing)
        self._metadata = {}
        self._pending = False
        self._restored = True
        self._doubt()
        return self._entry

    def _doubt(self) -> None:
        """Tell once what will not be the same after a restart."""
        if self._doubted or not self.checkpoint.level:
            return
        self._doubted = True
        states = {str(name): state._p_object for name, state in self._bound.items()}
        for text in doubts(states, self._beside):
            if text not in _told:
                _told.add(text)
                warn(text, 4)

    def _encoded_states(self) -> list[EncodedState]:
        """All states, completely, before anything is written."""
        if not self.checkpoint.level:
            return []
        return [
            EncodedState(
                name,
                described(type(state._p_object), state._p_object),
                encode_state(str(name), state._p_object),
            )
            for name, state in self._bound.items()
        ]

    def _record(self, draft: Draft, at: int) -> Session:
        checkpoint = self.checkpoint
        return Session(
            key=checkpoint._history.key,
            commit=secrets.token_bytes(16),
            parent=b"" if self._row is None else self._row.session.commit,
            at=at,
            count=self._count,
            labels=checkpoint._encoded_labels(self._labels),
            metadata=tuple(draft.metadata),
            states=tuple(draft.states),
            blobs=tuple(draft.packing.blobs.all),
            rank=checkpoint.rank,
            world_size=checkpoint.world_size,
            attempt=self._attempt,
            launch=checkpoint._launch,
            level=checkpoint.level,
        )

    # --- opening and leaving ----------------------------------------------------------------------

    def __enter__(self) -> CheckpointSession:
        with self._lock:
            if not self._depth:
                self._open()
            self._depth += 1
        try:
            current.enter(self, self.checkpoint)
            if self._depth == 1:
                self.checkpoint._adopt(self)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._depth == 1 and self._pending:
                flushes = self.checkpoint.on_exception == "flush"
                if error is None and (flushes or not self._halfway):
                    self.flush()
                elif error is not None and flushes:
                    self._flush_beside(error)
        finally:
            self._leave()

    def _flush_beside(self, error: BaseException) -> None:
        """Commit on the way out of an exception, which is what the caller is told of."""
        try:
            self.flush()
        except ParslCkptError as failure:
            warn(f"After {type(error).__name__}, the session was not saved: {failure}", 4)

    def _open(self) -> None:
        history = self.checkpoint._history
        history.acquire()
        try:
            if self._row is not None:
                history.stay()  # what is gone on from must not be made room of
                if self._saved is None:
                    self._settle()
            self._attempt = self.checkpoint._next_attempt()
            self._pace.open(history.live)
        except BaseException:
            history.release()
            raise

    def _settle(self) -> None:
        """Make sure of the row that is gone on from, or find the one to go on from in its place."""
        assert self._row is not None
        found = self.checkpoint._whole(self._row, chosen=self._chosen)
        if found is None:
            self._row, self._entry, self._count = None, None, 0
            self._resumed, self._restored = False, True
            return
        row, self._saved = found
        self._packer.resume(self._saved.named())
        if row is not self._row:
            self._row, self._entry = row, self.checkpoint._entry_of(row)
            self._count = row.session.count
        if row.session.world_size != self.checkpoint.world_size:
            raise CheckpointError(
                f"The row {self.commit_id} of {self.checkpoint.name!r} was written by "
                f"{row.session.world_size} processes, and this is one of "
                f"{self.checkpoint.world_size}.",
                hint="Go on with as many, or give rank= and world_size= to look at the catalog.",
                checkpoint=self.checkpoint.name,
            )

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            over = not self._depth
        try:  # whatever Ctrl-C falls into
            current.leave()
            if over:
                self._end()
        finally:
            if over:
                self.checkpoint._history.release()

    def _end(self) -> None:
        self._pace.close()
        with self._lock:
            self._pending = self._halfway = False
            self._bound, self._soft, self._beside = {}, set(), {}
            self._doubted = False
            self._metadata = {}
            saved = self._saved
            self._count = 0 if saved is None else saved.session.count
            if saved is not None:  # entered again, it goes on from its last row
                self._saved = saved.afresh()
                self._resumed, self._restored = True, False

    def _require_open(self, what: str) -> None:
        if not self._depth:
            raise CheckpointError(
                f"{what} only while its session is open; that of {self.checkpoint.name!r} is not.",
                hint="Do it inside of its with block.",
                checkpoint=self.checkpoint.name,
            )

    def loop(self, items: Iterable[E], state: T) -> Iterator[tuple[E, CheckpointState[T]]]:
        """As :meth:`Checkpoint.loop`."""
        return loop(self, items, state)

    def context(self) -> Carried:
        """This session, to be had in another thread: ``with ckpt.context(): ...`` there.

        Its ``run`` calls a function so: ``pool.submit(ckpt.context().run, work, 1)``.
        """
        return Carried(self.checkpoint, self)


def _decoded(encoded: Encoded) -> Any:
    return decoded(encoded.data, [bytearray(buffer) for buffer in encoded.buffers])[""]


_told: set[str] = set()  # once in a process
_sessions: weakref.WeakSet[CheckpointSession] = weakref.WeakSet()


def _after_fork() -> None:
    """In a child: a thread that is not there may have held a lock."""
    for session in list(_sessions):
        session._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
