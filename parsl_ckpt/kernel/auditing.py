"""Hits that are executed again to see whether they hold: ``Config(audit_rate=...)``.

Rule of this file: an audit is a task of its own that nobody waits for and that is not recorded.
What it finds is a warning that names the app; the recorded outcome stands.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.codec import encode
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.task import Spec

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Stored
    from parsl_ckpt.kernel.kernel import Kernel


class Auditing:
    """Executes a share of the hits again.

    Args:
        kernel: where they run.
        rate: the share, from 0 to 1.
        draw: gives numbers from 0 (included) to 1.
    """

    def __init__(
        self, kernel: Kernel, rate: float, draw: Callable[[], float] = random.random
    ) -> None:
        self._kernel = kernel
        self._rate = rate
        self._draw = draw

    def look(self, spec: Spec, arguments: Arguments, stored: Stored) -> None:
        """A hit: draw whether it is executed again."""
        if arguments.request is not None and arguments.request.outputs:
            return  # it would write over the files that are in use
        if spec.kind == "python" and self._draw() < self._rate:
            future = self._kernel.submission.rehearse(spec, arguments)
            future.add_done_callback(lambda done: self._compare(spec, stored, done))

    def _compare(self, spec: Spec, stored: Stored, done: Future[Any]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._tell(spec, stored, f"raised {type(error).__name__}: {error}")
            return
        try:
            recorded = self._kernel.store.value(stored)
        except Exception:  # whoever looks at the hit finds this out
            return
        if not same_value(recorded, done.result()):
            self._tell(spec, stored, "gave another value")

    def _tell(self, spec: Spec, stored: Stored, what: str) -> None:
        self._kernel.problems.warn_once(
            f"audit {spec.name}",
            spec.name,
            f"{spec.name} is not deterministic: its recorded call {stored.result.key.hex()[:16]} "
            f"{what} when it was executed again. Make it a function of its arguments (task_rng() "
            "gives random numbers that are), or do not cache it.",
        )


def same_value(recorded: Any, value: Any) -> bool:
    """Whether two values are equal by identity; where they have none, by their encoding."""
    try:
        return leaf(recorded) == leaf(value)
    except Exception:
        one, other = encode(recorded), encode(value)
        return bytes(one.data) == bytes(other.data) and list(map(bytes, one.buffers)) == list(
            map(bytes, other.buffers)
        )
