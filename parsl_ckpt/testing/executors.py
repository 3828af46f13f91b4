"""An executor that does nothing until it is told to, for tests without threads and without luck.

>>> from parsl_ckpt.kernel.attempt import Attempt
>>> manual = ManualExecutor()
>>> manual.launch(Attempt(pow, (2, 10)), lambda attempt, value, error: print(value))
>>> len(manual)
1
>>> manual.step()
1024
True
"""

from __future__ import annotations

from collections import deque

from parsl_ckpt.executors.base import Executor, check_label, refuse, report, run_attempt
from parsl_ckpt.kernel.attempt import Attempt, Finished, worker

__all__ = ["ManualExecutor"]


class ManualExecutor(Executor):
    """Keeps attempts in a list, in the order of their launch, and runs them when told.

    Args:
        label: the name by which apps choose this executor.
        width: what it says of itself.

    Attributes:
        waiting: the attempts that were launched and not yet run, as pairs with their ``finished``.
    """

    def __init__(self, label: str = "manual", *, width: int = 1) -> None:
        self.label = check_label(type(self).__name__, label)
        self.waiting: deque[tuple[Attempt, Finished]] = deque()
        self._width = width
        self._closed = False

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def width(self) -> int:
        return self._width

    def start(self) -> None:
        pass

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        self.waiting.append((attempt, finished))
        if self._closed:
            self._refuse_all()

    def step(self, index: int = 0) -> bool:
        """Run one waiting attempt in this thread.

        Args:
            index: which, counted from the oldest.

        Returns:
            Whether it ran; False if nothing waits or someone else has claimed it.
        """
        if not self.waiting:
            return False
        attempt, finished = self.waiting[index]
        del self.waiting[index]
        if not attempt.claim():
            return False
        before, worker.pool = worker.pool, self
        try:
            run_attempt(attempt, finished, self.label)
        finally:
            worker.pool = before
            del attempt, finished  # a traceback that refers to this frame keeps nothing alive
        return True

    def run(self) -> int:
        """Run attempts until none waits, those launched meanwhile included; how many ran."""
        ran = 0
        while self.waiting:
            ran += self.step()
        return ran

    def fail(self, error: BaseException, index: int = 0) -> bool:
        """Report one waiting attempt as failed without running it, as if its worker had died."""
        if not self.waiting:
            return False
        attempt, finished = self.waiting[index]
        del self.waiting[index]
        if not attempt.claim():
            return False
        report(attempt, finished, None, error)
        return True

    def shutdown(self, grace: float | None = None) -> None:
        self._closed = True
        if grace is None:
            self.run()
        self._refuse_all()

    def _refuse_all(self) -> None:
        while self.waiting:
            refuse(*self.waiting.popleft(), self.label)
