"""What happens in a run, told to observers that cannot break it.

    kernel ──► emit ──► queue ──► observer thread ──► listeners

*Guarantees.*  With no listener, or none for tasks, an event of a task costs one test.  Listeners
are called one after another on one thread, in the order of the events; one that raises is logged
once and called on.

*Assumptions.*  A listener that blocks delays other listeners, never the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from parsl_ckpt.kernel.failures import one_line

logger = logging.getLogger(__name__)


class Event(NamedTuple):
    """Something that happened in a run.

    Attributes:
        kind: ``"task"`` (a task changed its state), ``"failure"`` (a task failed, or an attempt of
            it), ``"problem"`` (something is not saved, or could not be read), ``"breaker"`` (a
            circuit breaker changed its state), ``"end"``.
        app: name of the app, or of the breaker, or empty.
        tid: number of the task, or -1.
        state: the new state, or empty.
        text: one sentence for a problem, a failure or a breaker.
        error: what was raised, for a failure.
    """

    kind: str
    app: str = ""
    tid: int = -1
    state: str = ""
    text: str = ""
    error: BaseException | None = None


Listener = Callable[[Event], object]


class Events:
    """The listeners of one kernel, and the thread that calls them.

    Attributes:
        listening: whether anyone wants to hear of tasks; to be asked before an event is made.
        attended: whether anyone listens at all.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._listeners: tuple[tuple[Listener, bool], ...] = ()
        self._failed: list[Listener] = []  # a listener need not be hashable
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.listening = self.attended = False

    def subscribe(self, listener: Listener, *, tasks: bool = True) -> Callable[[], None]:
        """Have ``listener(event)`` called for every event from now on.

        Args:
            listener: who is told.
            tasks: False leaves events of the kind ``"task"`` out, which makes tasks cheaper if
                nobody else wants them.

        Returns:
            A function that ends the subscription.
        """
        with self._lock:
            mine = (listener, tasks)
            self._listeners = (*self._listeners, mine)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._count()

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not mine)
                self._count()

        return unsubscribe

    def _count(self) -> None:
        self.attended = bool(self._listeners)
        self.listening = any(tasks for _, tasks in self._listeners)

    def emit(self, event: Event) -> None:
        """Tell the listeners, soon."""
        if self.attended:
            self._queue.put(event)

    def emit_failure(self, app: str, tid: int, state: str, error: BaseException) -> None:
        """Tell the listeners of a task that failed, or of an attempt that is made again."""
        if self.attended:
            self.emit(Event("failure", app, tid, state, one_line(error), error))

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what was emitted, for at most ``timeout`` seconds, and end the thread."""
        self.listening = self.attended = False
        if self._thread is not None:
            self._queue.put(None)
            if self._thread is not threading.current_thread():
                self._thread.join(timeout)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            for listener, tasks in self._listeners:
                if event.kind == "task" and not tasks:
                    continue
                try:
                    listener(event)
                except BaseException:
                    if not any(one is listener for one in self._failed):
                        self._failed.append(listener)
                        logger.exception("A listener raised; further errors of it are not shown.")
