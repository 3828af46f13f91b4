"""Going through the records of an open store as it grows: each once, the newest first.

Rule of this file: one pass over what has been added since the last one.  Who asks again and again
(why was this call not found?) pays for a record once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from . import format as fmt
from .segment import DamagedFrame, Entry, Segment

if TYPE_CHECKING:
    from .store import Store


class Seen(NamedTuple):
    """A whole record.

    Attributes:
        segment, offset: where it is.
        kind: kind of the record.
        record_id: its name.
        payload: its bytes.
    """

    segment: Segment
    offset: int
    kind: int
    record_id: bytes
    payload: bytes | memoryview


class Additions:
    """What has been added to a store since the last look.

    Args:
        store: the store; every look refreshes nothing, so that what other processes append is seen
            when the store sees it.
        kinds: kinds of records that are wanted.
    """

    def __init__(self, store: Store, kinds: tuple[int, ...]) -> None:
        self._store = store
        self._kinds = frozenset(kinds)
        self._read: dict[str, int] = {}  # path of a segment: how far it has been read

    def moved(self) -> bool:
        """Whether segments that have been read are gone, so that all must be read anew."""
        here = {segment.path for segment in self._store._all_segments()}
        if here.issuperset(self._read):
            return False
        self._read.clear()
        return True

    def look(self) -> Iterator[Seen]:
        """What is new, segments from the newest on; what is damaged is left out."""
        signed = self._store.catalog.signer is not None
        for segment in reversed(self._store._all_segments()):
            start = self._read.get(segment.path, 0)
            try:
                walk = segment.walk(start)
                for offset, kind, _, length, record_id, _, _ in walk.headers():
                    if kind not in self._kinds:
                        continue
                    begin = offset - walk.base + fmt.FRAME_HEADER_SIZE
                    buffer = walk.buffer
                    payload: bytes | memoryview = b""
                    # Flags stand in the sixth byte of a header; without them, and with the payload
                    # in the buffer, nothing is read twice.
                    plain = not signed and begin + length <= len(buffer)
                    if plain and not buffer[begin - fmt.FRAME_HEADER_SIZE + 5]:
                        payload = buffer[begin : begin + length]
                        if blake3(payload).digest(fmt.ID_SIZE) != record_id:
                            continue
                    else:
                        try:
                            _, record_id, payload = segment.frame(offset)
                        except DamagedFrame:
                            continue
                    yield Seen(segment, offset, kind, record_id, payload)
                self._read[segment.path] = walk.end
            except OSError:
                continue  # gone, or not to be read; lookups report it

    def held(self) -> list[Entry]:
        """Records that wait in memory to be published, oldest first."""
        return [
            entry for entry in self._store._writing._held[:] if entry.kind in self._kinds
        ]  # fmt: skip
