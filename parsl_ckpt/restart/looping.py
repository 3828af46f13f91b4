"""``ckpt.loop(items, state)``: the bookkeeping of a loop that can be killed.

Rule of this file: a step counts when the body of the loop is through with it, which is when the
next item is asked for.  Where the body is left before that, by ``break`` or ``return``, the state
may be half changed, as after an exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from .state import CheckpointState

T = TypeVar("T")
S = TypeVar("S")


def loop(checkpoint: Any, items: Iterable[T], state: S) -> Iterator[tuple[T, CheckpointState[S]]]:
    """Go through items, leaving out those that are done, and write after each.

    Args:
        checkpoint: what is opened, if it is not open, and written to.
        items: a sequence, of which what is done is not looked at; or any iterable, which is asked
            for what is done once more.
        state: a dataclass instance; it is bound.

    Yields:
        Each item that is left, with the state.  ``metadata["step"]`` is the item if that is an
        integer, else its number.
    """
    session = (
        checkpoint if getattr(checkpoint, "is_open", False) else getattr(checkpoint, "active", None)
    )
    if session is not None:  # whoever has opened it closes it: a loop may be left in the middle
        yield from _steps(session, items, state)
        return
    with checkpoint as session:
        yield from _steps(session, items, state)


def _steps(session: Any, items: Iterable[T], state: S) -> Iterator[tuple[T, CheckpointState[S]]]:
    bound = session.bind(state)
    done = session.write_count
    for number, item in enumerate(_after(items, done), done):
        session._halfway = True
        yield item, bound
        session.write(step=item if type(item) is int else number)


def _after(items: Iterable[T], done: int) -> Iterator[T]:
    if isinstance(items, Sequence):
        return (items[at] for at in range(done, len(items)))
    return itertools.islice(items, done, None)
