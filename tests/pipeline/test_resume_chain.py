"""Any sequence of success, failure, death and resumption: what has succeeded is not run again."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.config import Config
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.pipeline import (
    CheckpointHooks,
    ComponentStatus,
    LocalCheckpointStore,
    MemoryCheckpointStore,
    PipelineResultStatus,
    RunStore,
    SimplePipelineRunner,
    compute_pipeline_fingerprint,
    load_checkpoint_for_resume,
)
from tests.pipeline.chain import GRAPH, Told, config_at

ROOT = Path(__file__).resolve().parent.parent.parent


class Death(BaseException):
    """The process has died; nothing that follows in it is seen by others."""


class Mortal:
    """A store of a process that dies at one of its operations; what is done then is done."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.at: int | None = None
        self.late = False
        self.saves = 0
        self._dead = False

    def live(self, at: int | None = None, late: bool = False) -> None:
        """A new process, which dies at its save number ``at``: before it or, late, after it."""
        self.at, self.late, self.saves, self._dead = at, late, 0, False

    def save(self, state: Any) -> None:
        self._check()
        self.saves += 1
        if self.saves == self.at:
            if self.late:
                self.store.save(state)
            self._dead = True
            raise Death
        self.store.save(state)

    def load(self, run_id: str, pipeline_name: str) -> Any:
        self._check()
        return self.store.load(run_id, pipeline_name)

    def _check(self) -> None:
        if self._dead:
            raise Death


class Act(NamedTuple):
    """One life of the pipeline.

    Attributes:
        how: ``fresh``, ``resume`` or ``loaded``: resumed in two steps.
        failing: components that fail.
        fail_fast: whether the run stops at the first failure.
        dies: number of the save at which the process dies; None for never.
        late: it dies after that save, not before.
    """

    how: str
    failing: frozenset[str] = frozenset()
    fail_fast: bool = False
    dies: int | None = None
    late: bool = False


acts = st.builds(
    Act,
    st.sampled_from(["fresh", "resume", "resume", "loaded"]),
    st.frozensets(st.sampled_from(sorted(GRAPH)), max_size=2),
    st.booleans(),
    st.none() | st.integers(1, 8),
    st.booleans(),
)
LAST = Act("resume")


class Chain:
    """Plays acts, and holds what happens against what must."""

    def __init__(self, dfk: DataFlowKernel, store: Any, root: Path) -> None:
        self.dfk = dfk
        self.mortal = Mortal(store)
        self.store = store
        self.root = root
        self.run_id = f"run-{root.name}"
        self.place: Path | None = None  # of the chain that is recorded
        self.known: set[str] = set()  # what the checkpoint had after the last act
        self._numbers = itertools.count()

    def play(self, act: Act) -> None:
        self.mortal.live(act.dies, act.late)
        if act.how != "fresh" and self.place is None:
            with pytest.raises(ValueError, match="No checkpoint found"):
                self._run(act, self.root)
            return
        place = self.place
        if act.how == "fresh" or place is None:
            place = self.root / str(next(self._numbers))
            place.mkdir()
        for name in GRAPH:
            (place / f"fail-{name}").unlink(missing_ok=True)
        for name in act.failing:
            (place / f"fail-{name}").touch()
        before = set() if act.how == "fresh" else set(self.known)
        earlier = Told(place).succeeded  # more, if the process has died before they were recorded
        try:
            result = self._run(act, place)
        except Death:
            result = None
            self.dfk.wait_for_current_tasks()  # what was under way has ended just before
            if act.how == "fresh" and self.mortal.saves == 1 and not act.late:
                assert not Told(place).events  # it died before anything was recorded, or run
                return
        self.place = place
        self._check(act, place, before, earlier, result)

    def _run(self, act: Act, place: Path) -> Any:
        config = config_at(place)
        fingerprint = compute_pipeline_fingerprint(config)
        hooks = CheckpointHooks(self.mortal, self.run_id, fingerprint, on_store_error="fail")
        runner = SimplePipelineRunner(config, hooks, fail_fast=act.fail_fast, dfk=self.dfk)
        if act.how == "resume":
            return runner.run(resume=self.run_id)
        if act.how == "loaded":
            return runner.run(load_checkpoint_for_resume(self.mortal, self.run_id, config))
        return runner.run()

    def _check(
        self, act: Act, place: Path, before: set[str], earlier: set[str], result: Any
    ) -> None:
        told = Told(place)
        state = self.store.load(self.run_id, "chain")
        recorded = set(state.completed_components)
        assert len(recorded) == len(state.completed_components)
        assert recorded >= before, "what was inherited is lost"
        assert recorded <= told.succeeded, "what has not succeeded is recorded"
        assert all(told.done(name) == 1 for name in told.succeeded), "something ran once more"
        assert not told.begun_too_early(GRAPH), told.events
        self.known = recorded
        if result is None:
            return
        assert recorded == set(result.completed_components)
        good = result.status is PipelineResultStatus.SUCCESS
        assert state.status == ("completed" if good else "failed")
        assert good == (recorded == set(GRAPH))
        for one in result.component_results:
            if one.status is ComponentStatus.RESTORED:
                assert (one.restored_from, one.attempts) == (self.run_id, 0)
            assert (one.status is ComponentStatus.RESTORED) >= (one.component_name in before)
        if not act.fail_fast:
            assert recorded == told.succeeded == expected(before | earlier, act.failing)


