"""The runner: order, failures, retries, breakers, what is told, and what is returned."""

from __future__ import annotations

import dataclasses
import logging
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from parsl_ckpt import dataflow
from parsl_ckpt.errors import (
    CircuitBreakerOpenError,
    ConfigurationError,
    PipelineConfigError,
    ProgressError,
)
from parsl_ckpt.kernel.breaker import CircuitBreaker
from parsl_ckpt.pipeline import (
    CircuitBreakerConfig,
    CircuitState,
    ComponentStatus,
    CompositeHooks,
    ExecutorConfig,
    LoggingHooks,
    MetricsHooks,
    PipelineResultStatus,
    ResiliencePolicy,
    RetryConfig,
    RunStart,
    SimplePipelineRunner,
)
from parsl_ckpt.pipeline.conducting import Conductor
from tests.pipeline import steps
from tests.pipeline.conftest import (
    Make,
    Notes,
    component,
    counting,
    number,
    pipeline,
    runs,
)

SUCCESS, FAILED = ComponentStatus.SUCCESS, ComponentStatus.FAILED
SKIPPED, DISABLED = ComponentStatus.SKIPPED, ComponentStatus.DISABLED


def statuses(result: Any) -> dict[str, ComponentStatus]:
    return {one.component_name: one.status for one in result.component_results}


class ByHand:
    """Stands for the kernel: attempts are ended by the test, on its own thread."""

    def __init__(self, script: dict[str, list[Any]] | None = None) -> None:
        self.begun: list[str] = []
        self.futures: dict[str, Future[Any]] = {}
        self.inputs: dict[str, dict[str, Any]] = {}
        self._script = script or {}

    def lineage(self, name: str) -> str | None:
        return None

    def recorded(self, one: Any) -> str | None:
        return None

    def value(self, one: Any) -> Future[Any] | None:
        return None

    def wants_inputs(self, one: Any) -> bool:
        return True

    def launch(self, one: Any, inputs: Any, unknown: Any) -> Future[Any]:
        self.begun.append(one.name)
        self.inputs[one.name] = {name: future.result() for name, future in inputs.items()}
        future = self.futures[one.name] = Future()
        future.set_running_or_notify_cancel()
        for outcome in self._script.get(one.name, [])[:1]:
            del self._script[one.name][0]
            self.end(one.name, outcome)
        return future

    def end(self, name: str, outcome: Any = None) -> None:
        if isinstance(outcome, BaseException):
            self.futures[name].set_exception(outcome)
        else:
            self.futures[name].set_result(outcome)

    def failure(self, one: Any, error: BaseException) -> BaseException:
        return error

    def file(self, one: Any, future: Future[Any]) -> None:
        pass


def conducted(
    config: Any, script: dict[str, list[Any]], **options: Any
) -> tuple[Notes, dict[str, ComponentStatus], ByHand]:
    """A run in which each attempt ends at once, in the way that the script says."""
    stage, notes = ByHand(script), Notes()
    conductor = Conductor(config, stage, notes, RunStart(), **options)
    conductor.run()
    return notes, {one.component_name: one.status for one in conductor.results()}, stage


# --- order ----------------------------------------------------------------------------------------


def test_independent_components_run_side_by_side(kernel: Make):
    from parsl_ckpt import ThreadPoolExecutor

    dfk = kernel(executors=[ThreadPoolExecutor(max_workers=3)])
    meeting = pipeline(component("a", "Meet"), component("b", "Meet"), component("c", "Meet"))
    result = SimplePipelineRunner(meeting, dfk=dfk).run()  # each waits for the two others
    assert result.status is PipelineResultStatus.SUCCESS


