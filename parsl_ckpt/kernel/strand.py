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

    __slots__ = ("_handle", "_inbox", "_turn")

    def __init__(self, handle: Callable[[list[Item]], Iterable[Callable[[], None]]]) -> None:
        self._handle = handle
        self._inbox: deque[Item] = deque()
        self._turn = threading.Lock()

    def add(self, item: Item) -> None:
        """Queue an item for the batch after this one: for effects, which run inside ``post``."""
        self._inbox.append(item)

    def post(self, item: Item) -> None:
        """Queue an item and handle whatever is queued, unless another thread is at it."""
        self._inbox.append(item)
        self.run()

    def run(self) -> None:
        """Handle what is queued, unless another thread is at it."""
        inbox, turn = self._inbox, self._turn
        while inbox and turn.acquire(False):
            effects: Iterable[Callable[[], None]] = ()
            try:
                # Only as many as there are now: a batch must end even if posting never does.
                effects = self._handle([inbox.popleft() for _ in range(len(inbox))])
            except Exception:
                logger.exception("A batch of kernel events failed; this is a bug in parsl_ckpt.")
            finally:
                turn.release()
            for effect in effects:
                try:
                    effect()
                except Exception:
                    logger.exception("A kernel effect failed; this is a bug in parsl_ckpt.")


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
