"""A row while it is put together: what is new, and what is carried on from the row before.

Rule of this file: what is carried on is named, not copied; a blob that is named is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from parsl_ckpt.checkpoint.format import SessionState

from .encoding import Encoded, Packing, Part
from .restoring import Saved
from .state import StateId


class EncodedState(NamedTuple):
    """A state that is to be saved: its name, its schema, its fields."""

    name: StateId
    schema: bytes
    fields: Encoded


class Draft:
    """The states and the metadata of a row.

    Args:
        packing: decides where buffers stand, and writes those that stand in blobs.
    """

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        self.states: list[SessionState] = []
        self.metadata: list[tuple[bytes, bytes, tuple[Part, ...]]] = []

    def add(self, states: Iterable[EncodedState], metadata: Mapping[str, Encoded]) -> None:
        """What is new.

        Raises:
            StoreWriteError: a blob could not be written.
        """
        for name, schema, fields in states:
            data, parts = self.packing.add(name, fields)
            module, qualname, own = map(_bytes, name)
            self.states.append(SessionState(module, qualname, own, schema, data, parts))
        for key, value in metadata.items():
            self.metadata.append((_bytes(key), *self.packing.add(key, value)))

    def carry(self, saved: Saved, bound: Mapping[StateId, Any], *, states: bool) -> None:
        """What is not new: metadata, and states that nobody has bound.

        Args:
            saved: the row before.
            bound: the states that are.
            states: whether states are saved at all.

        Raises:
            StoreWriteError: a blob of theirs is not there any more.
        """
        blobs = saved.session.blobs
        new = {name for name, _, _ in self.metadata}
        self.metadata[:0] = [
            (name, data, self.packing.carry(parts, blobs))
            for name, data, parts in saved.session.metadata
            if name not in new
        ]
        for one in saved.carried(bound) if states else ():
            parts = self.packing.carry(one.parts, blobs)
            self.states.append(
                SessionState(one.module, one.qualname, one.name, one.schema, one.data, parts)
            )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
