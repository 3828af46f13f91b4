"""The store against a model: a dictionary of lists, whatever is done and in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint.store import address

KEYS = st.integers(0, 5)
VALUES = st.one_of(
    st.integers(),
    st.text(max_size=5),
    st.builds(bytes, st.just(70_000)),
    st.lists(st.none(), max_size=3),
)


class StoreMachine(RuleBasedStateMachine):
    """Runs follow each other; a second writer may share the directory of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.runs = 0
        self.count = 0
        self.seen: dict[int, list[Any]] = {}  # visible versions of each key, oldest first
        self.held: list[tuple[int, Any]] = []
        self.store = self.open()

    def open(self) -> Store:
        sources = [f"{n:03d}/checkpoint" for n in range(self.runs)]
        self.runs += 1
        return Store.open(
            f"{self.runs - 1:03d}/checkpoint",
            sources=sources,
            named=False,
            backend=self.backend,
            rotate_records=4,
            hold_bytes=2500,
        )

    def numbered(self, value: Any) -> Any:
        self.count += 1  # every record is another one
        return (self.count, value)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: int, value: Any) -> None:
        value = self.numbered(value)
        self.publish_model()  # a put is newer than what was held before it, once that is published
        self.store.publish()
        self.store.put(key, value)
        self.seen.setdefault(key, []).append(value)

    @rule(items=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def hold(self, items: list[tuple[int, Any]]) -> None:
        numbered = [(key, self.numbered(value)) for key, value in items]
        self.store.hold([self.store.entry(key, value) for key, value in numbered])
        self.held += numbered

    @rule()
    def publish(self) -> None:
        assert self.store.publish() == len(self.held)
        self.publish_model()

    def publish_model(self) -> None:
        for key, value in self.held:
            self.seen.setdefault(key, []).append(value)
        self.held = []

    @precondition(lambda self: not self.held)
    @rule(key=KEYS)
    def remove(self, key: int) -> None:
        found = self.store.find(address(key))
        assert (found is not None) == bool(self.seen.get(key))
        if found is not None:
            self.store.remove(found.record_id)
            self.seen[key].pop()

    @rule()
    def seal(self) -> None:
        self.store.seal()

    @rule()
    def sync_and_merge(self) -> None:
        self.store.sync()
        self.store.merge()

    @rule()
    def end(self) -> None:
        self.store.close()
        self.publish_model()
        self.store = self.open()

    @rule(torn=st.integers(0, 60))
    def crash(self, torn: int) -> None:
        for name, file in self.backend.files.items():
            if name.endswith(".seg") and name.startswith(f"{self.runs - 1:03d}/"):
                file.data += b"\xc5PF\x01torn off in the middle of a header or payload"[:torn]
        self.held = []
        self.store = self.open()

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        latest = {key: versions[-1] for key, versions in self.seen.items() if versions}
        reader = Store.open(
            None,
            sources=[f"{n:03d}/checkpoint" for n in range(self.runs)],
            named=False,
            backend=self.backend,
        )
        assert {key: reader.get(key) for key in reader} == latest
        latest.update(self.held)
        assert all(self.store.get(key) == latest.get(key) for key in range(6))
        assert [p.kind for p in (*reader.problems, *self.store.problems) if p.size > 60] == []


TestStoreAgainstModel = StoreMachine.TestCase
TestStoreAgainstModel.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=False
)
