"""How each call of a plan stands: whether its outcome is there, and if not, why.

    hit      recorded, and nothing speaks against the record: it can be restored
    absent   nothing is recorded; what was computed from it before may still hold
    stale    it is to be computed anew, and so is, by lineage, what depends on it

The rule: a record that was found under a lineage key holds while no ancestor's record is expired,
forgotten, invalidated or replaced.  An ancestor that is merely absent (not kept, or pruned) does no
harm; then the nearest recorded ones behind it must be those that the record names, or older than
the call itself.  One walk in the order of the calls, one look at the index for each, no value
loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Hit
from parsl_ckpt.kernel.outputs import validity
from parsl_ckpt.kernel.planning import Planned

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Stored
    from parsl_ckpt.kernel.kernel import Kernel

    from .sets import Retrieval

HIT, ABSENT, STALE = "hit", "absent", "stale"
Named = tuple[tuple[bytes, bytes], ...]  # (own key, record id)

#: How many records are remembered behind one that is absent; of more, only how old they are.
BEHIND = 64


class Standing(NamedTuple):
    """How a call stands.

    Args:
        state: ``"hit"``, ``"absent"`` or ``"stale"``.
        why: why it is no hit, as the end of a sentence.
        stored: the record; for a hit, the one that is restored.
        record: the record's name; of one that is absent, that of the last that was pruned.
        ended: when the newest record at or behind it was computed, in seconds since the epoch.
        behind: what is recorded at or nearest behind it; None if that is too much to remember.
    """

    state: str
    why: str = ""
    stored: Stored | None = None
    record: bytes = b""
    ended: float = 0.0
    behind: Named | None = ()


class Standings:
    """The standings of the calls of a plan.

    Args:
        kernel: what they were recorded on.
        found: what may be restored; None for whatever is recorded.
    """

    def __init__(self, kernel: Kernel, found: Retrieval | None = None) -> None:
        self._kernel = kernel
        self._find_record = kernel.memo.find if found is None else found.find
        self._lacks = None if found is None else found.lacks
        self._known: dict[int, Standing] = {}

    def look(self, futures: Iterable[AppFuture]) -> dict[int, Standing]:
        """Look up calls, in the order in which they were made.

        Returns:
            The standing of each, by the number of its task.
        """
        for future in futures:
            self._known[future.tid] = self.one(future)
        return self._known

    def one(self, future: AppFuture) -> Standing:
        """Look up one call, of which the inputs have been looked up."""
        lazy = future._lazy
        if not isinstance(lazy, Planned):
            return self._settled(future)
        inputs = [self._of(one) for one in lazy.arguments.futures]
        if lazy.spec.kind == "lift":
            return _absent(inputs, "") if len(inputs) > 1 else inputs[0]
        if lazy.refresh:
            return Standing(STALE, "it is to be run anew")
        stale = next((one for one in inputs if one.state == STALE), None)
        if stale is not None:
            return Standing(STALE, "what it takes is computed anew")
        if lazy.key is None:
            return _absent(inputs, _unknown(self._kernel, lazy))
        return self._find(lazy, lazy.key, inputs)

    def _settled(self, future: AppFuture) -> Standing:
        """A call that is a hit already: an earlier run of its plan was interrupted."""
        stored = future._lazy.stored if isinstance(future._lazy, Hit) else None
        record = future._record or b""
        return Standing(HIT, "", stored, record, 0.0, ((future._key or b"", record),))

    def _find(self, lazy: Planned, key: bytes, inputs: Sequence[Standing]) -> Standing:
        spec, find = lazy.spec, self._find_record
        valid = validity(self._kernel, spec, lazy.arguments.request)
        stored = find(key, valid)
        if stored is None:
            if valid is not None and (stored := find(key)) is not None:
                return Standing(STALE, "what is recorded does not hold any more", stored)
            if spec.persist is not True and (unkept := self._unkept(lazy, key, inputs)) is not None:
                return unkept
            removed = self._kernel.store.newest_ever(key)
            if removed in self._revoked:
                return Standing(STALE, "what was recorded has been forgotten")
            why = "nothing is recorded of it" if self._lacks is None else self._lacks(key, valid)
            return _absent(inputs, why, removed)
        if not self._holds(stored.parents, stored.result.began, lazy.arguments.futures, inputs):
            why = "what is recorded was computed from other outcomes of what it takes"
            return Standing(STALE, why, stored)
        result, record = stored.result, stored.record_id
        return Standing(HIT, "", stored, record, result.began + result.seconds, ((key, record),))

    def _unkept(self, lazy: Planned, key: bytes, inputs: Sequence[Standing]) -> Standing | None:
        """A call that came to a value which was not recorded, on purpose; None if none did."""
        found = self._kernel.store.unkept(key) if self._kernel.memo.lookup else None
        if found is None:
            return None
        record_id, record = found
        if not self._holds(record.parents, record.began, lazy.arguments.futures, inputs):
            return Standing(STALE, "its value, which is not kept, came from other outcomes")
        ended = record.began + record.seconds
        return Standing(
            ABSENT, "its value is not kept", None, record_id, ended, ((key, record_id),)
        )

    def _holds(
        self,
        parents: Named,
        began: float,
        futures: Sequence[Future[Any]],
        inputs: Sequence[Standing],
    ) -> bool:
        """Whether a record of a call that began then is of what its inputs stand for."""
        if not futures:
            return True
        named = dict(parents)
        for future, one in zip(futures, inputs, strict=True):
            record = named.get(_key(future), b"")
            if one.state == HIT or (one.record and record):
                if record != one.record:
                    return False
            elif record in self._revoked:
                return False
            if one.state != HIT and _newer(one, named, began):
                return False
        return True

    def _of(self, future: Future[Any]) -> Standing:
        """How an input stands; one that is not of the plan stands for its record, if it has one."""
        if isinstance(future, DataFuture):
            future = future.parent
        if not isinstance(future, AppFuture):
            return _OUTSIDE
        known = self._known.get(future.tid)
        if known is not None and future._kernel is self._kernel:
            return known
        if not future._record:
            return _OUTSIDE
        return Standing(HIT, "", None, future._record, 0.0, ((future._key or b"", future._record),))

    @functools.cached_property
    def _revoked(self) -> frozenset[bytes]:
        return self._kernel.store.revoked()


#: An input whose record is not known before it is done: what takes it is looked up by value.
_OUTSIDE = Standing(STALE, "it is not recorded yet")


def _absent(inputs: Sequence[Standing], why: str, pruned: bytes = b"") -> Standing:
    """A call of which nothing is recorded."""
    behind: Named | None = ()
    for one in inputs:
        behind = None if behind is None or one.behind is None else (*behind, *one.behind)
        if behind is not None and len(behind) > BEHIND:
            behind = None
    ended = max((one.ended for one in inputs), default=0.0)
    return Standing(ABSENT, why, None, pruned, ended, behind)


def _newer(one: Standing, named: Mapping[bytes, bytes], began: float) -> bool:
    """Whether something behind an absent input is newer than a call that took the input."""
    if one.behind is not None and all(named.get(key) == record for key, record in one.behind):
        return False
    return one.ended > began


def _key(future: Future[Any]) -> bytes:
    """Under what key a record names an input."""
    if isinstance(future, DataFuture):
        future = future.parent
    return (isinstance(future, AppFuture) and future._key) or b""


def _unknown(kernel: Kernel, lazy: Planned) -> str:
    if not lazy.spec.cache:
        return "its app is not cached"
    if not kernel.caching:
        return "caching is off"
    return "it is known only when what it takes is"
