"""Indexes: from the first 8 bytes of a key to the places of its records.

One layout serves three: the index that ends a sealed segment, the merged index over many segments,
and the index of a segment that was scanned because its writer died before sealing it::

    pages    4096 bytes each, at a multiple of 4096: 256 key prefixes, then 256 locators
    head     length of meta, meta (MessagePack), first prefix of each page, checksum of each page
    trailer  72 bytes: magic, id, where the pages are, how many, length and digest of the head,
             checksum

Opening reads trailer and head; pages are mapped, and each is verified when it is first touched.  A
locator is segment number (24 bits) and offset (40 bits); segments are numbered from the oldest to
the newest, so entries that are sorted as numbers are sorted by age within a key.

After LevelDB's table format (index block and footer), with fixed-width entries so that a page is
searched by :func:`bisect.bisect_left` over the mapped memory.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError

from .backend import Buffer, Readable
from .format import CHECKSUM_SIZE, FILE_HEADER_SIZE, ID_SIZE

if TYPE_CHECKING:
    from .segment import Segment

PAGE_SIZE = 4096
PAGE_ENTRIES = 256
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1
MAX_SEGMENTS = 1 << 24
MAX_HEAD = 1 << 28  # bytes; enough for billions of entries
_WORDS = PAGE_SIZE // 8
_TRAILER = Struct("<8s16sQQQ16s8s")
TRAILER_SIZE = _TRAILER.size
_TRAILER_MAGIC = b"PCKPTEND"
_U32 = Struct("<I")


def digest_of(data: Buffer, size: int, key: bytes | None) -> bytes:
    """The first bytes of a digest, keyed if there is a key."""
    return (blake3(data) if key is None else blake3(data, key=key)).digest(size)


class Covered(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A segment, or the beginning of one, that an index covers.

    Attributes:
        name: file name of the segment.
        identity: its id.
        length: the frames before this offset are covered.
        size: how long the file was then; if it is no longer, there is nothing new in it.
        sealed: its writer has ended it.
        records: number of results.
        extents: frames in it that were written in other segments; see :mod:`.extents`.
    """

    name: str
    identity: bytes
    length: int
    size: int
    sealed: bool
    records: int
    extents: bytes = b""


