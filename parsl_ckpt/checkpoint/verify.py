"""Verifying: every checksum of every file, and what is lost where one does not hold.

Rule of this file: it looks and changes nothing, and nothing stops it.  What is still being written
is verified as far as it reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parsl_ckpt.errors import FormatError, UnreadableRecordError

from . import format as fmt
from . import inventory
from .backend import Backend
from .blobs import Blobs
from .catalog import INDEX_SUFFIX
from .format import FILE_HEADER_SIZE, RESULT
from .frames import Frames, Whole, decode
from .index import PAGE_SIZE, TRAILER_SIZE, digest_of, open_index, read_trailer
from .inventory import Place
from .sealing import verified
from .segment import OpenFiles, Segment

Progress = Callable[[int], None]  # bytes that are done


class Damage(NamedTuple):
    """Something that is not as it was written.

    Attributes:
        path: the file.
        offset, size: which bytes.
        what: half a sentence.
        records: how many records are lost by it; indexes can be made again and lose none.
    """

    path: str
    offset: int
    size: int
    what: str
    records: int


class Lost(NamedTuple):
    """A result whose value cannot be read any more."""

    app: str
    key: bytes
    path: str
    why: str


@dataclass
class Report:
    """What verifying found.

    Attributes:
        places: directories that were verified.
        files, size: what was looked at.
        records: whole records.
        damage: what is damaged.
        lost: results that are lost although their record is whole, because a blob is not.
        torn: bytes of records that a writer had not finished; this is no damage.
        leftover: bytes of files that a writer had not finished.
    """

    places: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0
    records: int = 0
    damage: list[Damage] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    torn: int = 0
    leftover: int = 0

    @property
    def good(self) -> bool:
        """Nothing is damaged and nothing is missing."""
        return not self.damage and not self.lost

    @property
    def lost_records(self) -> int:
        """How many records would be lost; several damaged headers count as one for each gap."""
        return len(self.lost) + sum(damage.records for damage in self.damage)


def verify(
    backend: Backend,
    places: Sequence[Place],
    *,
    progress: Progress | None = None,
    signer: object = None,
) -> Report:
    """Verify checkpoint directories.

    Args:
        backend: where they are.
        places: which.
        progress: called with the number of bytes done since the last call.
        signer: verifies the tags of signed records as well.
    """
    report = Report([place.directory for place in places])
    for place in places:
        key = signer
        if place.foreign == inventory.OTHER_KEY:  # its checksums can be verified, and no more
            what, key = f"it {place.foreign}", None
            report.damage.append(Damage(place.directory, 0, 0, what, 0))
        _verify_place(backend, place, report, progress or (lambda _: None), key)
    return report


def _verify_place(
    backend: Backend, place: Place, report: Report, progress: Progress, signer: object
) -> None:
    bad = _verify_blobs(backend, place, report, progress)
    wanted = _Wanted(backend, place.directory, bad, report)
    signed = False
    for segment in inventory.segments(backend, [place], OpenFiles()):
        signed |= _verify_segment(segment, place, report, wanted, progress, signer)
    if signer is not None:
        _verify_chain(backend, place, report, signer)
    for file in inventory.entries(backend, place.directory):
        path = f"{place.directory}/{file.name}"
        if file.name.endswith(INDEX_SUFFIX):
            report.files += 1
            report.size += file.size
            why = index_fault(backend, path, signer) if signer or not signed else None
            if why is not None:
                report.damage.append(Damage(path, 0, file.size, why, 0))
            progress(file.size)
        elif file.name.startswith(inventory.LEFTOVERS) and not place.live:
            report.leftover += file.size


def _verify_chain(backend: Backend, place: Place, report: Report, signer: Any) -> None:
    from .signing import chain

    opened = OpenFiles(signer=signer)
    try:
        for segment, gap in chain(inventory.segments(backend, [place], opened)):
            report.damage.append(Damage(segment.path, gap.offset, 0, gap.text.rstrip("."), 1))
    except (OSError, FormatError) as error:
        text = f"the chain of signatures cannot be followed: {error}"
        report.damage.append(Damage(place.directory, 0, 0, text, 0))


def _verify_blobs(
    backend: Backend, place: Place, report: Report, progress: Progress
) -> dict[bytes, str]:
    """The blobs that are not what their names say: digest to reason."""
    reader = Blobs(backend, durable=False, trust="any")
    bad: dict[bytes, str] = {}
    for path, file in inventory.blobs(backend, place.directory):
        digest = inventory.blob_digest(path)
        if digest is None:
            if not place.live:
                report.leftover += file.size
            continue
        report.files += 1
        report.size += file.size
        try:
            reader.read(place.directory, digest, file.size)
        except UnreadableRecordError:
            what = "the blob does not have the digest that its name says"
            bad[digest] = what
            report.damage.append(Damage(path, 0, file.size, what, 0))
        progress(file.size)
    return bad


class _Wanted:
    """Looks whether the blobs that results name are there and good, each once."""

    def __init__(
        self, backend: Backend, directory: str, bad: dict[bytes, str], report: Report
    ) -> None:
        self._bad = bad
        self._report = report
        self._sizes = {
            digest: file.size
            for path, file in inventory.blobs(backend, directory)
            if (digest := inventory.blob_digest(path)) is not None
        }

    def by(self, frame: Whole, path: str) -> None:
        record = decode(frame)
        if record is None:
            text = f"a {fmt.KIND_NAMES[frame.kind]} record does not decode"
            self._report.damage.append(Damage(path, frame.offset, len(frame.payload), text, 1))
        elif isinstance(record, (fmt.Result, fmt.Session)):
            why = self.fault(record.blobs)
            if why is not None:
                app = record.app if isinstance(record, fmt.Result) else "(session)"
                self._report.lost.append(Lost(app, record.key, path, why))

    def fault(self, blobs: Iterable[tuple[bytes, int]]) -> str | None:
        for digest, size in blobs:
            if digest in self._bad:
                return f"its blob {digest.hex()[:16]} is damaged"
            if digest not in self._sizes:
                return f"its blob {digest.hex()[:16]} is missing"
            if self._sizes[digest] != size:
                return f"its blob {digest.hex()[:16]} has another size"
        return None


def _verify_segment(
    segment: Segment,
    place: Place,
    report: Report,
    wanted: _Wanted,
    progress: Progress,
    signer: object,
) -> bool:
    """Verify one segment; whether anything in it is signed."""
    if signer is None and _verify_as_a_whole(segment, report, wanted, progress):
        return False
    path = segment.path

    def damaged(offset: int, size: int, kind: int) -> None:
        if kind == fmt.INDEX:
            report.damage.append(Damage(path, offset, size, "the index is damaged", 0))
        elif kind:
            name = fmt.KIND_NAMES.get(kind, "unknown")
            text = f"the payload of a {name} record is damaged"
            report.damage.append(Damage(path, offset, size, text, 1))
        else:
            report.damage.append(Damage(path, offset, size, "no record can be made out", 1))

    report.files += 1
    try:
        frames = Frames(segment, growing=place.live, signer=signer)
        report.size += frames.size
        if not frames.header and frames.size >= FILE_HEADER_SIZE:
            report.damage.append(Damage(path, 0, FILE_HEADER_SIZE, "the file header is damaged", 0))
        done = 0
        decode_result = fmt.decode_result
        for frame in frames.whole(damaged):
            kind = frame.kind
            if kind == RESULT:
                try:
                    blobs = decode_result(frame.payload).blobs
                except (ValueError, RecursionError):
                    wanted.by(frame, path)
                else:
                    if blobs:
                        wanted.by(frame, path)
            elif kind == fmt.INDEX:
                _verify_index(frames, frame, path, report)
                continue
            elif kind in fmt._DECODERS:
                wanted.by(frame, path)
            report.records += 1
            if frame.offset - done > 1 << 24:
                progress(frame.offset - done)
                done = frame.offset
        report.torn += frames.torn
        progress(frames.size - done)
        if signer is not None and frames.unsigned:
            report.damage.append(Damage(path, 0, 0, "it holds records that are not signed", 0))
        return frames.signed
    except FormatError as error:
        report.damage.append(Damage(path, 0, 0, f"it cannot be read: {error.message}", 0))
    except OSError as error:
        report.damage.append(Damage(path, 0, 0, f"it cannot be read: {error}", 0))
    return False


def _verify_as_a_whole(
    segment: Segment, report: Report, wanted: _Wanted, progress: Progress
) -> bool:
    """Whether all is well with a segment that was sealed; else it is gone through."""
    try:
        found = verified(segment.open(), segment.identity)
    except OSError:
        return False
    if found is None or wanted.fault(found.seal.blobs()) is not None:
        return False
    report.files += 1
    report.size += found.size
    report.records += found.seal.records
    progress(found.size)
    return True


def _verify_index(frames: Frames, frame: Whole, path: str, report: Report) -> None:
    # The payload has its digest, so the index is as it was written; only its end may be cut off.
    end = frame.offset + fmt.FRAME_HEADER_SIZE + len(frame.payload)
    if end == frames.size and not inventory.has_end(frames.segment._backend, path):
        report.damage.append(Damage(path, frame.offset, 0, "the index has no whole trailer", 0))


def index_fault(backend: Backend, path: str, signer: Any = None) -> str | None:
    """What is wrong with an index file, as half a sentence; None if nothing is."""
    try:
        file = backend.open(path)
        size = file.size()
        header = file.read(0, FILE_HEADER_SIZE)
        key = signer.key if signer is not None else None
        trailer = read_trailer(file.read(max(size - TRAILER_SIZE, 0), TRAILER_SIZE), size, key)
        if trailer is None or fmt.read_file_header(header, fmt.INDEX_MAGIC) != trailer.identity:
            return "the index is damaged"
        head = file.read(trailer.head_offset, trailer.head_length)
        pages = file.read(trailer.pages_offset, trailer.pages * PAGE_SIZE)
        open_index(trailer, head, memoryview(pages), key)
        sums = head[len(head) - 8 * trailer.pages :]
        for page in range(trailer.pages):
            data = pages[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            if digest_of(data, 8, key) != sums[8 * page : 8 * page + 8]:
                return f"page {page} of the index is damaged"
    except FileNotFoundError:
        return None  # merged into another meanwhile
    except (OSError, FormatError) as error:
        return f"the index cannot be read: {error}"
    return None
