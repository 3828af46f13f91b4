"""``Checkpoint``: a named history of rows, and the way into its sessions.

Rule of this file: what is on the disk belongs to ``history.py``; here rows are chosen, shown,
counted and dropped.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from parsl_ckpt.checkpoint.format import Session
from parsl_ckpt.checkpoint.plain import encode_named
from parsl_ckpt.errors import (
    CheckpointSerializationError,
    CheckpointStateCollision,
    StoreError,
)

from . import current, show
from .arguments import check_choice, check_text, options, place, ranks
from .consistent import consistent, next_attempt
from .current import Carried
from .encoding import encode_metadata
from .entry import CheckpointEntry, Metadata
from .history import History, Row, warn
from .looping import loop
from .pacing import Interval
from .recovery import Recovery
from .restoring import Saved, decoded
from .session import CheckpointSession
from .state import CheckpointState, StateId, proxy_of

logger = logging.getLogger(__name__)
T = TypeVar("T")
E = TypeVar("E")
LABEL = 1024  # bytes in the name of a label
#: Dropped rows that take so many bytes, and four times as many as the last one, are made room of.
ROOM_BYTES = 256 << 20
#: And those that stand in more files than this: each opening has to look into all of them.
ROOM_FILES = 256
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


class Checkpoint:
    """A named history of restart points, and the way into the session that goes on from the last.

    Args:
        name: what it is called.
        path: the directory that holds it; ``$PARSL_CKPT_CACHE``, or the user's cache directory, has
            one for each name unless it is given.
        mode: ``"overwrite"`` keeps the newest row; ``"append"`` keeps the history.
        flush_interval: number of writes from one commit to the next; None: only ``flush`` commits;
            ``"auto"``: as often as it pays, by what commits cost and how often the work on record
            was interrupted (:mod:`~parsl_ckpt.restart.interval`).
        history_size: how many rows ``"append"`` keeps; None for all.
        level: how much is saved: 0 progress and metadata, 1 what it takes to begin an item again, 2
            what it takes to go on inside of it.
        rank, world_size: which of how many processes this is; found out unless given.
        device: where tensors are put when they are restored.
        on_exception: what becomes of steps that are not committed when the session is left by an
            exception: ``"discard"``, because a state may be half changed, or ``"flush"``.
        strict: a session of level 2 refuses to go on unless all that was saved has been restored.
        stop_on_signal: after SIGTERM or SIGUSR1 the next ``write`` commits, whatever the interval,
            and then raises ``CheckpointedStop``; otherwise it commits, and the loop goes on.

    Attributes:
        name, path, mode, flush_interval, history_size, level, rank, world_size, device,
            on_exception, strict, stop_on_signal: as given, or found out.

    Raises:
        ValueError: an argument is wrong; it is named.

    >>> import dataclasses, tempfile
    >>> @dataclasses.dataclass
    ... class Sum:
    ...     value: int = 0
    >>> def work(path, steps):
    ...     with Checkpoint("example", path) as ckpt:
    ...         total = ckpt.bind(Sum())
    ...         for step in range(ckpt.write_count, steps):
    ...             total.value += step
    ...             ckpt.write(step=step)
    ...         return total.value
    >>> with tempfile.TemporaryDirectory() as path:
    ...     work(path, 3), work(path, 5)
    (3, 10)

    The idea is that of Earth2Studio's class of the same name.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        mode: Literal["overwrite", "append"] = "overwrite",
        flush_interval: Interval = 1,
        history_size: int | None = None,
        level: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
        device: Any = "cpu",
        *,
        on_exception: Literal["discard", "flush"] = "discard",
        strict: bool = True,
        stop_on_signal: bool = False,
    ) -> None:
        check_text("name", name)
        check_choice("mode", mode, ("overwrite", "append"))
        interval, size, level = options(
            flush_interval, history_size, level, on_exception, strict, stop_on_signal
        )
        rank, world_size = ranks(rank, world_size)
        self.name = name
        self.path = place(path, name)
        self.mode = mode
        self.flush_interval = interval
        self.history_size = size
        self.level = level
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self.on_exception = on_exception
        self.strict = strict
        self.stop_on_signal = stop_on_signal
        self._launch = ""
        self._history = History(self.path, name)
        self._lock = threading.RLock()
        self._waiting: dict[StateId, CheckpointState[Any]] = {}  # bound before a session was open
        self._former: dict[StateId, weakref.ref[CheckpointState[Any]]] = {}  # those that had waited
        self._entered: list[CheckpointSession] = []
        self._filled = 0  # bytes written since room was made
        self._crowd = ROOM_FILES  # the number of files that is too many
        self._named: frozenset[tuple[bytes, int]] = frozenset()  # the blobs of the last row
        current.latest.set(self)

    # --- the catalog ------------------------------------------------------------------------------

    @property
    def catalog(self) -> tuple[CheckpointEntry, ...]:
        """The rows as they are now, oldest first; of several ranks, those that all have."""
        self.refresh()
        return tuple(self._entry_of(row) for row in self._rows())

    def refresh(self) -> None:
        """See what has been committed since, by anybody."""
        self._history.refresh()

    @property
    def active(self) -> CheckpointSession | None:
        """The session of this checkpoint that is open in this context."""
        session = current.active.get()
        if session is not None and session.checkpoint is self and session.is_open:
            return session
        return None

    def select(self, row: int | None = None, **labels: Any) -> CheckpointSession:
        """The session that goes on from a row; what it writes forks the history.

        Args:
            row: its place among the rows that have the labels; negative from the end.
            labels: that the row has; without ``row``, the newest such row, or a new history that is
                labelled so.

        Raises:
            IndexError: there is no such row.

        >>> Checkpoint("nothing", "/nonexistent/path").select(-1)
        Traceback (most recent call last):
        IndexError: The checkpoint 'nothing' has no rows.
        """
        if row is not None and (isinstance(row, bool) or not hasattr(row, "__index__")):
            raise TypeError(f"row is {row!r}, which is no number.")
        self.refresh()
        rows = self._rows()
        if labels:
            self._encoded_labels(labels)
            wanted = {key: _label(value) for key, value in labels.items()}
            rows = [one for one in rows if _has_labels(self._labels_of(one), wanted)]
        if row is not None:
            if not rows:
                raise IndexError(f"The checkpoint {self.name!r} has no rows.")
            try:
                chosen = rows[row]
            except IndexError:
                raise IndexError(
                    f"The checkpoint {self.name!r} has {len(rows)} rows, and none at {row}."
                ) from None
            return CheckpointSession(self, chosen, self._labels_of(chosen), chosen=True)
        if rows:
            return CheckpointSession(self, rows[-1], self._labels_of(rows[-1]), chosen=False)
        return CheckpointSession(self, None, labels, chosen=False)

    def __enter__(self) -> CheckpointSession:
        session = self.active
        if session is None:
            session = self.select()
            if session._row is None:
                session = self._resurrected() or session
        self._entered.append(session)
        try:
            session.__enter__()
        except BaseException:
            self._forget(session)
            raise
        return session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session = self.active or self._entered[-1]
        try:
            self._forget(session)
        finally:
            session.__exit__(kind, error, trace)

    def _forget(self, session: CheckpointSession) -> None:
        for at in range(len(self._entered) - 1, -1, -1):
            if self._entered[at] is session:
                del self._entered[at]
                break

    def loop(self, items: Iterable[E], state: T) -> Iterator[tuple[E, CheckpointState[T]]]:
        """Go through items, leaving out those that are done, and write after each.

        Args:
            items: a sequence, of which what is done is not looked at; or any iterable.
            state: a dataclass instance; it is bound.

        Yields:
            Each item that is left, with the state.
        """
        return loop(self, items, state)

    def context(self) -> Carried:
        """The checkpoint and its open session, to be had in another thread.

        ``with ckpt.context(): ...`` there, or ``pool.submit(ckpt.context().run, work)``.
        """
        return Carried(self, self.active)

    def __iter__(self) -> Iterator[CheckpointEntry]:
        return iter(self.catalog)

    def __bool__(self) -> bool:
        return True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = ""
            if not name.startswith("_") and hasattr(CheckpointSession, name):
                hint = "; its session has: with Checkpoint(...) as session"
            raise AttributeError(f"A Checkpoint has no attribute {name!r}{hint}.")

    def prune(self) -> int:
        """Make free the room of rows that were dropped; the number of bytes.

        What others have open they keep, but nobody may be writing here meanwhile.

        Raises:
            StoreBusyError: another process has a session open here, or looks after the directory.
        """
        self._filled = 0
        freed = self._history.prune()
        self._crowd = ROOM_FILES
        return freed

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Checkpoint cannot be copied, or sent to another process; make one there, of the "
            "same name and path."
        )

    def __repr__(self) -> str:
        return show.as_text(self._title(), self.catalog, _now())

    def _repr_html_(self) -> str:
        return show.as_html(self._title(), self.catalog, _now())

    def _title(self) -> list[str]:
        return [
            f"Checkpoint({self.name!r})",
            f"path: {self.path}",
            f"mode: {self.mode}, flush_interval: {self.flush_interval}, level: {self.level}, "
            f"rank: {self.rank} of {self.world_size}",
        ]

    # --- states that wait -------------------------------------------------------------------------

    def expect(
        self, state: T | CheckpointState[T], state_key: str | None = None
    ) -> CheckpointState[T]:
        """Bind a state as soon as a session is opened.

        Args:
            state: the instance.
            state_key: tells it from others of its class.

        Raises:
            CheckpointStateCollision: another instance of its class waits.
        """
        proxy = proxy_of(state, state_key)
        with self._lock:
            self._collide(self._waiting.get(proxy._p_id), proxy)
            self._waiting[proxy._p_id] = proxy
            self._former.pop(proxy._p_id, None)
            session = proxy._p_session
            if session is None or not session.is_open:
                object.__setattr__(proxy, "_p_mark", weakref.ref(self))
        return proxy

    def _adopt(self, session: CheckpointSession) -> None:
        """Bind what waits to a session that has just been opened."""
        with self._lock:
            waiting = dict(self._waiting)
            former = {name: mark() for name, mark in self._former.items()}
        for name, known in former.items():
            if known is not None and name not in waiting:
                session.bind(known)
                session._soft.add(name)
        for name, proxy in waiting.items():
            session.bind(proxy)
            with self._lock:  # from now on it is kept only for as long as somebody else keeps it
                self._waiting.pop(name, None)
                self._former[name] = weakref.ref(proxy)
            if proxy._p_loaded:
                warn(
                    f"The state {name} was bound before an existing checkpoint session was open: "
                    "what was derived from it until now is not what was saved. Make what binds it "
                    "inside of the with block.",
                    4,
                )

    def _collide(self, before: CheckpointState[Any] | None, proxy: CheckpointState[Any]) -> None:
        if before is not None and before is not proxy:
            raise CheckpointStateCollision(
                f"Another object is bound as the state {proxy._p_id} of {self.name!r}.",
                hint="Give each a state_key of its own.",
                checkpoint=self.name,
                state=str(proxy._p_id),
            )

    # --- rows -------------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        return consistent(self._history.live(), self.rank)

    def _entry_of(self, row: Row) -> CheckpointEntry:
        session = row.session
        names = tuple(_text(name) for name, _, _ in session.metadata)
        return CheckpointEntry(
            commit_id=session.commit.hex(),
            parent=session.parent.hex() or None,
            labels=self._labels_of(row),
            metadata=Metadata(names, functools.partial(self._metadata_of, row)),
            metadata_keys=names,
            write_count=session.count,
            saved_at=_EPOCH + dt.timedelta(microseconds=session.at // 1000),
            rank=session.rank,
            world_size=session.world_size,
            state_ids=tuple(
                str(StateId(_text(one.module), _text(one.qualname), _text(one.name)))
                for one in session.states
            ),
            level=session.level,
        )

    def _metadata_of(self, row: Row, name: str) -> Any:
        session, directory = self._history.full(row)
        return Saved(session, directory, self._history).metadata[name]

    def _labels_of(self, row: Row) -> dict[str, Any]:
        if not row.session.labels:
            return {}
        return decoded(row.session.labels)

    def _encoded_labels(self, labels: Mapping[str, Any]) -> bytes:
        if not labels:
            return b""
        for name, value in labels.items():
            if encode_metadata(name, value, "label").buffers or len(name) > LABEL:
                raise CheckpointSerializationError(
                    f"The label {name!r} is too large.", hint="Put it in the metadata.", key=name
                )
        return encode_named(sorted(labels.items()), minimum=1 << 62)[0]

    def _append(self, make: Callable[[int], Session]) -> Row:
        row = self._history.append(make, self._superseded)
        blobs = frozenset(row.session.blobs)
        self._filled += self._history.appended + sum(size for _, size in blobs - self._named)
        self._named = blobs
        return row

    def _room(self) -> int:
        return ROOM_BYTES

    def _tidy(self) -> None:
        """Make room, before a row is begun, where dropped rows fill the disk.

        A loop that overwrites its state each minute would fill any.
        """
        if self.mode == "append" and self.history_size is None:
            return
        files = self._history.files
        most = self._room() + 4 * sum(size for _, size in self._named)
        if self._filled > most or files > self._crowd:
            self._crowd = files + ROOM_FILES  # should it be refused now
            try:
                self.prune()
            except (StoreError, OSError) as error:  # others write here: it stays as it is
                logger.info("No room is made in %s: %s", self.path, error)

    def _superseded(self, new: Row) -> Sequence[Row]:
        """The rows that a new one takes the place of."""
        keep = 1 if self.mode == "overwrite" else self.history_size
        if keep is None:
            return ()
        mine = [
            row
            for row in self._history.live()
            if row.session.rank == self.rank
            and row.session.world_size == self.world_size
            and row.session.labels == new.session.labels
        ]
        old = mine[: max(len(mine) + 1 - keep, 0)]
        return self._not_needed(old, new) if old and self.world_size > 1 else old

    def _not_needed(self, old: Sequence[Row], new: Row) -> Sequence[Row]:
        """Of rows that may go, those before the newest that all ranks have: the rest is needed if a
        rank that is behind is killed."""
        self._history.refresh()
        shared = [
            row
            for row in consistent(self._history.live(), self.rank)
            if row.session.labels == new.session.labels
        ]
        return [row for row in old if shared and row.session.at < shared[-1].session.at]

    def _next_attempt(self) -> int:
        return next_attempt(self._history.live())

    def _may_commit(self) -> bool:
        """Whether what is committed now will be listened to."""
        return True

    def _whole(self, row: Row, *, chosen: bool) -> tuple[Row, Saved] | None:
        return Recovery(self).whole(row, chosen=chosen)

    def _resurrected(self) -> CheckpointSession | None:
        """Where all rows are damaged, the session that goes on from one that was dropped."""
        buried = consistent(self._history.buried(), self.rank)
        if not buried:
            return None
        return CheckpointSession(self, buried[-1], self._labels_of(buried[-1]), chosen=False)


def _has_labels(labels: Mapping[str, Any], wanted: Mapping[str, bytes]) -> bool:
    return all(key in labels and _label(labels[key]) == data for key, data in wanted.items())


def _label(value: Any) -> bytes:
    """What labels are compared by: 1 is not True, and a number of numpy is that number."""
    if type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in (
        "i", "u", "f", "b", "U",
    ):  # fmt: skip
        value = value.item()
    return encode_metadata("", value).data


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