def test_a_component_begins_when_all_it_depends_on_is_done_and_not_later():
    config = pipeline(number("a", 1), number("b", 2), number("c", 3, "a"), number("d", 4, "b", "c"))
    stage, notes = ByHand(), Notes()
    conductor = Conductor(config, stage, notes, RunStart())
    begun: list[list[str]] = []

    def play() -> None:
        for name in ("a", "c", "b", "d"):
            while name not in launched:
                told.acquire()
            begun.append(sorted(stage.begun))
            stage.end(name)

    told, launched = threading.Semaphore(0), []
    launch = stage.launch

    def launching(one: Any, *about: Any) -> Future[Any]:
        future = launch(one, *about)
        launched.append(one.name)  # not before its future can be ended
        told.release()
        return future

    stage.launch = launching  # type: ignore[method-assign]
    thread = threading.Thread(target=play)
    thread.start()
    conductor.run()
    thread.join()
    assert begun[0][:1] == ["a"] and begun[-1] == ["a", "b", "c", "d"]
    assert "d" not in begun[2]
    assert stage.begun.index("c") < stage.begun.index("d")


def test_a_wide_and_deep_pipeline_runs_through(kernel: Make):
    layers = [
        number(f"{layer}.{n}", n, *([f"{layer - 1}.{m}" for m in range(4)] if layer else []))
        for layer in range(8)
        for n in range(4)
    ]
    result = SimplePipelineRunner(pipeline(*layers), dfk=kernel()).run()
    assert result.status is PipelineResultStatus.SUCCESS
    assert result.outputs == {f"7.{n}": n for n in range(4)}


def test_results_are_in_the_order_of_execution(kernel: Make):
    config = pipeline(number("last", 1, "first"), number("first", 1))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.completed_components == ["first", "last"]


def test_an_empty_pipeline_succeeds(kernel: Make):
    assert SimplePipelineRunner(pipeline(), dfk=kernel()).run().status == "success"


# --- failures -------------------------------------------------------------------------------------

FAILING = pipeline(
    counting("bad", failures=9), number("after", 1, "bad"), number("later", 1, "after"),
    number("other", 2), number("more", 3, "other"),
)  # fmt: skip


def test_fail_fast_begins_nothing_more_after_a_failure():
    notes, found, stage = conducted(FAILING, {"bad": [OSError("x")], "other": [2]})
    assert stage.begun == ["bad", "other"]
    assert found == {
        "bad": FAILED, "after": SKIPPED, "later": SKIPPED, "other": SUCCESS, "more": SKIPPED,
    }  # fmt: skip
    assert notes.of("on_component_skipped") == [
        ("on_component_skipped", "after", 1, "'bad' failed"),
        ("on_component_skipped", "later", 2, "'bad' failed"),
        ("on_component_skipped", "more", 4, "'bad' failed and fail_fast is on"),
    ]


def test_without_fail_fast_only_the_dependants_of_a_failure_are_skipped(kernel: Make):
    result = SimplePipelineRunner(FAILING, dfk=kernel(), fail_fast=False).run()
    assert statuses(result) == {
        "bad": FAILED, "after": SKIPPED, "later": SKIPPED, "other": SUCCESS, "more": SUCCESS,
    }  # fmt: skip
    assert result.status is PipelineResultStatus.PARTIAL_SUCCESS
    assert result.skipped_components == [("after", "'bad' failed"), ("later", "'bad' failed")]
    assert [name for name, _ in result.failed_components] == ["bad"]
    assert isinstance(result.component("bad").error, OSError)


def test_fail_fast_waits_for_what_runs_and_takes_back_what_has_not_begun(kernel: Make):
    from parsl_ckpt import ThreadPoolExecutor

    dfk = kernel(executors=[ThreadPoolExecutor(max_workers=1)])
    config = pipeline(counting("bad", failures=1), *(counting(f"n{i}") for i in range(5)))
    result = SimplePipelineRunner(config, dfk=dfk).run()
    for i in range(5):
        one = result.component(f"n{i}")
        assert (one.status, one.attempts) in [(SUCCESS, 1), (SKIPPED, 0)]
        assert runs(f"n{i}") == one.attempts


def test_nothing_but_failures_is_a_failure(kernel: Make):
    config = pipeline(counting("bad", failures=9), number("after", 1, "bad"))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.status is PipelineResultStatus.FAILURE
    assert "bad: failed: OSError: run 1" in str(result)
    assert "after: skipped, because 'bad' failed" in str(result)


def test_a_failure_is_not_raised_and_the_next_run_begins_anew(kernel: Make):
    runner = SimplePipelineRunner(pipeline(counting("bad", failures=1)), dfk=kernel())
    assert runner.run().status is PipelineResultStatus.FAILURE
    assert runner.run().status is PipelineResultStatus.SUCCESS


