"""A process forked from one with a run: it has the run's objects, and none of its threads.

Rule of this file: a call there is refused at once, because nobody would ever execute it.  The run
is the parent's; the child neither ends nor saves it.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from parsl_ckpt.errors import KernelClosedError, ParslCkptError
from parsl_ckpt.kernel.attempt import worker


class Refusing(Protocol):
    """What is told of a fork."""

    refusal: ParslCkptError | None
    forked: bool


_kernels: weakref.WeakSet[Refusing] = weakref.WeakSet()


def watch(kernel: Refusing) -> bool:
    """Have a kernel refuse calls in forked children; False, for this is none."""
    _kernels.add(kernel)
    return False


def _after_fork() -> None:
    for kernel in list(_kernels):
        kernel.forked = True
        if kernel.refusal is None:
            kernel.refusal = KernelClosedError(
                f"This process ({os.getpid()}) was forked from the one that runs the apps, and "
                "cannot have any executed.",
                hint="Call apps in the parent, or load() a run of its own in the child.",
            )
    worker.pool = None  # the one thread that there is now is nobody's worker


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
