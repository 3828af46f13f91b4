"""A store that looks after itself while it is open: verify, compact, prune.

Rule of this file: what these do to a whole run directory, with nobody writing, is
:mod:`~parsl_ckpt.checkpoint.maintain`'s; here the directory is the one that this store writes to,
and appends wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import ConfigurationError, StoreClosedError

from .backend import Backend
from .format import Result, Session
from .removing import Removing

if TYPE_CHECKING:
    from .compact import Compaction
    from .inventory import Place
    from .items import Item
    from .prune import Pruned
    from .verify import Report

Progress = Callable[[int], None]


class Tending(Removing):
    """The part of a store that looks after it."""

    if TYPE_CHECKING:
        _backend: Backend
        _lock: Any
        sources: list[str]

    _unneeded: frozenset[tuple[bytes, int]] = frozenset()  # blobs that pruned records named

    def verify(self, progress: Progress | None = None) -> Report:
        """Verify every checksum of every file of the directories that are open.

        Args:
            progress: called with the number of bytes done since the last call.
        """
        from . import verify
        from .inventory import place_of

        places = [place_of(self._backend, directory) for directory in self.catalog.directories]
        return verify.verify(self._backend, places, progress=progress, signer=self.catalog.signer)

    def compact(self, progress: Progress | None = None) -> Compaction:
        """Put the segments of the directory written to into one; appends wait meanwhile.

        Blobs that no record names any more stay until ``maintain.compact`` finds that nobody writes
        here.

        Args:
            progress: called with the number of bytes done since the last call.

        Raises:
            StoreBusyError: someone else maintains the directory, or writes here.
            OSError: what is kept could not be written; nothing is lost.
        """
        from . import compact
        from .exclusive import alone
        from .inventory import around, own_place, root_of

        path = self._own_path()
        with self._lock:
            self._writing.seal()
            self._writing.sync(self._blobs)  # else it would wait for segments that are gone
            if not self._begun(path):
                return compact.Compaction()  # nothing was ever written
            place = own_place(self._backend, path)
            with alone(self._backend, root_of(place)):
                runs, signer = around(self._backend, place), self.catalog.signer
                done = compact.compact(
                    self._backend, [place], everything=runs, progress=progress, signer=signer
                )
            self.catalog.find_again()
        return done

    def prune(
        self,
        *,
        apps: Sequence[str] = (),
        older_than: float | None = None,
        larger_than: int | None = None,
        max_bytes: int | None = None,
        failures: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Pruned:
        """Remove what is not worth its room from the directory written to; appends wait meanwhile.

        Large values leave the disk when the store is closed: until then a record that is about to
        be appended may name the same blob.

        Args:
            apps: only records of these apps; ``*`` and ``?`` as in file names.
            older_than: only records begun more than so many seconds ago.
            larger_than: only records of more than so many bytes.
            max_bytes: only as many records as it takes to bring the directory down to this size,
                those first that are cheapest to compute again for the room that they take.
            failures: only failures.
            dry_run: only say what would be done.
            progress: called with the number of bytes done since the last call.

        Raises:
            ConfigurationError: nothing says what is to go, or a number is negative.
            StoreBusyError: someone else maintains the directory, or writes here.
            OSError: what is kept could not be written; what was to go is gone.

        >>> from parsl_ckpt.checkpoint import MemoryBackend, Store
        >>> with Store.open("demo", backend=MemoryBackend()) as store:
        ...     store.put("draft", 1, app="sketch")
        ...     store.put("final", 2, app="paint")
        ...     store.prune(apps=["sketch"]).records, store.get("draft"), store.get("final")
        (1, None, 2)
        """
        from . import inventory, prune
        from .compact import PRUNED
        from .exclusive import alone
        from .items import items, removed_in
        from .pins import census

        wanted = prune.wish(apps, older_than, larger_than, failures)
        if wanted is None and max_bytes is None:
            raise ConfigurationError(
                "Nothing says what is to be pruned.",
                hint="Give an age, apps, a size or a budget.",
                field="apps",
            )
        if max_bytes is not None and max_bytes < 0:
            raise ConfigurationError(
                f"max_bytes is {max_bytes}, a negative number.", field="max_bytes"
            )
        path = self._own_path()
        done = prune.Pruned()
        with self._lock:
            if not self._begun(path):
                return done  # nothing was ever written
            place = inventory.own_place(self._backend, path)
            with alone(self._backend, inventory.root_of(place)):
                signer = self.catalog.signer
                around = inventory.around(self._backend, place)
                removed = removed_in(self._backend, around, signer)
                pins = census(self._backend, around, removed, signer).targets
                found = list(items(self._backend, [place], None, signer, progress))
                done.before = done.after = self._size(place, found)
                chosen = found if wanted is None else [item for item in found if wanted(item)]
                done.pinned = sum(item.record_id in pins for item in chosen)
                chosen = [item for item in chosen if item.record_id not in pins]
                if max_bytes is not None:
                    chosen = prune.cheapest(chosen, done.before - max_bytes)
                done.tell(chosen)
                if dry_run or not chosen:
                    return done
                self.remove(*(item.record_id for item in chosen), reason=PRUNED)
            self._unneeded |= {blob for item in chosen for blob in item.blobs}
            self.compact()
            gone = {item.record_id for item in chosen}
            done.after = self._size(place, [one for one in found if one.record_id not in gone])
        return done

    def _size(self, place: Place, found: Sequence[Item]) -> int:
        """Bytes of the directory, without the blobs that are to go at the end."""
        from .inventory import size

        leaving = self._unneeded.difference(blob for item in found for blob in item.blobs)
        return size(self._backend, place) - sum(length for _, length in leaving)

    def _drop_pruned_blobs(self) -> None:
        """At the end: remove the blobs of pruned records that no other record names."""
        if self.path is not None:
            for digest in self._unnamed(self._unneeded):
                self._blobs.discard(self.path, digest)

    def _unnamed(self, blobs: Set[tuple[bytes, int]]) -> set[bytes]:
        """The digests of those blobs that no record of this run names."""
        if blobs and self.path is not None:
            for record_id, record in self._recorded_in(self.path):
                if record_id not in self.catalog.removed and isinstance(record, (Result, Session)):
                    blobs = blobs - set(record.blobs)
        return {digest for digest, _ in blobs}

    def _own_path(self) -> str:
        if self.path is None:
            raise StoreClosedError(
                "The store has no directory to write to, or is closed.",
                hint="Open it with a path.",
            )
        return self.path

    def _begun(self, path: str) -> bool:
        try:
            self._backend.owner(path)
        except OSError:
            return False
        return True
