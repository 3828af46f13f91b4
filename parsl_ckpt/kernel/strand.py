"""A strand: work that runs one batch at a time, on whichever posting thread comes first.

    post ──► inbox ──► handle(batch) ──► effects
             (deque)   in turn           out of turn

*Guarantees.*  At most one thread is in ``handle`` at any moment.  Items are handled in the order in
which they were posted.  An item that was posted is handled: a thread that finds the turn taken may
leave, because whoever has the turn looks into the inbox again after giving it up.  Effects run
outside the turn, so they may block, post and raise.

*Assumptions.*  No asynchronous exception reaches a posting thread while it has the turn; the main
thread, where Ctrl-C raises, therefore goes through :class:`Porter`.

The alternative, a thread of its own that drains the inbox, costs a switch of threads for every task
that is waited for; ``docs/design/0001-strand.rst`` has the measurement.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


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
        inbox, turn = self._inbox, self._turn
        inbox.append(item)
        if self._inside and threading.get_ident() in self._inside:
            return
        while inbox and turn.acquire(False):
            effects: Iterable[Callable[[], None]] = ()
            try:
                # Only as many as there are now: a batch must end even if posting never does.
                effects = self._handle([inbox.popleft() for _ in range(len(inbox))])
            except Exception:
                logger.exception("A batch of kernel events failed; this is a bug in parsl_ckpt.")
            finally:
                turn.release()
            if effects:
                self._run(effects)

    def _run(self, effects: Iterable[Callable[[], None]]) -> None:
        me = threading.get_ident()
        self._inside.add(me)
        try:
            for effect in effects:
                try:
                    effect()
                except Exception:
                    logger.exception("A kernel effect failed; this is a bug in parsl_ckpt.")
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

    ``carry`` is one atomic queue operation: the call is made, or it never was.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None]
        self._queue = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def carry(self, call: Callable[..., object], *args: Any) -> None:
        """Have ``call(*args)`` made on the porter's thread; calls must not block for long."""
        self._queue.put((call, args))

    def close(self) -> None:
        """Let the thread end after what was carried so far."""
        self._queue.put(None)

    def _work(self) -> None:
        while (errand := self._queue.get()) is not None:
            call, args = errand
            try:
                call(*args)
            except Exception:
                logger.exception("A kernel event failed; this is a bug in parsl_ckpt.")
            del errand, call, args  # keep nothing alive while waiting
