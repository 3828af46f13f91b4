"""Many rollouts that begin a little apart: members, in batches, some of which may be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_ckpt.errors import CheckpointError
from parsl_ckpt.restart.arguments import whole
from parsl_ckpt.restart.workflows.rollout import Advance, Model, check_model, keeps, opened
from parsl_ckpt.restart.workflows.sinks import NullSink, Sink, check_sink

__all__ = ["EnsembleState", "batches_of", "ensemble"]

Perturb = Callable[[Any, Any, int], Any]


@dataclass
class EnsembleState:
    """Where an ensemble is.

    Attributes:
        completed: members that are in the sink, in any order, with gaps.
        batch: members under way; empty between batches.
        done: steps of theirs that are in the sink.
        before: state of the random generator before the draw of what is not completed.
        after: state of it now; at level 2.
        x: their states after those steps; at level 2.
        nsteps: how many steps members take; 0 if that is not on record.
    """

    completed: set[int] = field(default_factory=set)
    batch: list[int] = field(default_factory=list)
    done: int = 0
    before: Any = None
    after: Any = None
    x: Any = None
    nsteps: int = 0


def ensemble(
    model: Model,
    x0: Any,
    nsteps: int,
    members: int | Iterable[int],
    sink: Callable[[int], Sink] | None = None,
    checkpoint: Any = None,
    *,
    perturb: Perturb | None = None,
    rng: Any = None,
    batch_size: int = 1,
) -> set[int]:
    """Roll out members, batch after batch, and go on where it was killed.

    Args:
        model: gives the next states of a batch: takes and returns a list with one state for each
            member; or an iterator of such lists.
        x0: the state that every member begins with.
        nsteps: how many states follow.
        members: how many, or their numbers. What is completed already is left out, wherever in the
            row it is; so a run can be resumed with more members than before.
        sink: makes the sink of a member; it gets state ``i + 1`` as item ``i``.
        checkpoint: a ``Checkpoint``, or the session of one, or None. At level 2 a batch continues
            at its step, with the random generator as it was *after* the draw; at level 1 it begins
            again, with the generator as it was *before* the draw; at level 0 with the generator as
            it is.
        perturb: ``perturb(x0, rng, member)`` gives the state that a member begins with.
        rng: a ``numpy.random.Generator``; its state is kept. Members that are drawn from it depend
            on the order in which they are computed; to be free of that, make a generator of the
            member's number in ``perturb``.
        batch_size: how many members go together.

    Returns:
        The members that are completed.

    Raises:
        TypeError, ValueError: an argument is wrong; it is named.
        CheckpointError: members were computed with another number of steps.
        SinkError: a sink has no room for so many steps.

    >>> sorted(ensemble(lambda xs: [x + 1 for x in xs], 0, 3, members=4, batch_size=3))
    [0, 1, 2, 3]

    The workflow is Earth2Studio's *ensemble*.
    """
    check_model(model)
    nsteps, batch_size = whole("nsteps", nsteps, 0), whole("batch_size", batch_size, 1)
    wanted = _numbers(members)
    if perturb is not None and not callable(perturb):
        raise TypeError(f"perturb is {perturb!r}, which cannot be called.")
    if rng is not None and not hasattr(rng, "bit_generator"):
        raise TypeError(f"rng is {rng!r}, which is no numpy.random.Generator.")
    if sink is not None and not callable(sink):
        raise TypeError(f"sink is {sink!r}; it is a function that makes the sink of a member.")
    make: Callable[[int], Sink] = (lambda member: NullSink()) if sink is None else sink
    with opened(checkpoint) as session:
        state = session.bind(EnsembleState())
        _check_steps(state, nsteps, session)
        run = _Run(session, state, model, nsteps, make, rng)
        run.resume(x0, perturb)
        for batch in batches_of(wanted, state.completed, batch_size):
            run.begin(batch, x0, perturb)
        return set(state.completed)


def _numbers(members: int | Iterable[int]) -> list[int]:
    if isinstance(members, Iterable) and not isinstance(members, str):
        return list(dict.fromkeys(members))
    return list(range(whole("members", members, 0, "the numbers themselves")))


def _check_steps(state: Any, nsteps: int, session: Any) -> None:
    """Members that are completed are not looked at again: all have as many steps."""
    begun = state.completed or state.batch
    if begun and state.nsteps and state.nsteps != nsteps:
        name = session.checkpoint.name
        raise CheckpointError(
            f"In the checkpoint {name!r} members have {state.nsteps} steps, and {nsteps} are asked "
            "for.",
            hint="Ask for as many, or give another checkpoint.",
            checkpoint=name,
        )
    state.nsteps = nsteps


def batches_of(members: Sequence[int], completed: set[int], batch_size: int) -> Iterable[list[int]]:
    """The members that are missing, in their order, in full batches.

    >>> list(batches_of(range(7), {0, 3, 4}, 3))
    [[1, 2, 5], [6]]
    """
    missing = [member for member in members if member not in completed]
    for first in range(0, len(missing), batch_size):
        yield missing[first : first + batch_size]


class _Run:
    """The batches of one ensemble, one after another."""

    def __init__(
        self, session: Any, state: Any, model: Model, nsteps: int, sink: Any, rng: Any
    ) -> None:
        self._session = session
        self._state = state
        self._model = model
        self._nsteps = nsteps
        self._sink = sink
        self._rng = rng

    def begin(self, batch: list[int], x0: Any, perturb: Perturb | None) -> None:
        state = self._state
        state.batch, state.done, state.before = batch, 0, self._drawn(1)
        self._go_on([x0 if perturb is None else perturb(x0, self._rng, m) for m in batch])

    def resume(self, x0: Any, perturb: Perturb | None) -> None:
        """Continue the batch that was under way, or draw it again."""
        state = self._state
        inside = keeps(state)
        self._set(state.after if inside else state.before)
        if state.batch and inside:
            self._go_on(state.x)
        elif state.batch:
            self.begin(state.batch, x0, perturb)

    def _go_on(self, x: Any) -> None:
        session, state, batch = self._session, self._state, list(self._state.batch)
        sinks = [check_sink(self._sink(member)) for member in batch]
        for sink in sinks:
            sink.open(self._nsteps)
        state.after = self._drawn(2)
        advance = Advance(self._model, x)
        for step in range(state.done, self._nsteps):
            x = next(advance)
            if not hasattr(x, "__len__") or len(x) != len(batch):
                given = f"{len(x)} states" if hasattr(x, "__len__") else f"one {type(x).__name__}"
                raise ValueError(f"The model gave {given} for a batch of {len(batch)} members.")
            for sink, item in zip(sinks, x, strict=True):
                sink.write(step, item)
            state.done = step + 1
            if keeps(state):
                state.x, state.after = x, self._drawn(2)
            if state.done == self._nsteps:
                state.completed = state.completed | set(batch)
                state.batch, state.done, state.x = [], 0, None
                state.before = self._drawn(1)  # of the next batch
            session.write(members=batch, step=step)
        for sink in sinks:
            sink.close()
        if not self._nsteps:
            state.completed, state.batch = state.completed | set(batch), []

    def _drawn(self, level: int) -> Any:
        """The state of the generator, if the session keeps that much."""
        if self._rng is None or self._state.checkpoint_level < level:
            return None
        return self._rng.bit_generator.state

    def _set(self, kept: Any) -> None:
        if self._rng is not None and kept is not None:
            self._rng.bit_generator.state = kept
