"""Progress of runs in the project's own checkpoints, as records among the results.

::

    save ─► what has changed ─► a `run` record, synced
    load ─► the run records of all checkpoints of the run directory ─► in their order ─► the state

Rules of this file:

* Nothing is updated in place.  The first record of a kernel's life has the whole state, each
  further one what has changed, so that a thousand components do not write a million names.
* A state is a fold over its records in the order of their numbers.  Whoever goes on takes numbers
  beyond all that he sees, so that clocks which go back do no harm.  A record that is lost costs
  what it said, and the next whole one mends it.
* Names stand inside records as JSON, which has a form for any text.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint import where
from parsl_ckpt.checkpoint.local import LocalBackend
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.errors import ConfigurationError, StoreClosedError
from parsl_ckpt.pipeline.local_store import claim_file, damaged, encoded
from parsl_ckpt.pipeline.states import (
    CheckpointState,
    check_key,
    check_state,
    from_mapping,
    to_mapping,
)

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.format import Run

EVENT = "pipeline"
_GROWING = ("completed_components", "values")  # what only grows in the course of a run
_Key = tuple[str, str]


class RunStore:
    """Keeps the progress of runs beside the results of a kernel.

    What was saved by earlier kernels with the same run directory is found. It goes when their
    checkpoints go.

    Args:
        dfk: the kernel.

    >>> with parsl_ckpt.load() as dfk:  # doctest: +SKIP
    ...     hooks = CheckpointHooks(RunStore(dfk), run_id="run-001")
    """

    def __init__(self, dfk: DataFlowKernel) -> None:
        if not isinstance(dfk, DataFlowKernel):
            raise ConfigurationError(
                f"RunStore: dfk is {dfk!r:.80}, no DataFlowKernel.",
                hint="Give what parsl_ckpt.load() returns; RunStore.at(run_dir) reads without one.",
                field="dfk",
            )
        store = dfk.kernel.store
        if store.path is None:
            raise StoreClosedError(
                "This kernel has no checkpoint to which progress could be written.",
                hint="Load it with a run directory.",
            )
        root = store.path.rsplit("/", 2)[0]  # ROOT/RUN/checkpoint
        self._begin(root, store, dfk._backend, dfk.config.trust, dfk.config.signing_key)

    @classmethod
    def at(
        cls,
        run_dir: str | os.PathLike[str],
        *,
        trust: Any = "owner",
        signing_key: Any = None,
    ) -> RunStore:
        """One that only reads, without a kernel.

        Args:
            run_dir: where runs are kept.
            trust, signing_key: as for :class:`~parsl_ckpt.Config`.
        """
        made = cls.__new__(cls)
        made._begin(where.absolute(where.plain(run_dir)), None, None, trust, signing_key)
        return made

    def _begin(
        self, root: str, store: Store | None, backend: Any, trust: Any, signing_key: Any
    ) -> None:
        self._root = root
        self._store = store
        self._everywhere = backend
        self._reading = {"trust": trust, "signing_key": signing_key}
        self._lock = threading.Lock()
        self._saved: dict[_Key, tuple[int, dict[str, Any]]] = {}

    def save(self, state: CheckpointState) -> None:
        """Record what has changed, and sync it.

        Raises:
            StoreWriteError: it could not be written; what was saved before is safe.
            StoreClosedError: the kernel has ended, or this one only reads.
        """
        check_state(state)
        now = to_mapping(state)
        self._append((state.run_id, state.pipeline_name), now)

    def load(self, run_id: str, pipeline_name: str) -> CheckpointState | None:
        """The state that was saved last, by whatever kernel; None if there is none.

        Raises:
            CheckpointDamagedError: there are records, and what they hold is no state.
        """
        check_key(run_id, pipeline_name)
        found = self._found((run_id, pipeline_name)).get((run_id, pipeline_name))
        if found is None or found[1] is None:
            return None
        try:
            return from_mapping(found[1])
        except ValueError as error:
            raise damaged(self._root, str(error), run_id, pipeline_name) from error

    def delete(self, run_id: str, pipeline_name: str) -> None:
        """Record that a run is forgotten.

        Raises:
            as :meth:`save`.
        """
        if self.exists(run_id, pipeline_name):
            self._append((run_id, pipeline_name), None)

    def exists(self, run_id: str, pipeline_name: str) -> bool:
        """Whether something is kept of a run."""
        check_key(run_id, pipeline_name)
        found = self._found((run_id, pipeline_name)).get((run_id, pipeline_name))
        return found is not None and found[1] is not None

    def states(self) -> list[CheckpointState]:
        """All states that can be read, the one that was saved last at the end."""
        found = []
        for _, data in sorted(self._found(None).values(), key=lambda one: one[0]):
            with contextlib.suppress(ValueError):
                if data is not None:
                    found.append(from_mapping(data))
        return found

    @contextlib.contextmanager
    def claim(self, run_id: str, pipeline_name: str) -> Iterator[None]:
        """Be the only one who runs a run, among all that use the run directory.

        Raises:
            RunClaimedError: somebody else does, who is alive.
            OSError: nothing can be written.
        """
        check_key(run_id, pipeline_name)
        backend = LocalBackend() if self._store is None else self._store.catalog.backend
        name = encoded(_of((run_id, pipeline_name)))
        with claim_file(backend, self._root, name, run_id, pipeline_name):
            yield

    def _append(self, key: _Key, now: dict[str, Any] | None) -> None:
        """Record the change to a state; None: that it is forgotten."""
        if self._store is None:
            raise StoreClosedError(
                "Progress cannot be recorded without a kernel.", hint="Use RunStore(dfk)."
            )
        with self._lock:
            before = self._saved.pop(key, None)
            newest = self._found(key).get(key, (0,))[0] if before is None else before[0]
            at = max(time.time_ns(), newest + 1)
            whole = before is None or now is None
            change = {"state": now} if whole else difference(before[1], now)  # type: ignore[index, arg-type]
            data = {"of": _of(key), "at": at, "change": json.dumps(change)}
            entry = self._store.stage_run(EVENT, data)
            self._store.append([entry])
            self._store.sync()
            if now is not None:
                self._saved[key] = at, now

    def _found(self, key: _Key | None) -> dict[_Key, tuple[int, dict[str, Any] | None]]:
        """The number of the last record and the state of each run, or of one."""
        backend = None if self._store is None else self._store.catalog.backend
        sources = get_all_checkpoints(self._root, backend=self._everywhere)
        if not sources:
            return {}
        reader = Store.open(None, sources=sources, backend=backend, named=False, **self._reading)
        try:
            return fold((record for _, record in reader.runs()), key)
        finally:
            reader.close()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`changed` needs to get from one state to another.

    >>> difference({"status": "failed"}, {"status": "completed", "values": {"a": "f0"}})
    {'set': {'status': 'completed'}, 'more': {'values': {'a': 'f0'}}}
    """
    more: dict[str, Any] = {}
    names = before.get(_GROWING[0], []), now.get(_GROWING[0], [])
    if names[1] != names[0] and names[1][: len(names[0])] == names[0]:
        more[_GROWING[0]] = names[1][len(names[0]) :]
    values = before.get(_GROWING[1], {}), now.get(_GROWING[1], {})
    if values[1] != values[0] and values[0].keys() <= values[1].keys():
        more[_GROWING[1]] = {n: v for n, v in values[1].items() if values[0].get(n) != v}
    changed = {
        name: value
        for name, value in now.items()
        if name not in more and (name not in before or before[name] != value)
    }
    return {"set": changed, "more": more}


