"""What a call asks for beside its arguments: output files, streams, a time limit, resources.

Rule of this file: a request says what is wanted and does nothing about it.  Nearly all calls ask
for nothing and have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

RESERVED = frozenset({"outputs", "stdout", "stderr", "walltime", "parsl_resource_specification"})
"""Names of parameters by which a call asks; they are Parsl's.  (``inputs`` asks for nothing: it is
an argument like any other.)"""


class Request(Struct, frozen=True, eq=False, gc=False):
    """What one call asks for.

    Attributes:
        outputs: the files that it is to write, in order.
        stdout, stderr: where its standard streams go; None for where they go anyway.
        walltime: seconds that it may take; None for as long as it takes.
        resources: what an executor is to provide for it; None for nothing in particular.
        logs: where the streams go whose files the run names.
        streams: how many files at the end of ``outputs`` are those of streams.
        named: how many of these the run has named.
        optional: its output files need not be written.
        fetches: there are files among its arguments that a worker has to fetch.
    """

    outputs: tuple[Any, ...] = ()
    stdout: Any = None
    stderr: Any = None
    walltime: float | None = None
    resources: Mapping[str, Any] | None = None
    logs: Mapping[str, Any] = {}
    streams: int = 0
    named: int = 0
    optional: bool = False
    fetches: bool = False

    def stream(self, name: str) -> Any:
        """Where a stream goes: a path, (path, mode) or a file; None for where it goes anyway."""
        return self.logs.get(name) or getattr(self, name)

    def admits(self, other: Request) -> bool:
        """Whether a call that asks for ``other`` is served by an equal call that asks for this.

        Outputs count in the address of a call, so those of equal calls are equal.
        """
        return (
            self.walltime == other.walltime
            and self.stdout == other.stdout
            and self.stderr == other.stderr
            and self.resources == other.resources
        )


NOTHING = Request()
"""Stands for the request of a call that has none, where two are compared."""
