"""A row of the catalog, as users see it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Metadata(Mapping[str, Any]):
    """Metadata of a row; a value is decoded when it is asked for, afresh each time."""

    def __init__(self, names: tuple[str, ...], load: Callable[[str], Any]) -> None:
        self._names = names
        self._load = load

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (dict(self),)  # copies and pickles hold the values


def _loaded(values: dict[str, Any]) -> Metadata:
    return Metadata(tuple(values), values.__getitem__)


@dataclasses.dataclass(frozen=True)
class CheckpointEntry:
    """A row of a session's catalog.

    Attributes:
        commit_id: its name.
        parent: name of the row that it goes on from; None for the first.
        labels: what it was labelled with.
        metadata: what was recorded with :meth:`CheckpointSession.write`, the newest of each key.
        metadata_keys: its keys.
        write_count: how many steps were done.
        saved_at: when it was committed.
        rank, world_size: who committed it, of how many.
        state_ids: names of the states in it.
        level: the level that it was committed with.

    >>> import tempfile
    >>> from parsl_ckpt.restart import Checkpoint
    >>> with tempfile.TemporaryDirectory() as path:
    ...     with Checkpoint("example", path, "append") as session:
    ...         for step in range(2):
    ...             entry = session.write(step=step)
    ...     catalog = session.catalog
    ...     [(entry.write_count, entry.metadata["step"]) for entry in catalog]
    [(1, 0), (2, 1)]
    >>> catalog[1].parent == catalog[0].commit_id
    True
    """

    commit_id: str
    parent: str | None
    labels: Mapping[str, Any] = dataclasses.field(compare=False)
    metadata: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    metadata_keys: tuple[str, ...] = dataclasses.field(compare=False)
    write_count: int
    saved_at: dt.datetime
    rank: int
    world_size: int
    state_ids: tuple[str, ...]
    level: int = 2

    @property
    def lead_time(self) -> Any:
        """What was recorded as ``lead_time``; None if nothing was."""
        return self.metadata["lead_time"] if "lead_time" in self.metadata_keys else None
