"""A strand: work that runs one batch at a time, on whichever posting thread comes first.

    post ──► inbox ──► handle(batch) ──► effects
             (deque)   in turn           out of turn

*Guarantees.*  At most one thread is in ``handle`` at any moment.  Items are handled in the order in
which they were posted.  An item that was posted is handled: a thread that finds the turn taken may
leave, because whoever has the turn looks into the inbox again after giving it up, and before it
begins an effect.  Effects run outside the turn, one after another, so they may block, post and
raise; what is posted meanwhile does not wait for them.

*Assumptions.*  No asynchronous exception reaches a posting thread while it has the turn; the main
thread, where Ctrl-C raises, therefore goes through :class:`Porter`.

The alternative, a thread of its own that drains the inbox, costs a switch of threads for every task
that is waited for; ``docs/design/0001-strand.rst`` has the measurement.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

ROUNDS = 64  # batches in a row before an effect gets its time, should posting never cease


class Strand(Generic[Item]):
    """Serialises the handling of items without a thread of its own.

    Args:
        handle: takes a batch of items, in turn; gives the effects to run afterwards, out of turn.
    """

    __slots__ = ("_handle", "_inbox", "_inside", "_turn")

    def __init__(self, handle: Callable[[list[Item]], Iterable[Callable[[], None]]]) -> None:
        self._handle = handle
        self._inbox: deque[Item] = deque()
        self._turn = threading.Lock()
        self._inside: set[int] = set()  # threads that are running effects

    def post(self, item: Item) -> None:
        """Queue an item and handle whatever is queued, unless another thread is at it.

        From within an effect it only queues: the loop that runs the effect goes on to it, so that a
        chain of any length takes no more stack than one link.
        """
        inbox = self._inbox
        inbox.append(item)
        if self._inside and threading.get_ident() in self._inside:
            return
        effects: deque[Callable[[], None]] = deque()
        self._take_turns(effects)
        if effects:
            self._run(effects)

    def _take_turns(self, effects: deque[Callable[[], None]]) -> None:
        """Handle what is in the inbox, unless another thread is at it; add the effects."""
        inbox, turn = self._inbox, self._turn
        rounds = 0
        while inbox and turn.acquire(False):
            try:
                # Only as many as there are now: a batch must end even if posting never does.
                effects.extend(self._handle([inbox.popleft() for _ in range(len(inbox))]))
            except BaseException:
                logger.exception("A batch of kernel events failed; this is a bug in parsl_ckpt.")
            finally:
                turn.release()
            rounds += 1
            if rounds >= ROUNDS and effects:
                return

    def _run(self, effects: deque[Callable[[], None]]) -> None:
        me = threading.get_ident()
        self._inside.add(me)
        try:
            while effects:
                effect = effects.popleft()
                try:
                    effect()
                except BaseException:  # a SystemExit of the user's code must not take others along
                    logger.exception("A kernel effect failed; this is a bug in parsl_ckpt.")
                del effect  # keep nothing alive while others run
                if self._inbox:
                    self._take_turns(effects)
        finally:
            self._inside.discard(me)


class Tally:
    """A count that any thread may add to without a lock.

    >>> tally = Tally()
    >>> tally.add(); tally.add(); tally.total()
    2
    """

    def __init__(self) -> None:
        self._count = itertools.count()
        self._reads = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """Count one."""
        next(self._count)  # atomic

    def total(self) -> int:
        """How many were counted."""
        with self._lock:  # reading counts too, so that is taken off again
            total = next(self._count) - self._reads
            self._reads += 1
            return total


class Porter:
    """A thread that carries calls in from threads where Ctrl-C may strike between two bytecodes.

    ``carry`` is one atomic queue operation: the call is made, or it never was.  What is carried
    after :meth:`close` is made too, by a thread that lives just long enough.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None]
        self._queue = SimpleQueue()
        self._name = name
        self._closed = False
        self._late = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def carry(self, call: Callable[..., object], *args: Any) -> None:
        """Have ``call(*args)`` made on the porter's thread; calls must not block for long."""
        self._queue.put((call, args))
        if self._closed:
            threading.Thread(target=self._work_late, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let the thread end after what was carried so far."""
        with self._late:
            if self._closed:
                return
            self._closed = True  # first: what is put after the None finds it set
        self._queue.put(None)

    def _work(self) -> None:
        while (errand := self._queue.get()) is not None:
            _make(*errand)
            del errand  # keep nothing alive while waiting

    def _work_late(self) -> None:
        self._thread.join()
        with self._late:  # one at a time, so that the order is kept
            while True:
                try:
                    errand = self._queue.get_nowait()
                except Empty:
                    return
                assert errand is not None  # the thread that has ended took the only one
                _make(*errand)


def _make(call: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        call(*args)
    except BaseException:  # it must outlive everything
        logger.exception("A kernel event failed; this is a bug in parsl_ckpt.")


#: The longest that a thread of the user's sleeps at a stretch.  A signal that arrives in the last
#: instant before it falls asleep is seen by Python only when it wakes.
WAKE_SECONDS = 0.5


def slices(timeout: float | None) -> Iterator[float]:
    """How long to sleep, again and again, until ``timeout`` seconds are over; None is for ever.

    >>> list(slices(0)), next(slices(None))
    ([0], 0.5)
    """
    if timeout is None:
        while True:
            yield WAKE_SECONDS
    ends = time.monotonic() + timeout
    yield min(timeout, WAKE_SECONDS)
    while (left := ends - time.monotonic()) > 0:
        yield min(left, WAKE_SECONDS)


class Signal:
    """An event for a thread that Ctrl-C may interrupt, set by one that must not be held up by it.

    ``threading.Event`` will not do: Ctrl-C between two bytecodes of its ``wait`` can leave its lock
    locked, and then ``set`` waits for ever.

    >>> signal = Signal()
    >>> signal.wait(timeout=0), signal.set(), signal.wait()
    (False, None, True)
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self._set = False

    def set(self) -> None:
        """Let the thread that waits go on."""
        self._set = True
        self._queue.put(None)

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, in one thread at a time; whether it has been set."""
        for seconds in slices(timeout):
            if self._set:
                break
            with contextlib.suppress(Empty):
                self._queue.get(timeout=seconds)
        return self._set
