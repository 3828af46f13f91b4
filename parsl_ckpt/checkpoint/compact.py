"""Compacting: many segments, of many runs, into one sealed segment, while readers go on.

::

    runs ─► groups (neighbours, up to a live one) ─► choose, newest first ─► link blobs
                                                                                 ▼
    remove what was compacted ◄── visible ◄── rename ◄── synced ◄────────── write anew

Guarantees:

* What is found under any key afterwards is what was found before: the newest whole result of each
  key, the results that aliases and named sets name, and the tombstones that still speak of
  something.
* A crash at any instruction loses nothing: nothing is removed before all of it stands elsewhere, on
  the disk; what is then removed goes in an order in which no tombstone leaves before what it
  removes.
* A run that lives is not touched, nor is its place in the order of runs: runs on both sides of it
  are not put together.

Assumptions: the caller is alone (``exclusive.py``).  Memory grows with the number of records, by
some 50 bytes each; by 300 for those that have to be looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from parsl_ckpt.errors import FormatError

from . import format as fmt
from . import inventory, rewrite
from .backend import Backend
from .catalog import INDEX_SUFFIX
from .choice import Choice
from .frames import Frames, Whole, decode
from .inventory import Place
from .items import removed_in
from .pins import Census, census
from .reclaim import collect_blobs, entry_of, remove_place
from .segment import Entry, OpenFiles, Segment, parse_name
from .source import SPEAKING, Source, shared

Progress = Callable[[int], None]
PRUNED = "pruned"  # reason of tombstones that only make room: what was computed stays valid


@dataclass
class Compaction:
    """What compacting did, or would do.

    Attributes:
        runs: names of the runs that were put together, for each group.
        into: the segments that were written.
        left: runs that were left alone, with the reason.
        before, after: bytes of the segments and blobs.
        records: how many were kept.
        superseded, removed, unreadable: how many were left out: for a newer one of the same call;
            for a tombstone; because they, or their blobs, are damaged or gone.
    """

    runs: list[list[str]] = field(default_factory=list)
    into: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    before: int = 0
    after: int = 0
    records: int = 0
    superseded: int = 0
    removed: int = 0
    unreadable: int = 0


def compact(
    backend: Backend,
    places: Sequence[Place],
    *,
    everything: Sequence[Place] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    signer: object = None,
) -> Compaction:
    """Compact checkpoint directories.

    Args:
        backend: where they are.
        places: what to compact, oldest first.
        everything: all runs of the run directory, where these are some of them.
        dry_run: only say what would be done.
        progress: called with the number of bytes done since the last call.
        signer: signs what is written, if what is read is signed.

    Raises:
        OSError: it could not be written; nothing is lost.
    """
    done = Compaction()
    if not dry_run:
        rewrite.settle(backend, everything or places)
    for group in groups(places, everything or places, done.left):
        inside = {place.directory for place in group}
        others = [
            place
            for place in everything or places
            if place.directory not in inside and place.foreign is None
        ]
        removed = removed_in(backend, others, signer)
        pinned = census(backend, others, removed, signer).targets
        work = _Group(backend, group, removed, progress or (lambda _: None), signer, pinned)
        try:
            work.open()
            if work.begun():  # what was listed may have become another's, before or while
                done.left.update(dict.fromkeys((place.name for place in group), "it has begun"))
                continue
            work.select()
        except FormatError as error:
            done.left.update(dict.fromkeys((place.name for place in group), error.message))
            continue
        if work.worthwhile():
            done.runs.append([place.name for place in group])
            done.before += work.size()
            if not dry_run:
                done.into += work.replace()
                done.after += work.size()
        done.records += work.kept
        done.superseded += work.superseded
        done.removed += work.gone
        done.unreadable += work.unreadable
    return done


def groups(
    places: Sequence[Place], everything: Sequence[Place], left: dict[str, str]
) -> list[list[Place]]:
    """Neighbours that may be put together; why the others are left alone goes to ``left``.

    What is written ranks with the last of its group, so no run outside may stand in between: it may
    hold something newer.
    """
    wanted = {place.directory for place in places}
    for place in places:
        if place.untouchable:
            left[place.name] = place.untouchable
    found: list[list[Place]] = []
    readers = [place for place in everything if place.live]
    waiting = _neighbours(everything, lambda one: one.directory in wanted and not one.untouchable)
    while waiting:
        group = waiting.pop()
        barred = _read_without_target(group, readers, left)
        if barred:
            waiting += _neighbours(group, _Outside(barred))
        else:
            found.append(group)
    return sorted(found, key=lambda group: everything.index(group[0]))


def _neighbours(places: Sequence[Place], wanted: Callable[[Place], bool]) -> list[list[Place]]:
    parts = itertools.groupby(places, wanted)
    return [list(part) for good, part in parts if good]


def _read_without_target(
    group: Sequence[Place], readers: Sequence[Place], left: dict[str, str]
) -> set[str]:
    """The runs of a group that a live run reads which would not find them in the last one."""
    barred = set()
    target = group[-1]
    for reader in readers:
        used = set((reader.beat or {}).get("used", ()))
        if target.directory in used:
            continue
        for place in group:
            if place.directory in used:
                left[place.name] = (
                    f"the live run {reader.name} reads it, and does not read {target.name}"
                )
                barred.add(place.name)
    return barred


class _Outside:
    """Whether a run is not among some."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __call__(self, place: Place) -> bool:
        return place.name not in self._names


