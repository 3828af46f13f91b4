"""How many cores this process may use: what its affinity mask and its container allow."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The number of cores that this process may use, at least 1.

    Source of the idea: loky and joblib, which count container quotas as well; a pool as wide as the
    machine inside a container that owns two of its cores is throttled to a crawl.

    >>> available_cores() >= 1
    True
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(_CGROUP)))


def _quota(root: Path) -> int:
    """Cores that the control group (version 2, else 1) grants, rounded up; a huge number if all."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return 1 << 30
    try:
        granted = math.ceil(int(quota) / int(period))
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return 1 << 30
    return granted if granted > 0 else 1 << 30
