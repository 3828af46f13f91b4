"""The end of a segment that is still written: what was appended since it was walked.

Rules of this file:

* A tail is read on from the end of its last whole frame, so that following a run costs what the run
  appends, and not what it has appended.
* What is not a whole frame yet is tried again at the next look; damage is told only when whole
  frames follow it.
* One thread extends a tail at a time; any may look keys up in it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parsl_ckpt.errors import FormatError

from . import format as fmt
from .format import FILE_HEADER_SIZE, FRAME_HEADER_SIZE
from .index import Covered, Index, as_they_are, memory_index, merge
from .signing import Links

if TYPE_CHECKING:
    from .catalog import Catalog
    from .segment import Segment

FOLD = 1 << 15  # entries that are kept in a dictionary: ten times the room, and no sorting


class Tail:
    """The frames of one segment beyond those that an index covers.

    Attributes:
        segment: the segment.
        path: its file.
        end: where the last whole frame ended; 0 before the header of the file was seen.
        size: of the file, when it was read last.
        over: nothing will be appended any more: it is sealed, or of a format that is not known.
    """

    __slots__ = ("_links", "_places", "_runs", "end", "over", "path", "segment", "size")

    def __init__(
        self, segment: Segment, end: int = 0, size: int = 0, links: Links | None = None
    ) -> None:
        self.segment = segment
        self.path = segment.path
        self.end = end
        self.size = size
        self.over = False
        self._links = links
        self._places: dict[int, int | tuple[int, ...]] = {}  # prefix of a key -> offsets
        self._runs: tuple[Index, ...] = ()  # what was folded, from the largest to the smallest

    def __len__(self) -> int:
        return len(self._places) + sum(map(len, self._runs))

    def lookup(self, prefix: int) -> Sequence[int]:
        """Offsets of the frames whose keys begin with a prefix."""
        # The dictionary first: what leaves it is in a run already.
        found = self._places.get(prefix, ())
        offsets = found if isinstance(found, tuple) else (found,)
        for run in self._runs:
            offsets += tuple(run.lookup(prefix))
        return offsets

    def extend(self, size: int, catalog: Catalog) -> bool:
        """Read on.

        Args:
            size: of the file now.
            catalog: told of tombstones and of damage.

        Returns:
            Whether there is anything new.

        Raises:
            OSError: the file cannot be read.
        """
        segment = self.segment
        if segment.open().size() < size:
            segment.close()  # opened when there was less of it, in a place where that matters
        if not self.end and not self._begin(size, catalog):
            return False
        before = self.end
        walk = segment.walk(self.end, size)
        for offset, kind, keys, length, _, first, second in walk.headers():
            end = offset + FRAME_HEADER_SIZE + length
            if kind == fmt.INDEX:
                self.over = end == size
            else:
                if self._links is not None:
                    gap = self._links.follow(offset, length)
                    if gap is not None and not walk.damage:
                        catalog.report("signature", segment.path, gap.text, gap.offset)
                if kind == fmt.TOMBSTONE:
                    catalog.removed.update(catalog.tombstone(segment, offset))
                elif kind == fmt.RESULT:
                    segment.records += 1
                if keys:
                    self._add(first, offset)
                    if keys > 1:
                        self._add(second, offset)
            self.end = end  # only now: whoever is interrupted before reads the frame again
        for at, lost in walk.damage:
            if at < self.end:
                catalog.report_damage(segment, at, lost)
        self.size = size
        return self.end > before

    def _begin(self, size: int, catalog: Catalog) -> bool:
        """See the header of the file; False if it cannot be read, or not yet."""
        segment = self.segment
        if size < FILE_HEADER_SIZE:
            return False
        try:
            header = segment.open().read(0, FILE_HEADER_SIZE)
            identity = fmt.read_file_header(header, fmt.SEGMENT_MAGIC)
        except FormatError as error:
            catalog.report("damage", segment.path, f"{segment.path} is left aside: {error}")
            self.over = True
            return False
        if identity is not None:
            segment.identity = identity
        self.end = FILE_HEADER_SIZE
        if catalog.signer is not None:
            self._links = Links(segment)
        return True

    def _add(self, prefix: int, offset: int) -> None:
        places = self._places
        before = places.get(prefix)
        if before is None:
            places[prefix] = offset
            if len(places) >= FOLD:
                self._fold()
        elif isinstance(before, int):
            if before != offset:
                places[prefix] = (before, offset)
        elif offset not in before:
            places[prefix] = (*before, offset)

    def _fold(self) -> None:
        """Put what is in the dictionary into a sorted run; runs of like sizes become one."""
        entries = sorted(
            prefix << 64 | offset
            for prefix, found in self._places.items()
            for offset in (found if isinstance(found, tuple) else (found,))
        )
        runs = [*self._runs, self._run(entries)]
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            last, one = runs.pop(), runs.pop()
            both = merge([(one, as_they_are), (last, as_they_are)])
            runs.append(self._run([entry for some in both for entry in some]))
        self._runs = tuple(runs)
        self._places = {}

    def _run(self, entries: Sequence[int]) -> Index:
        segment = self.segment
        cover = Covered(segment.name, segment.identity, self.end, self.size, False, 0)
        index = memory_index(entries, [cover], ())
        index.segments = [segment]
        return index