class _Group:
    """The segments of one group, from opening to removing them.

    Everything that decides goes over the segments from the newest to the oldest, each backwards.
    """

    def __init__(
        self,
        backend: Backend,
        places: Sequence[Place],
        removed: set[bytes],
        progress: Progress,
        signer: object,
        pinned: frozenset[bytes],
    ) -> None:
        self.places = list(places)
        self.target = places[-1]
        self.kept = self.superseded = self.gone = self.unreadable = 0
        self._backend = backend
        self._progress = progress
        self._signer = rewrite.chain_of_its_own(signer)
        self._opened: list[Source] = []
        self._removed = removed  # by others; and, once all is open, by these
        self._named: set[bytes] = set(pinned)  # by aliases, and by names in sets
        self._pins: frozenset[bytes] = frozenset()  # those that count
        self._extra: list[Entry] = []  # tombstones that stay, run records with their run's name
        self._blobs: dict[bytes, tuple[str, int]] = {}  # digest -> where it is, size
        self._wanted: set[bytes] = set()
        self._unknown = False

    # --- looking ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open all segments, and see what is removed and what is named.

        Raises:
            FormatError: a segment is of a later format, or signed otherwise.
        """
        for place in self.places:
            for path, file in inventory.blobs(self._backend, place.directory):
                digest = inventory.blob_digest(path)
                if digest is not None:
                    self._blobs[digest] = (path, file.size)
        pins: list[tuple[bytes, fmt.Pin]] = []
        inside, beyond = self._segments()
        for segment in inside:
            frames = Frames(segment, growing=False, signer=self._signer)
            one = Source(frames, self._damaged)
            self._opened.append(one)
            one.tombstones = self._listen(one.speaking(), pins)
            frames.rest()
        for segment in beyond:
            self._listen(Frames(segment, growing=True, signer=self._signer).whole(), pins)
        seen = Census()
        for record_id, pin in pins:
            if record_id not in self._removed:
                seen.see(record_id, pin)
        self._pins = seen.current
        self._named |= seen.targets
        self._named -= self._removed

    def begun(self) -> bool:
        """Whether a run has begun here since it was looked; its heart beats before it writes."""
        return any(
            not place.own
            and place.beat is None
            and place.run is not None
            and inventory.place_of(self._backend, place.directory).live
            for place in self.places
        )

    def _segments(self) -> tuple[Sequence[Segment], Sequence[Segment]]:
        """Those that are put together, and those that stay as they are.

        Where we write ourselves, those before the first open one, and the others.
        """
        found = inventory.segments(self._backend, self.places, OpenFiles())
        if self.target.own:
            for place, segment in enumerate(found):
                if not inventory.has_end(self._backend, segment.path):
                    return found[:place], found[place:]
        return found, ()

    def _listen(
        self, frames: Iterable[Whole], pins: list[tuple[bytes, fmt.Pin]]
    ) -> list[fmt.Tombstone]:
        """See what frames say of other records; gives the tombstones among them."""
        tombstones: list[fmt.Tombstone] = []
        for frame in frames:
            if frame.kind not in SPEAKING:
                continue
            record = decode(frame)
            if isinstance(record, fmt.Tombstone):
                tombstones.append(record)
                self._removed.update(record.record_ids)
            elif isinstance(record, fmt.Alias):
                self._named.add(record.record_id)
            elif isinstance(record, fmt.Pin):
                pins.append((frame.record_id, record))
        return tombstones

    def _damaged(self, offset: int, size: int, kind: int) -> None:
        if kind != fmt.INDEX:
            self.unreadable += 1

    def select(self) -> None:
        """Decide what is kept."""
        choice = Choice(self._removed, self._named, self._has_blobs, self._pins)
        placed: dict[bytes, Source] = {}  # where the targets of tombstones stand
        notes: list[tuple[Source, int, bytes]] = []
        removed, keeps = self._removed, choice.keeps
        for one, offsets in zip(self._opened, shared(self._opened), strict=True):
            one.ask(offsets if self._may_go_unread(one) else None)
        for one in reversed(self._opened):
            done = one.frames.size
            for place, frame in one.undecided():
                if frame is None:
                    self.unreadable += 1
                    continue
                offset = frame.offset
                if removed and frame.record_id in removed:
                    placed.setdefault(frame.record_id, one)
                if keeps(frame):
                    one.keep(place)
                    if choice.about is not None:
                        notes.append((one, place, choice.about))
                if done - offset > 1 << 24:
                    self._progress(done - offset)
                    done = offset
            self._progress(done)
            one.frames.may_be_written_anew()
            one.frames.rest()
        self.superseded, self.gone = choice.superseded, choice.gone
        self.unreadable += choice.unreadable
        self._unknown = choice.unknown
        self._wanted = set(self._blobs) if choice.unknown else choice.blobs
        for one, place, about in notes:
            if about in choice.dropped and about not in choice.kept:
                one.keep(place, False)  # its record turned out to be left out
        self.kept = sum(one.kept for one in self._opened)
        self._keep_tombstones(choice, placed)

    def _may_go_unread(self, one: Source) -> bool:
        """Whether a result that is the only one of its keys is kept without a look at it.

        Where nothing is removed, nobody asks for its ancestors; where no blobs are named, none can
        be missing.
        """
        seal = one.frames.seal
        return seal is not None and not seal.joined and not self._removed

    def _has_blobs(self, blobs: Sequence[tuple[bytes, int]]) -> bool:
        return all(self._blobs.get(digest, ("", -1))[1] == size for digest, size in blobs)

    def _keep_tombstones(self, choice: Choice, placed: dict[bytes, Source]) -> None:
        """Those that speak of something outside, of an ancestor, or of what is removed later."""
        by_reason: dict[str, dict[bytes, None]] = {}
        for one in self._opened:
            for tombstone in one.tombstones:
                for record_id in tombstone.record_ids:
                    target = placed.get(record_id)
                    ancestor = tombstone.reason != PRUNED and record_id in choice.parents
                    outlives = target is not None and target is not one and target.tombstones
                    if target is None or ancestor or outlives:
                        by_reason.setdefault(tombstone.reason, {})[record_id] = None
        for reason, record_ids in by_reason.items():
            self._extra.append(entry_of(fmt.Tombstone(tuple(record_ids), reason)))

    def worthwhile(self) -> bool:
        """Whether there is anything to gain."""
        if len(self._opened) > 1 or len(self.places) > 1:
            return any(one.records for one in self._opened) or len(self.places) > 1
        dropped = self.superseded + self.gone + self.unreadable
        return bool(self._opened) and (
            dropped > 0
            or self._has_orphans()
            or not inventory.has_end(self._backend, self._opened[0].frames.segment.path)
        )

    def _has_orphans(self) -> bool:
        return any(
            (digest := inventory.blob_digest(path)) is not None
            and digest not in self._wanted
            and inventory.settled(self.target, file)
            for path, file in inventory.blobs(self._backend, self.target.directory)
        )

    def size(self) -> int:
        return sum(inventory.size(self._backend, place) for place in self.places)

    # --- doing ------------------------------------------------------------------------------------

    def replace(self) -> list[str]:
        """Write what is kept, then remove what it was read from."""
        self._link_blobs()
        sequence = 0
        if self._opened:
            last = self._opened[-1].frames.segment
            sequence = last.rank[1]
            if last.directory != self.target.directory:
                sequence = rewrite.next_sequence(self._backend, self.target.directory)
        directory = self.target.directory
        with rewrite.Anew(
            self._backend, directory, sequence, self._signer, gathers=self._signer is None
        ) as anew:
            for one in self._opened:
                one.copy_to(anew, partial(self._entry, one), self._wanted)
                one.frames.rest()
            anew.add(self._extra)
            written = anew.finish()
        self._remove_segments()
        for place in self.places:
            if place.own:
                continue  # its writer may be about to name a blob
            if place is self.target:
                self._collect_blobs(place)
                rewrite.sweep(self._backend, place.directory)
            elif not any(map(parse_name, inventory.listing(self._backend, place.directory))):
                remove_place(self._backend, place)
        return [written.path] if written is not None else []

    def _entry(self, one: Source, frame: Whole) -> Entry:
        """A frame as it is written; a run record says of which run it is, wherever it stands."""
        if frame.kind != fmt.RUN:
            return frame.entry()
        record = decode(frame)
        if not isinstance(record, fmt.Run) or "run" in record.data:
            return frame.entry()
        names = {place.directory: place.name for place in self.places}
        data = {**record.data, "run": names[one.frames.segment.directory]}
        return entry_of(fmt.Run(record.event, data))

    def _link_blobs(self) -> None:
        folders: set[str] = set()
        target = f"{self.target.directory}/blobs"
        unsynced = {place.directory for place in self.places if not place.ended}
        for digest in sorted(self._wanted):
            source, _ = self._blobs[digest]
            name = digest.hex()
            folder = f"{target}/{name[:2]}"
            # A run that died has not synced everything; another may have, and goes now.
            doubtful = source.partition("/blobs/")[0] in unsynced
            if not source.startswith(target + "/"):
                if folder not in folders:
                    self._backend.make_directory(folder, durable=True)
                self._backend.link(source, f"{folder}/{name}")
            elif not doubtful:
                continue
            folders.add(folder)
            if doubtful:
                self._backend.sync_file(f"{folder}/{name}")
        for folder in folders:
            self._backend.sync_directory(folder)
        if folders:
            self._backend.sync_directory(target)

    def _remove_segments(self) -> None:
        for place in self.places:
            for name in inventory.listing(self._backend, place.directory):
                if name.endswith(INDEX_SUFFIX):
                    self._backend.discard(f"{place.directory}/{name}")
        # Tombstones go last; those that must outlive another of these were written anew.
        for speaks, part in itertools.groupby(
            sorted(self._opened, key=lambda one: bool(one.tombstones)),
            lambda one: bool(one.tombstones),
        ):
            if speaks:  # a power cut must not bring back what they remove, without them
                for directory in sorted({one.frames.segment.directory for one in self._opened}):
                    self._backend.sync_directory(directory)
            for one in part:
                self._backend.remove(one.frames.segment.path)

    def _collect_blobs(self, place: Place) -> None:
        if not self._unknown:
            collect_blobs(self._backend, place, self._wanted)
