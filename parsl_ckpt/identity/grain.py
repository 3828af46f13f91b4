"""The grain of a file's time: two changes of it that are closer together may leave one time.

Rule of this file: a time is trusted only where the file was read when it was older than the grain,
because whatever changes it after that leaves another time.  Two seconds are enough anywhere.  Local
file systems that are known to take the kernel's time as it is have its tick, ten milliseconds at
most.

The rule is that of git for its *racy* entries.
"""

from __future__ import annotations

import os
import time

COARSE_NS = 2_000_000_000
"""FAT counts in two seconds, NFS caches for longer than its clock's grain."""

FINE_NS = 25_000_000
"""More than two ticks of the slowest kernel."""

_FINE = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs"})
_SECOND = 1_000_000_000

_grains: dict[int, int] = {}


def settles_in(found: os.stat_result) -> int:
    """Nanoseconds until the time of a file tells of every further change; 0 if it does now.

    Args:
        found: what is known of the file.
    """
    age = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns)
    grain = COARSE_NS
    if found.st_ctime_ns % _SECOND:  # with small inodes even ext4 keeps whole seconds
        grain = _grain_of(found.st_dev)
    return max(0, grain - age + 1)


def _grain_of(device: int) -> int:
    grain = _grains.get(device)
    if grain is None:
        grain = _grains[device] = FINE_NS if _is_fine(device) else COARSE_NS
    return grain


def _is_fine(device: int) -> bool:
    """Whether a disk of this machine holds a file system that keeps the kernel's time."""
    if os.major(device) == 0:  # of the network or of memory; such numbers are given out again
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields, _, kind = line.partition(" - ")
                if fields.split(" ", 3)[2] == number:
                    return kind.split(" ", 1)[0] in _FINE
    except (OSError, IndexError):
        pass  # not Linux
    return False