class Meta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an index says about itself.

    Attributes:
        entries: number of entries; the last page may be partly filled.
        segments: what is covered, from the oldest to the newest.
        removed: ids of the records that tombstones in these segments name, joined.
    """

    entries: int
    segments: tuple[Covered, ...]
    removed: bytes = b""


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode


class BadPage(FormatError):
    """A page of an index does not have its checksum."""


class Index:
    """An opened index.

    Attributes:
        meta: what it covers.
        segments: the opened segment for each covered one; None for those that are gone.
        path: its file, if it is not part of a segment.
    """

    __slots__ = ("_good", "_key", "_last", "_sums", "_words", "fences", "meta", "path", "segments")

    def __init__(
        self,
        meta: Meta,
        fences: Sequence[int],
        sums: bytes,
        pages: memoryview,
        key: bytes | None = None,
    ) -> None:
        self.meta = meta
        self.segments: list[Segment | None] = [None] * len(meta.segments)
        self.path: str | None = None
        self.fences = fences
        self._key = key
        self._sums = sums
        self._words = as_numbers(pages)
        self._good = bytearray(len(fences))
        self._last = meta.entries - PAGE_ENTRIES * (len(fences) - 1)

    def __len__(self) -> int:
        return self.meta.entries

    def lookup(self, prefix: int) -> list[int]:
        """Locators of all entries with a prefix, in no particular order.

        Raises:
            BadPage: a page that had to be searched is damaged.
        """
        found: list[int] = []
        page = bisect_right(self.fences, prefix) - 1
        words = self._words
        while page >= 0:
            if not self._good[page]:
                self._verify(page)
            low = page * _WORDS
            high = low + (self._last if page + 1 == len(self.fences) else PAGE_ENTRIES)
            at = begin = bisect_left(words, prefix, low, high)
            while at < high and words[at] == prefix:
                found.append(words[at + PAGE_ENTRIES])
                at += 1
            if begin > low:
                break
            page -= 1  # entries of one prefix may begin on the page before
        return found

    def locators(self) -> array[int]:
        """The locators of all entries.

        Raises:
            BadPage: a page is damaged.
        """
        found = array("Q")
        for _, locators in self.slices(0, 1 << 64):
            found.extend(locators)
        return found

    def slices(self, low: int, high: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
        """The prefixes with low <= prefix < high, in order, and the locators that belong to them.

        Raises:
            BadPage: a page is damaged.
        """
        page = max(bisect_left(self.fences, low) - 1, 0)
        words = self._words
        while page < len(self.fences) and self.fences[page] < high:
            if not self._good[page]:
                self._verify(page)
            start = page * _WORDS
            end = start + (self._last if page + 1 == len(self.fences) else PAGE_ENTRIES)
            first = bisect_left(words, low, start, end)
            last = bisect_left(words, high, start, end)
            if first < last:
                yield words[first:last], words[first + PAGE_ENTRIES : last + PAGE_ENTRIES]
            page += 1

    def _verify(self, page: int) -> None:
        words: Any = self._words[page * _WORDS : (page + 1) * _WORDS]
        data = words.cast("B") if isinstance(words, memoryview) else as_bytes(words)
        digest = digest_of(data, CHECKSUM_SIZE, self._key)
        if digest != self._sums[page * CHECKSUM_SIZE : (page + 1) * CHECKSUM_SIZE]:
            raise BadPage(f"Page {page} of an index is damaged.", page=page)
        self._good[page] = 1


# --- reading --------------------------------------------------------------------------------------


class Trailer(msgspec.Struct, frozen=True, gc=False):
    """Where the parts of an index are in its file."""

    identity: bytes
    pages_offset: int
    pages: int
    head_length: int
    head_digest: bytes

    @property
    def head_offset(self) -> int:
        return self.pages_offset + self.pages * PAGE_SIZE


def read_trailer(data: bytes, size: int, key: bytes | None = None) -> Trailer | None:
    """The trailer in the last bytes of a file of ``size`` bytes; None if there is none.

    With a ``key``, which the other functions here take as well, all digests are keyed with it, so
    that only who has the key can make an index that is believed.
    """
    if len(data) != TRAILER_SIZE:
        return None
    magic, identity, pages_offset, pages, head_length, digest, checksum = _TRAILER.unpack(data)
    fields = data[: TRAILER_SIZE - CHECKSUM_SIZE]
    if magic != _TRAILER_MAGIC or digest_of(fields, CHECKSUM_SIZE, key) != checksum:
        return None
    trailer = Trailer(identity, pages_offset, pages, head_length, digest)
    if trailer.head_offset + head_length + TRAILER_SIZE != size or head_length > MAX_HEAD:
        return None
    return trailer


def read_head(trailer: Trailer, head: bytes, key: bytes | None = None) -> tuple[Meta, bytes]:
    """What an index says about itself, and what follows that in its head.

    Raises:
        FormatError: the head is damaged.
    """
    digest = digest_of(head, ID_SIZE, key)
    if len(head) != trailer.head_length or digest != trailer.head_digest:
        raise FormatError("The head of an index is damaged.")
    try:
        (length,) = _U32.unpack_from(head)
        return _decode_meta(head[4 : 4 + length]), head[4 + length :]
    except Exception as error:
        raise FormatError(f"The head of an index does not decode: {error}.") from None


def open_index(trailer: Trailer, head: bytes, pages: memoryview, key: bytes | None = None) -> Index:
    """An index from its verified trailer, its head and its (not yet verified) pages.

    Raises:
        FormatError: the head is damaged.
    """
    meta, rest = read_head(trailer, head, key)
    count = trailer.pages
    if (
        len(rest) != count * (8 + CHECKSUM_SIZE)
        or len(pages) != count * PAGE_SIZE
        or not count * PAGE_ENTRIES - PAGE_ENTRIES < meta.entries <= count * PAGE_ENTRIES
    ):
        raise FormatError("The head of an index contradicts itself.")
    fences = as_numbers(memoryview(rest)[: count * 8])
    return Index(meta, fences, rest[count * 8 :], pages, key)


def covered_by_itself(reader: Readable, size: int) -> Covered | None:
    """What the index at the end of a segment says of that; None if there is no whole one.

    Args:
        reader: the segment.
        size: of the file.
    """
    if size < TRAILER_SIZE:
        return None
    try:
        trailer = read_trailer(reader.read(size - TRAILER_SIZE, TRAILER_SIZE), size)
        if trailer is None:
            return None
        meta, _ = read_head(trailer, reader.read(trailer.head_offset, trailer.head_length))
    except FormatError:
        return None
    if not meta.segments or not FILE_HEADER_SIZE <= meta.segments[0].length < size:
        return None
    return meta.segments[0]


# --- writing --------------------------------------------------------------------------------------


def write_index(
    entries: Iterable[Sequence[int]], covered: Sequence[Covered], removed: Iterable[bytes],
    identity: bytes, pages_offset: int, key: bytes | None = None,
) -> Iterator[bytes]:  # fmt: skip
    """The bytes of an index, to be written at ``pages_offset`` of a file and on.

    Args:
        entries: (prefix << 64 | locator), sorted, in runs of any length.
        covered: the segments that locators refer to.
        removed: ids of removed records.
        identity: id of the file.
        pages_offset: where the pages will be, a multiple of 4096.
        key: signs the index.
    """
    fences = array("Q")
    sums: list[bytes] = []
    count = 0
    pending: list[int] = []
    for run in entries:
        pending.extend(run)
        whole = len(pending) - len(pending) % PAGE_ENTRIES
        if whole:
            yield _pages(pending[:whole], fences, sums, key)
            count += whole
            del pending[:whole]
    if pending:
        yield _pages(pending, fences, sums, key)
        count += len(pending)
    meta = _encode_meta(Meta(count, tuple(covered), b"".join(removed)))
    head = _U32.pack(len(meta)) + meta + as_bytes(fences) + b"".join(sums)
    fields = _TRAILER.pack(
        _TRAILER_MAGIC, identity, pages_offset, len(fences), len(head),
        digest_of(head, ID_SIZE, key), b"",
    )[:-CHECKSUM_SIZE]  # fmt: skip
    yield head + fields + digest_of(fields, CHECKSUM_SIZE, key)


def memory_index(
    entries: Sequence[int], covered: Sequence[Covered], removed: Iterable[bytes]
) -> Index:
    """An index that lives in memory, from sorted entries."""
    fences = array("Q")
    sums: list[bytes] = []
    pages = _pages(entries, fences, sums)
    meta = Meta(len(entries), tuple(covered), b"".join(removed))
    return Index(meta, fences, b"".join(sums), memoryview(pages))


# Prefixes and locators become entries (prefix << 64 | locator), as they are to stand elsewhere.
Move = Callable[[Sequence[int], Sequence[int]], Iterable[int]]


def merge(sources: Sequence[tuple[Index, Move]]) -> Iterator[list[int]]:
    """The entries of several indexes in order, a bounded number at a time.

    Args:
        sources: each index, with what becomes of its entries.

    Raises:
        BadPage: a page is damaged.
    """
    for low, high in ranges([index for index, _ in sources]):
        run: list[int] = []
        for index, move in sources:
            for prefixes, locators in index.slices(low, high):
                run += move(prefixes, locators)
        run.sort()
        yield list(dict.fromkeys(run))


def ranges(indexes: Iterable[Index]) -> Iterator[tuple[int, int]]:
    """Ranges of prefixes, one after the other, of which each holds a bounded number of entries."""
    count = sum(map(len, indexes)) // 65536 + 1  # keys are digests: equal ranges hold about as many
    for place in range(count):
        yield (place << 64) // count, (place + 1 << 64) // count


def as_they_are(prefixes: Sequence[int], locators: Sequence[int]) -> Iterable[int]:
    """The entries of an index as they are."""
    return [prefix << 64 | at for prefix, at in zip(prefixes, locators, strict=True)]


def renumbered(numbers: Sequence[int | None]) -> Move:
    """What becomes of entries where segments have other numbers.

    Args:
        numbers: the new number of each segment; None leaves it out.
    """
    if all(number == place for place, number in enumerate(numbers)):
        return as_they_are

    def move(prefixes: Sequence[int], locators: Sequence[int]) -> Iterable[int]:
        for prefix, locator in zip(prefixes, locators, strict=True):
            place = locator >> OFFSET_BITS
            number = numbers[place] if place < len(numbers) else None
            if number is not None:
                yield prefix << 64 | number << OFFSET_BITS | locator & OFFSET_MASK

    return move


def _pages(
    entries: Sequence[int], fences: array[int], sums: list[bytes], key: bytes | None = None
) -> bytes:
    words = array("Q", b"".join([entry.to_bytes(16, sys.byteorder) for entry in entries]))
    swap = sys.byteorder == "little"
    locators, prefixes = (words[0::2], words[1::2]) if swap else (words[1::2], words[0::2])
    pages: list[bytes] = []
    for start in range(0, len(entries), PAGE_ENTRIES):
        some = prefixes[start : start + PAGE_ENTRIES]
        page = _filled(some) + _filled(locators[start : start + PAGE_ENTRIES])
        fences.append(some[0])
        sums.append(digest_of(page, CHECKSUM_SIZE, key))
        pages.append(page)
    return b"".join(pages)


def _filled(words: array[int]) -> bytes:
    return as_bytes(words).ljust(PAGE_SIZE // 2, b"\xff")


def as_bytes(words: array[int]) -> bytes:
    if sys.byteorder == "big":
        words = array("Q", words)
        words.byteswap()
    return words.tobytes()


def as_numbers(data: memoryview) -> Sequence[int]:
    if not len(data):
        return array("Q")  # an empty view cannot be cast
    if sys.byteorder == "little":
        return data.cast("B").cast("Q")
    words = array("Q", data.tobytes())
    words.byteswap()
    return words
