"""A checkpoint that is none, so that code needs no branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from .entry import CheckpointEntry
from .looping import loop
from .state import CheckpointState, proxy_of

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")


class NullCheckpoint:
    """Stands for a checkpoint and for its session; false, accepts everything, does nothing.

    >>> with NullCheckpoint() as ckpt:
    ...     ckpt.write(step=0), ckpt.write_count, bool(ckpt)
    (None, 0, False)
    """

    exists = is_open = is_active = is_flush_due = False
    commit_id = entry = active = parent = lead_time = None
    flush_interval: int | None = None
    history_size: int | None = None
    write_count = level = rank = attempt = 0
    world_size = 1
    on_exception = "discard"
    strict = stop_on_signal = False
    device: Any = "cpu"
    name = path = mode = ""
    catalog: tuple[CheckpointEntry, ...] = ()

    @property
    def checkpoint(self) -> NullCheckpoint:
        """Itself."""
        return self

    @property
    def labels(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    metadata = bound_states = labels

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[CheckpointEntry]:
        return iter(())

    def __enter__(self) -> NullCheckpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __repr__(self) -> str:
        return "NullCheckpoint()"

    def select(self, /, *args: Any, **kwargs: Any) -> NullCheckpoint:
        """Itself."""
        return self

    def refresh(self) -> None:
        """Nothing."""

    def prune(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def write(self, /, *args: Any, **metadata: Any) -> None:
        """Nothing is written."""

    def flush(self, /, *args: Any, **metadata: Any) -> None:
        """Nothing is written."""

    def metadata_value(self, key: str, default: Any = None) -> Any:
        """The default."""
        return default

    def bind(
        self, state: T | CheckpointState[T], *, state_key: str | None = None
    ) -> CheckpointState[T]:
        """A proxy that only passes through."""
        return proxy_of(state, state_key)

    expect = bind

    def loop(self, items: Iterable[E], state: T) -> Iterator[tuple[E, CheckpointState[T]]]:
        """Each item with the state."""
        return loop(self, items, state)

    def context(self) -> NullCheckpoint:
        """Itself, which can also be had in other threads."""
        return self

    def run(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call a function."""
        return function(*args, **kwargs)