def changed(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a change."""
    now = {**before, **change["set"]}
    more = change["more"]
    if _GROWING[0] in more:
        known = now.get(_GROWING[0], [])
        now[_GROWING[0]] = [*known, *(name for name in more[_GROWING[0]] if name not in known)]
    if _GROWING[1] in more:
        now[_GROWING[1]] = {**now.get(_GROWING[1], {}), **more[_GROWING[1]]}
    return now


def fold(
    records: Iterable[Run], key: _Key | None = None
) -> dict[_Key, tuple[int, dict[str, Any] | None]]:
    """States from run records, whatever their order.

    Args:
        records: of any event; those that cannot be understood are left out.
        key: (run id, pipeline) of the one that is wanted; None for all.

    Returns:
        By run id and pipeline the number of the last record, and the state; None for a run that is
        forgotten.
    """
    wanted = None if key is None else _of(key)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in records:
        of, at, text = (record.data.get(name) for name in ("of", "at", "change"))
        if record.event != EVENT or not isinstance(of, str) or wanted not in (None, of):
            continue
        change = _change(text)
        if isinstance(at, int) and change is not None:
            found.setdefault(of, {})[at] = change
    states: dict[_Key, tuple[int, dict[str, Any] | None]] = {}
    for of, changes in found.items():
        state: dict[str, Any] | None = None
        for _, change in sorted(changes.items()):
            if "state" in change:
                state = change["state"]
            elif state is not None:
                state = changed(state, change)
        of_whom = _key_of(of)
        if of_whom is not None:
            states[of_whom] = max(changes), state
    return states


def _of(key: _Key) -> str:
    """What the records of a run say that they are of."""
    return json.dumps([key[1], key[0]])


def _key_of(of: str) -> _Key | None:
    """The run that records say they are of; None if they do not."""
    try:
        pipeline, run_id = json.loads(of)
    except (TypeError, ValueError, RecursionError):
        return None
    return (run_id, pipeline) if isinstance(run_id, str) and isinstance(pipeline, str) else None


def _change(text: Any) -> dict[str, Any] | None:
    """A change as it was recorded; None if it is none."""
    try:
        change = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(change, dict):
        return None
    if "state" in change:
        return change if isinstance(change["state"], (dict, type(None))) else None
    parts = change.get("set"), change.get("more")
    return change if all(isinstance(part, dict) for part in parts) else None
