"""What happens in a run, told to observers that cannot break it.

    kernel ──► emit ──► queue ──► observer thread ──► listeners

*Guarantees.*  With no listener an event costs one test.  Listeners are called one after another on
one thread, in the order of the events; one that raises is logged once and called on.

*Assumptions.*  A listener that blocks delays other listeners, never the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Event(NamedTuple):
    """Something that happened in a run.

    Attributes:
        kind: ``"task"`` (a task changed its state), ``"problem"`` (something is not saved, or
            could not be read), ``"checkpoint"`` (records were flushed), ``"end"``.
        app: name of the app, or empty.
        tid: number of the task, or -1.
        state: the task's new state, or empty.
        text: one sentence for a problem.
    """

    kind: str
    app: str = ""
    tid: int = -1
    state: str = ""
    text: str = ""


Listener = Callable[[Event], object]


class Events:
    """The listeners of one kernel, and the thread that calls them.

    Attributes:
        listening: whether there is anyone to tell; to be asked before an event is made.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._listeners: tuple[Listener, ...] = ()
        self._failed: list[Listener] = []  # a listener need not be hashable
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.listening = False

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener(event)`` called for every event from now on.

        Returns:
            A function that ends the subscription.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self.listening = True

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)
                self.listening = bool(self._listeners)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell the listeners, soon."""
        if self.listening:
            self._queue.put(event)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what was emitted, for at most ``timeout`` seconds, and end the thread."""
        self.listening = False
        if self._thread is not None:
            self._queue.put(None)
            if self._thread is not threading.current_thread():
                self._thread.join(timeout)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            for listener in self._listeners:
                try:
                    listener(event)
                except BaseException:
                    if not any(one is listener for one in self._failed):
                        self._failed.append(listener)
                        logger.exception("A listener raised; further errors of it are not shown.")