# --- disabled -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("enabled", "status"), [(True, SKIPPED), (False, DISABLED)])
def test_a_long_chain_after_a_failure_takes_no_recursion(enabled, status):
    chain = [number("0", 0)]
    chain += [number(str(n), n, str(n - 1), enabled=enabled) for n in range(1, 1500)]
    _, ended, _ = conducted(pipeline(*chain), {"0": [OSError()]})
    assert ended == {one.name: status if one.depends_on else FAILED for one in chain}


def test_a_disabled_component_is_left_out_and_its_dependants_run(kernel: Make):
    config = pipeline(
        number("a", 1), number("off", 2, "a", enabled=False), component("b", "Collect", "a", "off")
    )
    notes = Notes()
    result = SimplePipelineRunner(config, notes, dfk=kernel()).run()
    assert statuses(result) == {"a": SUCCESS, "off": DISABLED, "b": SUCCESS}
    assert result.status is PipelineResultStatus.SUCCESS
    assert result.outputs == {"b": {"a": 1}}
    assert notes.of("before_component") == [
        ("before_component", "a", 0, 2), ("before_component", "b", 1, 2),
    ]  # fmt: skip


def test_what_is_before_a_disabled_component_still_has_to_succeed():
    config = pipeline(number("a", 1), number("off", 2, "a", enabled=False), number("b", 3, "off"))
    _, found, stage = conducted(config, {"a": [OSError()]}, fail_fast=False)
    assert stage.begun == ["a"]
    assert found == {"a": FAILED, "off": DISABLED, "b": SKIPPED}


# --- attempts -------------------------------------------------------------------------------------

RETRY = RetryConfig(max_attempts=4, initial_delay_seconds=1, max_delay_seconds=3, jitter=0)


def test_attempts_are_reported_as_the_number_they_were(kernel: Make):
    config = pipeline(counting("c", failures=2, retry=RETRY), number("d", 1))
    slept: list[float] = []
    result = SimplePipelineRunner(config, dfk=kernel(), sleep_func=slept.append).run()
    assert (result.component("c").attempts, result.component("c").retries) == (3, 2)
    assert (result.component("d").attempts, result.component("d").retries) == (1, 0)
    assert slept == [1.0, 2.0]
    assert runs("c") == 3


def test_attempts_that_were_all_used_up_are_reported_too(kernel: Make):
    config = pipeline(counting("c", failures=9, retry=RETRY))
    notes, slept = Notes(), []
    result = SimplePipelineRunner(config, notes, dfk=kernel(), sleep_func=slept.append).run()
    assert (result.component("c").attempts, runs("c")) == (4, 4)
    assert str(result.component("c").error) == "run 4"
    assert [told[1:5] for told in notes.of("on_retry_attempt")] == [
        ("c", 1, 4, 1000), ("c", 2, 4, 2000), ("c", 3, 4, 3000),
    ]  # fmt: skip
    assert [str(told[5]) for told in notes.of("on_retry_attempt")] == ["run 1", "run 2", "run 3"]


def test_what_the_retry_does_not_name_is_not_tried_again(kernel: Make):
    retry = dataclasses.replace(RETRY, retry_on_exceptions=["OSError"])
    config = pipeline(counting("c", failures=9, error="ValueError", retry=retry))
    assert SimplePipelineRunner(config, dfk=kernel()).run().component("c").attempts == 1


def test_the_retries_of_the_kernel_do_not_count_behind_our_back(kernel: Make):
    config = pipeline(counting("c", failures=9))
    result = SimplePipelineRunner(config, dfk=kernel(retries=3)).run()
    assert (result.component("c").attempts, runs("c")) == (1, 1)


def test_while_a_retry_waits_others_run_and_nothing_is_held():
    retry = RetryConfig(max_attempts=2, initial_delay_seconds=60, jitter=0)
    time = [0.0]

    class Later:
        """Lets the time of the delay pass when the other component has run."""

        def after_component(self, config: Any, *about: Any) -> None:
            if config.name == "b":
                time[0] = 60.0

    config = pipeline(counting("c", retry=retry), number("b", 1))
    stage = ByHand({"c": [OSError(), 1], "b": [1]})
    conductor = Conductor(config, stage, Later(), RunStart(), clock=lambda: time[0])
    conductor.run()
    assert stage.begun == ["c", "b", "c"]
    first = conductor.results()[0]
    assert (first.status, first.attempts, first.duration_ms) == (SUCCESS, 2, 60_000)


