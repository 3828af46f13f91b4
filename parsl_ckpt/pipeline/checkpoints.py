"""Recording how far a run has come, and resuming it.

::

    resume ─► claim ─► load ─► same pipeline? ─► what has succeeded
    on_run_start ─► claim ─► inherited state saved ─► ... each success saved ... ─► after_pipeline
                                                                                    claim released

Guarantees: what a run inherits is recorded before anything else happens, so that it is not lost
however often the run fails or dies.  A fresh run of an id inherits nothing.  While a run has its
claim, no other runner of the id begins.

Assumptions: hooks are called as ``hooks.py`` says; a component that dies between its success and
the record of it is run again, unless its value is recorded under its address.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import (
    CheckpointSaveError,
    ConfigurationError,
    NoCheckpointError,
    PipelineConfigChangedError,
    ProgressError,
    RunClaimedError,
)
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.pipeline.completed import CompletedComponents
from parsl_ckpt.pipeline.config import check_config
from parsl_ckpt.pipeline.fingerprint import changes, compute_pipeline_fingerprint, structure
from parsl_ckpt.pipeline.hooks import NoOpHooks
from parsl_ckpt.pipeline.local_store import LocalCheckpointStore
from parsl_ckpt.pipeline.run_store import RunStore
from parsl_ckpt.pipeline.states import (
    COMPLETED,
    FAILED,
    CheckpointState,
    CheckpointStore,
    MemoryCheckpointStore,
    check_state,
    claimed,
)

if TYPE_CHECKING:
    from parsl_ckpt.pipeline.completed import RunStart
    from parsl_ckpt.pipeline.config import ComponentConfig, PipelineConfig

__all__ = [
    "CheckpointHooks",
    "CheckpointState",
    "CheckpointStore",
    "LocalCheckpointStore",
    "MemoryCheckpointStore",
    "RunStore",
    "load_checkpoint_for_resume",
]


def load_checkpoint_for_resume(
    store: CheckpointStore, run_id: str, config: PipelineConfig
) -> CompletedComponents:
    """What has succeeded in a run, for ``runner.run(completed_components=...)``.

    Args:
        store: where its progress is kept.
        run_id: the run.
        config: the pipeline as it is now.

    Raises:
        NoCheckpointError: nothing is kept of the run (a ValueError).
        PipelineConfigChangedError: the pipeline is made of other components now.
        CheckpointDamagedError: what is kept cannot be read.
        ConfigurationError: an argument cannot be.

    >>> load_checkpoint_for_resume(MemoryCheckpointStore(), "run-001", config)  # doctest: +SKIP
    Traceback (most recent call last):
    parsl_ckpt.errors.NoCheckpointError: No checkpoint found for run 'run-001' of pipeline 'etl'...
    """
    check_config(config, "load_checkpoint_for_resume")
    _check_store(store)
    state = store.load(run_id, config.name)
    if state is None:
        raise NoCheckpointError(
            f"No checkpoint found for run {run_id!r} of pipeline {config.name!r}.",
            hint="Look at the run id and at where progress is kept; or run it without resume.",
            run_id=run_id,
            pipeline_name=config.name,
        )
    check_state(state)
    if state.pipeline_fingerprint != compute_pipeline_fingerprint(config):
        told = changes(state.structure, structure(config)) if state.structure else []
        raise PipelineConfigChangedError(run_id, config.name, told)
    return CompletedComponents(
        state.completed_components, run_id=run_id, token=state.token, values=state.values
    )


class CheckpointHooks(NoOpHooks):
    """Records the progress of a run.

    Args:
        store: where to.
        run_id: what the run is called.
        pipeline_fingerprint: of the pipeline that is run; computed if it is left out.
        on_store_error: what follows if progress cannot be recorded: ``"warn"`` and go on, or
            ``"fail"`` the run.
        now_func: gives the time.

    Attributes:
        store, run_id: the same.
        state: what was recorded last, or was to be.

    Raises:
        ConfigurationError: an argument cannot be.

    >>> from parsl_ckpt.pipeline import MemoryCheckpointStore, PipelineConfig, SimplePipelineRunner
    >>> store = MemoryCheckpointStore()
    >>> hooks = CheckpointHooks(store, run_id="run-001")
    >>> _ = SimplePipelineRunner(PipelineConfig("nothing"), hooks=hooks).run()
    >>> store.load("run-001", "nothing").status
    'completed'
    """

    def __init__(
        self,
        store: CheckpointStore,
        run_id: str,
        pipeline_fingerprint: str = "",
        *,
        on_store_error: str = "warn",
        now_func: Callable[[], datetime] | None = None,
    ) -> None:
        if not isinstance(run_id, str) or not run_id:
            raise ConfigurationError(
                f"run_id is {run_id!r:.80}, not a text."
                if not isinstance(run_id, str)
                else "run_id is empty.",
                hint="Give the run a name.",
                field="run_id",
            )
        _check_store(store)
        check_policy(on_store_error)
        if not isinstance(pipeline_fingerprint, str):
            raise ConfigurationError(
                f"pipeline_fingerprint is {pipeline_fingerprint!r:.80}, not a text.",
                hint="Give compute_pipeline_fingerprint(config), or leave it out.",
                field="pipeline_fingerprint",
            )
        if now_func is not None and not callable(now_func):
            raise ConfigurationError(
                f"now_func is {now_func!r:.80}, no function.", field="now_func"
            )
        self.store = store
        self.run_id = run_id
        self.state: CheckpointState | None = None
        self._fingerprint = pipeline_fingerprint
        self._fails = on_store_error == "fail"
        self._now = now_func or (lambda: datetime.now(timezone.utc))
        self._claim: Callable[[], object] | None = None  # gives it back
        self._thread = 0  # the one that runs it now
        self._told: set[str] = set()

    # -- resuming ----------------------------------------------------------------------------------

    def resume(self, run_id: str, config: PipelineConfig) -> CompletedComponents:
        """Claim the run, so that nobody goes on with it in between, and load what has succeeded.

        Args:
            run_id: the run to resume.
            config: the pipeline as it is now.

        Raises:
            RunClaimedError: somebody else runs it.
            NoCheckpointError, PipelineConfigChangedError, CheckpointDamagedError: see
                :func:`load_checkpoint_for_resume`.
        """
        if run_id == self.run_id:
            self._take(config.name)
        try:
            return load_checkpoint_for_resume(self.store, run_id, config)
        except BaseException:
            self.release()
            raise

    def on_run_start(self, config: PipelineConfig, start: RunStart) -> None:
        self._take(config.name)
        self._thread = threading.get_ident()
        try:
            self._begin(config, start)
        except BaseException:
            self.release()
            raise

    def _begin(self, config: PipelineConfig, start: RunStart) -> None:
        """Record what is inherited, before anything else."""
        inherited, fingerprint = start.completed, compute_pipeline_fingerprint(config)
        if self._fingerprint not in ("", fingerprint):
            raise CheckpointSaveError(
                f"pipeline_fingerprint is not that of the pipeline {config.name!r}, so a run that "
                "is recorded with it could never be resumed.",
                hint="Give compute_pipeline_fingerprint(config) of the pipeline that is run, or "
                "leave it out.",
                run_id=self.run_id,
                pipeline_name=config.name,
            )
        order = [one.name for one in config.components]
        now = self._now().isoformat()
        self.state = CheckpointState(
            run_id=self.run_id,
            pipeline_name=config.name,
            pipeline_fingerprint=fingerprint,
            completed_components=sorted(inherited, key=lambda name: _place(name, order)),
            created_at=now,
            token=start.token,
            values={name: at for name, at in inherited.values.items() if name in inherited},
            structure=structure(config),
        )
        if inherited.run_id == self.run_id:
            self._go_on(self.state, inherited)
        self._save()

    def _go_on(self, state: CheckpointState, inherited: CompletedComponents) -> None:
        """Take from the run that is resumed what is not inherited by name, if it is as it was."""
        try:
            before = self.store.load(self.run_id, state.pipeline_name)
        except Exception as error:
            self._trouble("cannot be read again", error)
            return
        if before is None:
            return
        since = [name for name in before.completed_components if name not in inherited]
        if before.token != inherited.token:
            self._refuse_old(state, "it was begun anew")
        elif since:
            self._refuse_old(state, f"{', '.join(map(repr, since))} succeeded")
        first = [name for name in before.completed_components if name in inherited]
        rest = [name for name in state.completed_components if name not in first]
        state.completed_components = first + rest
        state.created_at = before.created_at or state.created_at
        state.extra = before.extra

    def _refuse_old(self, state: CheckpointState, what: str) -> None:
        raise RunClaimedError(
            f"Run {self.run_id!r} of pipeline {state.pipeline_name!r} has gone on since its "
            f"checkpoint was loaded: {what} meanwhile.",
            hint="Load its checkpoint again, and run with that.",
            run_id=self.run_id,
            pipeline_name=state.pipeline_name,
            path="",
        )

    # -- recording ---------------------------------------------------------------------------------

    def on_value_recorded(self, config: ComponentConfig, address: str) -> None:
        if self.state is not None:
            self.state.values[config.name] = address

    def after_component(
        self, config: ComponentConfig, index: int, total: int, duration_ms: int
    ) -> None:
        self._add(config.name)

    def on_component_restored(
        self, config: ComponentConfig, index: int, total: int, run_id: str | None
    ) -> None:
        # One that died between its success and the record of it is restored from its value.
        if self.state is not None and config.name not in self.state.completed_components:
            self._add(config.name)

    def on_component_failure(
        self, config: ComponentConfig, index: int, error: BaseException
    ) -> None:
        if self.state is not None:
            self.state.failed_component = self.state.failed_component or config.name
            self._save()

    def after_pipeline(self, config: PipelineConfig, result: Any) -> None:
        try:
            if self.state is not None:
                status = getattr(getattr(result, "status", None), "value", None)
                self.state.status = COMPLETED if status == "success" else FAILED
                self._save()
        finally:
            self.release()

    def _add(self, name: str) -> None:
        """Record that a component has succeeded."""
        if self.state is not None:
            if name not in self.state.completed_components:
                self.state.completed_components.append(name)
            self._save()

    def release(self) -> None:
        """Let others have the run; harmless when repeated."""
        self._thread = 0
        claim, self._claim = self._claim, None
        if claim is not None:
            claim()

    def _save(self) -> None:
        state = self.state
        assert state is not None
        state.updated_at = self._now().isoformat()
        try:
            self.store.save(state.copy())
        except Exception as error:
            self._trouble("cannot be recorded", error)
        else:
            self._told.clear()

    def _take(self, pipeline_name: str) -> None:
        """Claim the run, if the store knows of claims and it is not claimed here already."""
        if self._thread not in (0, threading.get_ident()):
            raise claimed(self.run_id, pipeline_name, "another thread with the same hooks")
        claim = getattr(self.store, "claim", None)
        if claim is None or self._claim is not None:
            return
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(claim(self.run_id, pipeline_name))
        except ProgressError:
            raise
        except Exception as error:
            self._trouble("cannot be claimed", error)
            return
        self._claim = weakref.finalize(self, stack.close)

    def _trouble(self, what: str, error: Exception) -> None:
        """Do what is to follow if something goes wrong with the store."""
        pipeline = self.state.pipeline_name if self.state is not None else ""
        of = f" of pipeline {pipeline!r}" if pipeline else ""
        why = f"{type(error).__name__}: {error}".rstrip(".")
        text = f"The progress of run {self.run_id!r}{of} {what}: {why}"
        if self._fails:
            raise CheckpointSaveError(
                f"{text}.",
                hint='Make room or give another place; on_store_error="warn" goes on all the same.',
                run_id=self.run_id,
                pipeline_name=pipeline,
            ) from error
        cause = f"{what} {type(error).__name__}"
        if cause not in self._told:
            self._told.add(cause)
            warnings.warn(
                f"{text}. The run goes on; if it fails, what succeeds now is run again.",
                CheckpointWarning,
                stacklevel=_outside(),
            )


def _outside() -> int:
    """The stack level, for whoever calls this, of the line outside of this library: ``run()``."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        "parsl_ckpt."
    ):
        frame, level = frame.f_back, level + 1
    return level


def check_policy(on_store_error: Any) -> None:
    """Refuse what does not say what follows if progress cannot be recorded.

    Raises:
        ConfigurationError: it is neither ``"warn"`` nor ``"fail"``.
    """
    if not isinstance(on_store_error, str) or on_store_error not in ("warn", "fail"):
        raise ConfigurationError(
            f"on_store_error is {on_store_error!r:.80}.",
            hint='Use "warn" or "fail".',
            field="on_store_error",
        )


def _check_store(store: Any) -> None:
    """Refuse what keeps no progress.

    Raises:
        ConfigurationError: it does not.
    """
    able = all(callable(getattr(store, name, None)) for name in ("save", "load"))
    if isinstance(store, type) or not able:
        raise ConfigurationError(
            f"store is {store!r:.80}, which keeps no progress.",
            hint="Give a LocalCheckpointStore(directory), or another CheckpointStore.",
            field="store",
        )


def _place(name: str, order: list[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)
