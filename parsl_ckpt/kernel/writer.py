"""Records on their way into the store: group commit, by the checkpoint mode's rule.

    worker ──► commit ──► strand ─┬─ mode writes through ──► store.append ─┐
                                  └─ else ──► store.hold ──► publish, when ├──► committed(tasks)
                                                             the mode says ┘

*Guarantees.*  Entries are written in the order in which they were committed, one batch at a time;
while one batch is being written the next one gathers.  ``committed`` is called for every entry,
whether or not it could be written: a failure of the store never becomes a failure of a task.  What
could not be written is announced and held, and tried again with every later flush.

*Assumptions.*  The store lets one thread append while others read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parsl_ckpt.checkpoint.store import Entry, Store
from parsl_ckpt.errors import StoreWriteError
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.runtime import Runtime
from parsl_ckpt.kernel.strand import Signal, Strand
from parsl_ckpt.kernel.timer import Clock

SYNC_SECONDS = 0.5  # after a write in "process" durability; the promise is "within a second"
NOT_WRITTEN = "the checkpoint could not be written; results are held in memory"
RETRY_SECONDS = 1.0  # between attempts to write after a failure

Effect = Callable[[], None]


class Flush:
    """A request to flush, with the answer for who waits."""

    __slots__ = ("done", "event")

    def __init__(self, event: str, done: Signal) -> None:
        self.event = event
        self.done = done


class Writer:
    """Writes entries to the store when the mode says so.

    Args:
        store: where they go.
        mode: a checkpoint mode, see :mod:`parsl_ckpt.kernel.modes`.
        period: seconds, for the mode ``periodic``.
        clock: tells the time and makes later calls.
        committed: called, outside the turn, with the tasks whose entries were dealt with.
        problem: called with a sentence, its cause and the number of times that the store has
            recovered, when something is not saved.
        run: has a call made on a thread where it may block.
        runtime: where threads come from.
    """

    def __init__(
        self,
        store: Store,
        *,
        mode: str | None,
        period: float,
        clock: Clock,
        committed: Callable[[Sequence[tuple[Any, Entry]]], None],
        problem: Callable[[str, BaseException, int], None],
        run: Callable[[Callable[[], object]], None],
        runtime: Runtime | None = None,
    ) -> None:
        self._runtime = runtime = runtime or Runtime()
        self._store = store
        self._mode = mode
        self._period = period
        self._clock = clock
        self._committed = committed
        self._problem = problem
        self._run = run
        self._strand: Strand[tuple[Any, Entry] | Flush] = runtime.strand(self._handle)
        self._flushed_at = clock.now()
        self._failed_at: float | None = None
        self._failure: BaseException | None = None
        self._incident = 0
        self._sync_due = False
        self._held = 0  # results that wait for the next flush
        self.lost = 0  # results that could not even be held
        self.saves_at_end = mode is not None
        self._closed = False
        if mode == "periodic":
            clock.call_later(period, self._tick)

    def commit(self, task: Any, entry: Entry) -> None:
        """Record an entry; ``committed`` gets ``(task, entry)`` when that has been dealt with."""
        self._strand.post((task, entry))

    def flush(self, event: str = modes.CHECKPOINT) -> Flush:
        """Flush if the mode's rule for ``event`` says so; not to be called by the main thread."""
        request = Flush(event, self._runtime.signal())
        self._strand.post(request)
        return request

    def close(self) -> None:
        """Take nothing for the store any more; what ends later is no news, its run is over."""
        self._closed = True

    @property
    def unsaved(self) -> int:
        """Number of results that are held because the store could not write them."""
        return 0 if self._failed_at is None else self._held

    @property
    def failure(self) -> BaseException | None:
        """Why what is held could not be written the last time; None if nothing is wrong."""
        return self._failure

    # -- in turn -----------------------------------------------------------------------------------

    def _handle(self, batch: list[tuple[Any, Entry] | Flush]) -> list[Effect]:
        committed = [item for item in batch if not isinstance(item, Flush)]
        requests = [item for item in batch if isinstance(item, Flush)]
        effects: list[Effect] = []  # first what is told, then whose turn it is to go on
        if committed and not self._closed:
            if self._through():
                self._append(committed, effects)
            else:
                if self._failure is not None:  # the batch that failed may not have told of it yet
                    self._tell(NOT_WRITTEN, self._failure, effects)
                self._hold(committed, effects)
        if not self._closed and not self._through() and self._due(requests):
            self._publish(effects)
        if committed:
            effects.append(lambda: self._committed(committed))
        for request in requests:
            effects.append(request.done.set)
        return effects

    def _through(self) -> bool:
        return self._mode == "task_exit" and self._failed_at is None

    def _due(self, requests: list[Flush]) -> bool:
        now = self._clock.now()
        since = now - self._flushed_at
        if requests:
            events = {request.event for request in requests}
            return any(modes.flush_due(self._mode, event, since, self._period) for event in events)
        if self._failed_at is not None and now - self._failed_at < RETRY_SECONDS:
            return False
        return modes.flush_due(self._mode, modes.RESULT, since, self._period)

    # Whatever the store raises, it must not cost the tasks their results: so `except Exception`.

    def _append(self, committed: list[tuple[Any, Entry]], effects: list[Effect]) -> None:
        try:
            self._store.append([entry for _, entry in committed])
        except Exception as error:
            self._fail(error, effects)
            self._hold(committed, effects)
        else:
            self._schedule_sync()

    def _hold(self, committed: list[tuple[Any, Entry]], effects: list[Effect]) -> None:
        results = sum(task is not None for task, _ in committed)  # not notes and the like
        try:
            self._store.hold([entry for _, entry in committed])
        except StoreWriteError as error:  # no room in the spool: they stay in memory
            self._held += results
            self._tell("the spool of the checkpoint could not be written", error, effects)
        except Exception as error:
            self.lost += results
            self._tell("results could not be kept for the checkpoint", error, effects)
        else:
            self._held += results

    def _publish(self, effects: list[Effect]) -> None:
        self._flushed_at = self._clock.now()
        try:
            self._store.publish()
        except Exception as error:
            self._fail(error, effects)
        else:
            if self._failed_at is not None:
                self._incident += 1  # when it fails the next time, that is news
            self._failed_at = self._failure = None
            self._held = 0
            self._schedule_sync()

    def _fail(self, error: BaseException, effects: list[Effect]) -> None:
        self._failed_at = self._clock.now()
        self._failure = error
        self._tell(NOT_WRITTEN, error, effects)
        if self._mode == "task_exit":  # what it promises is late: do not wait for another result
            self._clock.call_later(RETRY_SECONDS, self._flush_later)

    def _tell(self, text: str, error: BaseException, effects: list[Effect]) -> None:
        incident = self._incident
        effects.append(lambda: self._problem(text, error, incident))

    # -- out of turn -------------------------------------------------------------------------------

    def _schedule_sync(self) -> None:
        if not self._sync_due:
            self._sync_due = True
            self._clock.call_later(SYNC_SECONDS, lambda: self._run(self._sync))

    def _sync(self) -> None:
        self._sync_due = False  # first: what is written from now on is the next sync's
        try:
            self._store.sync()
        except Exception as error:
            text = "the checkpoint could not be synced to the disk"
            self._problem(text, error, self._incident)

    def _tick(self) -> None:
        self._clock.call_later(self._period, self._tick)
        self._flush_later()

    def _flush_later(self) -> None:
        self._run(lambda: self.flush(modes.TICK))
