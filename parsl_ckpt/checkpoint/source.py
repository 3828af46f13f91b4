"""A segment that is compacted: what stands in it, what of that is kept, and how it is copied.

Rule of this file: of a segment that is whole, bytes are copied as they are; only the checksums of
headers are made anew, because they say where a frame stands.  All others are copied frame by frame,
each of them verified.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Set
from itertools import compress

from . import format as fmt
from .frames import Damage, Frames, Whole
from .rewrite import Anew
from .segment import Entry

_SPEAKING = frozenset((fmt.TOMBSTONE, fmt.ALIAS, fmt.PIN))  # of other records
_KEYED = frozenset((fmt.RESULT, fmt.ALIAS))  # kinds that lookups by key find
_PIECE = 4 << 20
_KEPT, _ANEW = 1, 2
_RUNS = re.compile(b"\1+|\2")


class Source:
    """A segment that is compacted.

    Attributes:
        frames: the segment.
        offsets, kinds: of its frames.
        first, second: the prefixes of their keys; twice the same where there is one.
        tombstones: those that stand in it.
    """

    def __init__(self, frames: Frames) -> None:
        frames.is_whole()
        self.frames = frames
        self.offsets = array("Q")
        self.kinds = bytearray()
        self.first = array("Q")
        self.second = array("Q")
        self.tombstones: list[fmt.Tombstone] = []
        self._keep = bytearray()
        self._without: list[int] = []  # places of frames that have no key

    def look(self, damaged: Damage) -> Iterator[int]:
        """Go through all frames; gives the offsets of those that speak of other records."""
        offset_of, kind_of = self.offsets.append, self.kinds.append
        first_of, second_of = self.first.append, self.second.append
        for offset, kind, keys, first, second in self.frames.heads(damaged):
            if not keys:
                self._without.append(len(self.offsets))
            offset_of(offset)
            kind_of(kind)
            first_of(first)
            second_of(second if keys > 1 else first)
            if kind in _SPEAKING:
                yield offset
        self._keep = bytearray(len(self.offsets))

    def prefixes(self) -> Iterator[int]:
        """The prefixes of all keys by which a lookup may find something here."""
        keyed = self.kinds.translate(_IS_KEYED)
        yield from compress(self.first, keyed)
        for first, second in zip(
            compress(self.first, keyed), compress(self.second, keyed), strict=True
        ):
            if second != first:
                yield second

    def keep_alone(self, shared: Set[int]) -> None:
        """Keep the results that no other record has the prefix of a key in common with."""
        result = fmt.RESULT
        self._keep = bytearray(
            [
                kind == result and first not in shared and second not in shared
                for kind, first, second in zip(self.kinds, self.first, self.second, strict=True)
            ]
        )

    def undecided(self) -> Iterator[tuple[int, Whole | None]]:
        """(place, frame) of all that is not kept yet, from the newest to the oldest."""
        places = [place for place, kept in enumerate(self._keep) if not kept]
        places.reverse()
        offsets = [self.offsets[place] for place in places]
        return zip(places, self.frames.these(offsets), strict=True)

    def keep(self, place: int, kept: bool = True) -> None:
        """Keep the frame at a place, or leave it out after all."""
        self._keep[place] = kept

    @property
    def kept(self) -> int:
        """How many frames are kept."""
        return len(self._keep) - self._keep.count(0)

    def copy_to(self, anew: Anew, entry: Callable[[Whole], Entry]) -> None:
        """Copy what is kept.

        Args:
            anew: where it goes.
            entry: a frame as it is written, where that is not how it stands here.

        Raises:
            FormatError: the segment has changed since it was opened.
        """
        frames, offsets = self.frames, self.offsets
        if frames.seal is None:
            anew.add(map(entry, frames.again(list(compress(offsets, self._keep)))))
            return
        keep = self._keep
        for place in (*self._without, *(found.start() for found in _EVENTS.finditer(self.kinds))):
            keep[place] *= _ANEW
        for run in _RUNS.finditer(keep):
            if keep[run.start()] == _ANEW:
                anew.add(map(entry, frames.again([offsets[run.start()]])))
            else:
                self._copy(run.start(), run.end(), anew)
        frames.must_be_whole()

    def _copy(self, begin: int, end: int, anew: Anew) -> None:
        """Copy frames that stand one after the other, a bounded number of bytes at a time."""
        offsets, seal = self.offsets, self.frames.seal
        while begin < end:
            start = offsets[begin]
            stop = max(bisect_left(offsets, start + _PIECE, begin, end), begin + 1)
            over = offsets[stop] if stop < len(offsets) else self.frames.end
            anew.copy(
                self.frames.bytes_of(start, over),
                [offset - start for offset in offsets[begin:stop]],
                self.kinds[begin:stop],
                zip(self.first[begin:stop], self.second[begin:stop], strict=True),
                blobs=seal is not None and bool(seal.joined),
            )
            begin = stop


_IS_KEYED = bytes(kind in _KEYED for kind in range(256))
_EVENTS = re.compile(re.escape(bytes([fmt.RUN])))
