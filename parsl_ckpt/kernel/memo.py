"""The memo table: from addresses to outcomes that exist, and to tasks that are computing one.

*Guarantees.*  It keeps keys and places, never a live value, an argument or a future.  A damaged
record is a miss.  Of several callers that enter a task under one key, one is told to run it.

*Assumptions.*  ``dict.setdefault`` and ``dict.pop`` are atomic.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from parsl_ckpt.checkpoint.store import Store, Stored
from parsl_ckpt.identity.walk import Known
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.resolving import Resolving
from parsl_ckpt.kernel.task import Task

logger = logging.getLogger(__name__)

Valid = Callable[[Stored], bool]
LINEAGE_TAG = b"L"  # begins no leaf of a value


class Memo:
    """What has been computed, and what is being computed.

    Args:
        store: where outcomes are recorded.
        lookup: False lets nothing be found (every call runs).
        record: False lets nothing be recorded.
        follow: what is not found is looked for in what other live runs have appended since.
    """

    __slots__ = ("commits", "follow", "inflight", "lookup", "record", "store")

    def __init__(
        self, store: Store, lookup: bool = True, record: bool = True, follow: bool = False
    ) -> None:
        self.store = store
        self.lookup = lookup
        self.record = record
        self.follow = follow
        self.inflight: dict[bytes, Task] = {}
        self.commits = 0

    def find(self, key: bytes, valid: Valid | None = None) -> Stored | None:
        """The newest outcome recorded under a key, or None.

        Args:
            key: a value key or a lineage key.
            valid: whether a record may be used; None for always.
        """
        if not self.lookup:
            return None
        try:
            stored = self.store.find(key)
            if stored is None or (valid is not None and not valid(stored)):
                return self.search(key, valid) if self.follow else None
            return stored
        except Exception:
            logger.exception("Looking up a call failed; it is computed instead.")
            return None

    def search(self, key: bytes, valid: Valid | None = None) -> Stored | None:
        """The newest outcome under a key, after a look at what other live runs have appended."""
        try:
            self.store.look()
            stored = self.store.find(key)  # even if nothing is new: another thread may have seen it
            return stored if stored is None or valid is None or valid(stored) else None
        except Exception:
            logger.exception("Looking at other runs failed; the call is computed instead.")
            return None

    def find_by_lineage(
        self, key: bytes, inputs: Sequence[Future[Any]], valid: Valid | None = None
    ) -> Stored | None:
        """The outcome under a lineage key, if it was computed from these very inputs.

        A record whose ancestors have been replaced since names other records than the inputs carry.
        """
        parents = parents_of(inputs)
        stored = self.find(key, valid)
        if stored is not None and stored.parents != parents and self.follow:
            # Another run may have computed it from these inputs since.
            stored = self.search(key, valid)
        if stored is None or stored.parents != parents:
            return None
        return stored

    def enter(self, key: bytes, task: Task) -> Task:
        """Register a task as the one that computes a key.

        Returns:
            The task itself, or the one that is computing it already.
        """
        return self.inflight.setdefault(key, task)

    def leave(self, task: Task) -> None:
        """Forget a task that is done, under the keys that it holds; the owner calls it."""
        inflight = self.inflight
        for key in (task.key, task.lineage):
            if key is not None and inflight.get(key) is task:
                del inflight[key]


def lineage_leaf(future: Future[Any]) -> bytes | None:
    """What a future counts as in a lineage key, or None if only its value can tell."""
    if isinstance(future, AppFuture) and future._key is not None:
        return LINEAGE_TAG + future._key
    return None


def lineage_leaves(inputs: Sequence[Future[Any]]) -> dict[Future[Any], Known] | None:
    """What stands for each input in a lineage key; None if one of them has no lineage."""
    leaves = {}
    for future in inputs:
        leaf = lineage_leaf(future)
        if leaf is None:
            return None
        leaves[future] = Known(leaf)
    return leaves


def lineage_of(task: Task, resolving: Resolving) -> bytes | None:
    """The address of a call by the lineage of its inputs, known before any of them has run.

    Returns:
        None if an input has no lineage: a foreign future, an app that is not cached or that was
        declared ``lineage=False``; or if futures are found by a plug-in.
    """
    leaves = lineage_leaves(task.inputs) if resolving.by_lineage else None
    if leaves is None:
        return None
    spec = task.spec
    assert spec.addresser is not None and spec.binder is not None
    args, kwargs = resolving.substitute(task.args, task.kwargs, leaves)
    return spec.addresser.address(spec.binder.bind(args, kwargs)).key


def parents_of(inputs: Sequence[Future[Any]]) -> tuple[tuple[bytes, bytes], ...] | None:
    """The records from which a task is computed: (key, record id) of each input.

    Returns:
        None if an input has no record, so that no lineage can be told.
    """
    parents = []
    for future in inputs:
        if not isinstance(future, AppFuture):
            return None
        # The record of a file is that of the call that wrote it.
        key = future.parent._key if isinstance(future, DataFuture) else future._key
        record = future._record or unkept_id(future)
        if key is None or not record:
            return None
        parents.append((key, record))
    return tuple(parents)


def all_restored(inputs: Sequence[Future[Any]], unkept: bool = True) -> bool:
    """Whether no input had to run, so that outcomes filed by lineage hold.

    Args:
        inputs: the futures.
        unkept: whether one whose value is never recorded counts as well, if it came to a value
            from the same inputs before.
    """
    # No generator: an interruption while one is closed would be swallowed.
    for future in inputs:
        if not isinstance(future, AppFuture):
            return False
        if not ((future._restored and future._record) or (unkept and unkept_id(future))):
            return False
    return True


def unkept_id(future: Future[Any]) -> bytes | None:
    """The record without a value that a future stands for; None for nearly all."""
    return getattr(future, "_unkept", None)
