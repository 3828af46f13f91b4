"""The other runs of a run directory, as one run deals with them: who is told of what.

Rule of this file: what a run has used is told where others look for it, in its checkpoint and in
its heartbeat; what it may not use is told to its user, once.
"""

from __future__ import annotations

from collections.abc import Callable

from parsl_ckpt.checkpoint.catalog import Problem
from parsl_ckpt.checkpoint.where import relative
from parsl_ckpt.kernel.kernel import Kernel

FOLLOW = "follow"  # the event of a run, see checkpoint.format.Run


class Neighbours:
    """Tells of the runs that one kernel follows.

    Args:
        kernel: the kernel.
        used: called with each checkpoint that is read from now on.
        records: whether the run records anything.
    """

    def __init__(self, kernel: Kernel, used: Callable[[str], None], records: bool) -> None:
        self._kernel = kernel
        self._used = used
        self._records = records
        kernel.store.hear(self._found)

    def joined(self, directory: str) -> None:
        """A run that began later is used, or left out; called by any thread."""
        self._used(directory)
        self._kernel.errands.run(lambda: self._tell(directory))

    def tell_left_out(self) -> None:
        """Warn of the checkpoints that are not to be trusted."""
        left_out = [p.text for p in self._kernel.store.problems if p.kind == "untrusted"]
        if left_out:
            hint = "Take them over (chown -R, chmod -R go-w), or use Config(trust='any')."
            self._kernel.problems.warn("trust", f"{' '.join(left_out)} {hint}")

    def _found(self, problem: Problem) -> None:
        """Warn of what is not signed with our key, or was taken out: once for each of these."""
        if problem.kind == "signature":
            cause = problem.text.replace(problem.path, "").replace(str(problem.offset), "")
            self._kernel.problems.warn_once(f"signature {cause}", "", problem.text)

    def _tell(self, directory: str) -> None:
        store = self._kernel.store
        if any(p.kind == "untrusted" and p.path == directory for p in store.problems):
            self.tell_left_out()
        elif self._records:
            used = [relative(directory, store.path or "")]
            self._kernel.writer.commit(None, store.stage_run(FOLLOW, {"used": used}))
