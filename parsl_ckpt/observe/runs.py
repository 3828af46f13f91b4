"""Two runs compared: the first tasks whose inputs, code or values are not the same.

    run A ─┐   same key ───────────► do the values agree?
           ├─ pairs
    run B ─┘   same app, in order ─► where do inputs and code differ?

A task that differs because an input of it does is a *consequence* of the task which computed that
input; what is told first are the tasks that are not.

Rule of this file: it reads one store that has both runs, and decodes a value only where the bytes
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.reading import Stored
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import StoreError
from parsl_ckpt.observe.differences import Difference
from parsl_ckpt.observe.nearest import Found
from parsl_ckpt.observe.values import Deviation, deviations
from parsl_ckpt.observe.why import Why, call_of

PLACES = 5  # places of a value that are told
PLAIN = 1


@dataclass(frozen=True)
class Task:
    """One call of one run.

    Attributes:
        tid: number of the task; -1 if that is not recorded.
        app: name of the app.
        key: its value key.
    """

    tid: int
    app: str
    key: bytes

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"task": self.tid, "app": self.app, "key": self.key.hex()}


@dataclass(frozen=True)
class Pair:
    """A task of each run that differ.

    Attributes:
        old, new: the tasks.
        differences: of inputs and code.
        deviations: of values, where inputs and code are the same.
        note: why values could not be compared.
        consequence: an input of it comes from a task that differs as well.
    """

    old: Task
    new: Task
    differences: tuple[Difference, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    note: str = ""
    consequence: bool = False

    def __str__(self) -> str:
        tids = {tid for tid in (self.old.tid, self.new.tid) if tid >= 0}
        where = f" (task {' and '.join(map(str, sorted(tids)))})" if tids else ""
        lines = [f"{self.new.app}{where}:"]
        if self.note:
            lines.append("  " + self.note)
        for one in self.differences:
            lines += ["  " + line for line in str(one).splitlines()]
        if self.deviations:
            lines.append("  the same call has another value")
        lines += [f"    {one}" for one in self.deviations]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "old": self.old.to_dict(),
            "new": self.new.to_dict(),
            "differences": [one.to_dict() for one in self.differences],
            "deviations": [one.to_dict() for one in self.deviations],
            "note": self.note,
            "consequence": self.consequence,
        }


@dataclass
class Comparison:
    """What two runs differ in.

    Attributes:
        same: number of calls that both have, with the same value.
        pairs: what differs, in the order of the second run; consequences last.
        more: number of differing pairs that are not among ``pairs``.
        only_old, only_new: calls that have no counterpart.
    """

    same: int = 0
    pairs: list[Pair] = field(default_factory=list)
    more: int = 0
    only_old: list[Task] = field(default_factory=list)
    only_new: list[Task] = field(default_factory=list)


@dataclass
class _Recorded:
    """A result, without its value: there may be a million of them."""

    task: Task
    lineage: bytes | None
    parents: frozenset[bytes]
    content: bytes  # digest of the encoded value
    record_id: bytes
    place: int


def compare(
    store: Store, old: str, new: str, *, limit: int = 10, pickles: bool = False
) -> Comparison:
    """Compare two runs.

    Args:
        store: has both.
        old, new: their checkpoint directories.
        limit: how many differing pairs to look into.
        pickles: decode values that were pickled, which runs code.
    """
    why = Why(store)
    before, after = _records(why, old), _records(why, new)
    done = Comparison()
    pairs: list[tuple[_Recorded, _Recorded]] = []
    by_key = {one.task.key: one for one in before}
    matched: set[bytes] = set()
    rest: list[_Recorded] = []
    for one in after:
        other = by_key.get(one.task.key)
        if other is None:
            rest.append(one)
        elif one.task.key not in matched:
            matched.add(one.task.key)
            if other.content == one.content:
                done.same += 1
            else:
                pairs.append((other, one))
    left = [one for one in before if one.task.key not in matched]
    pairs += _by_app(left, rest, done)
    pairs.sort(key=lambda pair: pair[1].place)
    _look_into(why, pairs, done, limit, pickles)
    return done


def _records(why: Why, directory: str) -> list[_Recorded]:
    """The results of a run in the order of its tasks, each call once."""
    found: dict[bytes, _Recorded] = {}
    for at, one in enumerate(why.in_run(directory)):
        result = one.result
        if not isinstance(result, Result):
            continue
        task = Task(result.tid, result.app, result.key)
        parents = frozenset(key for key, _ in result.parents)
        content = _content(result)
        place = result.tid if result.tid >= 0 else at
        found[result.key] = _Recorded(
            task, result.lineage, parents, content, one.record_id, place
        )  # fmt: skip
    return sorted(found.values(), key=lambda one: one.place)


def _content(result: Result) -> bytes:
    """What the encoded value is, wherever it lies."""
    hasher = blake3(bytes([result.codec & 0x3F]) + result.value)
    for digest, _ in result.blobs:
        hasher.update(digest)
    for _, data in result.parts:
        hasher.update(data)
    return hasher.digest()


def _by_app(
    old: Sequence[_Recorded], new: Sequence[_Recorded], done: Comparison
) -> list[tuple[_Recorded, _Recorded]]:
    """Calls that only one run has, paired by app: those of one number first, then in order."""
    waiting: dict[str, list[_Recorded]] = {}
    for one in old:
        waiting.setdefault(one.task.app, []).append(one)
    numbered = {(one.task.app, one.task.tid): one for one in old if one.task.tid >= 0}
    pairs: list[tuple[_Recorded, _Recorded]] = []
    taken: set[int] = set()
    later: list[_Recorded] = []
    for one in new:
        other = numbered.get((one.task.app, one.task.tid))
        if other is None:
            later.append(one)
        else:
            taken.add(id(other))
            pairs.append((other, one))
    free = {
        app: iter([one for one in some if id(one) not in taken]) for app, some in waiting.items()
    }
    for one in later:
        other = next(free.get(one.task.app, iter(())), None)
        if other is None:
            done.only_new.append(one.task)
        else:
            pairs.append((other, one))
    done.only_old += [one.task for some in free.values() for one in some]
    return pairs


def _look_into(
    why: Why,
    pairs: Sequence[tuple[_Recorded, _Recorded]],
    done: Comparison,
    limit: int,
    pickles: bool,
) -> None:
    different: set[bytes] = set()
    for pair in pairs:
        for one in pair:
            different.update({one.task.key, one.lineage or b""})
    different.discard(b"")
    chosen = [(old, new, bool((new.parents | old.parents) & different)) for old, new in pairs]
    chosen.sort(key=lambda one: one[2])
    for old, new, caused in chosen[:limit]:
        found = _pair(why, old, new, caused, pickles)
        if found is None:
            done.same += 1
        else:
            done.pairs.append(found)
    done.more = max(len(chosen) - limit, 0)


def _pair(why: Why, old: _Recorded, new: _Recorded, caused: bool, pickles: bool) -> Pair | None:
    """What two tasks differ in; None if their values agree after all."""
    before, after = _read(why, old), _read(why, new)
    if before is None or after is None:
        return Pair(old.task, new.task, note="a record cannot be read", consequence=caused)
    if old.task.key != new.task.key:
        found = why.differences(before.result, call_of(after.result))
        return Pair(old.task, new.task, tuple(found), consequence=caused)
    codecs = {before.result.codec & 0x3F, after.result.codec & 0x3F}
    if not pickles and codecs != {PLAIN}:
        note = "the same call has another value (pickled; --value compares, which runs code)"
        return Pair(old.task, new.task, note=note, consequence=caused)
    try:
        values = [_value(why.store, one) for one in (before, after)]
    except StoreError as error:
        return Pair(old.task, new.task, note=f"{error.message}", consequence=caused)
    except Exception as error:  # a class of the user's
        note = f"a value cannot be decoded: {type(error).__name__}: {error}"
        return Pair(old.task, new.task, note=note, consequence=caused)
    found_at = _summed(list(deviations(*values)))
    return Pair(old.task, new.task, (), found_at, consequence=caused) if found_at else None


def _summed(found: list[Deviation]) -> tuple[Deviation, ...]:
    """The first places, and the largest deviation of all if there are more."""
    if len(found) <= PLACES:
        return tuple(found)
    told = found[:PLACES]
    measured = [one for one in found if one.absolute is not None and one.relative is not None]
    note = f"{len(found):,} places differ"
    if not measured:
        return (*told, Deviation("in all", "", "", note=note))
    absolute = max(one.absolute or 0.0 for one in measured)
    relative = max(one.relative or 0.0 for one in measured)
    return (*told, Deviation("in all", "", "", absolute, relative, note))


def _read(why: Why, one: _Recorded) -> Found | None:
    for segment, offset in why.store._places(one.task.key):
        found = why.read(segment, offset)
        if found is not None and found.record_id == one.record_id:
            return found
    return None


def _value(store: Store, found: Found) -> Any:
    return store.value(Stored(found.result, found.record_id, (), found.directory))
