"""Going on with a run: by names, by its id, by lineage; what is handed down, and what is not."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.errors import ConfigurationError, MissingInputError, PipelineConfigChangedError
from parsl_ckpt.pipeline import (
    CheckpointHooks,
    ComponentConfig,
    ComponentStatus,
    CompositeHooks,
    LocalCheckpointStore,
    MemoryCheckpointStore,
    PipelineConfig,
    PipelineResultStatus,
    SimplePipelineRunner,
    compute_pipeline_fingerprint,
    load_checkpoint_for_resume,
)
from tests.pipeline.conftest import (
    Make,
    Notes,
    component,
    counting,
    number,
    pipeline,
    runs,
)

RESTORED, SUCCESS = ComponentStatus.RESTORED, ComponentStatus.SUCCESS
#: Fails in the middle, once; what comes last takes the values of both.
SURVEY = pipeline(
    counting("extract"), counting("clean", "extract", failures=1),
    component("load", "Collect", "extract", "clean"),
)  # fmt: skip


def statuses(result: Any) -> dict[str, ComponentStatus]:
    return {one.component_name: one.status for one in result.component_results}


# --- by names -------------------------------------------------------------------------------------


def test_the_example_of_the_readme_goes_on_after_a_failure(tmp_path):
    store = LocalCheckpointStore(tmp_path / "checkpoints")
    hooks = CompositeHooks(
        CheckpointHooks(
            store, run_id="run-001", pipeline_fingerprint=compute_pipeline_fingerprint(SURVEY)
        )
    )
    runner = SimplePipelineRunner(SURVEY, hooks=hooks)
    assert runner.run().status is PipelineResultStatus.PARTIAL_SUCCESS
    completed = load_checkpoint_for_resume(store, "run-001", SURVEY)
    assert completed == {"extract"}
    result = runner.run(completed_components=completed)
    assert result.status is PipelineResultStatus.SUCCESS
    assert statuses(result) == {"extract": RESTORED, "clean": SUCCESS, "load": SUCCESS}
    assert result.component("extract").restored_from == "run-001"
    assert result.run_id == "run-001"
    assert (runs("extract"), runs("clean")) == (1, 2)
    assert result.outputs == {"load": {"extract": 1, "clean": 2}}  # its value came along


def test_names_alone_restore_no_values_and_that_is_told(kernel: Make):
    config = pipeline(number("a", 1), component("b", "Ask", "a", config={"name": "a"}))
    result = SimplePipelineRunner(config, dfk=kernel()).run(completed_components={"a"})
    assert statuses(result)["a"] is RESTORED
    error = result.component("b").error
    assert isinstance(error, MissingInputError) and "not known any more" in str(error)


def test_restored_components_count_as_successes(kernel: Make):
    config = pipeline(number("a", 1), counting("b", "a", failures=9))
    result = SimplePipelineRunner(config, dfk=kernel()).run(completed_components=["a"])
    assert result.status is PipelineResultStatus.PARTIAL_SUCCESS
    assert result.completed_components == ["a"]


def test_what_has_succeeded_is_told_to_hooks_and_not_run(kernel: Make):
    config = pipeline(counting("a"), counting("b", "a"))
    notes = Notes()
    SimplePipelineRunner(config, notes, dfk=kernel()).run(completed_components={"a"})
    assert notes.told[0][0] == "on_run_start" and notes.told[0][2].completed == {"a"}
    assert notes.of("on_component_restored", "before_component") == [
        ("on_component_restored", "a", 0, 2, None), ("before_component", "b", 1, 2),
    ]  # fmt: skip
    assert (runs("a"), runs("b")) == (0, 1)


# --- by the id of a run ---------------------------------------------------------------------------


def test_in_one_line_and_in_the_store_of_the_project(kernel: Make):
    dfk = kernel()
    runner = SimplePipelineRunner(SURVEY, dfk=dfk)
    assert runner.run(run_id="run-001").run_id == "run-001"
    result = runner.run(resume="run-001")
    assert statuses(result) == {"extract": RESTORED, "clean": SUCCESS, "load": SUCCESS}
    assert result.outputs == {"load": {"extract": 1, "clean": 2}}


def test_in_another_life_of_the_program(kernel: Make):
    assert SimplePipelineRunner(SURVEY).run(run_id="run-001").status == "partial_success"
    result = SimplePipelineRunner(SURVEY).run(resume="run-001")
    assert result.outputs == {"load": {"extract": 1, "clean": 2}}
    assert runs("extract") == 1


def test_a_run_goes_on_under_another_id_and_hands_its_values_down(tmp_path, kernel: Make):
    store, dfk = LocalCheckpointStore(tmp_path / "c"), kernel()
    config = pipeline(
        counting("extract"), counting("clean", "extract", failures=2),
        component("load", "Collect", "extract", "clean"),
    )  # fmt: skip

    def run(run_id: str, resume: str | None) -> Any:
        hooks = CheckpointHooks(store, run_id)
        return SimplePipelineRunner(config, hooks, dfk=dfk).run(resume=resume)

    run("first", None)
    run("second", "first")
    assert store.load("second", "survey").completed_components == ["extract"]
    assert run("third", "second").outputs == {"load": {"extract": 1, "clean": 3}}
    assert runs("extract") == 1


def test_a_fresh_run_of_the_same_id_inherits_nothing(kernel: Make):
    runner = SimplePipelineRunner(pipeline(counting("a")), dfk=kernel())
    runner.run(run_id="run-001")
    assert statuses(runner.run(run_id="run-001")) == {"a": SUCCESS}
    assert runs("a") == 2


def test_no_checkpoint_is_a_value_error(kernel: Make):
    with pytest.raises(ValueError, match="No checkpoint found"):
        SimplePipelineRunner(SURVEY, dfk=kernel()).run(resume="run-001")
    assert runs("extract") == 0


def test_another_structure_is_refused_and_other_settings_are_not(kernel: Make):
    dfk = kernel()
    SimplePipelineRunner(SURVEY, dfk=dfk).run(run_id="run-001")
    other = pipeline(*SURVEY.components, number("more", 1))
    with pytest.raises(PipelineConfigChangedError, match="'more' is new"):
        SimplePipelineRunner(other, dfk=dfk).run(resume="run-001")
    extract, clean, load = SURVEY.components
    config = dataclasses.replace(extract, config={"path": "elsewhere"})
    result = SimplePipelineRunner(pipeline(config, clean, load), dfk=dfk).run(resume="run-001")
    assert statuses(result)["extract"] is RESTORED
    assert runs("elsewhere") == 0


def test_a_run_has_one_id_and_it_is_not_a_way_to_resume(kernel: Make):
    dfk = kernel()
    hooks = CheckpointHooks(MemoryCheckpointStore(), "run-001")
    with pytest.raises(ConfigurationError, match=r"'run-001'.*'run-002'"):
        SimplePipelineRunner(SURVEY, hooks, dfk=dfk).run(run_id="run-002")
    with pytest.raises(ConfigurationError, match="cannot be called 'lineage'"):
        SimplePipelineRunner(SURVEY, dfk=dfk).run(run_id="lineage")
    assert runs("extract") == 0


class Dying(MemoryCheckpointStore):
    """The program dies when it is to note that a component has succeeded."""

    name = ""

    def save(self, state: Any) -> None:
        if self.name in state.completed_components:
            raise KeyboardInterrupt
        super().save(state)


def test_what_is_recorded_before_a_death_is_found_though_the_progress_is_not(kernel: Make):
    config = pipeline(counting("a"), counting("b", "a"), component("c", "Collect", "b"))
    store, dfk = Dying(), kernel()
    store.name = "b"
    with pytest.raises(KeyboardInterrupt):
        SimplePipelineRunner(config, CheckpointHooks(store, "r"), dfk=dfk).run()
    store.name, loaded = "nobody", store.load("r", "survey")
    assert loaded is not None and loaded.completed_components == ["a"]
    result = SimplePipelineRunner(config, CheckpointHooks(store, "r"), dfk=dfk).run(resume="r")
    assert statuses(result) == {"a": RESTORED, "b": RESTORED, "c": SUCCESS}
    assert (runs("a"), runs("b")) == (1, 1)
    after = store.load("r", "survey")
    assert after is not None and sorted(after.completed_components) == ["a", "b", "c"]


@pytest.mark.parametrize("mode", ["dfk_exit", "manual", "periodic", None])
def test_values_are_saved_with_the_progress_in_every_mode(mode, tmp_path, kernel: Make):
    store = LocalCheckpointStore(tmp_path / "c")
    dfk = kernel(mode)
    SimplePipelineRunner(SURVEY, CheckpointHooks(store, "r"), dfk=dfk).run()
    # Another kernel sees what is in files now: this one has not ended.
    other = kernel("task_exit", checkpoint_files=[dfk.checkpoint_dir])
    result = SimplePipelineRunner(SURVEY, CheckpointHooks(store, "r"), dfk=other).run(resume="r")
    assert result.outputs == {"load": {"extract": 1, "clean": 2}}


# --- inside a component ---------------------------------------------------------------------------


def test_resume_goes_down_to_the_iteration_of_a_loop(kernel: Make):
    pytest.importorskip("parsl_ckpt.restart")
    config = pipeline(
        number("start", 0),
        component("loop", "Loop", "start", config={"path": "steps", "fail_at": 6, "until": 10}),
    )
    dfk = kernel()
    first = SimplePipelineRunner(config, dfk=dfk).run(run_id="run-001")
    assert first.component("loop").status is ComponentStatus.FAILED
    assert Path("steps").read_text().split() == ["0", "1", "2", "3", "4", "5"]
    result = SimplePipelineRunner(config, dfk=dfk).run(resume="run-001")
    assert result.outputs == {"loop": sum(range(10))}
    assert Path("steps").read_text().split() == [str(n) for n in range(10)]


def test_a_retry_goes_on_in_the_loop_and_a_fresh_run_does_not(kernel: Make):
    pytest.importorskip("parsl_ckpt.restart")
    from parsl_ckpt.pipeline import RetryConfig

    settings = {"path": "steps", "fail_at": 3, "until": 4}
    config = pipeline(
        component("loop", "Loop", config=settings, retry=RetryConfig(2, initial_delay_seconds=0))
    )
    runner = SimplePipelineRunner(config, dfk=kernel())
    assert runner.run().outputs == {"loop": 6}
    assert Path("steps").read_text().split() == ["0", "1", "2", "3"]
    assert runner.run().outputs == {"loop": 6}
    assert Path("steps").read_text().split() == ["0", "1", "2", "3"] * 2


# --- by lineage -----------------------------------------------------------------------------------

CODE = """\
import os


