"""A function applied to each item of a series."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.restart.workflows.rollout import opened
from parsl_ckpt.restart.workflows.sinks import NullSink, Sink

__all__ = ["DiagnosticState", "diagnostic"]


@dataclass
class DiagnosticState:
    """Where a diagnostic is: how many items are in the sink."""

    done: int = 0


def diagnostic(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    sink: Sink | None = None,
    checkpoint: Any = None,
    *,
    length: int | None = None,
) -> int:
    """Apply a function to items in order, write each outcome, and go on where it was killed.

    Args:
        function: takes one item.
        items: a sequence, of which only what is missing is looked at; or an iterable, the beginning
            of which is passed over.
        sink: gets the outcome of item ``i`` as item ``i``.
        checkpoint: a ``Checkpoint``, or the session of one, or None.
        length: how many items there are, if ``items`` has no ``len()``.

    Returns:
        How many items there are in all.

    >>> diagnostic(abs, [-1, -2, -3])
    3

    The workflow is Earth2Studio's *diagnostic*.
    """
    sink = NullSink() if sink is None else sink
    if length is None:
        length = len(items)  # type: ignore[arg-type]
    with opened(checkpoint) as session:
        state = session.bind(DiagnosticState())
        sink.open(length)
        for item in itertools.islice(_after(items, state.done), length - state.done):
            sink.write(state.done, function(item))
            state.done += 1
            session.write(item=state.done - 1)
        sink.close()
        return int(state.done)


def _after(items: Iterable[Any], done: int) -> Iterable[Any]:
    if isinstance(items, Sequence) or hasattr(items, "__array__"):
        return (items[i] for i in range(done, len(items)))  # type: ignore[arg-type,index]
    return itertools.islice(items, done, None)
