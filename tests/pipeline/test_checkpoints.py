"""Recording the progress of a run, and resuming it."""

from __future__ import annotations

import datetime
import gc
import json
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path

import pytest

from parsl_ckpt.errors import (
    CheckpointDamagedError,
    CheckpointSaveError,
    ConfigurationError,
    NoCheckpointError,
    PipelineConfigChangedError,
    ProgressError,
    RunClaimedError,
)
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.pipeline import (
    CheckpointHooks,
    CheckpointState,
    CompletedComponents,
    CompositeHooks,
    LocalCheckpointStore,
    LoggingHooks,
    MemoryCheckpointStore,
    NoOpHooks,
    PipelineResultStatus,
    RunStart,
    SimplePipelineRunner,
    compute_pipeline_fingerprint,
    load_checkpoint_for_resume,
)
from tests.pipeline.conftest import component, counting, number, pipeline, runs

DEADLINE = 60.0


class Full(MemoryCheckpointStore):
    """A store that fails while it is told to."""

    def __init__(self):
        super().__init__()
        self.error = None
        self.refused = 0

    def save(self, state):
        if self.error is not None:
            self.refused += 1
            raise self.error
        super().save(state)


class Plain:
    """A store without claims."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name == "claim":
            raise AttributeError(name)
        return getattr(self.inner, name)


def three(**rest):
    """extract, then clean, which fails once, then load."""
    return pipeline(
        counting("extract"), counting("clean", "extract", failures=1), counting("load", "clean"),
        **rest,
    )  # fmt: skip


def hooks_for(store, config=None, run_id="run-001", **options):
    fingerprint = compute_pipeline_fingerprint(config) if config is not None else ""
    return CheckpointHooks(store, run_id, fingerprint, **options)


# -- as it is written down -------------------------------------------------------------------------


def test_a_run_that_failed_is_resumed_after_what_has_succeeded():
    config = three()
    store = LocalCheckpointStore(Path("checkpoints"))
    hooks = CompositeHooks(
        LoggingHooks(),
        CheckpointHooks(
            store, run_id="run-001", pipeline_fingerprint=compute_pipeline_fingerprint(config)
        ),
    )
    runner = SimplePipelineRunner(config, hooks=hooks)
    result = runner.run()
    assert result.status is PipelineResultStatus.PARTIAL_SUCCESS
    told = json.loads(Path("checkpoints/survey/run-001.json").read_text())
    assert told["completed_components"] == ["extract"]
    assert (told["failed_component"], told["status"]) == ("clean", "failed")

    completed = load_checkpoint_for_resume(store, "run-001", config)
    assert completed == {"extract"}
    result = runner.run(completed_components=completed)
    assert result.status is PipelineResultStatus.SUCCESS
    assert [runs(name) for name in ("extract", "clean", "load")] == [1, 2, 1]
    told = json.loads(Path("checkpoints/survey/run-001.json").read_text())
    assert told["completed_components"] == ["extract", "clean", "load"]
    assert (told["failed_component"], told["status"]) == (None, "completed")


def test_in_one_line(kernel):
    config, store = three(), MemoryCheckpointStore()
    runner = SimplePipelineRunner(config, hooks_for(store, config), dfk=kernel())
    runner.run()
    result = runner.run(resume="run-001")
    assert result.status is PipelineResultStatus.SUCCESS
    assert (result.run_id, runs("extract")) == ("run-001", 1)
    again = runner.run(resume="run-001")  # there is nothing left to run
    assert again.status is PipelineResultStatus.SUCCESS
    assert [runs(name) for name in ("extract", "clean", "load")] == [1, 2, 1]


# -- what is recorded, and when --------------------------------------------------------------------


def test_what_is_inherited_is_recorded_before_anything_else(kernel):
    config, store = three(), MemoryCheckpointStore()
    dfk = kernel()
    SimplePipelineRunner(config, hooks_for(store, config), dfk=dfk).run()
    seen = []

    class Look(NoOpHooks):
        def before_pipeline(self, config):
            seen.append(store.load("run-001", "survey"))

    hooks = CompositeHooks(hooks_for(store, config), Look())
    SimplePipelineRunner(config, hooks, dfk=dfk).run(resume="run-001")
    assert seen[0].completed_components == ["extract"]
    assert (seen[0].status, seen[0].failed_component) == ("in_progress", None)


def test_a_fresh_run_of_the_same_id_inherits_nothing(kernel):
    config, store, dfk = three(), MemoryCheckpointStore(), kernel()
    SimplePipelineRunner(config, hooks_for(store, config), dfk=dfk).run()
    SimplePipelineRunner(config, hooks_for(store, config), dfk=dfk).run()
    assert runs("extract") == 2
    assert store.load("run-001", "survey").completed_components == ["extract", "clean", "load"]


def test_a_resumed_run_is_as_old_as_its_first_life_and_keeps_what_others_wrote():
    config, store = three(), MemoryCheckpointStore()
    hours = iter(range(1, 24))

    def now():
        return datetime.datetime(2026, 1, 1, next(hours), tzinfo=datetime.timezone.utc)

    SimplePipelineRunner(config, hooks_for(store, config, now_func=now)).run()
    state = store.load("run-001", "survey")
    assert state.created_at == "2026-01-01T01:00:00+00:00"
    assert state.updated_at > state.created_at
    state.extra = {"colour": "red"}
    store.save(state)
    SimplePipelineRunner(config, hooks_for(store, config, now_func=now)).run(resume="run-001")
    later = store.load("run-001", "survey")
    assert (later.created_at, later.extra) == (state.created_at, {"colour": "red"})
    assert later.updated_at > state.updated_at


def test_the_first_of_several_failures_is_named():
    config = pipeline(
        counting("a", failures=9), counting("b", failures=9, executors=None), number("c", 1)
    )
    store = MemoryCheckpointStore()
    hooks = hooks_for(store, config)
    hooks.on_run_start(config, RunStart())
    for index, one in enumerate(config.components[:2]):
        hooks.on_component_failure(one, index, OSError())
    assert store.load("run-001", "survey").failed_component == "a"
    hooks.release()


def test_the_fingerprint_may_be_left_out():
    config, store = three(), MemoryCheckpointStore()
    SimplePipelineRunner(config, CheckpointHooks(store, "run-001")).run()
    assert load_checkpoint_for_resume(store, "run-001", config) == {"extract"}


def test_a_run_may_go_on_under_another_id():
    config, store = three(), MemoryCheckpointStore()
    SimplePipelineRunner(config, hooks_for(store, config)).run()
    hooks = hooks_for(store, config, run_id="run-002")
    SimplePipelineRunner(config, hooks).run(resume="run-001")
    assert store.load("run-002", "survey").completed_components == ["extract", "clean", "load"]
    assert store.load("run-001", "survey").completed_components == ["extract"]
    assert runs("extract") == 1


# -- what cannot be resumed ------------------------------------------------------------------------


def test_a_run_of_which_nothing_is_known_cannot_be_resumed():
    with pytest.raises(ValueError, match=r"No checkpoint found for run 'run-009' of .*'survey'"):
        load_checkpoint_for_resume(MemoryCheckpointStore(), "run-009", three())
    with pytest.raises(NoCheckpointError):
        SimplePipelineRunner(three(), hooks_for(MemoryCheckpointStore())).run(resume="run-009")


def test_a_pipeline_of_another_structure_is_refused_and_what_changed_is_named():
    store = MemoryCheckpointStore()
    SimplePipelineRunner(three(), hooks_for(store)).run()
    other = pipeline(counting("extract"), counting("load", "extract"), number("new", 1))
    with pytest.raises(PipelineConfigChangedError) as caught:
        load_checkpoint_for_resume(store, "run-001", other)
    error = caught.value
    assert (error.run_id, error.pipeline_name) == ("run-001", "survey")
    assert "'clean' is gone; 'new' is new; 'load' depends on 'extract', not on" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.changes) == (str(error), error.changes)
    assert "its fingerprint is another one" in str(PipelineConfigChangedError("r", "p"))


def test_settings_and_switches_may_change_between_failure_and_resumption():
    store = MemoryCheckpointStore()
    SimplePipelineRunner(three(), hooks_for(store)).run()
    changed = pipeline(
        component("extract", "Count", config={"path": "elsewhere"}),
        counting("clean", "extract"),
        counting("load", "clean", enabled=False),
    )
    result = SimplePipelineRunner(changed, hooks_for(store)).run(resume="run-001")
    assert result.completed_components == ["extract", "clean"]
    assert not Path("elsewhere").exists()


def test_a_damaged_checkpoint_is_reported_by_a_resumption_and_replaced_by_a_fresh_run():
    config, store = three(), LocalCheckpointStore("checkpoints")
    SimplePipelineRunner(config, hooks_for(store)).run()
    store.path_of("run-001", "survey").write_text("{")
    with pytest.raises(CheckpointDamagedError):
        SimplePipelineRunner(config, hooks_for(store)).run(resume="run-001")
    result = SimplePipelineRunner(config, hooks_for(store)).run()
    assert result.status is PipelineResultStatus.SUCCESS
    assert store.load("run-001", "survey").status == "completed"


# -- two runners -----------------------------------------------------------------------------------


def test_the_second_of_two_runners_of_an_id_is_refused_and_runs_nothing(kernel):
    config, store, dfk = three(), LocalCheckpointStore("checkpoints"), kernel()
    inside, go = threading.Event(), threading.Event()

    class Stay(NoOpHooks):
        def before_component(self, config, index, total):
            inside.set()
            go.wait(DEADLINE)

    first = threading.Thread(
        target=lambda: SimplePipelineRunner(
            config, CompositeHooks(hooks_for(store), Stay()), dfk=dfk
        ).run()
    )
    first.start()
    try:
        assert inside.wait(DEADLINE)
        before = store.load("run-001", "survey")
        for options in ({}, {"resume": "run-001"}):
            with pytest.raises(RunClaimedError, match=r"'run-001' .* process"):
                SimplePipelineRunner(config, hooks_for(store), dfk=dfk).run(**options)
        assert store.load("run-001", "survey") == before
    finally:
        go.set()
        first.join(DEADLINE)
    assert runs("extract") == 1
    assert store.load("run-001", "survey").status == "failed"
    result = SimplePipelineRunner(config, hooks_for(store), dfk=dfk).run(resume="run-001")
    assert result.status is PipelineResultStatus.SUCCESS


@pytest.mark.parametrize("make", [MemoryCheckpointStore, lambda: Plain(MemoryCheckpointStore())])
def test_hooks_that_two_threads_share_record_one_run_at_a_time(kernel, make):
    config, dfk, refused = pipeline(counting("a")), kernel(), []
    hooks = hooks_for(make())

    def second():
        try:
            SimplePipelineRunner(config, hooks, dfk=dfk).run()
        except RunClaimedError as error:
            refused.append(str(error))

    class Meanwhile(NoOpHooks):
        def before_component(self, config, index, total):
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(DEADLINE)

    for times in (1, 2):  # what was refused keeps nobody from running it afterwards
        SimplePipelineRunner(config, CompositeHooks(hooks, Meanwhile()), dfk=dfk).run()
        assert len(refused) == runs("a") == times
    assert "'run-001' of pipeline 'survey' is being run by another thread" in refused[0]


def test_what_was_loaded_before_somebody_went_on_is_refused():
    config, store = three(), MemoryCheckpointStore()
    SimplePipelineRunner(config, hooks_for(store)).run()
    loaded = load_checkpoint_for_resume(store, "run-001", config)
    SimplePipelineRunner(config, hooks_for(store)).run(resume="run-001")
    with pytest.raises(RunClaimedError, match=r"gone on since .* 'clean', 'load' succeeded"):
        SimplePipelineRunner(config, hooks_for(store)).run(loaded)
    assert store.load("run-001", "survey").status == "completed"
    SimplePipelineRunner(config, hooks_for(store)).run()
    again = load_checkpoint_for_resume(store, "run-001", config)
    SimplePipelineRunner(config, hooks_for(store)).run()
    with pytest.raises(RunClaimedError, match="begun anew"):
        SimplePipelineRunner(config, hooks_for(store)).run(again)


def test_names_that_the_user_gives_are_what_is_inherited():
    config, store = three(), MemoryCheckpointStore()
    SimplePipelineRunner(config, hooks_for(store)).run()
    SimplePipelineRunner(config, hooks_for(store)).run({"extract", "clean"})
    assert [runs(name) for name in ("extract", "clean", "load")] == [1, 1, 1]
    assert store.load("run-001", "survey").completed_components == ["extract", "clean", "load"]


def test_a_claim_is_given_back_whatever_ends_the_run():
    config, store = three(), MemoryCheckpointStore()
    hooks = hooks_for(store)
    with pytest.raises(NoCheckpointError):
        hooks.resume("run-001", config)
    with store.claim("run-001", "survey"):
        pass

    class Stop(NoOpHooks):
        def before_component(self, config, index, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SimplePipelineRunner(config, CompositeHooks(hooks, Stop())).run()
    with store.claim("run-001", "survey"):
        pass
    assert store.load("run-001", "survey").status == "failed"
    hooks.resume("run-001", config)
    del hooks  # nobody ran it after all
    gc.collect()
    with store.claim("run-001", "survey"):
        pass


def test_a_claim_that_was_given_back_leaves_nothing(kernel):
    runner = SimplePipelineRunner(pipeline(), hooks_for(MemoryCheckpointStore()), dfk=kernel())
    runner.run()
    before = len(weakref.finalize._registry)
    for _ in range(3):
        runner.run()
    assert len(weakref.finalize._registry) <= before


def test_a_store_without_claims_will_do():
    config, store = three(), Plain(MemoryCheckpointStore())
    SimplePipelineRunner(config, hooks_for(store)).run()
    result = SimplePipelineRunner(config, hooks_for(store)).run(resume="run-001")
    assert result.status is PipelineResultStatus.SUCCESS


# -- a store that fails ----------------------------------------------------------------------------


def test_progress_that_cannot_be_recorded_is_warned_of_once_and_caught_up_with():
    config, store = pipeline(*(number(name, 1) for name in "abc")), Full()
    store.error = OSError(28, "No space left on device")

    class Mend(NoOpHooks):
        def after_component(self, config, index, total, duration_ms):
            if config.name == "b":
                store.error = None

    hooks = CompositeHooks(hooks_for(store), Mend())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = SimplePipelineRunner(config, hooks).run()
    assert result.status is PipelineResultStatus.SUCCESS
    told = [str(one.message) for one in caught if one.category is CheckpointWarning]
    assert len(told) == 1 and caught[0].filename == __file__  # the line that runs it
    assert "progress of run 'run-001' of pipeline 'survey' cannot be recorded: OSError" in told[0]
    assert store.refused >= 2
    state = store.load("run-001", "survey")
    assert (sorted(state.completed_components), state.status) == (["a", "b", "c"], "completed")


def test_it_may_fail_the_run_before_anything_has_run():
    store = Full()
    store.error = OSError(28, "No space left on device")
    with pytest.raises(CheckpointSaveError, match="No space left") as caught:
        SimplePipelineRunner(three(), hooks_for(store, on_store_error="fail")).run()
    assert isinstance(caught.value, ProgressError)
    assert caught.value.__cause__ is store.error
    assert runs("extract") == 0
    with store.claim("run-001", "survey"):
        pass


def test_it_may_fail_the_run_in_the_middle_and_nothing_more_begins():
    config, store = three(), Full()

    class Break(NoOpHooks):
        def before_component(self, config, index, total):
            store.error = OSError(5, "Input/output error")

    hooks = CompositeHooks(Break(), hooks_for(store, on_store_error="fail"))
    with pytest.raises(CheckpointSaveError, match="Input/output error"):
        SimplePipelineRunner(config, hooks).run()
    assert (runs("extract"), runs("clean")) == (1, 0)
    store.error = None
    result = SimplePipelineRunner(config, hooks_for(store), fail_fast=False).run(resume="run-001")
    assert "extract" in result.completed_components


def test_a_claim_that_cannot_be_written_follows_the_same_rule(tmp_path):
    Path("checkpoints").write_text("a file in the way")
    store = LocalCheckpointStore("checkpoints")
    with pytest.raises(CheckpointSaveError):
        SimplePipelineRunner(three(), hooks_for(store, on_store_error="fail")).run()
    with pytest.warns(CheckpointWarning, match="cannot be claimed"):
        SimplePipelineRunner(three(), hooks_for(store)).run()
    assert runs("extract") == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"run_id": ""}, "run_id"),
        ({"run_id": 3}, "run_id"),
        ({"run_id": "r", "on_store_error": "ignore"}, "on_store_error"),
    ],
)
def test_wrong_arguments_are_named(options, field):
    with pytest.raises(ConfigurationError, match=field):
        CheckpointHooks(MemoryCheckpointStore(), **options)


def test_hooks_that_are_told_nothing_of_a_start_do_nothing():
    store = MemoryCheckpointStore()
    hooks = hooks_for(store)
    config = three()
    hooks.after_component(config.components[0], 0, 3, 5)
    hooks.on_component_failure(config.components[0], 0, OSError())
    hooks.after_pipeline(config, None)
    assert store.states() == []


def test_a_state_of_an_older_version_without_a_structure_can_be_resumed():
    config, store = three(), MemoryCheckpointStore()
    fingerprint = compute_pipeline_fingerprint(config)
    store.save(CheckpointState("run-001", "survey", fingerprint, ["extract"]))
    assert load_checkpoint_for_resume(store, "run-001", config) == CompletedComponents(["extract"])
    result = SimplePipelineRunner(config, hooks_for(store)).run(resume="run-001")
    assert result.completed_components == ["extract"]  # clean fails, as it does the first time
    assert runs("extract") == 0
    store.save(CheckpointState("run-001", "survey", "another", ["extract"]))
    with pytest.raises(PipelineConfigChangedError, match="its fingerprint is another one"):
        load_checkpoint_for_resume(store, "run-001", config)


def test_checkpoints_are_importable_without_the_runner_or_optional_libraries():
    code = (
        "import sys; import parsl_ckpt.pipeline.checkpoints; "
        "print([m for m in ('yaml', 'pyspark', 'pandas', 'parsl_ckpt.pipeline.runner') "
        "if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("store", ["checkpoints", None, LocalCheckpointStore])
def test_what_keeps_no_progress_is_refused_before_the_run(store):
    with pytest.raises(ConfigurationError, match="keeps no progress"):
        CheckpointHooks(store, "run-001")