def note(name):
    with open("ran", "a") as file:
        file.write(name + " ")


class Extract:
    def __init__(self, table="t"):
        self.table = table

    def run(self):
        note("extract")
        return self.table


class Base:
    sign = "!"

    def open(self):
        self.width = 1


class Clean(Base):
    def run(self, inputs):
        note("clean")
        return inputs["extract"].upper()


class Check:
    def run(self, inputs):
        note("check")


class Load:
    def run(self, inputs):
        note("load")
        return inputs["clean"]
"""


class Project:
    """A user's project with a pipeline of extract → clean → load, and check beside it."""

    def __init__(self, root: Path, dfk: Any) -> None:
        self.file = root / "lineage_project.py"
        self.dfk = dfk
        self.config: dict[str, Any] = {}
        self.enabled: dict[str, bool] = {}
        self.write(CODE)

    def write(self, code: str) -> None:
        self.file.write_text(textwrap.dedent(code), encoding="utf-8")
        sys.modules.pop("lineage_project", None)
        importlib.invalidate_caches()
        cached = importlib.util.cache_from_source(str(self.file))  # its time may be the same
        Path(cached).unlink(missing_ok=True)

    def edit(self, before: str, after: str) -> None:
        code = self.file.read_text()
        assert before in code
        self.write(code.replace(before, after))

    def run(self, resume: str | None = "lineage", **options: Any) -> tuple[list[str], Any]:
        """The components that ran, in alphabetical order, and the result."""
        Path("ran").unlink(missing_ok=True)

        def of(name: str, *depends_on: str) -> ComponentConfig:
            return ComponentConfig(
                name, "transformation", f"lineage_project.{name.capitalize()}",
                self.config if name == "extract" else {}, depends_on,
                enabled=self.enabled.get(name, True),
            )  # fmt: skip

        config = PipelineConfig(
            "lineage",
            components=[
                of("extract"), of("clean", "extract"), of("check", "extract"),
                of("load", "clean"),
            ],
        )  # fmt: skip
        runner = SimplePipelineRunner(config, fail_fast=False, dfk=self.dfk)
        result = runner.run(resume=resume, **options)
        assert result.status is PipelineResultStatus.SUCCESS
        ran = Path("ran").read_text().split() if Path("ran").exists() else []
        return sorted(ran), result


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Make) -> Project:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Project(tmp_path, kernel())


