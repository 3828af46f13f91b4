"""Named sets on a kernel: what there is in them, what a plan restores from one, what gets names.

    look  ─ names of the set ─► by address ─► which calls of the plan are restored (Retrieval)

Rule of this file: nothing is written; :mod:`~parsl_ckpt.plan.naming` does that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint import where
from parsl_ckpt.checkpoint.pins import Named, Pins
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints
from parsl_ckpt.checkpoint.store import Store, Stored
from parsl_ckpt.errors import PersistError
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Call
from parsl_ckpt.kernel.planning import Planned

from .job import shown
from .persist import Candidate, PersistSpec

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.task import Spec

    from .drawing import Drawn

Valid = Callable[[Stored], bool]


class Sets:
    """The named sets of one root, as a kernel sees them now.

    Args:
        kernel: the kernel; what it writes to belongs to the root.
        spec: names the root.

    Raises:
        PersistError: the kernel keeps its runs elsewhere, or this is no specification.
    """

    def __init__(self, kernel: Kernel, spec: PersistSpec) -> None:
        if not isinstance(spec, PersistSpec):
            raise PersistError(
                f"persist is {spec!r:.80}, which is no PersistSpec.",
                hint="Give PersistSpec(run_dir, retrieve_id=..., persist_id=...).",
                field="persist",
                tasks=(),
            )
        self._kernel = kernel
        own = kernel.store.path or ""
        root = where.absolute(where.plain(spec.root))
        if not _same(own.rpartition("/")[0].rpartition("/")[0], root):
            raise PersistError(
                f"The named sets are to be those of {where.plain(spec.root)}, and this run keeps "
                f"what it computes in {own or 'no directory'}.",
                hint="Load the kernel with Config(run_dir=...) of that directory.",
                field="root",
                tasks=(),
            )
        self._root = root
        self._known: dict[str, dict[str, Named]] = {}
        self.pins = Pins(kernel.store)

    def look(self) -> None:
        """See the runs of the root as they are now, whatever this one was told to use."""
        store = self._kernel.store
        self._known = {}
        store.refresh()
        read = {*store.catalog.directories, store.path}
        others = [source for source in self._sources() if source not in read]
        # Never closed by us: what is found in it may be read for as long as there are futures.
        self.pins = Pins(store, self._opened(others)) if others else Pins(store)

    def there(self, named: Iterable[Named]) -> Iterator[bool]:
        """Whether results are there for who comes anew: what we read may be removed by now."""
        with self._opened(self._sources()) as store:
            for one in named:
                yield store.recorded(one.key, one.record_id) is not None

    def _sources(self) -> list[str]:
        return get_all_checkpoints(
            self._root, backend=getattr(self._kernel.owner, "_backend", None)
        )

    def _opened(self, sources: Sequence[str]) -> Store:
        config = getattr(self._kernel.owner, "config", None)
        backend = getattr(self._kernel.owner, "_backend", None)
        return Store.open(
            None, sources=sources, named=False, trust=self._kernel.store.trust,
            signing_key=getattr(config, "signing_key", None),
            backend=backend.if_remote() if backend is not None else None,
        )  # fmt: skip

    def names(self, of: str) -> dict[str, Named]:
        """What each name of a set stands for, in whatever run of the root it was given."""
        found = self._known.get(of)
        if found is None:
            found = self._known[of] = self.pins.names(of)
        return found


class Retrieval:
    """Finds outcomes by what a named set names, and by nothing else.

    Args:
        kernel: the kernel.
        sets: the sets.
        of: the set.
    """

    def __init__(self, kernel: Kernel, sets: Sets, of: str) -> None:
        self._kernel = kernel
        self._names = sets.names(of)
        self._pins = sets.pins
        self._without = f"the set {shown(of)} does not name it"
        self._by_key: dict[bytes, Named] = {}
        for named in self._names.values():  # the newest last
            self._by_key[named.key] = named
            if named.lineage is not None:
                self._by_key[named.lineage] = named

    def __len__(self) -> int:
        return len(self._names)

    def lacks(self, key: bytes, valid: Valid | None = None) -> str:
        """Why nothing was found under a key, as the end of a sentence."""
        if self._kernel.memo.find(key, valid) is None:
            return self._without
        return f"{self._without}; it is recorded, so calling it is a hit"

    def find(self, key: bytes, valid: Valid | None = None) -> Stored | None:
        """The outcome under a key, if the set names it; see :meth:`Memo.find`."""
        memo = self._kernel.memo
        named = self._by_key.get(key)
        if named is None or not memo.lookup:
            return None
        stored = memo.find(key)  # which knows the inputs of this very call
        if stored is None or stored.record_id != named.record_id:
            stored = self._pins.result(named)
        return stored if stored is None or valid is None or valid(stored) else None


def chosen(
    spec: PersistSpec, drawn: Drawn, name_of: Callable[[Any], str]
) -> dict[int, tuple[str, ...]]:
    """The names that outcomes of a plan are to have, by the numbers of their calls.

    What was chosen by hand is recorded, whatever its app says.

    Raises:
        PersistError: the choice fails, or names what is not in the plan.
    """
    if spec.persist_id is None:
        return {}
    wanted = {output.task for output in drawn.job.requested}
    specs = {name: _spec(drawn.futures[tid]) for name, tid in drawn.number.items()}
    candidates = [
        Candidate(name, one.name, one.tag, one.cache and one.persist is not False, name in wanted)
        for name, one in specs.items()
    ]
    found: dict[int, tuple[str, ...]] = {}
    for name, task in spec.chosen(candidates, name_of).items():
        tid = drawn.number[task]
        found[tid] = (*found.get(tid, ()), name)
        lazy = drawn.futures[tid]._lazy
        if spec.chosen_by_hand and isinstance(lazy, Planned) and lazy.spec.persist is not True:
            lazy.spec = replace(lazy.spec, persist=True)
    return found


def _spec(future: AppFuture) -> Spec:
    lazy = future._lazy
    return lazy.spec if isinstance(lazy, Call) else future._spec


def _same(one: str, other: str) -> bool:
    """Whether two paths or URLs are of one directory."""
    if one == other or where.is_url(one) or where.is_url(other):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)
