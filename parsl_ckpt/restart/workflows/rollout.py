"""A model applied to its own output, step after step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.errors import CheckpointError
from parsl_ckpt.restart.arguments import whole
from parsl_ckpt.restart.null import NullCheckpoint
from parsl_ckpt.restart.workflows.sinks import NullSink, Sink, check_sink

__all__ = ["Advance", "RolloutState", "rollout"]

Model = Callable[[Any], Any]


@dataclass
class RolloutState:
    """Where a rollout is.

    Attributes:
        done: steps that are in the sink.
        x: the state after them, at level 2; None below, where it is read from the sink.
    """

    done: int = 0
    x: Any = None


def rollout(
    model: Model,
    x0: Any,
    nsteps: int,
    sink: Sink | None = None,
    checkpoint: Any = None,
) -> Any:
    """Apply a model so many times, write each state to a sink, and go on where it was killed.

    Args:
        model: gives the next state; or an iterator of the states that follow, which is asked for
            anew when a run is resumed. What else it carries along (random generators, a hidden
            state) it binds by itself, with ``bind_checkpoint_state``.
        x0: the state that it begins with; not written.
        nsteps: how many states follow.
        sink: gets state ``i + 1`` as item ``i``.
        checkpoint: a ``Checkpoint``, or the session of one, or None. At level 2 it holds the state;
            below, the state of the last step on record is read from the sink.

    Returns:
        The last state.

    Raises:
        TypeError, ValueError: an argument is wrong; it is named.
        CheckpointError: more steps than that are done.
        SinkError: the sink has no room for so many, or lost what is on record.

    >>> rollout(lambda x: 2 * x, 1, 5)
    32

    The workflow is Earth2Studio's *deterministic*.
    """
    check_model(model)
    nsteps = whole("nsteps", nsteps, 0)
    sink = NullSink() if sink is None else check_sink(sink)
    with opened(checkpoint) as session:
        state = session.bind(RolloutState())
        sink.open(nsteps)
        check_done("steps", state.done, nsteps, session)
        x = x0
        if state.done:
            x = state.x if keeps(state) else sink.read(state.done - 1)
        advance = Advance(model, x)
        for step in range(state.done, nsteps):
            x = next(advance)
            sink.write(step, x)
            state.done = step + 1
            if keeps(state):
                state.x = x
            session.write(step=step)
        sink.close()
    return x


class Advance:
    """The states after ``x``, whichever kind of model makes them."""

    def __init__(self, model: Model, x: Any) -> None:
        self._model = model
        self._x = x
        self._iterator: Iterator[Any] | None = None
        self._given = 0

    def __next__(self) -> Any:
        if self._iterator is None:
            made = self._model(self._x)
            if not isinstance(made, Iterator):
                self._x = made
                return made
            self._iterator = made
        for state in self._iterator:
            self._given += 1
            return state
        raise ValueError(
            f"The states that the model gives ended after {self._given} of them, before nsteps."
        )


def keeps(state: Any) -> bool:
    """Whether a bound state is to hold what it takes to continue inside an item."""
    return bool(state.checkpoint_level >= 2)


def opened(checkpoint: Any) -> Any:
    """A checkpoint to be opened with ``with``."""
    if checkpoint is None:
        return NullCheckpoint()
    if not hasattr(checkpoint, "__enter__"):
        raise TypeError(f"checkpoint is {checkpoint!r}, which is no Checkpoint.")
    return checkpoint


def check_model(model: Any) -> None:
    if not callable(model):
        raise TypeError(f"model is {model!r}, which cannot be called.")


def check_done(what: str, done: int, most: int, session: Any) -> None:
    """A session that is further than it is asked to go has another result."""
    if done > most:
        name = session.checkpoint.name
        raise CheckpointError(
            f"In the checkpoint {name!r} {done} {what} are done, and {most} are asked for.",
            hint="Ask for as many or more, or give another checkpoint.",
            checkpoint=name,
        )