ALL = ["check", "clean", "extract", "load"]


def test_by_lineage_everything_runs_at_first_and_nothing_afterwards(project: Project):
    assert project.run()[0] == ALL
    ran, result = project.run()
    assert ran == []
    assert set(statuses(result).values()) == {RESTORED}
    assert result.outputs == {"check": None, "load": "T"}


@pytest.mark.parametrize("how", [{}, {"run_id": "run-001"}])
def test_by_lineage_the_work_of_any_run_is_found(project: Project, how):
    project.run(None, **how)
    ran, result = project.run()
    assert ran == []
    assert result.component("load").restored_from == project.dfk.run_id


def test_by_lineage_another_run_directory_entry_is_told_as_where_it_comes_from(
    project: Project, kernel: Make
):
    project.run()
    before, project.dfk = project.dfk.run_id, kernel()
    ran, result = project.run()
    assert ran == []
    assert result.component("load").restored_from == before != project.dfk.run_id


def test_by_lineage_changed_code_runs_again_with_all_that_comes_after_it(project: Project):
    project.run()
    project.edit("upper()", "title()")
    ran, result = project.run()
    assert ran == ["clean", "load"]
    assert statuses(result)["extract"] is statuses(result)["check"] is RESTORED


def test_by_lineage_a_helper_is_part_of_the_code(project: Project):
    project.run()
    project.edit('name + " "', '" " + name + " "')
    assert project.run()[0] == ALL


