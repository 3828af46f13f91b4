"""A function applied to each item of a series."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.restart.arguments import whole
from parsl_ckpt.restart.workflows.rollout import check_done, opened
from parsl_ckpt.restart.workflows.sinks import NullSink, Sink, check_sink

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

    Raises:
        TypeError, ValueError: an argument is wrong; it is named.
        CheckpointError: more items than that are done.
        SinkError: the sink has no room for so many.

    >>> diagnostic(abs, [-1, -2, -3])
    3

    The workflow is Earth2Studio's *diagnostic*.
    """
    if not callable(function):
        raise TypeError(f"function is {function!r}, which cannot be called.")
    sink = NullSink() if sink is None else check_sink(sink)
    length = _length(items) if length is None else whole("length", length, 0)
    with opened(checkpoint) as session:
        state = session.bind(DiagnosticState())
        sink.open(length)
        check_done("items", state.done, length, session)
        for item in itertools.islice(_after(items, state.done), length - state.done):
            sink.write(state.done, function(item))
            state.done += 1
            session.write(item=state.done - 1)
        if state.done < length:
            raise ValueError(f"items ended after {state.done} of them, and length is {length}.")
        sink.close()
        return int(state.done)


def _length(items: Iterable[Any]) -> int:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"items is of type {type(items).__qualname__}, which does not say how many there are; "
            "give length."
        ) from None


def _after(items: Iterable[Any], done: int) -> Iterable[Any]:
    # What pandas has is looked up by its labels, not by its place.
    by_place = hasattr(items, "__array__") and not hasattr(items, "iloc")
    if isinstance(items, Sequence) or by_place:
        return (items[i] for i in range(done, len(items)))  # type: ignore[arg-type,index]
    return itertools.islice(items, done, None)
