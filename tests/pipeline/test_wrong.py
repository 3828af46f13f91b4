"""Arguments that cannot be: each is refused by its name, and before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parsl_ckpt.errors import CheckpointSaveError, ConfigurationError, KernelClosedError
from parsl_ckpt.pipeline import (
    CheckpointHooks,
    CheckpointState,
    LocalCheckpointStore,
    LoggingHooks,
    MemoryCheckpointStore,
    MetricsHooks,
    RunStore,
    SimplePipelineRunner,
    compute_pipeline_fingerprint,
    load_checkpoint_for_resume,
)
from tests.pipeline.conftest import Make, counting, number, pipeline, runs

CONFIG = pipeline(number("a", 1))
MEMORY = MemoryCheckpointStore()
RUNNER = SimplePipelineRunner(CONFIG)


class Plain:
    """A store that gives what stands in its file."""

    def save(self, state: Any) -> None: ...

    def load(self, run_id: str, pipeline_name: str) -> Any:
        return {"run_id": run_id}


class Awaited:
    """Hooks that nobody would await."""

    async def after_component(self, *about: Any) -> None: ...


def hooks(**options: Any) -> CheckpointHooks:
    return CheckpointHooks(MEMORY, "run-001", **options)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: SimplePipelineRunner(CONFIG, fail_fast="no"), "fail_fast is 'no'"),
        (lambda: SimplePipelineRunner(CONFIG, dfk=5), "dfk is 5, no DataFlowKernel"),
        (lambda: SimplePipelineRunner(CONFIG, dfk=[]), "dfk is [], no DataFlowKernel"),
        (lambda: SimplePipelineRunner(CONFIG, clock=3.5), "clock is 3.5, no function"),
        (lambda: SimplePipelineRunner(CONFIG, sleep_func=0), "sleep_func is 0, no function"),
        (
            lambda: SimplePipelineRunner(CONFIG, validate_before_run=1),
            "validate_before_run is 1, neither",
        ),
        (lambda: SimplePipelineRunner.from_file(CONFIG), "no path of a file that describes"),
        (lambda: RUNNER.run("a"), "completed_components is 'a', not a collection"),
        (lambda: RUNNER.run(1), "completed_components is 1, not a collection"),
        (lambda: RUNNER.run([["a"]]), "completed_components has ['a'], which is no component"),
        (lambda: RUNNER.run(on_store_error="stop"), "on_store_error is 'stop'"),
        (lambda: RUNNER.run(run_id=3), "run_id is 3, not a text"),
        (lambda: hooks(pipeline_fingerprint=CONFIG), "pipeline_fingerprint is PipelineConfig("),
        (lambda: hooks(now_func="now"), "now_func is 'now', no function"),
        (lambda: load_checkpoint_for_resume("dir", "run-001", CONFIG), "which keeps no progress"),
        (lambda: load_checkpoint_for_resume(MEMORY, 1, CONFIG), "run_id is 1, not a text"),
        (lambda: load_checkpoint_for_resume(MEMORY, "r", "p.yaml"), "not a PipelineConfig"),
        (lambda: compute_pipeline_fingerprint({"name": "p"}), "not a PipelineConfig"),
        (lambda: LocalCheckpointStore(None), "which is None, is no path"),
        (lambda: LocalCheckpointStore(b"x"), "which is b'x', is no path"),
        (lambda: LocalCheckpointStore(""), "which is '', is empty"),
        (lambda: LocalCheckpointStore("s3://bucket/x"), "which is 's3://bucket/x', is a URL"),
        (lambda: RunStore("runinfo"), "dfk is 'runinfo', no DataFlowKernel. Give what"),
        (lambda: load_checkpoint_for_resume(Plain(), "r", CONFIG), "state is {'run_id': 'r'}, not"),
        (lambda: SimplePipelineRunner(CONFIG, Awaited()), "whose after_component is a coroutine"),
        (lambda: LoggingHooks("nightly"), "logger is 'nightly', no logger. Give logging."),
        (lambda: MetricsHooks({}), "clock is {}, no function"),
        (lambda: MetricsHooks(registry={}), "registry is {}, which has not all of"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(call: Callable[[], Any], told: str):
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert told in str(caught.value)
    assert caught.value.field


@pytest.mark.parametrize("verb", ["load", "exists", "delete"])
def test_what_is_no_text_is_the_id_of_no_run(verb, tmp_path):
    stores: list[Any] = [MEMORY, LocalCheckpointStore(tmp_path), RunStore.at(tmp_path)]
    for store in stores:
        with pytest.raises(ConfigurationError, match="run_id is 5, not a text"):
            getattr(store, verb)(5, "etl")
        with pytest.raises(ConfigurationError, match="pipeline_name is None, not a text"):
            getattr(store, verb)("run-001", None)
        with pytest.raises(ConfigurationError, match="run_id is 5"), store.claim(5, "etl"):
            pass
        with pytest.raises(ConfigurationError, match=r"state is \{\}, not a CheckpointState"):
            store.save({})


@pytest.mark.parametrize("field", ["completed_components", "values", "structure"])
def test_a_state_has_what_can_grow(field):
    with pytest.raises(ValueError, match=f"{field} is 'extract'"):
        CheckpointState("r", "p", "f", **{field: "extract"})


def test_a_run_is_not_recorded_with_a_fingerprint_that_nothing_can_resume():
    config = pipeline(counting("a"))
    with pytest.raises(CheckpointSaveError, match="is not that of the pipeline 'survey'"):
        other = compute_pipeline_fingerprint(CONFIG)
        SimplePipelineRunner(config, hooks(pipeline_fingerprint=other)).run()
    assert runs("a") == 0


def test_a_kernel_that_has_ended_runs_no_pipeline(kernel: Make):
    dfk = kernel()
    dfk.cleanup()
    with pytest.raises(KernelClosedError):
        SimplePipelineRunner(CONFIG, dfk=dfk).run()
    assert SimplePipelineRunner(CONFIG, dfk=kernel()).run().outputs == {"a": 1}


def test_nor_does_one_that_is_loaded_in_the_parent_of_this_process():
    import parsl_ckpt as pc

    with pc.load(pc.Config(initialize_logging=False)) as dfk:
        dfk.kernel.refusal = KernelClosedError("It is that of the parent.")  # as after a fork
        try:
            with pytest.raises(KernelClosedError, match="of the parent"):
                SimplePipelineRunner(CONFIG).run()
        finally:
            dfk.kernel.refusal = None


def test_a_directory_may_be_given_as_a_url_of_this_machine(tmp_path):
    assert LocalCheckpointStore(f"file://{tmp_path}").base_dir == tmp_path
