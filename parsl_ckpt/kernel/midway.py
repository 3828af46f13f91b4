"""What tasks commit in the middle of themselves (``task_checkpoint``), as their kernel sees to it.

Rule of this file: nothing is paid per task. Executors tell their workers one directory, once; what
lies there is looked at now and then, and at the end of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint import sessions

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

logger = logging.getLogger(__name__)


class Midway:
    """The sessions of one kernel's tasks.

    Args:
        kernel: the kernel.
        executors: what its tasks run on.
        run_root: the directory where runs are kept; None where there can be no sessions.
        keeps: the run writes results for later ones.
    """

    def __init__(
        self, kernel: Kernel, executors: Sequence[Any], run_root: str | None, keeps: bool
    ) -> None:
        self._sessions: sessions.Sessions | None = None
        kernel.execution.midway = self
        root = None
        if run_root is not None and kernel.memo.record:
            root = f"{run_root}/{sessions.NAME}"
            inflight = kernel.memo.inflight
            self._sessions = sessions.Sessions(root, kernel.store, inflight.__contains__, keeps)
        for executor in executors:  # one may have served another run
            executor.sessions = root

    def sweep(self) -> None:
        """Remove what is no longer needed, because the results are recorded."""
        if self._sessions is not None:
            try:
                self._sessions.sweep()
            except Exception:
                logger.debug("Sessions could not be looked at.", exc_info=True)

    def drop(self, *keys: bytes) -> None:
        """Have some calls begin at their beginning."""
        if self._sessions is not None:
            self._sessions.drop(keys)

    def also(self, call: Callable[[], None] | None) -> Callable[[], None]:
        """That call, and a sweep after it."""

        def both() -> None:
            try:
                if call is not None:
                    call()
            finally:
                self.sweep()

        return both
