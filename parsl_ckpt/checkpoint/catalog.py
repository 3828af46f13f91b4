"""What can be read: the segments of several directories, and the indexes that cover them.

Rules of this file:

* Opening reads names, index heads and nothing else of what is sealed.  Segments without an index
  are walked, headers only, and that index is kept in the reader's own directory for the next one.
* Segments are matched with merged indexes by name and id, never by path: run directories may be
  moved.
* Damage never stops anything: a bad index is replaced by a walk, and reported once.
* Readers take no lock.  ``indexes`` and ``grown`` are tuples that are replaced as a whole; what
  moves from the latter to the former is added there before it is taken away here.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from parsl_ckpt.errors import FormatError

from . import extents
from . import format as fmt
from .backend import Backend, Readable, Writable
from .format import FILE_HEADER_SIZE, FRAME_HEADER_SIZE, ID_SIZE
from .index import (
    MAX_SEGMENTS,
    OFFSET_BITS,
    OFFSET_MASK,
    PAGE_SIZE,
    TRAILER_SIZE,
    BadPage,
    Covered,
    Index,
    Trailer,
    memory_index,
    merge,
    open_index,
    read_trailer,
    renumbered,
    write_index,
)
from .local import MAP_MINIMUM
from .segment import DamagedFrame, OpenFiles, Segment, parse_name
from .signing import Links, Signer
from .tail import Tail

INDEX_SUFFIX = ".idx"
KEEP_SCAN = 512  # entries from which the index of a scan is worth a file
MANY_INDEXES = 8  # more than this many slow down every lookup
KEEP_LARGEST = 3
MAX_PROBLEMS = 1000


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Something that was found wrong with a checkpoint, and worked around.

    Attributes:
        kind: ``"damage"`` (bytes of a segment), ``"index"`` (of an index), ``"record"`` (a record
            that does not decode), ``"blob"``, ``"directory"`` (not readable), ``"untrusted"``,
            ``"signature"`` (records that are not signed with the key, or were taken out).
        path: the file or directory.
        text: one sentence.
        offset: where in the file, if that is known.
        size: bytes lost, if that is known.
    """

    kind: str
    path: str
    text: str
    offset: int = 0
    size: int = 0


