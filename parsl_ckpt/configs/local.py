"""Configurations for one machine, in the original API's form."""

from __future__ import annotations

from typing import Any

localThreads: dict[str, Any] = {
    "sites": [
        {
            "site": "Local_Threads",
            "auth": {"channel": None},
            "execution": {"executor": "threads", "provider": None, "maxThreads": 4},
        }
    ],
    "globals": {"lazyErrors": True},
}
"""Four threads."""

localProcesses: dict[str, Any] = {
    "sites": [
        {
            "site": "Local_Processes",
            "auth": {"channel": None},
            "execution": {"executor": "processes", "provider": None, "maxThreads": 4},
        }
    ],
    "globals": {"lazyErrors": True},
}
"""Four processes."""
