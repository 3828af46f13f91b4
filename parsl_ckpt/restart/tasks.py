"""``task_checkpoint()``: a session inside of an app, found again by the task's own address.

::

    kernel ─ address, directory ─► worker ─► task_checkpoint ─► RUN_DIR/sessions/ADDRESS
                                                 └─► a turn, with a number: rows of it count before
                                                     rows of earlier turns, which commit no more

Guarantees: code and arguments are in the address, so a session is never seen by another call.  Of
several attempts at one call, wherever they run, the last that began is listened to; an earlier one
that is still alive computes on and commits nothing.

Assumptions: workers see the run directory, if they are on other machines.
"""

from __future__ import annotations

import logging
import warnings
from types import TracebackType
from typing import Any, Literal

from parsl_ckpt.checkpoint.rows import Row
from parsl_ckpt.checkpoint.sessions import Turn, place
from parsl_ckpt.errors import IdentityWarning
from parsl_ckpt.kernel.attempt import worker

from . import current
from .arguments import check_text, options
from .checkpoint import Checkpoint
from .location import encoded
from .null import NullCheckpoint
from .pacing import Interval

__all__ = ["ROOM_BYTES", "TaskCheckpoint", "task_checkpoint"]

#: What rows that were dropped may take, beside four times what the last row takes.
ROOM_BYTES = 64 << 20

logger = logging.getLogger(__name__)


class TaskCheckpoint(Checkpoint):
    """The checkpoint of one attempt at a task; made by :func:`task_checkpoint`.

    Attributes:
        attempt: its number, 1 for the first that ever began.
    """

    def __init__(self, name: str, directory: str, **options: Any) -> None:
        self._turn = Turn(directory)
        self._ignored = False
        self._outside = current.latest.get()
        super().__init__(name, f"{directory}/rows", "append", rank=0, world_size=1, **options)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if self.active is None:  # states of the next task in this thread do not wait for it
                current.latest.set(self._outside)

    @property
    def attempt(self) -> int:
        return self._turn.number

    def _next_attempt(self) -> int:
        return self._turn.number

    def _rows(self) -> list[Row]:
        # What an earlier attempt commits in the instant in which another begins comes before it.
        return sorted(super()._rows(), key=_turn_of)

    def _room(self) -> int:
        # A task may commit for days, and nobody prunes for it.
        return ROOM_BYTES

    def _may_commit(self) -> bool:
        if self._turn.held:
            return True
        if not self._ignored:
            self._ignored = True
            logger.info(
                "Attempt %d at a task commits no more: another one has begun, or is through.",
                self.attempt,
            )
        return False


def _turn_of(row: Row) -> tuple[int, int, bytes]:
    return row.session.attempt, row.session.at, row.session.commit


def task_checkpoint(
    name: str = "task",
    *,
    flush_interval: Interval = 1,
    history_size: int | None = 2,
    level: int = 2,
    device: Any = "cpu",
    on_exception: Literal["discard", "flush"] = "discard",
    strict: bool = True,
    stop_on_signal: bool = False,
) -> TaskCheckpoint | NullCheckpoint:
    """The checkpoint of the task that runs in this thread.

    The same code with the same arguments continues where it stopped: in a retry, on another worker,
    in a new run after the program was killed. When the task's result is recorded, what it has
    committed is removed.

    Args:
        name: tells sessions of one task from one another.
        flush_interval, history_size, level, device, on_exception, strict, stop_on_signal: as for
            :class:`Checkpoint`.

    Returns:
        A checkpoint to be opened with ``with``; where there is no task with an address, a
        :class:`NullCheckpoint`, so that the function can be called as any other.

    Raises:
        ValueError: an argument is wrong; it is named.
        OSError: the run directory cannot be written to.

    .. code-block:: python

        @python_app(cache=True)
        def rollout(member: int, nsteps: int):
            with task_checkpoint(flush_interval=6) as ckpt:
                state = bind_checkpoint_state(State(initial(member)))
                for step in range(ckpt.write_count, nsteps):
                    state.u = advance(state.u)
                    ckpt.write(step=step)
                return state.u
    """
    check_text("name", name)
    options(flush_interval, history_size, level, on_exception, strict, stop_on_signal)
    sessions = worker.sessions or getattr(worker.pool, "sessions", None)
    address = worker.address
    if not address or sessions is None:
        if worker.pool is not None or worker.in_process_worker:
            _tell(bool(address))
        return NullCheckpoint()
    return TaskCheckpoint(
        name, f"{place(sessions, address)}/{encoded(name)}", flush_interval=flush_interval,
        history_size=history_size, level=level, device=device, on_exception=on_exception,
        strict=strict, stop_on_signal=stop_on_signal,
    )  # fmt: skip


def _tell(addressed: bool) -> None:
    """Say once for each place in the code why nothing is kept there."""
    if addressed:
        text = (
            "task_checkpoint() keeps nothing in this run: it records nothing, or its directory is "
            "not on this machine."
        )
    else:
        text = (
            "task_checkpoint() keeps nothing for an app that is not cached: its calls have no "
            "address. Declare it with cache=True. (In a thread that a task starts there is none "
            "either: have it run under the context() of what the task has opened.)"
        )
    warnings.warn(text, IdentityWarning, stacklevel=3)
