"""What ends the commands of this process when the process is killed.

::

    command (bash, leader of its group) ── "+ GROUP" as its first act ─┐
                                                                       ▼
    this process ── "- GROUP" when it has ended ────────────────────► pipe ─► guardian (a bash)
        └─ killed: the pipe ends ─────────────────────────────────────────────► kills what is left

A command that outlived the run would go on writing its files while the next run, which finds no
record of it, starts it again.  A signal on the death of the parent would reach the shell alone, not
what it runs.  So one small process for each process that runs commands keeps the list of their
groups, and kills these when all who could write to its pipe are gone.

Guarantees
    * A command is on the list before its first line is executed.
    * The guardian ends with its process, however that ends.

Assumptions
    * A command that makes a session or a group of its own (``setsid``) wants to be left alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import threading

__all__ = ["BASH", "Guardian", "guardian"]

BASH = "/bin/bash"

_SCRIPT = """
trap '' HUP INT QUIT TERM
declare -a groups
while read -r what group; do
    if [[ $what == + ]]; then groups[$group]=1; else unset "groups[$group]"; fi
done
for group in "${!groups[@]}"; do kill -KILL -- "-$group"; done
"""


class Guardian:
    """The list of this process's commands, in another process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def pipe(self) -> int:
        """The descriptor on which a command says that it begins; starts the guardian if need be."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._pipe

    def ended(self, group: int) -> None:
        """Take the group of a command that has been waited for from the list."""
        with self._lock, contextlib.suppress(OSError):
            os.write(self._pipe, b"- %d\n" % group)

    def close(self) -> None:
        """Let the guardian end; it kills what still runs."""
        with self._lock:
            process, self._process = self._process, None
            self._let_go()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5.0)

    def forget(self) -> None:
        """In a forked child: the commands and the guardian are the parent's."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._process.returncode = 0  # not our child: nothing to wait for
            self._process = None
        self._let_go()

    def _let_go(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _start(self) -> None:
        self._let_go()
        theirs, ours = os.pipe()
        try:
            self._process = subprocess.Popen(
                [BASH, "--norc", "-c", _SCRIPT],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._pipe = ours


guardian = Guardian()
atexit.register(guardian.close)
os.register_at_fork(after_in_child=guardian.forget)