@pytest.mark.parametrize(
    ("before", "after"), [("self.width = 1", "self.width = 2"), ('sign = "!"', 'sign = "?"')]
)
def test_by_lineage_what_a_class_inherits_is_part_of_the_code(project: Project, before, after):
    project.run()
    project.edit(before, after)
    assert project.run()[0] == ["clean", "load"]


def test_by_lineage_form_and_comments_are_not(project: Project):
    project.run()
    edited = 'class Clean(Base):\n    """Cleans."""\n\n    # well\n'
    project.edit("class Clean(Base):\n", edited)
    assert project.run()[0] == []


def test_by_lineage_changed_settings_run_again_with_all_that_comes_after_them(project: Project):
    project.run()
    project.config = {"table": "u"}
    ran, result = project.run()
    assert ran == ALL
    assert result.outputs["load"] == "U"


def test_by_lineage_a_component_that_returns_the_same_as_before_does_not_hide_the_change(
    project: Project,
):
    """It may have talked through a file."""
    project.run()
    project.edit("return self.table", "return str(self.table)")
    assert project.run()[0] == ALL


def test_by_lineage_leaving_a_component_out_is_a_change_of_what_comes_after_it(project: Project):
    project.edit('inputs["clean"]', 'inputs.get("clean")')
    project.run()
    project.enabled = {"clean": False}
    assert project.run()[0] == ["load"]


def test_by_lineage_what_was_computed_from_other_settings_is_not_taken_for_this(project: Project):
    """Resumed by its id, a run goes on with what it has; that is filed under what it was."""
    project.edit('note("load")', 'note("load")\n        if not os.path.exists("go"): raise OSError')
    with pytest.raises(AssertionError):
        project.run(None, run_id="run-001")
    project.config = {"table": "u"}
    Path("go").touch()
    ran, result = project.run("run-001")
    assert ran == ["load"] and result.outputs["load"] == "T"
    ran, result = project.run()
    assert ran == ALL and result.outputs["load"] == "U"


def test_by_lineage_a_component_that_failed_runs_again(kernel: Make):
    dfk = kernel()
    SimplePipelineRunner(SURVEY, dfk=dfk).run(resume="lineage")
    result = SimplePipelineRunner(SURVEY, dfk=dfk).run(resume="lineage")
    assert statuses(result) == {"extract": RESTORED, "clean": SUCCESS, "load": SUCCESS}


def test_a_run_by_lineage_can_be_resumed_by_its_id(tmp_path, kernel: Make):
    store, dfk = LocalCheckpointStore(tmp_path / "c"), kernel()

    def run(resume: str) -> Any:
        return SimplePipelineRunner(SURVEY, CheckpointHooks(store, "r"), dfk=dfk).run(resume=resume)

    assert run("lineage").status is PipelineResultStatus.PARTIAL_SUCCESS
    result = run("r")
    assert statuses(result) == {"extract": RESTORED, "clean": SUCCESS, "load": SUCCESS}
    assert result.outputs == {"load": {"extract": 1, "clean": 2}}
