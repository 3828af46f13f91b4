"""Compacting, repairing and pruning against a model: a dictionary of the versions of each key."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint.compact import compact
from parsl_ckpt.checkpoint.inventory import Place, find
from parsl_ckpt.checkpoint.items import Filter, items
from parsl_ckpt.checkpoint.prune import prune, remove_items
from parsl_ckpt.checkpoint.repair import repair
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.checkpoint.verify import verify

KEYS = st.integers(0, 7)
SIZES = st.sampled_from([0, 3, 200_000])


class MaintenanceMachine(RuleBasedStateMachine):
    """Runs follow each other; someone looks after the earlier ones while the last one works."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.number = -1
        self.count = 0
        # Each version: (number, run, size).  The newest that is still there is found.
        self.versions: dict[int, list[tuple[int, int, int]]] = {}
        self.store = self.begin()

    def begin(self) -> Store:
        self.number += 1
        sources = [place.directory for place in self.places()]
        return Store.open(
            f"runs/{self.number:03d}/checkpoint", sources=sources, backend=self.backend,
            named=False, rotate_records=3,
        )  # fmt: skip

    def places(self) -> list[Place]:
        mine = f"{self.number:03d}"
        if "runs" not in self.backend.directories:
            return []  # nothing was ever written
        return [
            dataclasses.replace(place, state="live") if place.name == mine else place
            for place in find(self.backend, "runs")
        ]

    @rule(key=KEYS, size=SIZES)
    def put(self, key: int, size: int) -> None:
        self.count += 1
        self.store.put(key, (self.count, bytes([self.count % 200]) * size), app=f"app{key % 2}")
        self.versions.setdefault(key, []).append((self.count, self.number, size))

    @rule(key=KEYS)
    def forget(self, key: int) -> None:
        found = self.store.find(address(key))
        if found is not None:
            number = self.store.value(found)[0]
            self.store.remove(found.record_id)
            # What was pruned by someone else may still be found by who had it open.
            self.versions[key] = [one for one in self.versions[key] if one[0] != number]

    @rule(crash=st.booleans())
    def next_run(self, crash: bool) -> None:
        if not crash:
            self.store.close()
        self.store = self.begin()

    @rule()
    def compact_earlier_runs(self) -> None:
        compact(self.backend, self.places())
        self.superseded_ones_are_gone(range(self.number))

    @rule()
    def compact_this_run(self) -> None:
        self.store.compact()
        self.superseded_ones_are_gone(range(self.number, self.number + 1))

    def superseded_ones_are_gone(self, runs: range) -> None:
        """Of the versions in these runs only the newest can be found from now on."""
        for key, versions in self.versions.items():
            newest = max((one for one in versions if one[1] in runs), default=None)
            self.versions[key] = [one for one in versions if one[1] not in runs or one == newest]

    @rule()
    def repair_earlier_runs(self) -> None:
        done = repair(self.backend, self.places())
        assert done.dropped == done.bytes == done.blobs == 0

    @rule(app=st.sampled_from(["app0", "app1"]))
    def prune_an_app_of_earlier_runs(self, app: str) -> None:
        prune(self.backend, self.places(), only=Filter(apps=[app]))
        for key, versions in self.versions.items():
            if app == f"app{key % 2}":
                self.versions[key] = [one for one in versions if one[1] == self.number]

    @rule()
    def prune_large_ones_of_earlier_runs(self) -> None:
        chosen = [
            item
            for item in items(self.backend, self.places(), Filter(larger_than=100_000))
            if not item.place.live
        ]
        remove_items(self.backend, chosen)
        for key, versions in self.versions.items():
            self.versions[key] = [
                one for one in versions if one[1] == self.number or one[2] < 100_000
            ]

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        latest = {key: versions[-1][0] for key, versions in self.versions.items() if versions}
        sources = [place.directory for place in self.places()]
        with Store.open(None, sources=sources, backend=self.backend, named=False) as reader:
            found = {key: value[0] for key in range(8) if (value := reader.get(key)) is not None}
            assert found == latest and len(reader) == len(latest)
            assert reader.problems == []
        for key in range(8):
            # What was pruned under it is a miss once; then it has seen what is there.
            value = self.store.get(key) or self.store.get(key)
            # A run that was there before may still hold what was pruned, and nothing else.
            assert value is None or value[1] == bytes([value[0] % 200]) * len(value[1])
            if key in latest:
                assert value is not None and value[0] >= latest[key]
        assert verify(self.backend, self.places()).good


TestMaintenance = MaintenanceMachine.TestCase
TestMaintenance.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
