"""How far a run of a pipeline has come, as a value, and what keeps such values.

Rule of this file: no file is touched.  What is read from anywhere goes through
:func:`from_mapping`, which takes fields that it does not know along and refuses what cannot be.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, runtime_checkable

from parsl_ckpt.errors import ConfigurationError, RunClaimedError

IN_PROGRESS, COMPLETED, FAILED = STATUSES = ("in_progress", "completed", "failed")


@dataclass
class CheckpointState:
    """How far a run has come.

    Attributes:
        run_id: what the run is called.
        pipeline_name: of which pipeline it is one.
        pipeline_fingerprint: what the pipeline is made of, as a digest.
        completed_components: names of those that have succeeded, in the order in which they did.
        failed_component: name of the one that failed first, if one has failed.
        status: ``"in_progress"``, ``"completed"`` or ``"failed"``.
        created_at: when the run was begun, in ISO 8601.
        updated_at: when this was written.
        token: what the addresses of the run are made with.
        values: by component, the address under which its value is recorded.
        structure: by component, its class path and what it depends on: what the fingerprint is of.
        extra: fields that a later version has written; they are kept.

    Raises:
        ValueError: a field has a value that cannot be.

    The idea and the names are pyspark-pipeline-framework's.
    """

    run_id: str
    pipeline_name: str
    pipeline_fingerprint: str
    completed_components: list[str] = field(default_factory=list)
    failed_component: str | None = None
    status: str = IN_PROGRESS
    created_at: str = ""
    updated_at: str = ""
    token: str = ""
    values: dict[str, str] = field(default_factory=dict)
    structure: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("run_id", "pipeline_name", "pipeline_fingerprint"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a text")
        if not isinstance(self.status, str) or self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, none of {', '.join(STATUSES)}")
        for name, kind in (("completed_components", list), ("values", dict), ("structure", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a {kind.__name__}")

    def copy(self) -> CheckpointState:
        """One that shares nothing with this one."""
        return replace(
            self,
            completed_components=list(self.completed_components),
            values=dict(self.values),
            structure=dict(self.structure),  # of tuples
            extra=copy.deepcopy(self.extra),
        )


_FIELDS = tuple(one.name for one in fields(CheckpointState) if one.name != "extra")


def to_mapping(state: CheckpointState) -> dict[str, Any]:
    """A state as plain data: texts, lists and mappings."""
    return {
        **state.extra,
        **{name: getattr(state, name) for name in _FIELDS},
        "completed_components": list(state.completed_components),
        "values": dict(state.values),
        "structure": {name: [path, list(deps)] for name, (path, deps) in state.structure.items()},
    }


def from_mapping(data: Any) -> CheckpointState:
    """The state that plain data describes.

    Raises:
        ValueError: it describes none.

    >>> state = CheckpointState("run-001", "etl", "f00d", ["extract"])
    >>> from_mapping({**to_mapping(state), "colour": "red"}).extra
    {'colour': 'red'}
    """
    if not isinstance(data, Mapping):
        raise ValueError("it is no mapping of fields")
    known = {name: data[name] for name in _FIELDS if name in data}
    missing = [
        name for name in ("run_id", "pipeline_name", "pipeline_fingerprint") if name not in known
    ]
    if missing:
        raise ValueError(f"it has no field {missing[0]!r}")
    for name, right in _SHAPES.items():
        if name in known and not right(known[name]):
            raise ValueError(f"{name} is {known[name]!r}")
    known["completed_components"] = list(known.get("completed_components", ()))
    known["values"] = dict(known.get("values", {}))
    known["structure"] = {
        name: (path, tuple(deps)) for name, (path, deps) in known.get("structure", {}).items()
    }
    extra = {str(name): value for name, value in data.items() if name not in _FIELDS}
    return CheckpointState(**known, extra=extra)


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _structure(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str)
        and isinstance(one, (list, tuple))
        and len(one) == 2
        and isinstance(one[0], str)
        and _texts(one[1])
        for name, one in value.items()
    )


_SHAPES = {
    "completed_components": _texts,
    "failed_component": lambda value: value is None or isinstance(value, str),
    "created_at": _text,
    "updated_at": _text,
    "token": _text,
    "values": lambda value: isinstance(value, Mapping) and _texts([*value, *value.values()]),
    "structure": _structure,
}


@runtime_checkable
class CheckpointStore(Protocol):
    """What keeps the progress of runs; a run is known by its id and its pipeline.

    A store may also have ``claim(run_id, pipeline_name)``, a context in which no other runner has
    the run; those of this library have.
    """

    def save(self, state: CheckpointState) -> None:
        """Keep a state in the place of the one before; on return it is safe."""

    def load(self, run_id: str, pipeline_name: str) -> CheckpointState | None:
        """The state that was kept last; None if there is none."""

    def delete(self, run_id: str, pipeline_name: str) -> None:
        """Forget a run; harmless if it is not known."""

    def exists(self, run_id: str, pipeline_name: str) -> bool:
        """Whether something is kept of a run."""


def check_key(run_id: Any, pipeline_name: Any) -> None:
    """Refuse what is no id of a run, or no name of a pipeline.

    Raises:
        ConfigurationError: one of them is no text.
    """
    for name, value in (("run_id", run_id), ("pipeline_name", pipeline_name)):
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} is {value!r:.80}, not a text.", field=name)


def check_state(state: Any) -> None:
    """Refuse what is no state: to keep it, or to resume what a store gives for one.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(state, CheckpointState):
        raise ConfigurationError(f"state is {state!r:.80}, not a CheckpointState.", field="state")