class Catalog:
    """Segments and indexes of some directories.

    Attributes:
        directories: where is looked, oldest first.
        segments: by file name.
        indexes: what lookups go through.
        grown: and the ends of segments that have grown since they were indexed.
        growing: the end of each unsealed segment, by the name of that.
        removed: ids of the records that tombstones name.
        problems: what was found wrong, each once.
        lock: held by whoever changes any of it.
        signer: has the key that everything must be signed with; None without one.
        key: that key.
    """

    def __init__(
        self,
        backend: Backend,
        directories: Sequence[str],
        on_problem: Callable[[Problem], None] | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.backend = backend
        self.signer = signer
        self.key = signer.key if signer is not None else None
        self.directories = list(directories)
        self.segments: dict[str, Segment] = {}
        self.indexes: tuple[Index, ...] = ()
        self.grown: tuple[Tail, ...] = ()
        self.removed: set[bytes] = set()
        self.problems: list[Problem] = []
        self.opened = OpenFiles(signer=signer)
        self.mine: set[str] = set()  # names of the segments that this process writes or wrote
        self.vanished = False  # a file was not found that should have been
        self._on_problem = on_problem
        self._told: set[tuple[str, str, int]] = set()
        self.lock = threading.RLock()
        self.growing: dict[str, Tail] = {}

    # --- lookups ----------------------------------------------------------------------------------

    def candidates(self, key: bytes) -> list[tuple[Segment, int]]:
        """Where records with this key may be, newest first."""
        prefix = int.from_bytes(key[:8], "little")
        found: list[tuple[Segment, int]] = []
        for tail in self.grown:
            found += [(tail.segment, offset) for offset in tail.lookup(prefix)]
        for index in self.indexes:
            try:
                locators = index.lookup(prefix)
            except BadPage as error:
                self._replace(index, error)
                return self.candidates(key)
            for locator in locators:
                place = locator >> OFFSET_BITS
                segment = index.segments[place] if place < len(index.segments) else None
                if segment is not None:
                    found.append((segment, locator & OFFSET_MASK))
        if len(found) > 1:
            return sorted(set(found), key=lambda at: (at[0].rank, at[1]), reverse=True)
        return found

    def counts(self) -> list[tuple[str, int]]:
        """(directory, number of results) for each directory that was found."""
        counts = dict.fromkeys(self.directories, 0)
        for segment in list(self.segments.values()):
            counts[segment.directory] = counts.get(segment.directory, 0) + segment.records
        return list(counts.items())

    def report(self, kind: str, path: str, text: str, offset: int = 0, size: int = 0) -> None:
        """Note something that is wrong, once."""
        mark = (kind, path, offset)
        with self.lock:
            if mark in self._told or len(self.problems) >= MAX_PROBLEMS:
                return
            self._told.add(mark)
            problem = Problem(kind, path, text, offset, size)
            self.problems.append(problem)
        if self._on_problem is not None:
            self._on_problem(problem)

    def report_damage(self, segment: Segment, offset: int, lost: int) -> None:
        """Note bytes of a segment that are lost, once."""
        self.report(
            "damage", segment.path,
            f"{segment.path} is damaged: {lost} bytes from {offset} are lost.", offset, lost,
        )  # fmt: skip

    # --- opening ----------------------------------------------------------------------------------

    def load(self, keep_in: str | None) -> None:
        """Find what is in the directories.

        Args:
            keep_in: where the index of a scan may be kept.
        """
        indexes: list[tuple[str, str]] = []
        fresh: dict[str, Segment] = {}
        for source, directory in enumerate(self.directories):
            for name in self.names(directory):
                if name in self.segments or name in self.mine:
                    continue
                parsed = parse_name(name)
                if parsed is not None:
                    fresh[name] = self.segment_at(source, directory, name, *parsed)
                elif name.endswith(INDEX_SUFFIX) and not name.startswith("."):
                    indexes.append((directory, name))
        self.segments.update(fresh)
        uncovered = dict(fresh)
        kept: list[Index] = []
        for directory, name in sorted(indexes, reverse=True, key=lambda at: (at[1], at[0])):
            if not uncovered:
                break
            index = self._read_index_file(f"{directory}/{name}")
            if index is not None and self._bind(index, uncovered):
                kept.append(index)
        scanned: list[Segment] = []
        for segment in sorted(uncovered.values(), key=lambda segment: segment.rank):
            own = self.own_index(segment)
            if own is not None:
                kept.append(own)
            else:
                scanned.append(segment)
        with self.lock:
            self.adopt(kept)
        self.scan(scanned, keep_in)

    def find_again(self) -> bool:
        """Take out the segments whose files are gone, and take in those that stand for them.

        Returns:
            Whether there is anything new.
        """
        with self.lock:
            self.vanished = False
            here = {name for directory in self.directories for name in self.names(directory)}
            gone = [segment for name, segment in self.segments.items() if name not in here]
            for segment in gone:
                self.lose(segment)
            known = set(self.segments)
            self.load(None)
            new = not known.issuperset(self.segments)
        if not new:
            for segment in gone:
                self.report("directory", segment.path, f"{segment.path} is gone.")
        return new

    def lose(self, segment: Segment) -> None:
        """Take out a segment whose file is gone."""
        del self.segments[segment.name]
        self.growing.pop(segment.name, None)
        self.grown = tuple(tail for tail in self.grown if tail.segment is not segment)
        for index in self.indexes:
            # In place: who is just looking up through it finds nothing there, and looks again.
            index.segments[:] = [None if one is segment else one for one in index.segments]

    def scan(self, segments: Sequence[Segment], keep_in: str | None) -> None:
        """Walk segments that no index covers, and index them."""
        if not segments:
            return
        entries: list[int] = []
        covered: list[Covered] = []
        removed: list[bytes] = []
        for segment in segments:
            covered.append(self._walk(segment, len(covered), entries, removed))
        entries.sort()
        index = None
        if keep_in is not None and len(entries) >= KEEP_SCAN:
            with contextlib.suppress(OSError):  # else the next reader walks again
                path = self._write_index_file(keep_in, [entries], covered, removed)
                index = self._read_index_file(path)
        if index is None:
            index = memory_index(entries, covered, removed)
        index.segments = list(segments)
        with self.lock:
            self.adopt([index])

    def add_sealed(self, segment: Segment) -> bool:
        """Take in a segment that has just been sealed; False if its index cannot be read."""
        self.segments[segment.name] = segment
        index = self.own_index(segment)
        if index is None:
            return False
        with self.lock:
            self.adopt([index])
        return True

    def add_entries(
        self, segment: Segment, entries: list[int], covered: Covered, removed: Iterable[bytes]
    ) -> None:
        """Take in a segment that was given up unsealed, whose entries are known."""
        self.segments[segment.name] = segment
        segment.records = covered.records
        # With what its tombstones name: an index file may be made of it, for others.
        index = memory_index(sorted(entries), [covered], removed)
        index.segments = [segment]
        with self.lock:
            self.adopt([index])

    def merge_into(self, directory: str) -> bool:
        """Merge indexes where there are several, into a file in ``directory``.

        Those of single segments of that directory are merged; and beyond ``MANY_INDEXES`` in all,
        the smaller ones, wherever they are.

        Returns:
            Whether there was anything to merge.

        Raises:
            OSError: the merged index could not be written.
            BadPage: a page is damaged.
        """
        indexes = [index for index in self.indexes if len(index)]
        chosen = [
            index
            for index in indexes
            if len(index.segments) == 1
            and index.segments[0] is not None
            and index.segments[0].directory == directory
        ]
        if len(indexes) - max(len(chosen) - 1, 0) > MANY_INDEXES:
            chosen = sorted(indexes, key=len)[: len(indexes) - KEEP_LARGEST]
        if len(chosen) < 2:
            return False
        segments = sorted(
            {s.name: s for index in chosen for s in index.segments if s is not None}.values(),
            key=lambda segment: segment.rank,
        )[:MAX_SEGMENTS]
        number = {segment.name: place for place, segment in enumerate(segments)}
        covered: dict[str, Covered] = {}
        removed: dict[bytes, None] = {}
        for index in chosen:
            removed.update(dict.fromkeys(_ids(index.meta.removed)))
            for cover in index.meta.segments:
                if cover.name in number:
                    before = covered.get(cover.name)
                    if before is None or cover.length > before.length:
                        covered[cover.name] = cover
        sources = [
            (
                index,
                renumbered([number.get(s.name) if s is not None else None for s in index.segments]),
            )
            for index in chosen
        ]
        path = self._write_index_file(
            directory, merge(sources), [covered[s.name] for s in segments], removed
        )
        merged = self._read_index_file(path)
        if merged is None:
            return False
        merged.segments = list(segments)
        with self.lock:
            self.indexes = (*(index for index in self.indexes if index not in chosen), merged)
        for index in chosen:
            if index.path is not None and index.path.startswith(directory + "/"):
                self.backend.discard(index.path)  # who has it open goes on reading it
        return True

    def forked(self) -> None:
        """In a child: a thread that is not there may have held the lock."""
        self.lock = threading.RLock()

    def close(self) -> None:
        """Let go of all files."""
        self.indexes = self.grown = ()
        self.opened.clear()

    # --- inside -----------------------------------------------------------------------------------

    def names(self, directory: str) -> Iterable[str]:
        """Names in a directory; none where it cannot be read."""
        try:
            return self.backend.list(directory)
        except FileNotFoundError:
            return ()  # made when it is first written to
        except OSError as error:
            self.report("directory", directory, f"{directory} cannot be read: {error}.")
            return ()

    def segment_at(
        self, source: int, directory: str, name: str, sequence: int, identity: bytes
    ) -> Segment:
        """A segment that was found in a directory, which is the ``source``-th."""
        return Segment(
            self.backend, directory, name, identity, (source, sequence, name), self.opened
        )

    def adopt(self, indexes: Sequence[Index]) -> None:
        """Look keys up in these as well."""
        for index in indexes:
            self.removed.update(_ids(index.meta.removed))
        # An index that covers less of the same segments than a new one is superseded.
        names = {c.name for index in indexes for c in index.meta.segments}
        rest = [
            old
            for old in self.indexes
            if not old.meta.segments or not {c.name for c in old.meta.segments} <= names
        ]
        self.indexes = (*rest, *indexes)

    def _bind(self, index: Index, uncovered: dict[str, Segment]) -> bool:
        """Point an index at the segments that are here; True if it covers any anew."""
        useful = False
        for place, cover in enumerate(index.meta.segments):
            segment = self.segments.get(cover.name)
            if segment is None or segment.identity != cover.identity:
                continue
            index.segments[place] = segment
            if cover.name in uncovered and (cover.sealed or self._same_size(segment, cover)):
                del uncovered[cover.name]
                segment.sealed = cover.sealed
                segment.records = cover.records
                segment.extents = extents.decoded(cover.extents)
                useful = True
        return useful

    def _same_size(self, segment: Segment, cover: Covered) -> bool:
        try:
            same = segment.open().size() == cover.size
        except OSError:
            return False
        if same:
            links = Links(segment, cover.length) if self.signer is not None else None
            self.growing[segment.name] = Tail(segment, cover.length, cover.size, links)
        return same

    def own_index(self, segment: Segment) -> Index | None:
        """The index at the end of a sealed segment; None if it has to be walked."""
        try:
            reader = self.backend.open(segment.path)
            size = reader.size()
            identity = fmt.read_file_header(reader.read(0, FILE_HEADER_SIZE), fmt.SEGMENT_MAGIC)
            if identity is not None:
                segment.identity = identity  # else the one in its name is tried
            if size < TRAILER_SIZE + FILE_HEADER_SIZE:
                return None
            trailer = self._read_trailer(reader, size)
            if trailer is None or trailer.identity != segment.identity:
                return None
            head = reader.read(trailer.head_offset, trailer.head_length)
            length = trailer.pages * PAGE_SIZE
            segment.sealed = True
            if size >= MAP_MINIMUM and not reader.by_range:
                view = segment.view()
                assert view is not None
                pages = view[trailer.pages_offset : trailer.pages_offset + length]
            else:
                pages = memoryview(reader.read(trailer.pages_offset, length))
            index = open_index(trailer, head, pages, self.key)
        except OSError as error:
            self.report("directory", segment.path, f"{segment.path} cannot be read: {error}.")
            return None
        except FormatError as error:
            segment.sealed = False
            segment.close()
            self.report("index", segment.path, f"{segment.path} is walked: {error}")
            return None
        if len(index.meta.segments) == 1:
            index.segments = [segment]
            segment.records = index.meta.segments[0].records
            segment.extents = extents.decoded(index.meta.segments[0].extents)
        return index

    def _read_trailer(self, reader: Readable, size: int) -> Trailer | None:
        return read_trailer(reader.read(size - TRAILER_SIZE, TRAILER_SIZE), size, self.key)

    def _read_index_file(self, path: str) -> Index | None:
        try:
            reader = self.backend.open(path)
            size = reader.size()
            if size < PAGE_SIZE + TRAILER_SIZE:
                raise FormatError("It ends early.")
            header = reader.read(0, FILE_HEADER_SIZE)
            identity = fmt.read_file_header(header, fmt.INDEX_MAGIC)
            if self.key is None and identity is not None and fmt.is_signed(header):
                return None  # it can be verified with the key only; what it covers is walked
            trailer = self._read_trailer(reader, size)
            if trailer is None or (identity is not None and identity != trailer.identity):
                raise FormatError("It has no whole trailer.")
            head = reader.read(trailer.head_offset, trailer.head_length)
            length = trailer.pages * PAGE_SIZE
            if size >= MAP_MINIMUM and not reader.by_range:
                pages = reader.map()[trailer.pages_offset : trailer.pages_offset + length]
            else:
                pages = memoryview(reader.read(trailer.pages_offset, length))
            index = open_index(trailer, head, pages, self.key)
            index.path = path
            return index
        except FileNotFoundError:
            return None  # merged into another one meanwhile
        except (OSError, FormatError, ValueError) as error:
            self.report("index", path, f"The index {path} is left aside: {error}")
            return None

    def _write_index_file(
        self,
        directory: str,
        entries: Iterable[Sequence[int]],
        covered: Sequence[Covered],
        removed: Iterable[bytes],
    ) -> str:
        identity = secrets.token_bytes(ID_SIZE)
        self.backend.make_directory(directory)
        # Readers try names in descending order, so that the index which covers most comes first.
        path = f"{directory}/{len(covered):06d}-{identity.hex()}{INDEX_SUFFIX}"

        def fill(file: Writable) -> None:
            header = fmt.file_header(
                fmt.INDEX_MAGIC, identity, 0 if self.key is None else fmt.FLAG_SIGNED
            )
            file.write(header.ljust(PAGE_SIZE, b"\0"))
            for part in write_index(entries, covered, removed, identity, PAGE_SIZE, self.key):
                file.write(part)

        temporary = f"{directory}/.tmp-{identity.hex()}"
        self.backend.write_whole(path, temporary, fill, durable=False)
        return path

    def _walk(
        self, segment: Segment, number: int, entries: list[int], removed: list[bytes]
    ) -> Covered:
        """Index one segment by the headers of its frames."""
        base = number << OFFSET_BITS
        records = 0
        try:
            reader = self.backend.open(segment.path)
            size = reader.size()
            identity = fmt.read_file_header(reader.read(0, FILE_HEADER_SIZE), fmt.SEGMENT_MAGIC)
        except OSError as error:
            self.report("directory", segment.path, f"{segment.path} cannot be read: {error}.")
            return Covered(segment.name, segment.identity, 0, 0, False, 0)
        except FormatError as error:
            self.report("damage", segment.path, f"{segment.path} is left aside: {error}")
            return Covered(segment.name, segment.identity, 0, 0, False, 0)
        if identity is not None:
            segment.identity = identity
        elif size >= FILE_HEADER_SIZE:
            self.report(
                "damage", segment.path, f"The first bytes of {segment.path} are damaged.",
                0, FILE_HEADER_SIZE,
            )  # fmt: skip
        walk = segment.walk(0, size)
        sealed = False
        links = Links(segment) if self.signer is not None else None
        for offset, kind, keys, length, _, first, second in walk.headers():
            if links is not None and kind != fmt.INDEX:
                gap = links.follow(offset, length)
                if gap is not None and not walk.damage:
                    self.report("signature", segment.path, gap.text, gap.offset)
            if kind == fmt.RESULT:
                records += 1
            elif kind == fmt.INDEX:
                sealed = sealed or offset + FRAME_HEADER_SIZE + length == size
                continue
            elif kind == fmt.TOMBSTONE:
                removed.extend(self.tombstone(segment, offset))
            if keys:
                entries.append(first << 64 | base | offset)
                if keys > 1:
                    entries.append(second << 64 | base | offset)
        for offset, lost in walk.damage:
            self.report_damage(segment, offset, lost)
        segment.records = records
        tail = self.growing[segment.name] = Tail(segment, walk.end, size, links)
        tail.over = sealed
        gathered = extents.encoded(segment.extents)
        return Covered(
            segment.name, segment.identity, walk.end, size, sealed, records, gathered,
        )  # fmt: skip

    def tombstone(self, segment: Segment, offset: int) -> Iterable[bytes]:
        """What the tombstone at an offset removes."""
        try:
            kind, _, payload = segment.frame(offset)
            record = fmt.decode_record(kind, payload)
        except (DamagedFrame, FormatError, OSError):
            return ()
        return record.record_ids if isinstance(record, fmt.Tombstone) else ()

    def _replace(self, index: Index, error: BadPage) -> None:
        """Do without an index that turned out damaged."""
        with self.lock:
            if index not in self.indexes:
                return
            segments = [segment for segment in index.segments if segment is not None]
            for segment in segments:
                text = f"An index of {segment.path} is damaged: {error}"
                self.report("index", segment.path, text)
            self.indexes = tuple(other for other in self.indexes if other is not index)
            whole = []
            if len(segments) > 1:  # merged: each may have its own
                for segment in segments:
                    own = self.own_index(segment)
                    if own is not None:
                        self.adopt([own])
                    else:
                        whole.append(segment)
            else:
                whole = segments
            self.scan(whole, None)


def _ids(joined: bytes) -> Iterator[bytes]:
    for start in range(0, len(joined), ID_SIZE):
        yield joined[start : start + ID_SIZE]
