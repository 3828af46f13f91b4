"""Hooks: who is told what, in which order, and what an exception in one of them does."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from parsl_ckpt.errors import ProgressError
from parsl_ckpt.pipeline import (
    ComponentConfig,
    CompositeHooks,
    InMemoryRegistry,
    LoggingHooks,
    MetricsHooks,
    NoOpHooks,
    PipelineConfig,
    PipelineResult,
    PipelineResultStatus,
    RunStart,
)
from parsl_ckpt.pipeline.hooks import EVENTS, each, tell

CONFIG = PipelineConfig("etl")
COMPONENT = ComponentConfig("load", "sink", "etl.Load")
ABOUT: dict[str, tuple[Any, ...]] = {
    "on_run_start": (CONFIG, RunStart()),
    "before_pipeline": (CONFIG,),
    "after_pipeline": (CONFIG, PipelineResult(PipelineResultStatus.SUCCESS, "etl")),
    "before_component": (COMPONENT, 0, 1),
    "on_value_recorded": (COMPONENT, "abc"),
    "after_component": (COMPONENT, 0, 1, 12),
    "on_component_failure": (COMPONENT, 0, OSError("no disk")),
    "on_component_skipped": (COMPONENT, 0, "'extract' failed"),
    "on_component_restored": (COMPONENT, 0, 1, "run-001"),
    "on_retry_attempt": (COMPONENT, 1, 3, 1000, OSError("no disk")),
    "on_circuit_breaker_state_change": ("load", "closed", "open"),
}


class Recorder(NoOpHooks):
    def __init__(self, name: str, told: list[tuple[str, str]], error: Exception | None = None):
        self.name, self.told, self.error = name, told, error

    def __getattribute__(self, event: str) -> Any:
        if event not in EVENTS:
            return super().__getattribute__(event)

        def note(*about: Any) -> None:
            self.told.append((self.name, event))
            if self.error is not None:
                raise self.error

        return note


def test_there_is_an_example_of_each_event():
    assert set(ABOUT) == set(EVENTS)


@pytest.mark.parametrize("event", EVENTS)
def test_composite_hooks_tell_all_in_their_order(event):
    told: list[tuple[str, str]] = []
    hooks = CompositeHooks(Recorder("first", told), Recorder("second", told))
    getattr(hooks, event)(*ABOUT[event])
    assert told == [("first", event), ("second", event)]


@pytest.mark.parametrize("event", EVENTS)
def test_an_exception_in_one_is_logged_and_the_others_are_told(event, caplog):
    told: list[tuple[str, str]] = []
    hooks = CompositeHooks(Recorder("first", told, ValueError("mine")), Recorder("second", told))
    getattr(hooks, event)(*ABOUT[event])
    assert told == [("first", event), ("second", event)]
    assert f"Recorder.{event} failed" in caplog.text and "ValueError: mine" in caplog.text


def test_an_exception_of_hooks_by_themselves_is_logged_as_well(caplog):
    tell(Recorder("only", [], ValueError("mine")), "before_pipeline", CONFIG)
    assert "Recorder.before_pipeline failed" in caplog.text


def test_who_records_progress_can_stop_the_run_after_all_were_told():
    told: list[tuple[str, str]] = []
    refusal = ProgressError("The disk is full.")
    hooks = CompositeHooks(Recorder("first", told, refusal), Recorder("second", told))
    with pytest.raises(ProgressError, match="full"):
        tell(hooks, "before_pipeline", CONFIG)
    assert told == [("first", "before_pipeline"), ("second", "before_pipeline")]


def test_hooks_need_not_have_all_methods():
    class Few:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def before_pipeline(self, config: PipelineConfig) -> None:
            self.seen.append(config.name)

    few = Few()
    for event in EVENTS:
        tell(CompositeHooks(few), event, *ABOUT[event])
    assert few.seen == ["etl"]


@pytest.mark.parametrize("event", EVENTS)
def test_no_op_hooks_take_every_event(event):
    assert getattr(NoOpHooks(), event)(*ABOUT[event]) is None


def test_no_hooks_at_all_are_hooks():
    tell(None, "before_pipeline", CONFIG)
    assert list(each(None)) == []


# --- the log --------------------------------------------------------------------------------------

SAID = {
    "before_pipeline": "Pipeline etl, version 1.0, begins: 0 components",
    "after_pipeline": "Pipeline etl: success after 0 ms",
    "before_component": "Component load (1 of 1) begins",
    "after_component": "Component load (1 of 1) is done after 12 ms",
    "on_component_failure": "Component load has failed: OSError: no disk",
    "on_component_skipped": "Component load is skipped, because 'extract' failed",
    "on_component_restored": "Component load (1 of 1) has succeeded before in run run-001",
    "on_retry_attempt": "attempt 1 of 3 has failed, the next one follows in 1000 ms: OSError",
    "on_circuit_breaker_state_change": "Circuit breaker of load: open, was closed",
}


@pytest.mark.parametrize("event", SAID)
def test_logging_hooks_write_a_line(event, caplog):
    caplog.set_level(logging.INFO)
    getattr(LoggingHooks(), event)(*ABOUT[event])
    assert SAID[event] in caplog.text
    assert {record.name for record in caplog.records} == {"parsl_ckpt.pipeline"}


def test_logging_hooks_take_a_logger(caplog):
    caplog.set_level(logging.INFO)
    LoggingHooks(logging.getLogger("mine")).before_pipeline(CONFIG)
    assert [record.name for record in caplog.records] == ["mine"]


# --- measurements ---------------------------------------------------------------------------------


def test_metrics_hooks_measure_by_their_clock_and_tell_their_registry():
    times = iter([10.0, 12.5])
    registry = InMemoryRegistry()
    hooks = MetricsHooks(clock=lambda: next(times), registry=registry)
    hooks.before_pipeline(CONFIG)
    hooks.on_retry_attempt(COMPONENT, 1, 3, 5, OSError())
    hooks.on_circuit_breaker_state_change("load", "closed", "open")
    hooks.after_component(COMPONENT, 0, 1, 12)
    hooks.after_pipeline(*ABOUT["after_pipeline"])
    assert hooks.total_duration_ms == 2500
    assert hooks.component_durations == {"load": 12}
    assert hooks.component_retries == {"load": 1}
    mine = ("component", "load"), ("pipeline", "etl")
    assert registry.timers["pipeline.duration", (("pipeline", "etl"),)] == [2500]
    assert registry.timers["pipeline.component.duration", mine] == [12]
    assert registry.counters["pipeline.component.retries", mine] == 1
    assert registry.counters["pipeline.circuit_breaker", (*mine, ("state", "open"))] == 1
    assert registry.counters["pipeline.runs", (("pipeline", "etl"), ("status", "success"))] == 1


def test_metrics_of_one_run_are_not_those_of_the_next():
    hooks = MetricsHooks(clock=lambda: 0.0)
    hooks.before_pipeline(CONFIG)
    hooks.after_component(COMPONENT, 0, 1, 12)
    hooks.before_pipeline(CONFIG)
    assert hooks.component_durations == {}