class MemoryCheckpointStore:
    """Keeps states as long as it lives, for tests and for runs within one process.

    >>> store = MemoryCheckpointStore()
    >>> store.save(CheckpointState("run-001", "etl", "f00d"))
    >>> store.exists("run-001", "etl"), store.exists("run-002", "etl")
    (True, False)
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], CheckpointState] = {}
        self._claimed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def save(self, state: CheckpointState) -> None:
        """Keep a copy of a state."""
        check_state(state)
        with self._lock:
            self._states.pop((state.run_id, state.pipeline_name), None)
            self._states[state.run_id, state.pipeline_name] = state.copy()

    def load(self, run_id: str, pipeline_name: str) -> CheckpointState | None:
        """A copy of the state that was kept last; None if there is none."""
        check_key(run_id, pipeline_name)
        with self._lock:
            state = self._states.get((run_id, pipeline_name))
        return None if state is None else state.copy()

    def delete(self, run_id: str, pipeline_name: str) -> None:
        """Forget a run."""
        check_key(run_id, pipeline_name)
        with self._lock:
            self._states.pop((run_id, pipeline_name), None)

    def exists(self, run_id: str, pipeline_name: str) -> bool:
        """Whether something is kept of a run."""
        check_key(run_id, pipeline_name)
        with self._lock:
            return (run_id, pipeline_name) in self._states

    def states(self) -> list[CheckpointState]:
        """All states, in the order in which they were kept."""
        with self._lock:
            return [state.copy() for state in self._states.values()]

    @contextlib.contextmanager
    def claim(self, run_id: str, pipeline_name: str) -> Iterator[None]:
        """Be the only one in this process who runs a run.

        Raises:
            RunClaimedError: somebody else does.
        """
        check_key(run_id, pipeline_name)
        with self._lock:
            if (run_id, pipeline_name) in self._claimed:
                raise claimed(run_id, pipeline_name, "somebody in this process")
            self._claimed.add((run_id, pipeline_name))
        try:
            yield
        finally:
            with self._lock:
                self._claimed.discard((run_id, pipeline_name))


def claimed(run_id: str, pipeline_name: str, who: str, path: str = "") -> RunClaimedError:
    """The error for a run that someone else has claimed.

    Args:
        run_id, pipeline_name: the run.
        who: who has.
        path: the file that says so.
    """
    if path:
        hint = f"Wait for it, or use another run id; if nothing runs there, remove {path}."
    else:
        hint = "Wait for it, or use another run id."
    return RunClaimedError(
        f"Run {run_id!r} of pipeline {pipeline_name!r} is being run by {who}.",
        hint=hint,
        run_id=run_id,
        pipeline_name=pipeline_name,
        path=path,
    )
