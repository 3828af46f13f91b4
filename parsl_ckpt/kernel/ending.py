"""The orderly end of a kernel, whatever brought it about.

    flush what is complete ─► take no calls from outside ─► cancel what has not begun
        ─► drain what runs (for ``grace``) ─► flush ─► seal ─► close

*Guarantees.*  Every step is made even if another fails; what failed is given back.  A second call
waits for the first.  Calls from tasks that still run are accepted until they are done.

*Assumptions.*  It is not called by a task of the kernel it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from parsl_ckpt.errors import KernelClosedError
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.kernel import Kernel

logger = logging.getLogger(__name__)

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
    """

    def __init__(self, kernel: Kernel, executors: Sequence[Stoppable]) -> None:
        self._kernel = kernel
        self.executors = executors
        self._begun = threading.Lock()
        self._complete = threading.Event()
        self.hurry = threading.Event()  # set: stop waiting for tasks

    @property
    def begun(self) -> bool:
        """Whether the end has begun."""
        return self._begun.locked()

    def end(self, grace: float | None = None) -> list[BaseException]:
        """Bring the kernel to its end.

        Args:
            grace: seconds to wait at most for tasks that run; None waits as long as they take.

        Returns:
            What went wrong in the steps.
        """
        if not self._begun.acquire(blocking=False):
            self._complete.wait()
            return []
        kernel = self._kernel
        deadline = None if grace is None else time.monotonic() + grace
        errors: list[BaseException] = []
        steps: tuple[Callable[[], None], ...] = (
            self._flush,
            self._refuse,
            self._give_up_unbegun,
            lambda: self._drain(deadline),
            lambda: self._shut_down_executors(deadline),
            self._flush,
            lambda: kernel.store.close(publish=kernel.writer.saves_at_end),
            self._close,
        )
        try:
            for step in steps:
                try:
                    step()
                except KeyboardInterrupt:
                    self.hurry.set()  # the user will not wait; what is complete is still saved
                    try:
                        step()
                    except BaseException as error:
                        errors.append(error)
                except BaseException as error:
                    logger.debug("A step of the end failed.", exc_info=True)
                    errors.append(error)
        finally:
            self._complete.set()
        return errors

    def wait_for_tasks(self, timeout: float | None = None) -> bool:
        """Wait until no task is under way.

        Returns:
            False if ``timeout`` seconds passed first.
        """
        idle = threading.Event()
        self._kernel.when_idle(idle)
        return idle.wait(timeout)

    def flush(self, event: str) -> None:
        """Flush, and wait until that is done."""
        done: list[threading.Event] = []
        asked = threading.Event()
        kernel = self._kernel

        def ask() -> None:
            done.append(kernel.writer.flush(event).done)
            asked.set()

        kernel.porter.carry(kernel.errands.run, ask)
        if asked.wait(FLUSH_SECONDS):
            done[0].wait(FLUSH_SECONDS)

    def _flush(self) -> None:
        self.flush(modes.END)

    def _refuse(self) -> None:
        self._kernel.refusal = KernelClosedError(
            "An app was called on a kernel that is ending or has ended.",
            hint="Call apps inside the with block, or load a kernel again.",
        )

    def _give_up_unbegun(self) -> None:
        kernel = self._kernel
        done = threading.Event()

        def give_up_all(done: threading.Event) -> None:
            for task in list(kernel.tasks.values()):
                kernel.give_up(task)
            done.set()

        kernel.porter.carry(kernel.strand.post, (give_up_all, done))
        done.wait()

    def _drain(self, deadline: float | None) -> None:
        idle = threading.Event()
        self._kernel.when_idle(idle)
        while not (idle.is_set() or self.hurry.is_set()):
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return
            # In slices, because `hurry` may be set by a signal while this waits.
            idle.wait(0.2 if remaining is None else min(0.2, remaining))

    def _shut_down_executors(self, deadline: float | None) -> None:
        failure: BaseException | None = None
        for executor in self.executors:
            grace = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                executor.shutdown(0.0 if self.hurry.is_set() else grace)
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
