"""A row that is gone on from: its states and its metadata, and putting them into instances.

Rule of this file: a state is built beside the instance and taken over at once, all fields or none.
Blobs are verified before the row is believed; arrays are mapped, not read.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from parsl_ckpt.checkpoint.format import Session, SessionState
from parsl_ckpt.checkpoint.plain import _find
from parsl_ckpt.checkpoint.rows import parts_of
from parsl_ckpt.checkpoint.unplain import decode_named
from parsl_ckpt.errors import CheckpointError, FormatError

from .encoding import Encoded
from .entry import Metadata
from .hydrate import Hydration, changed
from .schema import changes, describe, loads
from .state import CheckpointState, StateId

if TYPE_CHECKING:
    from .history import History


class Saved:
    """A row with its values.

    Attributes:
        session: the record.
        states: its states by name.
        claimed: for each state that a bound one has taken over under another name, that name.
    """

    def __init__(
        self,
        session: Session,
        directory: str,
        history: History,
        claimed: dict[StateId, StateId] | None = None,
    ) -> None:
        self.session = session
        self.states = {name_of(state): state for state in session.states}
        self.claimed = {} if claimed is None else claimed
        self._directory = directory
        self._history = history
        self._views: dict[tuple[bytes, int], memoryview] = {}

    def afresh(self) -> Saved:
        """The same row, of which nothing is bound."""
        return Saved(self.session, self._directory, self._history)

    def named(self) -> dict[Any, tuple[bytes, int]]:
        """The blob of each buffer of each state that has one."""
        return {
            (name, at): self.session.blobs[part]
            for name, state in self.states.items()
            for at, part in enumerate(state.parts)
            if isinstance(part, int) and 0 <= part < len(self.session.blobs)
        }

    def verify(self) -> None:
        """Read all of its blobs.

        Raises:
            UnreadableRecordError: one is missing or damaged.
        """
        for blob in self.session.blobs:
            if blob not in self._views:
                self._views[blob] = self._history.read(self._directory, blob)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata; values are decoded when they are asked for."""
        found = {_text(name): (data, parts) for name, data, parts in self.session.metadata}

        def load(name: str) -> Any:
            hydration = Hydration()
            [(_, value)] = self.values(*found[name], None, hydration)
            return hydration.value(value, Any, "metadata")

        return Metadata(tuple(found), load)

    def values(
        self, data: bytes, parts: Any, device: Any, hydration: Hydration
    ) -> list[tuple[str, Any]]:
        """What was encoded, to be given to the same hydration.

        Raises:
            UnreadableRecordError: a blob is missing or damaged.
            FormatError: it does not decode.
        """
        read = [self._buffer(part) for part in parts_of(self.session, data, parts)]
        if not read:
            raise FormatError("A row has no data.")
        return decode_named(bytes(read[0]), read[1:], device, hydration.alone)

    def _buffer(self, part: bytes | tuple[bytes, int]) -> Any:
        if isinstance(part, bytes):
            return bytearray(part)
        # A view becomes the memory of an array, so each is given away once.
        view = self._views.pop(part, None)
        return self._history.read(self._directory, part) if view is None else view

    def carried(self, bound: Mapping[StateId, Any]) -> list[SessionState]:
        """The states that are not bound, under whatever name."""
        return [self.states[name] for name in self.unbound(bound)]

    def unbound(self, bound: Mapping[StateId, Any]) -> list[StateId]:
        """Names of the states that are not bound, under whatever name."""
        return [
            name
            for name in self.states
            if name not in bound and self.claimed.get(name) not in bound
        ]

    def equals(
        self, states: Iterable[tuple[StateId, bytes, Encoded]], metadata: Mapping[str, Any]
    ) -> bool:
        """Whether a row of these states would be this one again."""
        states = list(states)
        if metadata or any(name not in self.states for name, _, _ in states):
            return False
        for name, schema, encoded in states:
            mine = self.states[name]
            given: list[Any] = [encoded.data, *encoded.buffers]
            kept = list(parts_of(self.session, mine.data, mine.parts))
            if mine.schema != schema or len(kept) != len(given):
                return False
            if not all(map(_same, kept, given)):
                return False
        return True


def _same(kept: bytes | tuple[bytes, int], given: Any) -> bool:
    view = memoryview(given).cast("B")
    if isinstance(kept, bytes):
        return view == kept
    return view.nbytes == kept[1] and blake3(view).digest() == kept[0]


def name_of(state: SessionState) -> StateId:
    """What a recorded state is called."""
    return StateId(_text(state.module), _text(state.qualname), _text(state.name))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def decoded(data: bytes, buffers: Sequence[Any] = ()) -> dict[str, Any]:
    """Values that were encoded, with the classes that they had."""
    hydration = Hydration()
    values = decode_named(data, buffers, None, hydration.alone)
    return {name: hydration.value(value, Any, name) for name, value in values}


def restore(saved: Saved, proxy: CheckpointState[Any], bound: set[StateId], device: Any) -> bool:
    """Put what was saved of a state into its instance, all fields or none.

    Args:
        saved: the row.
        proxy: the state.
        bound: names of the states that are bound already.
        device: where tensors are put.

    Returns:
        Whether anything was saved of it.

    Raises:
        CheckpointStateSchemaError: what was saved does not fit the class any more.
        CheckpointError: it does not decode.
    """
    name = proxy._p_id
    instance = proxy._p_object
    found = _find_saved(saved, name, instance, bound)
    if found is None:
        return False
    state = saved.states[found]
    kind = type(instance)
    now = describe(kind, instance)
    wrong = changes(loads(state.schema), now)
    if wrong:
        raise changed(str(name), wrong)
    try:
        hydration = Hydration()
        recorded = dict(saved.values(state.data, state.parts, device, hydration))
    except FormatError as error:
        raise CheckpointError(
            f"What was saved of {name} cannot be read: {error.message}",
            hint=error.hint,
            state=str(name),
        ) from error
    _take_over(instance, hydration.fields(kind, recorded, "", instance))
    if found != name:
        saved.claimed[found] = name
    return True


def _take_over(instance: Any, values: Mapping[str, Any]) -> None:
    """Set the fields, of frozen classes too; if one cannot be set, none is."""
    missing = object()
    before = {name: getattr(instance, name, missing) for name in values}
    try:
        for name, value in values.items():
            object.__setattr__(instance, name, value)
    except BaseException:
        for name, value in before.items():
            if value is not missing:
                object.__setattr__(instance, name, value)
        raise


def _find_saved(saved: Saved, name: StateId, instance: Any, bound: set[StateId]) -> StateId | None:
    """What a state was called when it was saved: its class may have been moved since."""
    if name in saved.states:
        return name
    free = [
        one
        for one in saved.states
        if one.name == name.name
        and one not in bound
        and one not in saved.claimed
        and not _lives(one, type(instance))
    ]
    alike = [one for one in free if one.qualname == name.qualname]
    if not alike:
        last = name.qualname.rpartition(".")[2]
        now = describe(type(instance), instance)
        alike = [
            one
            for one in free
            if one.qualname.rpartition(".")[2] == last
            and not changes(loads(saved.states[one].schema), now)
        ]
    return alike[0] if len(alike) == 1 else None


def _lives(name: StateId, kind: type) -> bool:
    """Whether another class is where the state's was."""
    found = _find(sys.modules.get(name.module), name.qualname)
    return isinstance(found, type) and dataclasses.is_dataclass(found) and found is not kind
