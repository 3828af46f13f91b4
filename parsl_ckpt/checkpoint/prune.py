"""Pruning and removing: records by age, app, size and what they cost; whole runs.

::

    items ─► select (pure) ─► tombstones, on the disk ─► segments without them ─► blobs ─► indexes
                               this is the moment               (making room)

Guarantees: what is to go is gone when the tombstones are there, and nothing else ever goes: a crash
leaves what it had not come to for the next time.  A run that lives is not touched, and no blob that
one could be about to name is removed, because a run names blobs of its own directory only.

What was computed from a pruned result stays valid: its tombstone leaves with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from parsl_ckpt.errors import ConfigurationError, FormatError

from . import format as fmt
from . import inventory, rewrite
from .backend import Backend
from .compact import PRUNED
from .frames import Frames, decode
from .inventory import Place
from .items import Filter, Item, items
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
    """

    records: int = 0
    runs: list[str] = field(default_factory=list)
    apps: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    before: int = 0
    after: int = 0
    left: dict[str, str] = field(default_factory=dict)


def prune(
    backend: Backend,
    places: Sequence[Place],
    *,
    only: Filter | None = None,
    max_bytes: int | None = None,
    keep_runs: int | None = None,
    within: Sequence[str] | None = None,
    dry_run: bool = False,
    signer: object = None,
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
        signer: verifies and signs, where records are signed.

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
    done = Pruned(left={place.name: "it is live" for place in places if place.live})
    done.before = done.after = sum(inventory.size(backend, place) for place in places)
    rest = list(places)
    if keep_runs is not None:
        victims = [one for one in places[: len(places) - keep_runs] if not one.live]
        rest = [one for one in places if one not in victims]
        done.runs = [place.name for place in victims]
        done.bytes += sum(inventory.size(backend, place) for place in victims)
        if not dry_run:
            remove_runs(backend, victims, rest, signer)
    chosen: list[Item] = []
    if only is not None or max_bytes is not None:
        quiet = [
            one for one in rest
            if not (one.live or one.own) and (within is None or one.name in within)
        ]  # fmt: skip
        chosen = list(items(backend, quiet, only, signer))
        if max_bytes is not None:
            excess = sum(inventory.size(backend, place) for place in rest) - max_bytes
            chosen = cheapest(chosen, excess)
    for item in chosen:
        done.records += 1
        done.apps[item.app] = done.apps.get(item.app, 0) + 1
        done.bytes += item.size
    if not dry_run:
        remove_items(backend, chosen, signer=signer)
        done.after = sum(inventory.size(backend, place) for place in rest)
    return done


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


def _cost(item: Item) -> tuple[float, float]:
    # A failure is never restored, so nothing has to be computed again for it.
    seconds = item.seconds if item.kind == "result" else 0.0
    return seconds / max(item.size, 1), item.began


# --- records --------------------------------------------------------------------------------------


def remove_items(
    backend: Backend, chosen: Sequence[Item], *, reason: str = PRUNED, signer: object = None
) -> None:
    """Remove records and make their room free.

    Args:
        backend: where they are.
        chosen: which; their runs do not live.
        reason: :data:`PRUNED` removes them as if they had never been recorded.
        signer: signs, where records are signed.
    """
    by_place: dict[str, tuple[Place, set[bytes]]] = {}
    for item in chosen:
        by_place.setdefault(item.place.directory, (item.place, set()))[1].add(item.record_id)
    buried = []
    for place, record_ids in by_place.values():
        written = rewrite.write_segment(
            backend,
            place.directory,
            rewrite.next_sequence(backend, place.directory),
            _tombstones(sorted(record_ids), reason),
            signer,
        )
        buried.append((place, record_ids, written))
    for place, record_ids, written in buried:
        whole = _rewrite_without(backend, place, record_ids, signer)
        if whole and written is not None and reason == PRUNED:
            backend.remove(written.path)
        rewrite.index_anew(backend, place.directory, signer)


def _tombstones(record_ids: Sequence[bytes], reason: str) -> Iterator[Entry]:
    for start in range(0, len(record_ids), _AT_ONCE):
        yield entry_of(fmt.Tombstone(tuple(record_ids[start : start + _AT_ONCE]), reason))


def _rewrite_without(
    backend: Backend, place: Place, record_ids: set[bytes], signer: object
) -> bool:
    """Write anew the segments that hold some of the records; False if one could not be."""
    wanted: set[bytes] = set()
    complete = True
    for segment in inventory.segments(backend, [place], OpenFiles()):
        try:
            frames = Frames(segment, growing=False, signer=signer)
            hit = False
            for frame in frames.whole():
                if frame.record_id in record_ids:
                    hit = True
                    continue
                record = decode(frame)
                if isinstance(record, fmt.Result):
                    wanted.update(digest for digest, _ in record.blobs)
                elif record is None and frame.kind not in (*fmt.KIND_OF.values(), fmt.INDEX):
                    complete = False  # a later version's: it may name any blob
            if hit or signer is not None:  # a chain of signed segments must not break
                frames.may_be_written_anew()
                rewrite.write_segment(
                    backend, place.directory, segment.rank[1], _rest(frames, record_ids), signer
                )
                backend.remove(segment.path)
        except FormatError:
            return False
    if complete:
        collect_blobs(backend, place, wanted)
    return True


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
    heirs = [place for place in rest if not (place.live or place.own)]
    if heirs:
        _hand_on_tombstones(backend, victims, heirs[-1], signer)
    for place in victims:
        remove_place(backend, place)


def _hand_on_tombstones(
    backend: Backend, victims: Sequence[Place], heir: Place, signer: object
) -> None:
    found: dict[str, dict[bytes, None]] = {}
    for segment in inventory.segments(backend, victims, OpenFiles()):
        try:
            frames = Frames(segment, growing=False, signer=signer)
            for offset, kind, _ in frames.walk():
                frame = frames.read(offset) if kind == fmt.TOMBSTONE else None
                record = decode(frame) if frame is not None else None
                if isinstance(record, fmt.Tombstone) and record.reason != PRUNED:
                    found.setdefault(record.reason, {}).update(dict.fromkeys(record.record_ids))
        except (OSError, FormatError):
            continue
    entries = [entry for reason, ids in found.items() for entry in _tombstones(list(ids), reason)]
    if entries:
        sequence = rewrite.next_sequence(backend, heir.directory)
        rewrite.write_segment(backend, heir.directory, sequence, entries, signer)
