"""Removing records from what is found: by a record that says so.

Rule of this file: nothing is taken out of files here; that is compacting.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .format import TOMBSTONE, Record, Result, Tombstone, Unkept
from .mapping import Mapping

if TYPE_CHECKING:
    from .segment import Entry

REMOVED_AT_ONCE = 4096  # ids in one tombstone


class Removing(Mapping):
    """The removing part of a store."""

    if TYPE_CHECKING:

        def append(self, entries: Sequence[Entry]) -> None: ...
        def stage_record(self, record: Record) -> Entry: ...

    def remove(self, *record_ids: bytes, reason: str = "") -> None:
        """Remove records: they are never found again, in whatever segment they are."""
        self.append([self.stage_record(Tombstone(record_ids, reason))])

    def forget(self, *keys: bytes) -> int:
        """Remove all results under some keys; how many records that were.

        Args:
            keys: value keys or lineage keys, 32 bytes each.

        Raises:
            StoreWriteError: the removal cannot be recorded.
        """
        found = {record_id for key in keys for record_id in self.named(key)}
        if found:
            self.remove(*found, reason="forgotten")
        return len(found)

    def revoked(self) -> frozenset[bytes]:
        """Ids of the records that were removed because they do not hold, and not to make room."""
        from .compact import PRUNED

        if not self.catalog.removed:
            return frozenset()
        found: set[bytes] = set()
        for record in self.newest_of(TOMBSTONE):
            if isinstance(record, Tombstone) and record.reason != PRUNED:
                found.update(record.record_ids)
        return frozenset(found)

    def newest_ever(self, key: bytes) -> bytes:
        """Id of the newest result under a key, removed or not, of which the files still tell."""
        if not self.catalog.removed:
            return b""
        for segment, offset in self._places(key):
            record_id, record = self._frame(segment, offset) or (b"", None)
            if isinstance(record, (Result, Unkept)) and key in (record.key, record.lineage):
                return record_id
        return b""

    def invalidate(self, app: str, before: float | None = None) -> int:
        """Remove the results of some apps; how many records that were.

        Args:
            app: name of the app; ``*`` and ``?`` as in file names.
            before: only of calls that ended before that, in seconds since the epoch.

        Raises:
            StoreWriteError: the removal cannot be recorded.
        """
        found: list[bytes] = []
        count = 0
        for _, record_id, record in self.records():
            if (
                isinstance(record, (Result, Unkept))
                and record_id not in self.catalog.removed
                and fnmatch.fnmatchcase(record.app, app)
                and (before is None or record.began + record.seconds < before)
            ):
                found.append(record_id)
                if len(found) >= REMOVED_AT_ONCE:
                    count += len(found)
                    self.remove(*found, reason="invalidated")
                    found.clear()
        if found:
            self.remove(*found, reason="invalidated")
        return count + len(found)