def test_a_retry_is_dropped_when_another_failure_stops_the_run():
    config = pipeline(counting("c", retry=RETRY), counting("bad"))
    _, found, stage = conducted(
        config, {"c": [OSError("c")], "bad": [OSError("bad")]}, clock=lambda: 0.0
    )
    assert stage.begun == ["c", "bad"]
    assert found == {"c": FAILED, "bad": FAILED}


# --- breakers -------------------------------------------------------------------------------------


def test_an_open_breaker_costs_no_retry(kernel: Make):
    breaker = CircuitBreakerConfig(failure_threshold=2, timeout_seconds=60)
    config = pipeline(counting("c", failures=9, retry=RETRY, circuit_breaker=breaker))
    notes, time = Notes(), [0.0]
    runner = SimplePipelineRunner(
        config, notes, dfk=kernel(), clock=lambda: time[0], sleep_func=lambda _: None
    )
    first = runner.run().component("c")
    assert (first.attempts, runs("c")) == (2, 2)
    assert isinstance(first.error, CircuitBreakerOpenError)
    assert str(first.error.__cause__) == "run 2"
    second = runner.run().component("c")  # it is still open: not even one attempt
    assert (second.attempts, runs("c")) == (0, 2)
    assert notes.of("on_circuit_breaker_state_change") == [
        ("on_circuit_breaker_state_change", "c", CircuitState.CLOSED, CircuitState.OPEN)
    ]


def test_a_breaker_that_components_share_is_told_of_by_the_thread_of_the_run(kernel: Make):
    shared = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1), "db")
    config = pipeline(
        counting("a", failures=9, circuit_breaker=shared),
        counting("b", resilience=ResiliencePolicy(circuit_breaker=shared)),
        number("off", 0, "a", enabled=False),
    )
    notes = Notes()

    class Reset:
        def on_component_failure(self, one: Any, *about: Any) -> None:
            if isinstance(about[1], CircuitBreakerOpenError):
                thread = threading.Thread(target=shared.reset)  # as an app elsewhere may
                thread.start()
                thread.join()

    stage = ByHand({"a": [OSError()]})
    conductor = Conductor(
        config, stage, CompositeHooks(notes, Reset()), RunStart(), fail_fast=False
    )  # fmt: skip
    begin = conductor._begin

    def one_by_one(part: Any) -> None:
        begin(part)
        if part.name == "a":
            conductor._wait()  # its attempt has failed

    conductor._begin = one_by_one  # type: ignore[method-assign]
    conductor.run()
    assert stage.begun == ["a"]
    told = [told[1:] for told in notes.of("on_circuit_breaker_state_change")]
    assert told == [
        ("db", CircuitState.CLOSED, CircuitState.OPEN),
        ("db", CircuitState.OPEN, CircuitState.CLOSED),
    ]
    assert notes.threads == {threading.get_ident()} and shared._listeners == ()


def test_a_breaker_recovers_when_its_time_is_over(kernel: Make):
    breaker = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_seconds=60)
    config = pipeline(counting("c", failures=1, circuit_breaker=breaker))
    notes, time = Notes(), [0.0]
    runner = SimplePipelineRunner(config, notes, dfk=kernel(), clock=lambda: time[0])
    assert runner.run().status is PipelineResultStatus.FAILURE
    time[0] = 60.0
    assert runner.run().status is PipelineResultStatus.SUCCESS
    assert [told[2:] for told in notes.of("on_circuit_breaker_state_change")] == [
        (CircuitState.CLOSED, CircuitState.OPEN),
        (CircuitState.OPEN, CircuitState.HALF_OPEN),
        (CircuitState.HALF_OPEN, CircuitState.CLOSED),
    ]


# --- what is told ---------------------------------------------------------------------------------


