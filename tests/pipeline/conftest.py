"""What the tests of pipelines share: short descriptions, kernels, hooks that take notes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.config import Config
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.pipeline import ComponentConfig, NoOpHooks, PipelineConfig
from parsl_ckpt.pipeline.hooks import EVENTS
from tests.pipeline import steps

Make = Callable[..., DataFlowKernel]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps.log.clear()
    steps.go.clear()
    steps.begun.clear()


@pytest.fixture
def kernel() -> Iterator[Make]:
    """Makes kernels that record in ``runinfo`` and end with the test."""
    made: list[DataFlowKernel] = []

    def make(mode: Any = "task_exit", **options: Any) -> DataFlowKernel:
        dfk = DataFlowKernel(Config(checkpoint_mode=mode, initialize_logging=False, **options))
        made.append(dfk)
        return dfk

    yield make
    for dfk in made:
        dfk.cleanup()


def component(
    name: str, class_path: str, *depends_on: str, config: dict[str, Any] | None = None, **rest: Any
) -> ComponentConfig:
    """A component of :mod:`tests.pipeline.steps`."""
    return ComponentConfig(
        name, "transformation", f"{steps.HERE}.{class_path}", config or {}, depends_on, **rest
    )


def pipeline(*components: ComponentConfig, **rest: Any) -> PipelineConfig:
    return PipelineConfig("survey", components=components, **rest)


def number(name: str, value: Any, *depends_on: str, **rest: Any) -> ComponentConfig:
    """A component that returns a value."""
    return component(name, "Fixed", *depends_on, config={"value": value}, **rest)


def counting(name: str, *depends_on: str, failures: int = 0, **rest: Any) -> ComponentConfig:
    """A component that counts its runs in a file of its name, and fails the first of them."""
    config = {"path": name, "failures": failures}
    if "error" in rest:
        config["error"] = rest.pop("error")
    return component(name, "Count", *depends_on, config=config, **rest)


def runs(name: str) -> int:
    """How often a counting component has run."""
    path = Path(name)
    return path.stat().st_size if path.exists() else 0


class Notes(NoOpHooks):
    """Hooks that note what they are told, shortly."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def __getattribute__(self, event: str) -> Any:
        if event not in EVENTS:
            return super().__getattribute__(event)

        def note(*about: Any) -> None:
            self.threads.add(threading.get_ident())
            short = [
                one.name if isinstance(one, (ComponentConfig, PipelineConfig)) else one
                for one in about
            ]
            self.told.append((event, *short))

        return note

    def of(self, *events: str) -> list[tuple[Any, ...]]:
        return [one for one in self.told if one[0] in events]

    @property
    def events(self) -> list[str]:
        return [one[0] for one in self.told]
