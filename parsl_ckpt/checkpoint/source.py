"""A segment that is compacted: what stands in it, what of that is kept, and how it is copied.

Rule of this file: of a segment that is whole, what nobody asks about is kept, and copied as bytes;
where it stands then is known from the segment's index.  Of all others each frame is asked about,
verified and written anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import compress
from typing import NamedTuple

from parsl_ckpt.errors import FormatError

from . import extents
from . import format as fmt
from .format import FILE_HEADER_SIZE
from .frames import Damage, Frames, Whole
from .index import Index, as_numbers, memory_index, ranges
from .rewrite import Anew
from .segment import Entry

SPEAKING = frozenset((fmt.TOMBSTONE, fmt.ALIAS, fmt.PIN))  # of other records
_PIECE = 4 << 20
_AT_ONCE = 1 << 14  # frames
_SHORT = 1 << 10  # less than this is no extent of its own
_MANY = 1 << 12  # nor is less than such a share of the segment: there would be too many


class Stretch(NamedTuple):
    """Bytes that were copied as they stand.

    Attributes:
        begin, end: where they stand in the segment.
        by: how much further they stand in the other one; may be negative.
    """

    begin: int
    end: int
    by: int


class Source:
    """A segment that is compacted.

    Attributes:
        frames: the segment.
        index: where its records are.
        records: how many there are.
        tombstones: those that stand in it.
    """

    def __init__(self, frames: Frames, damaged: Damage) -> None:
        self.frames = frames
        self.index: Index
        self.records = self._results = 0
        self.tombstones: list[fmt.Tombstone] = []
        self._others: Sequence[int] = array("Q")  # offsets of what is no result
        self._asked = array("Q")  # offsets of what is kept only if somebody says so
        self._keep, self._kinds = bytearray(), bytearray()  # of these
        self._whole = frames.is_whole() and self._believe()
        if not self._whole:
            self._go_through(damaged)

    def _believe(self) -> bool:
        """Take in what the writer says of the segment; False if that is not enough."""
        seal, cover = self.frames.seal, self.frames.cover
        if seal is None or cover is None or seal.others is None:
            return False
        try:
            self.index = self.frames.own_index()
        except FormatError:
            return False
        self._others = as_numbers(memoryview(seal.others))
        self.records, self._results = seal.records, cover.records
        if not 0 <= self._results <= self.records <= self.frames.end:
            return False
        return self._within(self._others) and self._within(self.index.locators())

    def _within(self, offsets: Sequence[int]) -> bool:
        return not offsets or FILE_HEADER_SIZE <= min(offsets) <= max(offsets) < self.frames.end

    def _go_through(self, damaged: Damage) -> None:
        entries: list[int] = []
        others = array("Q")
        for offset, kind, keys, first, second in self.frames.heads(damaged):
            self._asked.append(offset)
            if kind != fmt.RESULT:
                others.append(offset)
            if keys:
                entries.append(first << 64 | offset)
                if keys > 1 and second != first:
                    entries.append(second << 64 | offset)
        entries.sort()
        self.index = memory_index(entries, (), ())
        self._others = others
        self.records = len(self._asked)

    def speaking(self) -> Iterator[Whole]:
        """The whole frames that speak of other records."""
        offsets = [at for at in self._others if self.frames.kind(at) in SPEAKING]
        for frame in self.frames.these(offsets):
            if frame is not None:
                yield frame

    def ask(self, shared: Iterable[int] | None) -> None:
        """Say which frames are to be asked about, if the segment is whole.

        Args:
            shared: the offsets of records that have the prefix of a key in common with others. All
                that is no result is asked about as well. None asks about everything.
        """
        if self._whole:
            results = set(self.index.locators() if shared is None else shared)
            self._asked = array("Q", sorted(results.union(self._others)))
        self._keep, self._kinds = bytearray(len(self._asked)), bytearray(len(self._asked))

    def undecided(self) -> Iterator[tuple[int, Whole | None]]:
        """(place, frame) of all that is asked about, from the newest to the oldest."""
        asked, kinds = self._asked, self._kinds
        read = self.frames.again if self._whole else self.frames.these
        places = range(len(asked) - 1, -1, -1)
        for place, frame in zip(places, read(asked[::-1]), strict=True):
            if frame is not None:
                kinds[place] = frame.kind
            yield place, frame

    def keep(self, place: int, kept: bool = True) -> None:
        """Keep the frame at a place, or leave it out after all."""
        self._keep[place] = kept

    @property
    def kept(self) -> int:
        """How many frames are kept."""
        return self.records - self._keep.count(0)

    def copy_to(
        self, anew: Anew, entry: Callable[[Whole], Entry], blobs: Set[bytes] = frozenset()
    ) -> None:
        """Copy what is kept.

        Args:
            anew: where it goes.
            entry: a frame as it is written, where that is not how it stands here.
            blobs: the digests of those that are named by what is kept.

        Raises:
            FormatError: the segment has changed since it was opened.
        """
        if not self._whole:
            anew.add(map(entry, self.frames.again(list(compress(self._asked, self._keep)))))
            return
        stretches: list[Stretch] = []
        apart = [kind for kind, kept in zip(self._kinds, self._keep, strict=True) if not kept]
        short = max(_SHORT, self.frames.end // _MANY)
        waiting: list[int] = []  # what is written anew, together with what follows it

        def written_anew() -> Iterator[Entry]:
            for frame in self.frames.again(waiting):
                apart.append(frame.kind)
                yield entry(frame)

        for begin, end, identity, origin in self._in_order():
            as_it_stands = identity and end - begin >= short
            if as_it_stands or len(waiting) >= _AT_ONCE:
                anew.add(written_anew())
                waiting.clear()
            if as_it_stands:
                pieces = self._pieces(begin, end)
                start = anew.append_extent(pieces, end - begin, identity, origin)
                stretches.append(Stretch(begin, end, start - begin))
            else:
                waiting += self._between(begin, end)
        anew.add(written_anew())
        assert self.frames.seal is not None
        anew.take(
            self.index,
            partial(moved_entries, stretches),
            records=self.records - len(apart),
            results=self._results - apart.count(fmt.RESULT),
            others=moved(stretches, self._others),
            blobs=(blob for blob in self.frames.seal.blobs() if blob[0] in blobs),
        )
        self.frames.must_be_whole()

    def _in_order(self) -> Iterator[tuple[int, int, bytes, int]]:
        """(begin, end, id of the segment in which it was written, offset there) of what is kept.

        Without an id it does not stay as it stands.
        """
        segment = self.frames.segment
        at = FILE_HEADER_SIZE
        for offset, kept, kind in zip(self._asked, self._keep, self._kinds, strict=True):
            if kept and kind != fmt.RUN:
                continue
            yield from extents.stretches(segment.extents, segment.identity, at, offset)
            at = self.frames.after(offset)
            if kept:
                yield offset, at, b"", 0
        yield from extents.stretches(segment.extents, segment.identity, at, self.frames.end)

    def _between(self, at: int, end: int) -> Iterator[int]:
        while at < end:
            yield at
            at = self.frames.after(at)

    def _pieces(self, begin: int, end: int) -> Iterator[bytes]:
        for at in range(begin, end, _PIECE):
            yield self.frames.bytes_of(at, min(at + _PIECE, end))


def shared(sources: Sequence[Source]) -> list[set[int]]:
    """For each source, the offsets of the records that share the prefix of a key with others."""
    found: list[set[int]] = [set() for _ in sources]
    indexes = [source.index for source in sources]
    for low, high in ranges(indexes):
        prefixes = array("Q")
        for index in indexes:
            for some, _ in index.slices(low, high):
                prefixes.extend(some)
        if len(set(prefixes)) == len(prefixes):
            continue
        more = {prefix for prefix, count in Counter(prefixes).items() if count > 1}
        for index, offsets in zip(indexes, found, strict=True):
            for some, locators in index.slices(low, high):
                offsets.update(
                    at for prefix, at in zip(some, locators, strict=True) if prefix in more
                )
    return found


def moved(stretches: Sequence[Stretch], offsets: Iterable[int]) -> list[int]:
    """Where those of some frames that stand in stretches stand now."""
    found: list[int] = []
    for offset in offsets:
        place = bisect_right(stretches, (offset + 1,)) - 1
        if place >= 0 and offset < stretches[place].end:
            found.append(offset + stretches[place].by)
    return found


def moved_entries(
    stretches: Sequence[Stretch], prefixes: Sequence[int], locators: Sequence[int]
) -> Iterable[int]:
    """The entries of an index, for the records that stand in stretches, as they stand now."""
    if len(stretches) == 1:
        begin, end, by = stretches[0]
        if begin <= min(locators) and max(locators) < end:
            return [prefix << 64 | at + by for prefix, at in zip(prefixes, locators, strict=True)]
    entries: list[int] = []
    for prefix, offset in zip(prefixes, locators, strict=True):
        entries += [prefix << 64 | at for at in moved(stretches, (offset,))]
    return entries
