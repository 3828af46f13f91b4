"""A session against a model of it: whatever is done, the catalog is as expected."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_ckpt.restart import Checkpoint


@dataclasses.dataclass
class State:
    value: int = 0
    array: Any = None


@dataclasses.dataclass
class Expected:
    """A row as it should be."""

    count: int
    value: int
    labels: dict
    metadata: dict
    parent: str | None
    commit: str


SIZES = st.sampled_from([0, 10, 600, 5000])
LABELS = st.sampled_from([{}, {"m": 1}, {"m": "1"}])


class Sessions(RuleBasedStateMachine):
    """One directory, one session at a time, in any number of lives."""

    @initialize(
        mode=st.sampled_from(["append", "overwrite"]),
        keep=st.sampled_from([None, 1, 2, 5]),
        interval=st.sampled_from([1, 2, 3, None]),
    )
    def begin(self, mode, keep, interval):
        self.path = tempfile.mkdtemp()
        self.options = {"mode": mode, "history_size": keep, "flush_interval": interval}
        self.keep = 1 if mode == "overwrite" else keep
        self.interval = interval
        self.rows: list[Expected] = []
        self.session = None
        self.new_checkpoint()

    def teardown(self):
        if getattr(self, "session", None) is not None:
            self.session.__exit__(None, None, None)
        shutil.rmtree(self.path, ignore_errors=True)

    def committed(self, entry):
        if entry is None:
            return
        now = self.now
        self.rows.append(
            Expected(now["count"], self.state.value, self.labels, dict(now["metadata"]),
                     now["row"], entry.commit_id)
        )  # fmt: skip
        assert (entry.write_count, entry.parent) == (now["count"], now["row"])
        now["row"], now["pending"] = entry.commit_id, False
        if self.keep is not None:
            mine = [row for row in self.rows if row.labels == self.labels]
            for row in mine[: -self.keep]:
                self.rows.remove(row)

    # --- lives ------------------------------------------------------------------------------------

    @precondition(lambda self: self.session is None)
    @rule()
    def new_checkpoint(self):
        self.checkpoint = Checkpoint("model", self.path, **self.options)

    @precondition(lambda self: self.session is None)
    @rule(labels=LABELS, back=st.integers(1, 3))
    def enter(self, labels, back):
        found = [row for row in self.rows if labels.items() <= row.labels.items()]
        if back > 1 and len(found) >= back:
            row, session = found[-back], self.checkpoint.select(-back, **labels)
        else:
            row, session = (found[-1] if found else None), self.checkpoint.select(**labels)
        self.labels = labels if row is None else row.labels
        self.session = session.__enter__()
        self.state = session.bind(State())
        if row is None:
            assert not session.exists
            self.now = {"count": 0, "metadata": {}, "row": None, "pending": False}
        else:
            assert session.commit_id == row.commit and self.state.value == row.value
            self.now = {"count": row.count, "metadata": dict(row.metadata), "row": row.commit,
                        "pending": False}  # fmt: skip
        self.now["halfway"] = False  # a step is in the state and not in the count
        assert dict(session.labels) == self.labels

    @precondition(lambda self: self.session is not None)
    @rule(error=st.booleans())
    def leave(self, error):
        session, self.session = self.session, None
        before = session.commit_id
        session.__exit__(KeyError if error else None, KeyError() if error else None, None)
        if self.now["pending"] and not error and not self.now["halfway"]:
            assert session.commit_id != before
            self.committed(session.entry)
        else:
            assert session.commit_id == before

    # --- steps ------------------------------------------------------------------------------------

    @precondition(lambda self: self.session is not None)
    @rule(value=st.integers(), size=SIZES, metadata=st.dictionaries(st.sampled_from("ab"), SIZES))
    def write(self, value, size, metadata):
        self.state.value, self.state.array = value, np.arange(float(size))
        self.now["count"] += 1
        self.now["metadata"].update(metadata)
        self.now["pending"], self.now["halfway"] = True, False
        entry = self.session.write(**metadata)
        assert (entry is not None) == bool(self.interval and self.now["count"] % self.interval == 0)
        self.committed(entry)

    @precondition(lambda self: self.session is not None)
    @rule()
    def write_what_cannot_be(self):
        good, self.state.array = self.state.array, object()
        try:
            for act in (self.session.flush, self.session.write):
                try:
                    if act(a=1) is not None:
                        raise AssertionError("it was committed")
                except TypeError:
                    self.now["halfway"] |= act == self.session.write
                    continue
                self.now["count"] += 1  # a write that was not due
                self.now["metadata"]["a"] = 1
                self.now["pending"], self.now["halfway"] = True, False
        finally:
            self.state.array = good

    @precondition(lambda self: self.session is not None)
    @rule(metadata=st.dictionaries(st.sampled_from("ab"), SIZES))
    def flush(self, metadata):
        self.now["metadata"].update(metadata)
        entry = self.session.flush(**metadata)
        assert entry is not None or not (metadata or self.now["pending"])
        self.committed(entry)

    @rule()
    def make_room(self):
        self.checkpoint.prune()

    # --- what holds -------------------------------------------------------------------------------

    @invariant()
    def the_catalog_is_as_expected(self):
        if not hasattr(self, "rows"):
            return
        for checkpoint in (self.checkpoint, Checkpoint("model", self.path)):
            catalog = checkpoint.catalog
            assert [entry.commit_id for entry in catalog] == [row.commit for row in self.rows]
            for entry, row in zip(catalog, self.rows, strict=True):
                assert (entry.write_count, entry.parent) == (row.count, row.parent)
                assert (entry.labels, dict(entry.metadata)) == (row.labels, row.metadata)
        if self.session is not None:
            assert self.session.write_count == self.now["count"]
            assert dict(self.session.metadata) == self.now["metadata"]


Sessions.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestSessions = Sessions.TestCase