def test_hooks_are_told_in_one_order_from_one_thread(kernel: Make):
    config = pipeline(
        number("a", 1), counting("b", "a", failures=1, retry=RETRY), number("off", 0, enabled=False)
    )
    notes = Notes()
    SimplePipelineRunner(config, notes, dfk=kernel(), sleep_func=lambda _: None).run()
    assert notes.events == [
        "on_run_start", "before_pipeline",
        "before_component", "on_value_recorded", "after_component",
        "before_component", "on_retry_attempt", "on_value_recorded", "after_component",
        "after_pipeline",
    ]  # fmt: skip
    assert notes.threads == {threading.get_ident()}


def test_components_side_by_side_take_turns_in_the_hooks(kernel: Make):
    config = pipeline(*(number(str(n), n) for n in range(20)))
    notes = Notes()
    SimplePipelineRunner(config, notes, dfk=kernel()).run()
    assert notes.threads == {threading.get_ident()}
    assert notes.of("before_component") == [("before_component", str(n), n, 20) for n in range(20)]
    assert sorted(told[1:4] for told in notes.of("after_component")) == sorted(
        (str(n), n, 20) for n in range(20)
    )


def test_an_exception_in_a_hook_is_logged_and_stops_nothing(kernel: Make, caplog):
    class Broken:
        def __getattr__(self, event: str) -> Any:
            def fail(*about: Any) -> None:
                raise ValueError(event)

            return fail if event.startswith(("on_", "before_", "after_")) else None

    result = SimplePipelineRunner(pipeline(number("a", 1)), Broken(), dfk=kernel()).run()
    assert result.status is PipelineResultStatus.SUCCESS
    assert "Broken.before_component failed; the run goes on" in caplog.text


@pytest.mark.parametrize("event", ["before_component", "after_component"])
def test_progress_that_cannot_be_recorded_stops_the_run(kernel: Make, event):
    class Strict:
        def __init__(self) -> None:
            self.result: Any = None

        def after_pipeline(self, config: Any, result: Any) -> None:
            self.result = result

    def refuse(*about: Any) -> None:
        raise ProgressError("The disk is full.")

    hooks = Strict()
    setattr(hooks, event, refuse)
    config = pipeline(counting("a"), counting("b", "a"))
    with pytest.raises(ProgressError, match="full"):
        SimplePipelineRunner(config, hooks, dfk=kernel()).run()
    assert runs("b") == 0
    assert runs("a") == (event == "after_component")
    assert hooks.result.component("b").reason == "progress cannot be recorded"


@pytest.mark.parametrize("event", ["on_run_start", "before_pipeline"])
def test_nothing_runs_if_progress_cannot_be_recorded_at_all(kernel: Make, event):
    class Strict:
        result: Any = None

        def after_pipeline(self, config: Any, result: Any) -> None:
            self.result = result

    def refuse(*about: Any) -> None:
        raise ProgressError("The run is somebody else's.")

    hooks = Strict()
    setattr(hooks, event, refuse)
    with pytest.raises(ProgressError, match="somebody"):
        SimplePipelineRunner(pipeline(counting("a")), hooks, dfk=kernel()).run()
    assert runs("a") == 0
    if event == "before_pipeline":  # who was told of a start is told of the end
        assert hooks.result.status is PipelineResultStatus.FAILURE
    else:
        assert hooks.result is None


def test_an_interrupted_run_is_told_to_its_hooks(kernel: Make):
    notes = Notes()

    class Stop:
        def after_component(self, config: Any, *about: Any) -> None:
            raise KeyboardInterrupt

    config = pipeline(number("a", 1), number("b", 1, "a"))
    with pytest.raises(KeyboardInterrupt):
        SimplePipelineRunner(config, CompositeHooks(notes, Stop()), dfk=kernel()).run()
    ((_, _, result),) = notes.of("after_pipeline")
    assert result.status is PipelineResultStatus.PARTIAL_SUCCESS
    assert result.component("b").reason == "the run was interrupted by KeyboardInterrupt"


