"""The orderly end of a kernel, whatever brought it about.

    end ──► porter ──► a thread of its own:
                       flush what is complete ─► take no calls from outside
                       ─► cancel what has not begun ─► drain what runs (for ``grace``)
                       ─► what others have to say last (``Kernel.at_end``)
                       ─► flush ─► release leases ─► seal ─► close ──► whoever called end

*Guarantees.*  It begins or was never asked for, and once begun it is brought to its end, wherever
Ctrl-C may strike the caller: that only stops the waiting for tasks.  Every step is made even if
another fails; what failed is given back.  A second call waits for the first, and may leave it less
time.  Calls from tasks that still run are accepted until they are done.

*Assumptions.*  It is not called by a task of the kernel it ends.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from parsl_ckpt.errors import KernelClosedError
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.strand import Signal

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.2
FLUSH_SECONDS = 300.0  # a disk that takes longer than this for one flush has failed


class Stoppable(Protocol):
    """What the end needs of an executor."""

    def shutdown(self, grace: float | None = None) -> None:
        """End the workers; wait for what they run, for at most ``grace`` seconds."""


class Ending:
    """Ends one kernel, once.

    Args:
        kernel: the kernel.
        executors: what to shut down.
        last: called when all is flushed, before the store is closed.
    """

    def __init__(
        self,
        kernel: Kernel,
        executors: Sequence[Stoppable],
        last: Callable[[], None] = lambda: None,
    ) -> None:
        self._last = last
        self._kernel = kernel
        self.executors = executors
        self._complete = False
        self._waiting: deque[Signal] = deque()  # one for each thread that waits for the end
        self._errors: list[BaseException] = []
        self._deadline = math.inf  # may be brought forward while it ends
        self.begun = False
        self.hurry = False  # True: stop waiting for tasks

    def end(self, grace: float | None = None) -> list[BaseException]:
        """Bring the kernel to its end.

        Args:
            grace: seconds to wait at most for tasks that run; None waits as long as they take.

        Returns:
            What went wrong in the steps, to the first who asks.
        """
        if grace is not None:
            self._deadline = min(self._deadline, time.monotonic() + grace)
        signal = self._kernel.runtime.signal()
        self._waiting.append(signal)
        if not self._complete:
            self._kernel.porter.carry(self._begin)
        while not self._complete:
            try:
                signal.wait()
            except KeyboardInterrupt:
                self.hurry = True  # the user will not wait; what is complete is still saved
        errors, self._errors = self._errors, []
        return errors

    def _begin(self) -> None:
        if not self.begun:  # calls that are carried come one after another
            self.begun = True
            self._kernel.errands.run(self._make_steps)

    def _make_steps(self) -> None:
        kernel = self._kernel
        steps: tuple[Callable[[], None], ...] = (
            self._flush,
            self._refuse,
            self._give_up_unbegun,
            self._drain,
            self._shut_down_executors,
            self._finish,
            self._flush,
            self._let_go,
            self._last,
            kernel.writer.close,
            lambda: kernel.store.close(publish=kernel.writer.saves_at_end),
            self._close,
        )
        try:
            for step in steps:
                try:
                    step()
                except BaseException as error:
                    logger.debug("A step of the end failed.", exc_info=True)
                    self._errors.append(error)
        finally:
            self._complete = True  # first: who comes later does not wait
            for signal in tuple(self._waiting):
                signal.set()

    def wait_for_tasks(self, timeout: float | None = None) -> bool:
        """Wait until no task is under way.

        Returns:
            False if ``timeout`` seconds passed first.
        """
        idle = self._kernel.runtime.signal()
        self._kernel.when_idle(idle)
        return idle.wait(timeout)

    def flush(self, event: str) -> None:
        """Flush, and wait until that is done."""
        kernel = self._kernel
        done = kernel.runtime.signal()

        def ask() -> None:
            try:
                kernel.writer.flush(event).done.wait(FLUSH_SECONDS)
            finally:
                done.set()

        kernel.porter.carry(kernel.errands.run, ask)
        done.wait(FLUSH_SECONDS)

    def _flush(self) -> None:
        self.flush(modes.END)

    def _refuse(self) -> None:
        self._kernel.refusal = KernelClosedError(
            "An app was called on a kernel that is ending or has ended.",
            hint="Call apps inside the with block, or load a kernel again.",
        )

    def _give_up_unbegun(self) -> None:
        kernel = self._kernel
        done = self._kernel.runtime.signal()

        def give_up_all(done: Signal) -> None:
            try:
                for task in kernel.under_way():
                    kernel.give_up(task)
            finally:
                done.set()

        kernel.porter.carry(kernel.strand.post, (give_up_all, done))
        done.wait()

    def _drain(self) -> None:
        idle = self._kernel.runtime.signal()
        self._kernel.when_idle(idle)
        # In slices, because meanwhile `hurry` may be set and the deadline brought forward.
        while not (idle.is_set() or self.hurry) and (left := self._left()) > 0:
            idle.wait(min(SLICE_SECONDS, left))

    def _finish(self) -> None:
        for call in tuple(self._kernel.at_end):  # each may have nothing to say any more
            call()

    def _let_go(self) -> None:
        if self._kernel.sharing is not None:
            self._kernel.sharing.close()

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _shut_down_executors(self) -> None:
        failure: BaseException | None = None
        for executor in self.executors:
            grace = 0.0 if self.hurry else self._left()
            try:
                executor.shutdown(None if grace == math.inf else grace)
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure

    def _close(self) -> None:
        kernel = self._kernel
        kernel.events.emit(Event("end"))
        kernel.events.close()
        kernel.clock.close()
        kernel.porter.close()
