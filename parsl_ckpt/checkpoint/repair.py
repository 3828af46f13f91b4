"""Repairing: segments without what is damaged in them, and indexes made anew.

Rule of this file: every whole record whose value can still be read is kept; what is rewritten is
removed only when it stands elsewhere, on the disk.  A run that lives is not touched.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parsl_ckpt.errors import FormatError, UnreadableRecordError

from . import format as fmt
from . import inventory, rewrite
from .backend import Backend
from .blobs import Blobs
from .catalog import INDEX_SUFFIX
from .frames import Frames, decode
from .inventory import Place
from .segment import OpenFiles, Segment
from .verify import index_fault

Progress = Callable[[int], None]


@dataclass
class Repair:
    """What repairing did, or would do.

    Attributes:
        rewritten: segments that were written anew: those with damage, and those without an end.
        records: whole records in them, which were kept.
        dropped: records that are left out: damaged, or without one of their blobs.
        bytes: damaged bytes that are left out.
        blobs: damaged blobs that are removed.
        indexes: damaged indexes that are removed.
        leftover: bytes of unfinished files that are removed.
        left: runs that were left alone, with the reason.
    """

    rewritten: list[str] = field(default_factory=list)
    records: int = 0
    dropped: int = 0
    bytes: int = 0
    blobs: int = 0
    indexes: int = 0
    leftover: int = 0
    left: dict[str, str] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        return not (self.rewritten or self.blobs or self.indexes or self.leftover)


def repair(
    backend: Backend,
    places: Sequence[Place],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    signer: object = None,
) -> Repair:
    """Repair checkpoint directories.

    Args:
        backend: where they are.
        places: which.
        dry_run: only say what would be done.
        progress: called with the number of bytes done since the last call.
        signer: verifies and signs, where records are signed.

    Raises:
        OSError: it could not be written; nothing is lost.
    """
    done = Repair()
    for place in places:
        if place.untouchable or place.own:
            done.left[place.name] = place.untouchable or "it is live"
        else:
            _Place(backend, place, done, dry_run, progress or (lambda _: None), signer).repair()
    return done


class _Place:
    def __init__(
        self,
        backend: Backend,
        place: Place,
        done: Repair,
        dry_run: bool,
        progress: Progress,
        signer: object,
    ) -> None:
        self._backend = backend
        self._place = place
        self._done = done
        self._dry = dry_run
        self._progress = progress
        self._signer = rewrite.chain_of_its_own(signer)
        self._all = False  # all segments are to be written anew
        self._good: dict[bytes, int] = {}  # digest of each good blob -> size

    def repair(self) -> None:
        directory = self._place.directory
        before = len(self._done.rewritten) + self._done.indexes
        self._check_blobs()
        self._segments()
        self._check_indexes()
        if self._dry:
            self._done.leftover += sum(
                file.size for file in inventory.entries(self._backend, directory)
                if file.name.startswith(inventory.LEFTOVERS)
            )  # fmt: skip
            return
        if len(self._done.rewritten) + self._done.indexes > before:
            rewrite.index_anew(self._backend, directory, self._signer)
            # What was removed must not come back after a power cut: it would be damage again.
            self._backend.sync_directory(directory)
        self._done.leftover += rewrite.sweep(self._backend, directory)

    def _segments(self) -> None:
        for segment in inventory.segments(self._backend, [self._place], OpenFiles()):
            try:
                self._segment(segment)
            except FormatError as error:
                self._done.left[segment.path] = error.message
            except _WriteAll:
                self._all = True
                self._segments()
                return

    def _check_blobs(self) -> None:
        reader = Blobs(self._backend, durable=False, trust="any")
        for path, file in list(inventory.blobs(self._backend, self._place.directory)):
            digest = inventory.blob_digest(path)
            if digest is None:
                continue
            try:
                reader.read(self._place.directory, digest, file.size)
                self._good[digest] = file.size
            except UnreadableRecordError as error:
                if isinstance(error.__cause__, OSError):  # nobody knows whether it is damaged
                    self._done.left[path] = str(error.__cause__)
                    self._good[digest] = file.size
                    continue
                self._done.blobs += 1
                if not self._dry:
                    self._backend.remove(path)
            self._progress(file.size)

    def _check_indexes(self) -> None:
        for name in inventory.listing(self._backend, self._place.directory):
            path = f"{self._place.directory}/{name}"
            if not name.endswith(INDEX_SUFFIX):
                continue
            if index_fault(self._backend, path, self._signer) is not None:
                self._done.indexes += 1
                if not self._dry:
                    self._backend.discard(path)

    def _segment(self, segment: Segment) -> None:
        done = self._done
        frames = Frames(segment, growing=False, signer=self._signer)
        lost = dropped = 0

        def damaged(offset: int, size: int, kind: int) -> None:
            nonlocal lost, dropped
            lost += size
            dropped += kind != fmt.INDEX

        keep = array("Q")
        for frame in frames.whole(damaged):
            if frame.kind == fmt.INDEX:
                continue
            record = decode(frame)
            known = frame.kind in fmt.KIND_OF.values()
            blobs = record.blobs if isinstance(record, (fmt.Result, fmt.Session)) else ()
            if (known and record is None) or any(
                self._good.get(digest) != size for digest, size in blobs
            ):
                dropped += 1
            else:
                keep.append(frame.offset)
        self._progress(frames.size)
        whole = frames.header and not lost and not dropped
        if whole and inventory.has_end(self._backend, segment.path) and not self._all:
            return
        frames.may_be_written_anew()
        if self._signer is not None and not self._all:  # a chain that is mended must not break
            raise _WriteAll
        done.rewritten.append(segment.path)
        done.records += len(keep)
        done.dropped += dropped
        done.bytes += lost
        if self._dry:
            return
        rewrite.write_segment(
            self._backend,
            segment.directory,
            segment.rank[1],
            (frame.entry() for frame in frames.again(keep)),
            self._signer,
        )
        self._backend.remove(segment.path)


class _WriteAll(Exception):
    """One segment of a signed chain has to be written anew."""
