"""Pruning and removing: records by age, app, size and what they cost; whole runs.

::

    items ─► select (pure) ─► tombstones, on the disk ─► segments without them ─► blobs ─► indexes
                               this is the moment               (making room)

Guarantees: what is to go is gone when the tombstones are there, and nothing else ever goes: a crash
leaves what it had not come to for the next time, when room is made for what went before as well.  A
run that lives is not touched, and no blob that one could be about to name is removed, because a run
names blobs of its own directory only.

What was computed from a pruned result stays valid: its tombstone leaves with it.  What a named set
names is left alone, and of a run that has such a result, or the name itself, only the rest goes;
what is removed by name is removed, and its runs hand on the names that they held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from parsl_ckpt.errors import ConfigurationError, FormatError

from . import format as fmt
from . import inventory, rewrite
from .backend import Backend
from .compact import PRUNED
from .frames import Frames, decode
from .inventory import Place
from .items import Filter, Item, items, removed_in
from .pins import census, pins_to_hand_on
from .reclaim import collect_blobs, entry_of, remove_place
from .segment import Entry, OpenFiles

Progress = Callable[[int], None]
_AT_ONCE = 65536  # ids in one tombstone


@dataclass
class Pruned:
    """What pruning did, or would do.

    Attributes:
        records: how many results and failures were removed.
        runs: names of the runs that were removed wholly.
        apps: number of records by app.
        bytes: what the records took; several that share a blob free it together.
        before, after: bytes of the run directory.
        left: runs that were left alone, with the reason.
        reclaimed: bytes of records removed earlier, the room of which was not free yet.
        pinned: how many records were left because a named set names them.
    """

    records: int = 0
    runs: list[str] = field(default_factory=list)
    apps: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    before: int = 0
    after: int = 0
    left: dict[str, str] = field(default_factory=dict)
    reclaimed: int = 0
    pinned: int = 0

    def tell(self, chosen: Sequence[Item]) -> None:
        """Count records that go."""
        for item in chosen:
            self.records += 1
            self.apps[item.app] = self.apps.get(item.app, 0) + 1
            self.bytes += item.size


def prune(
    backend: Backend,
    places: Sequence[Place],
    *,
    only: Filter | None = None,
    max_bytes: int | None = None,
    keep_runs: int | None = None,
    within: Sequence[str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    signer: object = None,
    again: Callable[[], Sequence[Place]] | None = None,
) -> Pruned:
    """Remove what is not wanted any more.

    Args:
        backend: where it is.
        places: all runs of the run directory, oldest first.
        only: the records that may go; alone, all of them do.
        max_bytes: of those, go what is cheapest to compute again for the room that it takes, until
            the run directory takes no more than this.
        keep_runs: runs other than so many newest ones are removed, wholly.
        within: names of the runs from which records may go; all by default.
        dry_run: only say what would be done.
        progress: called with the number of bytes done since the last call.
        signer: verifies and signs, where records are signed.
        again: all runs as they are when it is called: others begin meanwhile.

    Raises:
        ConfigurationError: nothing says what is to go.
        OSError: it could not be written; what went until then is gone.
    """
    if only is None and max_bytes is None and keep_runs is None:
        raise ConfigurationError(
            "Nothing says what is to be pruned.",
            hint="Give an age, apps, a size, a budget or a number of runs.",
            field="only",
        )
    for name, number in (("max_bytes", max_bytes), ("keep_runs", keep_runs)):
        if number is not None and number < 0:
            raise ConfigurationError(f"{name} is {number}, a negative number.", field=name)
    done = Pruned(left={one.name: one.untouchable for one in places if one.untouchable})
    done.before = done.after = sum(inventory.size(backend, place) for place in places)
    rest = list(places)
    held: list[Place] = []
    pins = census(backend, places, removed_in(backend, places, signer), signer)

    def late() -> frozenset[bytes]:
        return _named_since(backend, places, places if again is None else again(), signer)

    if keep_runs is not None:
        victims = [one for one in places[: len(places) - keep_runs] if not one.untouchable]
        wanted = pins.current | pins.targets
        held = [one for one in victims if _holds(backend, one, wanted, signer)]
        if not dry_run:
            named, free = late(), [one for one in victims if one not in held]
            held += [one for one in free if _holds(backend, one, named, signer)]
        done.left.update(dict.fromkeys((one.name for one in held), "a named set needs it"))
        victims = [one for one in victims if one not in held]
        rest = [one for one in places if one not in victims]
        done.runs = [place.name for place in victims]
        done.bytes += sum(inventory.size(backend, place) for place in victims)
        if not dry_run:
            remove_runs(backend, victims, rest, signer)
    chosen: list[Item] = []
    quiet = [
        one for one in rest
        if not (one.untouchable or one.own) and (within is None or one.name in within)
    ]  # fmt: skip
    if not dry_run:
        rewrite.settle(backend, rest)
        done.reclaimed = reclaim(backend, quiet, signer)
    if only is not None or max_bytes is not None:
        targets = pins.targets
        chosen = list(items(backend, quiet, only, signer, progress))
        done.pinned = sum(item.record_id in targets for item in chosen)
        chosen = [item for item in chosen if item.record_id not in targets]
        chosen = [item for item in chosen if item.place not in held]
        if max_bytes is not None:
            excess = sum(inventory.size(backend, place) for place in rest) - max_bytes
            chosen = cheapest(chosen, excess)
    for item in items(backend, held, None, signer):
        if item.record_id in pins.targets:
            done.pinned += 1
        else:
            chosen.append(item)
    if not dry_run:
        spared = remove_items(backend, chosen, progress=progress, signer=signer, spare=late)
        done.pinned += sum(item.record_id in spared for item in chosen)
        chosen = [item for item in chosen if item.record_id not in spared]
    done.tell(chosen)
    if not dry_run:
        done.after = sum(inventory.size(backend, place) for place in rest)
    return done


def wish(
    apps: Sequence[str], older_than: float | None, larger_than: int | None, failures: bool
) -> Filter | None:
    """The records that are meant; None if nothing says which."""
    if not apps and older_than is None and larger_than is None and not failures:
        return None
    before = None if older_than is None else time.time() - older_than
    kinds = ("failure",) if failures else ("result", "failure")
    return Filter(apps=apps, before=before, larger_than=larger_than, kinds=kinds)


def cheapest(candidates: Sequence[Item], excess: int) -> list[Item]:
    """What to remove to gain some bytes: what takes least time to compute again, for its size.

    Args:
        candidates: what may go.
        excess: how many bytes are to be gained.
    """
    if excess <= 0:
        return []
    users: dict[tuple[str, bytes], int] = {}
    for item in candidates:
        for digest, _ in item.blobs:
            blob = (item.place.directory, digest)
            users[blob] = users.get(blob, 0) + 1
    chosen = []
    for item in sorted(candidates, key=_cost):
        if excess <= 0:
            break
        chosen.append(item)
        excess -= item.size - sum(size for _, size in item.blobs)
        for digest, size in item.blobs:
            blob = (item.place.directory, digest)
            users[blob] -= 1
            if not users[blob]:
                excess -= size  # nobody else names it
    return chosen


def _holds(backend: Backend, place: Place, wanted: AbstractSet[bytes], signer: object) -> bool:
    """Whether one of some records stands in a run."""
    if not wanted:
        return False
    for segment in inventory.segments(backend, [place], OpenFiles()):
        try:
            frames = Frames(segment, growing=False, signer=signer)
            if any(frame.record_id in wanted for frame in frames.whole()):
                return True
        except (OSError, FormatError):
            continue  # verify tells
    return False


def _named_since(
    backend: Backend, before: Sequence[Place], now: Sequence[Place], signer: object
) -> frozenset[bytes]:
    """What sets name in runs that lived when all were looked at, or have begun since."""
    looked_at = {one.directory for one in before if not (one.live or one.own)}
    fresh = [one for one in now if one.directory not in looked_at]
    return census(backend, fresh, set(), signer).targets


def _cost(item: Item) -> tuple[float, float]:
    # A failure is never restored, so nothing has to be computed again for it.
    seconds = item.seconds if item.kind == "result" else 0.0
    return seconds / max(item.size, 1), item.began


# --- records --------------------------------------------------------------------------------------


def remove_items(
    backend: Backend,
    chosen: Sequence[Item],
    *,
    reason: str = PRUNED,
    progress: Progress | None = None,
    signer: object = None,
    spare: Callable[[], frozenset[bytes]] | None = None,
) -> frozenset[bytes]:
    """Remove records and make their room free.

    Args:
        backend: where they are.
        chosen: which; their runs do not live.
        reason: :data:`PRUNED` removes them as if they had never been recorded.
        progress: called with the number of bytes done since the last call.
        signer: signs, where records are signed.
        spare: which records are not to go after all. It is asked when the tombstones are there: who
            names a record meanwhile is either seen now, or finds it removed.

    Returns:
        The records that were spared.
    """
    by_place: dict[str, tuple[Place, set[bytes]]] = {}
    for item in chosen:
        by_place.setdefault(item.place.directory, (item.place, set()))[1].add(item.record_id)

    def bury(place: Place, record_ids: set[bytes]) -> rewrite.Written | None:
        return rewrite.write_segment(
            backend,
            place.directory,
            rewrite.next_sequence(backend, place.directory),
            _tombstones(sorted(record_ids), reason),
            rewrite.chain_of_its_own(signer),
        )

    buried = [(place, ids, bury(place, ids)) for place, ids in by_place.values()]
    wanted = spare() if spare is not None and buried else frozenset()
    spared = wanted.intersection(item.record_id for item in chosen)
    for place, ids, written in buried:
        if written is not None and not ids.isdisjoint(spared):
            ids -= spared
            bury(place, ids)
            backend.remove(written.path)
    _make_room(backend, [(place, ids) for place, ids, _ in buried], progress, signer)
    return spared


def reclaim(backend: Backend, places: Sequence[Place], signer: object = None) -> int:
    """Make free the room of what was removed and still stands there; returns the bytes.

    That is so after an interruption, and for what a run removed itself.

    Args:
        backend: where they are.
        places: which; none of them lives.
        signer: signs, where records are signed.
    """
    own = [(place, removed_in(backend, [place], signer)) for place in places]
    # After an interruption a record may stand in two runs, and its tombstone in one of them.
    pruned = _pruned_in(backend, [place for place, record_ids in own if record_ids], signer)
    buried = [
        (place, ids | pruned)
        for place, ids in own
        if ids or (pruned and inventory.listing(backend, place.directory))
    ]
    before = sum(inventory.size(backend, place) for place, _ in buried)
    _make_room(backend, buried, None, signer)
    return max(before - sum(inventory.size(backend, place) for place, _ in buried), 0)


def _pruned_in(backend: Backend, places: Sequence[Place], signer: object) -> set[bytes]:
    """Ids of the records that were pruned in some runs, and whose tombstones are still there."""
    return {
        record_id
        for tombstone in _tombstones_in(backend, places, signer)
        if tombstone.reason == PRUNED
        for record_id in tombstone.record_ids
    }


def _tombstones_in(
    backend: Backend, places: Sequence[Place], signer: object
) -> Iterator[fmt.Tombstone]:
    for segment in inventory.segments(backend, places, OpenFiles()):
        try:
            frames = Frames(segment, growing=False, signer=signer)
            for offset, kind, _ in frames.walk():
                frame = frames.read(offset) if kind == fmt.TOMBSTONE else None
                record = decode(frame) if frame is not None else None
                if isinstance(record, fmt.Tombstone):
                    yield record
        except (OSError, FormatError):
            continue


def _make_room(
    backend: Backend,
    buried: Sequence[tuple[Place, set[bytes]]],
    progress: Progress | None,
    signer: object,
) -> None:
    """Write segments anew without the records that are removed, then drop their tombstones."""
    whole = [_Rewriting(backend, *one, progress, signer).rewrite() for one in buried]
    for place, _ in buried:  # else a power cut may bring back a record, and not its tombstone
        backend.sync_directory(place.directory)
    for (place, _), done in zip(buried, whole, strict=True):
        if done is None:
            continue
        if None not in whole:  # else one that could not be rewritten may still need them
            for path in done.spent:
                backend.remove(path)
        if done.changed or done.spent:
            rewrite.index_anew(backend, place.directory, signer)


def _tombstones(record_ids: Sequence[bytes], reason: str) -> Iterator[Entry]:
    for start in range(0, len(record_ids), _AT_ONCE):
        yield entry_of(fmt.Tombstone(tuple(record_ids[start : start + _AT_ONCE]), reason))


class _Rewriting:
    """One directory without some records.

    Attributes:
        spent: segments that hold nothing but tombstones of what has been pruned.
        changed: whether a segment was written anew.
    """

    def __init__(
        self,
        backend: Backend,
        place: Place,
        record_ids: set[bytes],
        progress: Progress | None,
        signer: object,
    ) -> None:
        self._backend = backend
        self._place = place
        self._ids = record_ids
        self._progress = progress or (lambda _: None)
        self._signer = rewrite.chain_of_its_own(signer)
        self._wanted: set[bytes] = set()
        self._complete = True
        self.spent: list[str] = []
        self.changed = False

    def rewrite(self) -> _Rewriting | None:
        """Do it; None if a segment cannot be read, or must not be written anew.

        Raises:
            OSError: it could not be written; nothing is lost.
        """
        try:
            found = list(self._find())
        except (OSError, FormatError):
            return None
        hits = [frames for frames, hit in found if hit]
        if hits and self._signer is not None:  # a chain of signed segments must not break
            hits = [frames for frames, _ in found]
        try:
            for frames in hits:
                frames.may_be_written_anew()
            for frames in hits:
                self.changed = True
                rewrite.write_segment(
                    self._backend, self._place.directory, frames.segment.rank[1],
                    _rest(frames, self._ids), self._signer,
                )  # fmt: skip
                frames.rest()
                self._backend.remove(frames.segment.path)
        except FormatError:
            return None
        if self._complete:
            collect_blobs(self._backend, self._place, self._wanted)
        return self

    def _find(self) -> Iterator[tuple[Frames, bool]]:
        """The segments that stay, and whether a record that is removed stands in each."""
        for segment in inventory.segments(self._backend, [self._place], OpenFiles()):
            frames = Frames(segment, growing=False, signer=self._signer)
            hit, spent = self._look(frames)
            frames.rest()
            self._progress(frames.size)
            if spent:
                self.spent.append(segment.path)
            else:
                yield frames, hit

    def _look(self, frames: Frames) -> tuple[bool, bool]:
        """Whether a record that is removed stands in a segment; whether it is spent."""
        hit, spent, tombstones = False, True, 0
        for frame in frames.whole():
            if frame.kind == fmt.INDEX:
                continue
            if frame.record_id in self._ids:
                hit, spent = True, False
                continue
            record = decode(frame)
            if isinstance(record, fmt.Tombstone):
                tombstones += 1
                spent = spent and record.reason == PRUNED
                continue
            spent = False
            if isinstance(record, (fmt.Result, fmt.Session)):
                self._wanted.update(digest for digest, _ in record.blobs)
            elif record is None and frame.kind not in fmt.KIND_OF.values():
                self._complete = False  # a later version's: it may name any blob
        return hit, spent and tombstones > 0


def _rest(frames: Frames, record_ids: set[bytes]) -> Iterator[Entry]:
    for frame in frames.whole():
        if frame.kind == fmt.INDEX or frame.record_id in record_ids:
            continue
        if frame.kind in (fmt.ALIAS, fmt.NOTE):
            record = decode(frame)
            if isinstance(record, (fmt.Alias, fmt.Note)) and record.record_id in record_ids:
                continue
        yield frame.entry()


# --- runs -----------------------------------------------------------------------------------------


def remove_runs(
    backend: Backend, victims: Sequence[Place], rest: Sequence[Place], signer: object = None
) -> None:
    """Remove whole runs.

    Args:
        backend: where they are.
        victims: which; none of them lives.
        rest: the others; what was removed from them by these runs stays removed.
    """
    heirs = [place for place in rest if not (place.untouchable or place.own)]
    trusted = [place for place in victims if place.foreign is None]
    if heirs:
        chain = rewrite.chain_of_its_own(signer)
        _hand_on_tombstones(backend, trusted, rest, heirs[-1], chain)
        pins = pins_to_hand_on(backend, trusted, rest, signer)
        if pins:
            sequence = rewrite.next_sequence(backend, heirs[-1].directory)
            rewrite.write_segment(
                backend, heirs[-1].directory, sequence, map(entry_of, pins), chain
            )
    for place in victims:
        remove_place(backend, place)


def _hand_on_tombstones(
    backend: Backend, victims: Sequence[Place], rest: Sequence[Place], heir: Place, signer: object
) -> None:
    found: dict[str, dict[bytes, None]] = {}
    for tombstone in _tombstones_in(backend, victims, signer):
        found.setdefault(tombstone.reason, {}).update(dict.fromkeys(tombstone.record_ids))
    pruned = found.get(PRUNED, {}).keys()  # gone with their runs, but after an interruption
    if not any(_holds(backend, place, pruned, signer) for place in rest):
        found.pop(PRUNED, None)
    entries = [entry for reason, ids in found.items() for entry in _tombstones(list(ids), reason)]
    if entries:
        sequence = rewrite.next_sequence(backend, heir.directory)
        rewrite.write_segment(backend, heir.directory, sequence, entries, signer)
