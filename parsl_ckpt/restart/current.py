"""Which session is open here, and which checkpoint was made last: per thread, task, context.

Rule of this file: context variables and nothing else.  A thread begins with none; :class:`Carried`
takes them there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .session import CheckpointSession

R = TypeVar("R")

active: ContextVar[CheckpointSession | None] = ContextVar("parsl_ckpt_session", default=None)


class _Latest:
    """The checkpoint that was made last, as long as somebody holds it.

    A thread that runs one task after another would else have the states of the next wait for a
    checkpoint of the one before.
    """

    def __init__(self) -> None:
        self._made: ContextVar[weakref.ref[Checkpoint] | None] = ContextVar(
            "parsl_ckpt_checkpoint", default=None
        )

    def get(self) -> Checkpoint | None:
        made = self._made.get()
        return None if made is None else made()

    def set(self, checkpoint: Checkpoint | None) -> None:
        self._made.set(None if checkpoint is None else weakref.ref(checkpoint))


latest = _Latest()
# What was current where the session that is now was entered, and so on outwards.
_before: ContextVar[tuple[Any, Any, Any] | None] = ContextVar("parsl_ckpt_before", default=None)


def enter(session: CheckpointSession | None, checkpoint: Checkpoint | None) -> None:
    """Make a session current here, until :func:`leave`."""
    _before.set((active.get(), latest.get(), _before.get()))
    active.set(session)
    latest.set(checkpoint)


def leave() -> None:
    """What was current before is current again; nothing, where nothing was entered."""
    before = _before.get()
    if before is None:
        active.set(None)
        return
    active.set(before[0])
    if before[1] is not None:
        latest.set(before[1])
    _before.set(before[2])


class Carried:
    """A session and a checkpoint to be had in another thread or context.

    Use it there as a context manager, or have it call a function; several threads may at once.
    """

    def __init__(self, checkpoint: Checkpoint | None, session: CheckpointSession | None) -> None:
        self._checkpoint = checkpoint
        self._session = session

    def __enter__(self) -> Any:
        enter(self._session, self._checkpoint)
        return self._session

    def __exit__(self, *exc: object) -> None:
        leave()

    def run(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call a function with the session open around it.

        Args:
            function: what to call.
            args, kwargs: what with.
        """
        with self:
            return function(*args, **kwargs)

    __call__ = run