def test_an_interrupted_run_waits_for_what_runs_and_takes_it_along(kernel: Make):
    from parsl_ckpt import ThreadPoolExecutor

    dfk = kernel(executors=[ThreadPoolExecutor(max_workers=2)])
    notes = Notes()

    class Stop:
        def after_component(self, config: Any, *about: Any) -> None:
            if config.name == "a":
                steps.go.set()  # now the other one may end
                raise KeyboardInterrupt

    config = pipeline(component("a", "Begun"), component("b", "Await"))
    with pytest.raises(KeyboardInterrupt):
        SimplePipelineRunner(config, CompositeHooks(notes, Stop()), dfk=dfk).run()
    ((_, _, result),) = notes.of("after_pipeline")
    assert statuses(result) == {"a": SUCCESS, "b": SUCCESS}
    assert notes.events[-2:] == ["after_component", "after_pipeline"]


def test_who_interrupts_twice_waits_no_longer():
    config = pipeline(number("a", 1), number("b", 1))
    stage = ByHand({"b": [1]})

    class Stop:
        def after_component(self, *about: Any) -> None:
            raise KeyboardInterrupt

    conductor = Conductor(config, stage, Stop(), RunStart())
    with pytest.raises(KeyboardInterrupt):
        conductor.run()
    conductor._inbox = _Interrupting()  # type: ignore[assignment]
    conductor.abandon(KeyboardInterrupt(), grace=3600.0)
    assert [one.status for one in conductor.results()] == [FAILED, SUCCESS]


class _Interrupting:
    def get(self, timeout: float) -> Any:
        raise KeyboardInterrupt


def test_the_hooks_that_come_with_the_library_work_together(kernel: Make, caplog):
    metrics = MetricsHooks()
    config = pipeline(counting("c", failures=1, retry=RETRY))
    runner = SimplePipelineRunner(
        config, CompositeHooks(LoggingHooks(), metrics), dfk=kernel(), sleep_func=lambda _: None
    )
    runner.run()
    assert metrics.component_retries == {"c": 1}
    assert metrics.component_status == {"c": "success"}
    assert "attempt 1 of 4 has failed" in caplog.text


# --- the clock ------------------------------------------------------------------------------------


def test_what_became_of_a_run_can_be_told_whatever_its_errors_do(kernel: Make, caplog):
    caplog.set_level(logging.INFO)
    retry = RetryConfig(max_attempts=2, initial_delay_seconds=0)
    config = pipeline(component("a", "Untold", retry=retry))
    result = SimplePipelineRunner(config, LoggingHooks(), dfk=kernel()).run()
    assert str(result).endswith("a: failed: Untellable (2 attempts)")
    assert "begins: 1 component\n" in caplog.text
    assert "Component a has failed: Untellable\n" in caplog.text
    assert f"{result.status} {result.component('a').status}" == "failure failed"
    assert f"{config.components[0].component_type}" == "transformation"


def test_durations_are_measured_by_the_clock(kernel: Make):
    ticks = iter(range(100))
    result = SimplePipelineRunner(
        pipeline(number("a", 1)), dfk=kernel(), clock=lambda: float(next(ticks))
    ).run()
    assert result.component("a").duration_ms > 0
    assert result.total_duration_ms > result.component("a").duration_ms


# --- kernels --------------------------------------------------------------------------------------


def test_a_runner_without_a_kernel_makes_one_for_the_run(tmp_path):
    config = pipeline(number("a", 1), run_dir=tmp_path / "elsewhere")
    result = SimplePipelineRunner(config).run()
    assert result.outputs == {"a": 1}
    assert (tmp_path / "elsewhere" / "000" / "checkpoint").is_dir()
    assert dataflow.loaded() is None


def test_executors_of_the_configuration_are_made_for_the_run():
    config = pipeline(
        number("a", 1, executors="small"), executors=[ExecutorConfig("small", workers=1)]
    )
    assert SimplePipelineRunner(config).run().status is PipelineResultStatus.SUCCESS


def test_a_runner_takes_the_kernel_that_is_loaded():
    import parsl_ckpt as pc

    with pc.load(pc.Config(initialize_logging=False)) as dfk:
        SimplePipelineRunner(pipeline(number("a", 1))).run()
        assert dfk.task_count == 1
        assert dataflow.loaded() is dfk


