"""Everything that may happen to a run directory, in any order, against a model of what is there.

Two writers put, hold, publish, seal, sync, forget, refresh and are closed, killed, given a failing
disk, or share one run; somebody compacts, prunes and repairs beside them and may die at it; the
power goes.  After every step a reader that knows nothing finds what the model says, and so do the
writers.

The model is a list of versions.  One that was acknowledged is there until it is removed or, if it
was never synced, until a power cut.  Where the outcome is open (the disk failed, or a process died
in the middle), the records are looked at one by one, and what is there counts from then on.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parsl_ckpt.checkpoint import MemoryBackend, Store, mapping
from parsl_ckpt.checkpoint.compact import compact
from parsl_ckpt.checkpoint.format import INLINE_LIMIT, Result
from parsl_ckpt.checkpoint.inventory import Place, find
from parsl_ckpt.checkpoint.items import Filter
from parsl_ckpt.checkpoint.prune import prune, remove_runs
from parsl_ckpt.checkpoint.repair import repair
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.checkpoint.verify import verify
from parsl_ckpt.errors import StoreBusyError, StoreWriteError, UnreadableRecordError
from parsl_ckpt.testing.faults import (
    Die,
    Died,
    Fail,
    FaultyBackend,
    Late,
    Operation,
    Tear,
)

pytestmark = pytest.mark.once

ROOT = "disk/runs"
KEYS = range(5)
BIG = 140_000  # a blob of its own, which several versions share
KEY = st.sampled_from(KEYS)
SIZE = st.sampled_from([0, 0, 5, BIG])
SLOT = st.integers(0, 1)
FAULT = st.one_of(
    st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]).map(Fail),
    st.floats(0, 1).map(Tear),
    st.sampled_from([errno.EIO, errno.ESTALE]).map(Late),
)
Outcome = Literal["done", "failed", "dead"]


@dataclass
class Version:
    """A value that was put under a key."""

    number: int
    key: int
    run: int
    writer: int
    record_id: bytes
    there: bool | None = True  # None: only if a blob that it names should come back
    synced: bool = False
    removed: bool = False
    removal_synced: bool = False
    remover: int = 0  # the writer that removed it

    @property
    def certain(self) -> bool:
        return self.there is True and not self.removed

    @property
    def possible(self) -> bool:
        return self.there is not False and not self.removed


@dataclass
class Slot:
    """A process that writes."""

    store: Store
    disk: FaultyBackend
    run: int
    writer: int
    durable: bool
    known: set[int]  # numbers of the versions that were there when it looked
    held: list[Version] = field(default_factory=list)
    faulty: bool = False


class Burst:
    """A fault at some operations in a row, from a certain one on."""

    def __init__(self, fault: Any, after: int, times: int) -> None:
        self.fault, self.after, self.times = fault, after, times

    def __call__(self, operation: Operation) -> Any:
        self.after -= 1
        if self.after >= 0 or self.times <= 0:
            return None
        self.times -= 1
        if isinstance(self.fault, Tear) and operation.name != "write":
            return Fail(self.fault.error)
        return self.fault


def content(number: int, size: int) -> tuple[int, bytes]:
    return number, bytes([number % 3]) * size


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._before = secrets.token_bytes, secrets.token_hex, mapping.time
        chance, clock = random.Random(0), itertools.count()
        secrets.token_bytes = lambda nbytes=None: chance.randbytes(nbytes or 32)
        secrets.token_hex = lambda nbytes=None: chance.randbytes(nbytes or 32).hex()
        mapping.time = SimpleNamespace(time=lambda: float(next(clock)))  # type: ignore[assignment]
        self.inner = MemoryBackend()
        self.inner.make_directory("disk")
        self.disk = FaultyBackend(self.inner)
        self.slots: list[Slot | None] = [None, None]
        self.versions: dict[int, Version] = {}
        self.sizes: dict[int, int] = {}
        self.runs = self.writers = self.count = 0
        self.fuzzy: set[int] = set()  # writers one of whose batches may stand in another order
        self.tombstones: set[bytes] = set()
        self.doubled = False  # who was compacting died: records may stand in two runs
        self.cut = False  # the power has gone
        self.whole = True  # no power cut has left holes behind

    def teardown(self) -> None:
        secrets.token_bytes, secrets.token_hex, mapping.time = self._before

    # -- processes -----------------------------------------------------------------------------

    @initialize()
    def first(self) -> None:
        self.begin(0, False, False)

    @rule(slot=SLOT, share=st.booleans(), durable=st.booleans())
    def begin_one(self, slot: int, share: bool, durable: bool) -> None:
        self.begin(slot, share, durable)

    def begin(self, slot: int, share: bool, durable: bool) -> None:
        if self.slots[slot] is not None:
            return
        other = self.slots[1 - slot]
        if other is not None and share:
            run = other.run
        else:
            run, self.runs = self.runs, self.runs + 1
        disk = self.disk.process()
        self.disk.make_directory(f"{ROOT}/{run:03d}", durable=True)
        path = f"{ROOT}/{run:03d}/checkpoint"
        store = Store.open(
            path, sources=[p.directory for p in self.places() if p.directory != path],
            named=False, backend=disk, rotate_records=4, hold_bytes=2500,
            durability="power" if durable else "process",
        )  # fmt: skip
        self.writers += 1
        self.slots[slot] = Slot(store, disk, run, self.writers, durable, self.visible())

    def writer(self, slot: int) -> Slot:
        self.begin(slot, False, False)
        one = self.slots[slot]
        assert one is not None
        return one

    @rule(slot=SLOT)
    def kill(self, slot: int) -> None:
        one = self.slots[slot]
        if one is not None:
            one.disk.die()
            self.bury(one)

    @rule(slot=SLOT)
    def close(self, slot: int) -> None:
        one = self.slots[slot]
        if one is None:
            return
        if self.attempt(one, one.store.close) == "done":
            self.published(one)
            self.synced(one)
        else:
            self.look()
        self.bury(one)

    @rule(slot=SLOT, fault=FAULT, after=st.integers(0, 4), times=st.integers(1, 3))
    def let_the_disk_fail(self, slot: int, fault: Any, after: int, times: int) -> None:
        one = self.writer(slot)
        one.disk.faults = Burst(fault, after, times)
        one.faulty = True

    @rule(slot=SLOT, fraction=st.floats(0, 1), after=st.integers(0, 4))
    def let_it_die_soon(self, slot: int, fraction: float, after: int) -> None:
        one = self.writer(slot)
        one.disk.faults = Burst(Die(fraction), after, 1)

    @rule(slot=SLOT)
    def mend_the_disk(self, slot: int) -> None:
        one = self.slots[slot]
        if one is not None:
            one.disk.faults = None

    @rule(seed=st.none() | st.integers(0, 1 << 16))
    def cut_the_power(self, seed: int | None) -> None:
        for one in self.slots:
            if one is not None:
                one.disk.die()
                self.bury(one)
        self.disk.power_cut(None if seed is None else random.Random(seed))
        self.disk = FaultyBackend(self.inner)
        self.whole = self.whole and seed is None
        self.cut = True
        self.look(power=True, may_go=lambda version: not version.synced)

    # -- writing -------------------------------------------------------------------------------

    @rule(slot=SLOT, key=KEY, size=SIZE)
    def put(self, slot: int, key: int, size: int) -> None:
        one = self.writer(slot)
        if one.held and not self.publish_held(one):
            return
        version = self.stage(one, key, size)
        if version is None:
            return
        entry, new = version
        outcome = self.attempt(one, lambda: one.store.append([entry]))
        if outcome == "done":
            self.acknowledged(one, [new])
        else:
            self.look()

    @rule(slot=SLOT, items=st.lists(st.tuples(KEY, SIZE), min_size=1, max_size=5))
    def hold(self, slot: int, items: list[tuple[int, int]]) -> None:
        one = self.writer(slot)
        staged = [found for item in items if (found := self.stage(one, *item)) is not None]
        if self.slots[slot] is not one or not staged:
            return
        entries = [entry for entry, _ in staged]
        # Even those that could not be spooled are held.
        if self.attempt(one, lambda: one.store.hold(entries)) != "dead":
            one.held += [version for _, version in staged]

    @rule(slot=SLOT)
    def publish(self, slot: int) -> None:
        one = self.writer(slot)
        self.publish_held(one)

    def publish_held(self, one: Slot) -> bool:
        if self.attempt(one, one.store.publish) == "done":
            self.published(one)
            return True
        self.look()
        one.held = [version for version in one.held if not version.there]
        self.fuzzy.add(one.writer)
        return False

    @rule(slot=SLOT)
    def seal(self, slot: int) -> None:
        one = self.writer(slot)
        if self.attempt(one, one.store.seal) != "done":
            self.look()

    @rule(slot=SLOT)
    def sync(self, slot: int) -> None:
        one = self.writer(slot)
        if self.attempt(one, one.store.sync) == "done":
            self.synced(one)
        else:
            self.look()

    @rule(slot=SLOT)
    def merge(self, slot: int) -> None:
        one = self.writer(slot)
        self.attempt(one, one.store.merge, also=OSError)

    @rule(slot=SLOT)
    def refresh(self, slot: int) -> None:
        one = self.writer(slot)
        if self.attempt(one, one.store.refresh) == "done":
            directories = {one.store.path, *one.store.sources}
            one.known |= {
                number
                for number in self.visible()
                if f"{ROOT}/{self.versions[number].run:03d}/checkpoint" in directories
            }

    @rule(slot=SLOT, key=KEY)
    def forget(self, slot: int, key: int) -> None:
        one = self.writer(slot)
        found = one.store.find(address(key))
        if found is None:
            return
        (version,) = [v for v in self.versions.values() if v.record_id == found.record_id]
        if self.attempt(one, lambda: one.store.remove(found.record_id)) == "done":
            version.removed = True
            version.removal_synced = one.durable
            version.remover = one.writer
        else:
            self.look()

    # -- maintenance ---------------------------------------------------------------------------

    @rule(death=st.none() | st.integers(1, 40), fraction=st.floats(0, 1))
    def compact_runs_that_ended(self, death: int | None, fraction: float) -> None:
        self.keeping_all(lambda disk: compact(disk, self.places()), death, fraction)

    @rule(death=st.none() | st.integers(1, 30), fraction=st.floats(0, 1))
    def repair_runs_that_ended(self, death: int | None, fraction: float) -> None:
        self.keeping_all(lambda disk: repair(disk, self.places()), death, fraction)
        if death is None and not any(self.slots):
            self.whole = True

    @rule(slot=SLOT)
    def compact_ones_own_run(self, slot: int) -> None:
        one = self.slots[slot]
        if one is None:
            return
        before = self.view()
        try:
            self.attempt(one, one.store.compact, also=(OSError, StoreBusyError))
        finally:
            self.inner.remove(f"{ROOT}/.maintenance")  # of a process that died, as users are told
        self.assert_as_before(before)
        self.look(may_go=self.superseded({one.run}))

    @rule(app=st.integers(0, 1), death=st.none() | st.integers(1, 30), fraction=st.floats(0, 1))
    def prune_an_app(self, app: int, death: int | None, fraction: float) -> None:
        victims = {
            v.number
            for v in self.versions.values()
            if v.key % 2 == app and v.run not in self.live()
        }
        self.taking(
            lambda disk: prune(disk, self.places(), only=Filter(apps=[f"app{app}"])),
            victims, death, fraction,
        )  # fmt: skip

    @rule(death=st.none() | st.integers(1, 20), fraction=st.floats(0, 1))
    def remove_the_first_run(self, death: int | None, fraction: float) -> None:
        places = self.places()
        if not places or places[0].live:
            return
        run = int(places[0].name)
        # What was compacted into a run belongs to it from then on.
        victims = {v.number for v in self.versions.values() if v.run <= run}
        self.taking(
            lambda disk: remove_runs(disk, places[:1], places[1:]), victims, death, fraction
        )

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def a_reader_finds_what_was_acknowledged(self) -> None:
        with self.reader() as reader:
            for key in KEYS:
                self.judge(reader.find(address(key)), reader, key, self.of(key))
            # An index that is not synced may be lost or torn, which costs a walk.
            problems = [one for one in reader.problems if not self.cut or one.kind != "index"]
        if self.whole and all(v.there is not None for v in self.versions.values()):
            assert problems == []
            assert self.cut or verify(self.inner, self.places()).good

    @invariant()
    def writers_find_what_they_know(self) -> None:
        for one in self.slots:
            if one is None or one.disk.faults is not None:
                continue
            for key in KEYS:
                held = [v for v in one.held if v.key == key and not v.removed]
                mine = [v for v in self.of(key) if v.number in one.known]
                # What was pruned under it is a miss once; then it has seen what is there.
                found = one.store.get(key) or one.store.get(key)
                if found is None:
                    assert not held and not any(v.certain for v in mine), (key, mine, held)
                    continue
                version = self.check(key, found)
                if held and one.writer not in self.fuzzy:
                    assert version.number == held[-1].number
                elif not held:
                    self.compare(version, [v for v in mine if v.certain], one.run)

    def judge(self, stored: Any, reader: Store, key: int, versions: list[Version]) -> None:
        certain = [v for v in versions if v.certain]
        try:
            value = None if stored is None else reader.value(stored)
        except UnreadableRecordError:
            value = None
            lost = [v for v in versions if v.record_id == stored.record_id]
            assert lost and lost[0].there is None, "a value that was there cannot be read"
            value = reader.get(key)  # an older one stands for it
        if value is None:
            assert not certain, (key, certain, reader.problems)
            return
        version = self.check(key, value)
        assert version.possible, (key, version)
        self.compare(version, certain)

    def compare(self, version: Version, certain: list[Version], own: int = -1) -> None:
        """Newest wins: none that is certain is of a later run, or later by the same writer.

        For a writer its own run is the last one.
        """
        for other in certain:
            if other.remover:
                continue  # a removal that a power cut took back may have had its effect already
            later = version.run == own or (other.run != own and other.run <= version.run)
            assert later, (version, other)
            if other.writer == version.writer and version.writer not in self.fuzzy:
                assert other.number <= version.number, (version, other)

    def check(self, key: int, value: Any) -> Version:
        """A value is one that was put under this key, and is that wholly."""
        version = self.versions[value[0]]
        assert version.key == key and value == content(value[0], self.sizes[value[0]])
        return version

    # -- inside --------------------------------------------------------------------------------

    def attempt(self, one: Slot, act: Callable[[], object], also: Any = ()) -> Outcome:
        try:
            act()
        except Died:
            self.bury(one)
            return "dead"
        except StoreWriteError:
            assert one.faulty, "nothing failed"
            return "failed"
        except also:
            return "failed"
        return "done"

    def bury(self, one: Slot) -> None:
        self.slots = [None if other is one else other for other in self.slots]
        for version in one.held:
            version.there = False
        one.held = []
        self.look()

    def stage(self, one: Slot, key: int, size: int) -> tuple[Any, Version] | None:
        self.count += 1
        number = self.count
        self.sizes[number] = size
        staged: list[Any] = []
        outcome = self.attempt(
            one,
            lambda: staged.append(one.store.entry(key, content(number, size), app=f"app{key % 2}")),
        )
        if outcome != "done":
            return None
        (entry,) = staged
        version = Version(number, key, one.run, one.writer, entry.record_id, there=False)
        self.versions[number] = version
        return entry, version

    def acknowledged(self, one: Slot, versions: list[Version]) -> None:
        for version in versions:
            version.there = True
            version.synced = version.synced or one.durable
            one.known.add(version.number)

    def published(self, one: Slot) -> None:
        self.acknowledged(one, one.held)
        one.held = []

    def synced(self, one: Slot) -> None:
        for version in self.versions.values():
            if version.there and version.writer == one.writer:
                version.synced = True
            if version.removed and version.remover == one.writer:
                version.removal_synced = True

    def keeping_all(self, work: Any, death: int | None, fraction: float) -> None:
        before = self.view()
        disk = self.disk.process(None if death is None else {death: Die(fraction)})  # type: ignore[arg-type]
        try:
            work(disk)
        except Died:
            assert death is not None
            self.doubled = True
        self.assert_as_before(before)
        self.look(may_go=self.superseded(set(range(self.runs)) - self.live()))

    def assert_as_before(self, before: dict[int, Any]) -> None:
        """Everything is found that was found.

        A result whose blob was lost in a power cut may come back: one of another run had the same,
        and now they are one run.
        """
        view = self.view()
        for key in KEYS:
            if view.get(key) != before.get(key):
                assert self.cut and key in view, (before, view)
                number = view[key][0]
                assert self.sizes[number] > INLINE_LIMIT and not self.versions[number].there
                assert number > before.get(key, (0,))[0]

    def taking(self, work: Any, victims: set[int], death: int | None, fraction: float) -> None:
        before = self.view()
        disk = self.disk.process(None if death is None else {death: Die(fraction)})  # type: ignore[arg-type]
        finished = True
        try:
            work(disk)
        except Died:
            finished = False
        found = self.numbers()
        if finished and not self.doubled:
            assert not [n for n in found & victims if not self.versions[n].removed]
        for number in victims:  # what is left of them, if it stands in two runs, need not last
            self.versions[number].synced = False
        kept = {key: value for key, value in before.items() if value[0] not in victims}
        view = self.view()
        assert {key: view.get(key) for key in kept} == kept
        self.look(may_go=lambda version: version.number in victims)

    def places(self) -> list[Place]:
        if ROOT not in self.inner.directories:
            return []  # nothing was ever written
        used: dict[int, set[str]] = {}  # as heartbeats say
        for one in self.slots:
            if one is not None:
                used.setdefault(one.run, set()).update(one.store.sources)
        return [
            dataclasses.replace(place, state="live", beat={"used": sorted(used[int(place.name)])})
            if int(place.name) in used
            else dataclasses.replace(place, state="died")
            for place in find(self.inner, ROOT)
        ]

    def reader(self) -> Store:
        there = self.inner.directories
        sources = [place.directory for place in self.places() if place.directory in there]
        return Store.open(None, sources=sources, backend=self.inner, named=False)

    def view(self) -> dict[int, Any]:
        with self.reader() as reader:
            return {key: value for key in KEYS if (value := reader.get(key)) is not None}

    def of(self, key: int) -> list[Version]:
        return [version for version in self.versions.values() if version.key == key]

    def visible(self) -> set[int]:
        return {version.number for version in self.versions.values() if version.certain}

    def live(self) -> set[int]:
        return {one.run for one in self.slots if one is not None}

    def superseded(self, runs: set[int]) -> Callable[[Version], bool]:
        """Whether a version may go when some runs are compacted: another one stands for it.

        Runs are put together up to a live one, so one is left of each such group.
        """
        latest: dict[tuple[int, int], int] = {}
        barriers = {int(place.name) for place in self.places() if place.live} - runs

        def group(version: Version) -> tuple[int, int]:
            # Of two writers of a run either may be the later one; then one of both must be left.
            return version.key, sum(version.run > run for run in barriers)

        for version in self.versions.values():
            if version.certain and version.run in runs:
                place = group(version)
                best = self.versions.get(latest.get(place, 0))
                if best is None or (version.run, version.number) > (best.run, best.number):
                    latest[place] = version.number
        shared = {v.run for v in self.versions.values() for w in self.versions.values()
                  if v.run == w.run and v.writer != w.writer}  # fmt: skip

        def may_go(version: Version) -> bool:
            if version.run not in runs:
                return False
            newest = self.versions.get(latest.get(group(version), 0))
            return (
                version.removed
                or version is not newest
                or version.run in shared
                or version.writer in self.fuzzy
            )

        return may_go

    def records(self) -> Iterator[tuple[bytes, bool]]:
        """(record id, whether its value can be read) of everything that is there."""
        with self.reader() as reader:
            self.tombstones = set(reader.catalog.removed)
            for directory, record_id, record in reader.records():
                if isinstance(record, Result):
                    yield record_id, self.readable(reader, directory, record)

    def readable(self, reader: Store, directory: str, record: Result) -> bool:
        try:
            for blob in record.blobs:
                reader._blobs.read(directory, *blob)
        except UnreadableRecordError:
            return False
        return True

    def numbers(self) -> set[int]:
        ids = {v.record_id: v.number for v in self.versions.values()}
        return {ids[record_id] for record_id, _ in self.records()}

    def look(
        self, power: bool = False, may_go: Callable[[Version], bool] = lambda version: False
    ) -> None:
        """Look what is there of what may be; the rest of the model is what must be.

        Args:
            power: all that is there has survived a power cut.
            may_go: which versions may be gone.
        """
        found: dict[bytes, bool] = {}
        for record_id, readable in self.records():
            found[record_id] = found.get(record_id, False) or readable
        for version in self.versions.values():
            there = found.get(version.record_id)
            must = version.certain and not may_go(version)
            assert there or not must, ("a version is lost", version)
            version.there = False if there is None else True if there else None
            removed = version.record_id in self.tombstones
            if version.removed and there is not None and not removed:
                assert power and not version.removal_synced, ("a removal is lost", version)
            version.removed = removed or (version.removed and there is None)
            version.removal_synced = version.removal_synced or (power and removed)
            version.synced = version.synced or (power and bool(version.there))


def test_a_segment_that_another_store_has_compacted_needs_no_sync() -> None:
    state = StoreMachine()
    state.first()
    state.begin_one(durable=False, share=True, slot=1)
    state.hold(items=[(0, 0), (0, 0), (0, 0)], slot=1)
    state.put(key=0, size=0, slot=1)
    state.compact_ones_own_run(slot=0)
    state.a_reader_finds_what_was_acknowledged()
    state.close(slot=1)
    state.teardown()


def test_a_removal_outlives_a_segment_that_could_not_be_sealed() -> None:
    """The merged index of the end tells others of it."""
    state = StoreMachine()
    state.first()
    state.put(slot=0, key=0, size=0)
    state.compact_ones_own_run(slot=0)
    state.forget(slot=0, key=0)
    state.put(slot=0, key=0, size=0)
    state.let_the_disk_fail(slot=0, fault=Fail(errno.EIO), after=0, times=1)
    state.close(slot=0)
    state.a_reader_finds_what_was_acknowledged()
    state.teardown()


def test_compacting_hears_of_what_a_segment_says_that_could_not_be_sealed() -> None:
    """Of two results the newer one was forgotten: the older one is what is found, and is kept."""
    state = StoreMachine()
    state.first()
    state.hold(slot=0, items=[(0, 0), (0, 0)])
    state.publish(slot=0)
    state.seal(slot=0)
    state.forget(slot=0, key=0)
    state.put(slot=0, key=1, size=0)
    state.let_the_disk_fail(slot=0, fault=Fail(errno.EIO), after=0, times=1)
    state.compact_ones_own_run(slot=0)
    state.a_reader_finds_what_was_acknowledged()
    state.teardown()


def test_a_reader_that_still_has_an_older_result_open_finds_the_newest_after_compacting() -> None:
    state = StoreMachine()
    state.first()
    state.close(slot=0)
    state.put(slot=1, key=0, size=0)
    state.hold(slot=0, items=[(0, 0)])
    state.let_the_disk_fail(slot=1, fault=Fail(errno.EIO), after=0, times=1)
    state.close(slot=0)
    state.close(slot=1)  # not sealed, so that whoever opens it reads it, and keeps it open
    state.begin_one(slot=0, share=False, durable=False)
    state.compact_runs_that_ended(death=None, fraction=0.0)
    state.writers_find_what_they_know()
    state.teardown()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestStoreAtLength(StoreMachine.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(max_examples=1500, stateful_step_count=50, deadline=None)