def expected(before: set[str], failing: frozenset[str]) -> set[str]:
    """What has succeeded after a run that goes on after failures: the model."""
    done = set(before)
    for name, deps in GRAPH.items():  # in an order in which each comes after its dependencies
        if name not in failing and done.issuperset(deps):
            done.add(name)
    return done


@pytest.fixture(scope="module")
def dfk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("chain")
    config = Config(
        checkpoint_mode="task_exit", initialize_logging=False, run_dir=str(path / "runs")
    )
    with DataFlowKernel(config) as dfk:
        yield dfk


def played(dfk: DataFlowKernel, make: Any, sequence: list[Act]) -> None:
    root = Path(tempfile.mkdtemp(dir=Path(dfk.run_dir).parent.parent))
    try:
        chain = Chain(dfk, make(root), root)
        for act in sequence:
            chain.play(act)
        if chain.place is not None:
            chain.play(LAST)
            told = Told(chain.place)
            assert sorted(told.succeeded) == sorted(GRAPH)
            assert chain.store.load(chain.run_id, "chain").status == "completed"
    finally:
        shutil.rmtree(root)


@settings(max_examples=120, deadline=None)
@given(sequence=st.lists(acts, max_size=6))
def test_any_sequence_of_runs_ends_with_each_component_run_once(dfk: Any, sequence: Any) -> None:
    played(dfk, lambda root: MemoryCheckpointStore(), sequence)


@settings(max_examples=15, deadline=None)
@given(sequence=st.lists(acts, max_size=4))
def test_so_it_does_with_files(dfk: Any, sequence: Any) -> None:
    played(dfk, LocalCheckpointStore, sequence)


@settings(max_examples=15, deadline=None)
@given(sequence=st.lists(acts, max_size=4))
def test_so_it_does_with_records_in_the_checkpoint(dfk: Any, sequence: Any) -> None:
    played(dfk, lambda root: RunStore(dfk), sequence)


def test_fail_resume_fail_resume_die_in_between(dfk: Any) -> None:
    sequence = [
        Act("fresh", frozenset("b")), Act("resume", frozenset("d")),
        Act("resume", frozenset("d"), dies=1), Act("resume", frozenset("d"), dies=1, late=True),
        Act("loaded", frozenset("d"), fail_fast=True), Act("resume", dies=2), Act("resume"),
    ]  # fmt: skip
    played(dfk, lambda root: MemoryCheckpointStore(), sequence)


# -- real deaths -----------------------------------------------------------------------------------

SCRIPT = """
import sys
from parsl_ckpt.config import Config
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.pipeline import CheckpointHooks, LocalCheckpointStore, RunStore
from parsl_ckpt.pipeline import SimplePipelineRunner
from pathlib import Path
from tests.pipeline.chain import config_at

place, kind, *resume = sys.argv[1:]
config = config_at(Path(place))
options = dict(checkpoint_mode="task_exit", initialize_logging=False, run_dir=place + "/runs")
with DataFlowKernel(Config(**options)) as dfk:
    store = RunStore(dfk) if kind == "run" else LocalCheckpointStore(place + "/checkpoints")
    hooks = CheckpointHooks(store, "run-001")
    runner = SimplePipelineRunner(config, hooks, dfk=dfk, fail_fast=False)
    result = runner.run(resume="run-001") if resume else runner.run()
    print(",".join(result.completed_components), result.status.value)
"""


def lived(place: Path, kind: str, *resume: str) -> tuple[int, str]:
    """One life of the script; its exit status and what it said."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(place), kind, *resume],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.returncode in (0, -9), ended.stderr
    return ended.returncode, ended.stdout.strip()


@pytest.mark.parametrize("kind", ["run", pytest.param("local", marks=pytest.mark.slow)])
def test_after_real_deaths_each_component_has_succeeded_once(tmp_path: Path, kind: str) -> None:
    # What runs beside a component that kills must not succeed: it may not be on record yet.
    for mark in ("kill-b", "fail-c", "fail-d", "fail-e"):
        (tmp_path / mark).touch()
    assert lived(tmp_path, kind)[0] == -9
    (tmp_path / "kill-b").unlink()
    (tmp_path / "fail-e").unlink()
    status, said = lived(tmp_path, kind, "resume")
    assert (status, said.split()[1]) == (0, "partial_success")
    (tmp_path / "fail-c").unlink()
    assert lived(tmp_path, kind, "resume")[0] == 0  # c is on record before d kills
    (tmp_path / "fail-d").unlink()
    (tmp_path / "kill-d").touch()
    assert lived(tmp_path, kind, "resume")[0] == -9
    (tmp_path / "kill-d").unlink()
    assert lived(tmp_path, kind, "resume") == (0, "a,b,c,d,e success")
    told = Told(tmp_path)
    assert {name: told.done(name) for name in GRAPH} == dict.fromkeys(GRAPH, 1)