def test_a_kernel_that_is_given_is_loaded_for_the_run_only(kernel: Make):
    dfk = kernel()
    SimplePipelineRunner(pipeline(component("calls", "Calls")), dfk=dfk).run()
    assert dataflow.loaded() is None


def test_a_pipeline_may_run_within_a_task():
    import parsl_ckpt as pc

    @pc.python_app
    def outer() -> Any:
        return SimplePipelineRunner(pipeline(number("a", 1), component("b", "Double", "a"))).run()

    with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)])):
        assert outer().result().outputs == {"b": 2}


@pytest.mark.parametrize("given", [True, False])
def test_runs_side_by_side_have_a_result_each_and_leave_nothing(kernel: Make, given):
    config = pipeline(number("a", 1), component("b", "Double", "a"), component("c", "Calls", "b"))
    runner = SimplePipelineRunner(config, dfk=kernel() if given else None)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(runner.run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.outputs for one in found] == [{"c": 8}] * 4
    assert dataflow.loaded() is None


def test_a_run_that_begins_while_the_kernel_of_another_ends_has_one_of_its_own(monkeypatch):
    from parsl_ckpt.pipeline import kernels

    ending, looked, kernel_of = threading.Event(), threading.Event(), {}

    class Noting:
        """A lock; notes that the second run has seen what there is."""

        def __init__(self) -> None:
            self.lock = threading.RLock()

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if threading.current_thread().name == "second":
                looked.set()

    def end(dfk: Any, *about: Any) -> None:
        if threading.current_thread().name == "first":
            ending.set()
            assert looked.wait(60)
        ended(dfk, *about)

    def run(name: str) -> None:
        with kernels.kernel_for(pipeline(number("a", 1)), None) as dfk:
            kernel_of[name] = dfk

    ended = dataflow.DataFlowKernel.__exit__
    monkeypatch.setattr(dataflow.DataFlowKernel, "__exit__", end)
    monkeypatch.setattr(kernels, "_lock", Noting())
    first, second = (
        threading.Thread(target=run, args=(name,), name=name) for name in ("first", "second")
    )
    first.start()
    assert ending.wait(60)
    second.start()
    first.join()
    second.join()
    assert kernel_of["first"] is not kernel_of["second"]
    assert dataflow.loaded() is None


def test_a_run_within_a_run_has_the_same_kernel():
    config = pipeline(component("outer", "Nested"), run_dir="one")
    assert SimplePipelineRunner(config).run().outputs == {"outer": {"inner": 4}}
    assert dataflow.loaded() is None


def test_another_run_with_other_settings_has_to_be_given_a_kernel():
    refused: list[str] = []

    class Second:
        def before_pipeline(self, config: Any) -> None:
            try:
                SimplePipelineRunner(pipeline(number("a", 1), run_dir="other")).run()
            except ConfigurationError as error:
                refused.append(str(error))

    SimplePipelineRunner(pipeline(number("a", 1)), Second()).run()
    assert len(refused) == 1 and "dfk=" in refused[0]
    assert dataflow.loaded() is None


def test_an_interruption_is_told_before_what_it_brings_about(kernel: Make, caplog):
    class Hooks:
        def before_pipeline(self, config: Any) -> None:
            raise KeyboardInterrupt

        def after_pipeline(self, config: Any, result: Any) -> None:
            raise ProgressError("The disk is full.")

    with pytest.raises(KeyboardInterrupt):
        SimplePipelineRunner(pipeline(number("a", 1)), Hooks(), dfk=kernel()).run()
    assert "The disk is full." in caplog.text


# --- before a run ---------------------------------------------------------------------------------

WRONG = pipeline(
    counting("a"), component("b", "NoRun", "a"), number("c", 1, "nobody"),
    number("d", 1, executors="big"),
)  # fmt: skip


def test_what_is_wrong_is_refused_before_anything_runs():
    with pytest.raises(PipelineConfigError) as caught:
        SimplePipelineRunner(WRONG).run()
    assert [one.place for one in caught.value.problems] == [
        "components[2].depends_on[0]", "components[1].class_path", "components[3].executors",
    ]  # fmt: skip
    assert runs("a") == 0


