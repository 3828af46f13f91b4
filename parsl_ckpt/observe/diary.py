"""What a run records of itself in its checkpoint: what it uses, where it comes from, its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from parsl_ckpt.checkpoint import where
from parsl_ckpt.errors import StoreError
from parsl_ckpt.kernel import provenance
from parsl_ckpt.kernel.kernel import Kernel

# Events of a run, see checkpoint.format.Run.
BEGIN, PROVENANCE, END = "begin", "provenance", "end"
PROVENANCE_SECONDS = 5.0  # for which the end of a run waits for its own description


class Diary:
    """Keeps the records of one run about itself.

    Args:
        kernel: the run's.
        records: False if the run records nothing.
    """

    def __init__(self, kernel: Kernel, records: bool) -> None:
        self._kernel = kernel
        self._records = records
        self._told = threading.Event()

    def begin(self, loaded: Sequence[tuple[str, int]]) -> None:
        """Note which checkpoints are used, before anything else; where the run comes from, soon."""
        if not self._records:
            self._told.set()
            return
        kernel = self._kernel
        own = kernel.store.path or ""
        used = [where.relative(where.absolute(path), own) for path, _ in loaded]
        entry = kernel.store.stage_run(BEGIN, {"used": used})
        kernel.porter.carry(kernel.writer.commit, None, entry)
        kernel.errands.run(self._describe)

    def wait(self, seconds: float = PROVENANCE_SECONDS) -> None:
        """Wait until the run has been described."""
        self._told.wait(seconds)

    def end(self) -> None:
        """Note that the run ended in order; a run whose end cannot be noted counts as died."""
        kernel = self._kernel
        if self._records and kernel.writer.saves_at_end:
            with contextlib.suppress(StoreError):
                data = {"ended": time.time(), "tasks": kernel.state_counts()}
                kernel.store.append([kernel.store.stage_run(END, data)])

    def _describe(self) -> None:
        try:
            entry = self._kernel.store.stage_run(PROVENANCE, provenance.collect())
            self._kernel.writer.commit(None, entry)
        finally:
            self._told.set()
