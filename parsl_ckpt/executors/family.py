"""The processes that a process has started, and an end to all of them.

Rule of this file: as far as the operating system tells.  Linux lists the children of a process;
elsewhere only the process itself is ended.  A child whose own parent has ended belongs to nobody's
family any more, and is left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

__all__ = ["kill_family"]


def kill_family(pid: int) -> None:
    """Kill a process and everything that it, or what it started, has started.

    Each is stopped before its children are listed, so that it starts no more meanwhile.

    Args:
        pid: of a child of this process that has not been waited for (so the number is its own).
    """
    family = [pid]
    for one in family:  # it grows
        if _signal(one, signal.SIGSTOP):
            family.extend(_children(one))
    for one in family:
        _signal(one, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:  # it has ended, or is another user's
        return False
    return True


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())