@pytest.mark.parametrize("config", ["pipeline.yaml", None, {"name": "p"}])
def test_what_is_no_pipeline_is_refused(config):
    with pytest.raises(ConfigurationError, match="not a PipelineConfig"):
        SimplePipelineRunner(config)


@pytest.mark.parametrize(
    ("hooks", "hint"), [(LoggingHooks, "an instance"), (3, "before_component"), ([], "methods")]
)
def test_hooks_that_nothing_could_be_told_to_are_refused(hooks, hint):
    with pytest.raises(ConfigurationError, match=hint):
        SimplePipelineRunner(pipeline(number("a", 1)), hooks=hooks)
    with pytest.raises(ConfigurationError, match=hint):
        CompositeHooks(LoggingHooks(), hooks)


def test_dry_run_tells_the_same_and_runs_nothing():
    told = SimplePipelineRunner(WRONG).dry_run()
    assert len(told) == 3 and "no method run" in told[1]
    assert "names the executor 'big'; there is 'threads'" in told[2]
    assert runs("a") == 0
    assert SimplePipelineRunner(pipeline(counting("a"))).dry_run() == []
    assert runs("a") == 0


def test_without_validation_a_bad_class_is_the_failure_of_its_component(kernel: Make):
    config = pipeline(counting("a"), component("b", "NoRun", "a"))
    result = SimplePipelineRunner(config, dfk=kernel(), validate_before_run=False).run()
    assert statuses(result) == {"a": SUCCESS, "b": FAILED}


def test_without_validation_the_graph_is_checked_all_the_same():
    with pytest.raises(PipelineConfigError, match="nobody"):
        SimplePipelineRunner(pipeline(number("c", 1, "nobody")), validate_before_run=False).run()


def test_a_component_that_does_not_exist_cannot_have_succeeded(kernel: Make):
    runner = SimplePipelineRunner(pipeline(number("a", 1)), dfk=kernel())
    with pytest.raises(ConfigurationError, match="'x', which is no component"):
        runner.run(completed_components={"x"})
    with pytest.raises(ConfigurationError, match="both"):
        runner.run(completed_components={"a"}, resume="run-001")


def test_what_an_interrupted_run_has_waited_for_its_own_kernel_does_not_wait_for_again(
    tmp_path, monkeypatch
):
    from parsl_ckpt import Config, ThreadPoolExecutor
    from parsl_ckpt.pipeline import kernels

    graces: list[float | None] = []

    def made(config: Any) -> Any:
        pool = ThreadPoolExecutor(max_workers=2)
        shutdown = pool.shutdown

        def noting(grace: float | None = None) -> None:
            graces.append(grace)
            shutdown(grace)

        pool.shutdown = noting  # type: ignore[method-assign]
        return dataflow.load(Config(executors=[pool], run_dir=tmp_path, grace=0.01))

    class Stop:
        def after_component(self, *about: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(kernels, "_made", made)
    config = pipeline(component("a", "Begun"), component("b", "Await"))
    try:
        with pytest.raises(KeyboardInterrupt):
            SimplePipelineRunner(config, Stop()).run()
    finally:
        steps.go.set()
    assert graces == [0.0]


def test_an_empty_run_id_is_refused(kernel: Make):
    with pytest.raises(ConfigurationError, match="run_id is empty"):
        SimplePipelineRunner(pipeline(number("a", 1)), dfk=kernel()).run(run_id="")


def test_names_may_be_any_texts(kernel: Make):
    odd = "\ud800/../\0"  # half of a character, as file names may have, cannot be encoded
    config = dataclasses.replace(pipeline(number(odd, 1), component("b", "Double", odd)), name=odd)
    runner = SimplePipelineRunner(config, dfk=kernel())
    assert runner.run(run_id=odd).outputs == {"b": 2}
    again = runner.run(resume=odd)
    assert set(statuses(again).values()) == {ComponentStatus.RESTORED} and again.outputs == {"b": 2}


def test_a_clock_that_goes_back_makes_no_negative_durations(kernel: Make):
    ticks = iter(range(1000, 0, -1))
    result = SimplePipelineRunner(
        pipeline(number("a", 1)), dfk=kernel(), clock=lambda: float(next(ticks))
    ).run()
    assert result.component("a").duration_ms == 0
    assert result.total_duration_ms == 0
