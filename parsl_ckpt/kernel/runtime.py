"""Where a kernel's threads come from: the machine's, or a simulation's.

Rule of this file: everything in the kernel that runs on a thread of its own, waits for one, or asks
for the time is made here, so that all of it can be replaced at once
(:mod:`parsl_ckpt.testing.simulate` does, and runs a kernel in one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from parsl_ckpt.kernel.errands import Errands
from parsl_ckpt.kernel.events import Events
from parsl_ckpt.kernel.strand import Porter, Signal, Strand
from parsl_ckpt.kernel.timer import Clock, Timer

Item = TypeVar("Item")


class Runtime:
    """The real one: threads and the monotonic clock."""

    def clock(self) -> Clock:
        """Tells the time and makes calls later."""
        return Timer("parsl_ckpt-timer")

    def porter(self) -> Porter:
        """Carries calls in from threads where Ctrl-C may strike."""
        return Porter("parsl_ckpt-porter")

    def errands(self) -> Errands:
        """Makes calls that may block."""
        return Errands("parsl_ckpt-errand")

    def events(self) -> Events:
        """Tells observers."""
        return Events("parsl_ckpt-observer")

    def strand(self, handle: Callable[[list[Item]], Iterable[Callable[[], None]]]) -> Strand[Item]:
        """Handles items in turn."""
        return Strand(handle)

    def signal(self) -> Signal:
        """Something to wait for."""
        return Signal()
