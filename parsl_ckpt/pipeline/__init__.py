"""Pipelines: configured components that run on the kernel and resume where they failed.

Rule of this room: it is built from apps, and the kernel knows nothing of it. ``config`` and
``result`` are values, ``hooks`` are told, ``runner`` conducts, ``checkpoints`` keep the progress.

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_ckpt.errors import (
        CheckpointDamagedError,
        CheckpointSaveError,
        ComponentError,
        MissingInputError,
        NoCheckpointError,
        PipelineConfigChangedError,
        PipelineConfigError,
        PipelineError,
        ProgressError,
        RunClaimedError,
    )
    from parsl_ckpt.kernel.breaker import CircuitBreakerConfig, CircuitState
    from parsl_ckpt.kernel.policies import ResiliencePolicy
    from parsl_ckpt.kernel.retrying import RetryConfig
    from parsl_ckpt.pipeline.checkpoints import CheckpointHooks, load_checkpoint_for_resume
    from parsl_ckpt.pipeline.completed import CompletedComponents, RunStart
    from parsl_ckpt.pipeline.config import (
        ComponentConfig,
        ComponentType,
        ExecutorConfig,
        PipelineConfig,
        Problem,
    )
    from parsl_ckpt.pipeline.fingerprint import compute_pipeline_fingerprint
    from parsl_ckpt.pipeline.hooks import CompositeHooks, NoOpHooks, PipelineHooks
    from parsl_ckpt.pipeline.local_store import LocalCheckpointStore
    from parsl_ckpt.pipeline.result import (
        ComponentResult,
        ComponentStatus,
        PipelineResult,
        PipelineResultStatus,
    )
    from parsl_ckpt.pipeline.run_store import RunStore
    from parsl_ckpt.pipeline.runner import SimplePipelineRunner
    from parsl_ckpt.pipeline.spark import SparkComponent
    from parsl_ckpt.pipeline.states import (
        CheckpointState,
        CheckpointStore,
        MemoryCheckpointStore,
    )
    from parsl_ckpt.pipeline.watching import InMemoryRegistry, LoggingHooks, MetricsHooks

__all__ = [
    "CheckpointDamagedError",
    "CheckpointHooks",
    "CheckpointSaveError",
    "CheckpointState",
    "CheckpointStore",
    "CircuitBreakerConfig",
    "CircuitState",
    "CompletedComponents",
    "ComponentConfig",
    "ComponentError",
    "ComponentResult",
    "ComponentStatus",
    "ComponentType",
    "CompositeHooks",
    "ExecutorConfig",
    "InMemoryRegistry",
    "LocalCheckpointStore",
    "LoggingHooks",
    "MemoryCheckpointStore",
    "MetricsHooks",
    "MissingInputError",
    "NoCheckpointError",
    "NoOpHooks",
    "PipelineConfig",
    "PipelineConfigChangedError",
    "PipelineConfigError",
    "PipelineError",
    "PipelineHooks",
    "PipelineResult",
    "PipelineResultStatus",
    "Problem",
    "ProgressError",
    "ResiliencePolicy",
    "RetryConfig",
    "RunClaimedError",
    "RunStart",
    "RunStore",
    "SimplePipelineRunner",
    "SparkComponent",
    "compute_pipeline_fingerprint",
    "load_checkpoint_for_resume",
]

_HOMES = {
    "errors": (
        "CheckpointDamagedError", "CheckpointSaveError", "ComponentError", "MissingInputError",
        "NoCheckpointError", "PipelineConfigChangedError", "PipelineConfigError", "PipelineError",
        "ProgressError", "RunClaimedError",
    ),
    "kernel.breaker": ("CircuitBreakerConfig", "CircuitState"),
    "kernel.policies": ("ResiliencePolicy",),
    "kernel.retrying": ("RetryConfig",),
    "pipeline.checkpoints": ("CheckpointHooks", "load_checkpoint_for_resume"),
    "pipeline.completed": ("CompletedComponents", "RunStart"),
    "pipeline.config": (
        "ComponentConfig", "ComponentType", "ExecutorConfig", "PipelineConfig", "Problem",
    ),
    "pipeline.fingerprint": ("compute_pipeline_fingerprint",),
    "pipeline.hooks": ("CompositeHooks", "NoOpHooks", "PipelineHooks"),
    "pipeline.result": (
        "ComponentResult", "ComponentStatus", "PipelineResult", "PipelineResultStatus",
    ),
    "pipeline.local_store": ("LocalCheckpointStore",),
    "pipeline.run_store": ("RunStore",),
    "pipeline.runner": ("SimplePipelineRunner",),
    "pipeline.states": ("CheckpointState", "CheckpointStore", "MemoryCheckpointStore"),
    "pipeline.spark": ("SparkComponent",),
    "pipeline.watching": ("InMemoryRegistry", "LoggingHooks", "MetricsHooks"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'parsl_ckpt.pipeline' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"parsl_ckpt.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
