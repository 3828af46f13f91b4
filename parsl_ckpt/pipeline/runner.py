"""Running a pipeline: what users hold.

run ─► check ─► kernel (given, loaded, or its own) ─► what is inherited ─► hooks: on_run_start
    ─► before_pipeline ─► conductor ─► after_pipeline ─► PipelineResult
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from typing import Any

from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.errors import ConfigurationError, ProgressError
from parsl_ckpt.kernel.breaker import CircuitBreaker
from parsl_ckpt.pipeline.checkpoints import CheckpointHooks, check_policy
from parsl_ckpt.pipeline.completed import CompletedComponents, RunStart
from parsl_ckpt.pipeline.conducting import Conductor
from parsl_ckpt.pipeline.config import PipelineConfig, Problem, check_config, refusal
from parsl_ckpt.pipeline.fingerprint import compute_pipeline_fingerprint
from parsl_ckpt.pipeline.hooks import CompositeHooks, NoOpHooks, check_hooks, each, tell
from parsl_ckpt.pipeline.kernels import kernel_for, labels_for, waited
from parsl_ckpt.pipeline.loading import load_config
from parsl_ckpt.pipeline.result import PipelineResult, overall
from parsl_ckpt.pipeline.run_store import RunStore
from parsl_ckpt.pipeline.staging import Stage

logger = logging.getLogger(__name__)

LINEAGE = "lineage"


class SimplePipelineRunner:
    """Runs a pipeline on the kernel: what does not depend on each other runs side by side.

    Args:
        config: the pipeline.
        hooks: who is told how it goes; None for nobody.
        fail_fast: begin nothing more after a failure, and wait for what runs. False runs whatever
            does not depend on what has failed.
        dfk: the kernel to run on; None for the one that is loaded, or else one of its own, which
            keeps its checkpoint in ``config.run_dir`` and ends with the run.
        clock: gives seconds that never go backwards.
        sleep_func: called instead of waiting before another attempt, for tests; None waits, and
            runs other components meanwhile.
        validate_before_run: import all classes before anything runs, and refuse what can be no
            component, or cannot be made from its configuration. The graph is checked in any case.

    Attributes:
        config: the pipeline.

    Raises:
        ConfigurationError: an argument is not what it has to be.

    >>> runner = SimplePipelineRunner(PipelineConfig("nothing"))
    >>> runner.dry_run()
    []

    The names are pyspark-pipeline-framework's.
    """

    def __init__(
        self,
        config: PipelineConfig,
        hooks: Any = None,
        fail_fast: bool = True,
        dfk: DataFlowKernel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep_func: Callable[[float], object] | None = None,
        validate_before_run: bool = True,
    ) -> None:
        check_config(config, "SimplePipelineRunner")
        if hooks is not None:
            check_hooks(hooks)
        for field, value, right, what in (
            ("fail_fast", fail_fast, isinstance(fail_fast, bool), "neither True nor False"),
            ("dfk", dfk, dfk is None or isinstance(dfk, DataFlowKernel), "no DataFlowKernel"),
            ("clock", clock, callable(clock), "no function"),
            ("sleep_func", sleep_func, sleep_func is None or callable(sleep_func), "no function"),
            (
                "validate_before_run", validate_before_run, isinstance(validate_before_run, bool),
                "neither True nor False",
            ),
        ):  # fmt: skip
            if not right:
                raise ConfigurationError(
                    f"SimplePipelineRunner: {field} is {value!r:.80}, {what}.", field=field
                )
        self.config = config
        self._hooks = NoOpHooks() if hooks is None else hooks
        self._fail_fast = fail_fast
        self._dfk = dfk
        self._clock = clock
        self._sleep = sleep_func
        self._validate = validate_before_run
        self._breakers: dict[str, CircuitBreaker] = {}

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, validate_before_run: bool = True, **options: Any
    ) -> SimplePipelineRunner:
        """A runner of the pipeline that a YAML, TOML or JSON file describes.

        Args:
            path: the file.
            validate_before_run: import the classes right now, and again before a run.
            options: as for the class.

        Raises:
            PipelineConfigError: it tells all that is wrong with the file, each with its place.
            MissingLibraryError: the library that reads such files is not installed.
        """
        config = load_config(path, classes=validate_before_run)
        return cls(config, validate_before_run=validate_before_run, **options)

    def problems(self, *, classes: bool = True) -> list[Problem]:
        """All that keeps the pipeline from running, as far as can be told without running it."""
        found = self.config.problems(classes=classes)
        labels = labels_for(self.config, self._dfk)
        for index, one in enumerate(self.config.components):
            wanted = [one.executors] if isinstance(one.executors, str) else one.executors or ()
            for label in wanted:
                if label != "all" and label not in labels and one.enabled:
                    known = ", ".join(map(repr, sorted(labels)))
                    text = f"names the executor {label!r}; there is {known}"
                    found.append(Problem(f"components[{index}].executors", text, one.name))
        return found

    def dry_run(self) -> list[str]:
        """Everything but running: the classes are imported and looked at.

        Returns:
            All problems, as texts; empty if the pipeline can run.
        """
        return [str(problem) for problem in self.problems()]

    def run(
        self,
        completed_components: Collection[str] | None = None,
        *,
        resume: str | None = None,
        run_id: str | None = None,
        on_store_error: str = "warn",
    ) -> PipelineResult:
        """Run the pipeline, or what is left to run of it.

        Args:
            completed_components: names of components that need not run: what
                :func:`~parsl_ckpt.pipeline.load_checkpoint_for_resume` gives.
            resume: the id of the run to go on with, of which everything that has succeeded is
                restored; or ``"lineage"``: run exactly those components whose code, configuration
                or upstream is not as it was when they were recorded.
            run_id: the id under which progress is recorded, in the checkpoint of the kernel, if no
                hooks record it; None for that of ``resume``, and else for no record.
            on_store_error: what follows where it cannot be recorded then: ``"warn"`` and go on, or
                ``"fail"`` the run.

        Returns:
            What became of it; a failure of a component is told there and not raised.

        Raises:
            PipelineConfigError: the pipeline cannot be run; it tells all reasons.
            PipelineConfigChangedError: it has another structure than the run that is resumed had.
            ValueError: nothing is known of the run that is to be resumed; a component is named that
                there is not; two ways of resuming are asked for at once.
            ProgressError: progress cannot be recorded as was asked.
            KernelClosedError: the kernel that was given has ended.
        """
        check_policy(on_store_error)
        if completed_components is not None and resume is not None:
            raise ConfigurationError(
                "run() was given both completed_components and resume.",
                hint="Give one of them.",
                field="resume",
            )
        found = self.problems(classes=self._validate)
        if found:
            raise refusal(found, f"Pipeline {self.config.name!r}")
        with kernel_for(self.config, self._dfk) as dfk:
            hooks, recorder = self._recording(dfk, resume, run_id, on_store_error)
            start = self._start(completed_components, resume, recorder)
            return self._conduct(dfk, hooks, start, recorder)

    # -- parts of a run ----------------------------------------------------------------------------

    def _conduct(
        self, dfk: DataFlowKernel, hooks: Any, start: RunStart, recorder: Any
    ) -> PipelineResult:
        began, run_id = self._clock(), getattr(recorder, "run_id", None)
        stage = Stage(dfk, self.config, start, named=recorder is not None)
        conductor = Conductor(
            self.config, stage, hooks, start, fail_fast=self._fail_fast, clock=self._clock,
            sleep=self._sleep, breakers=self._breakers,
        )  # fmt: skip

        def result(outputs: dict[str, Any]) -> PipelineResult:
            results = conductor.results()
            spent = max(int((self._clock() - began) * 1000), 0)  # whatever the clock does
            return PipelineResult(
                overall(results), self.config.name, results, spent, run_id, outputs
            )

        tell(hooks, "on_run_start", self.config, start)
        try:
            tell(hooks, "before_pipeline", self.config)
            conductor.run()
            done = result(conductor.outputs())
        except BaseException as error:
            conductor.abandon(error, dfk.config.grace)
            waited(dfk)
            try:
                tell(hooks, "after_pipeline", self.config, result({}))
            except ProgressError as second:  # what came first is what the user has to know
                logger.error("%s", second)
            raise
        tell(hooks, "after_pipeline", self.config, done)
        if conductor.refusal is not None:
            raise conductor.refusal
        return done

    def _recording(
        self, dfk: DataFlowKernel, resume: str | None, run_id: str | None, on_store_error: str
    ) -> tuple[Any, Any]:
        """The hooks of a run, and the one among them that records progress, if there is one."""
        able = (one for one in each(self._hooks) if callable(getattr(one, "resume", None)))
        recorder = next(able, None)
        wanted = (resume if resume != LINEAGE else None) if run_id is None else run_id
        if LINEAGE in (wanted, getattr(recorder, "run_id", None)):
            raise ConfigurationError(
                f"A run cannot be called {LINEAGE!r}, since that is a way to resume.",
                hint="Give it another id.",
                field="run_id",
            )
        if recorder is not None:
            if run_id is not None and run_id != recorder.run_id:
                raise ConfigurationError(
                    f"The hooks record progress as {recorder.run_id!r}, and run() was given the "
                    f"id {run_id!r}.",
                    hint="Leave run_id out.",
                    field="run_id",
                )
            return self._hooks, recorder
        if wanted is None:
            return self._hooks, None
        recorder = CheckpointHooks(
            RunStore(dfk), wanted, compute_pipeline_fingerprint(self.config),
            on_store_error=on_store_error,
        )  # fmt: skip
        return CompositeHooks(recorder, self._hooks), recorder

    def _start(self, named: Collection[str] | None, resume: str | None, recorder: Any) -> RunStart:
        """What a run inherits."""
        if resume == LINEAGE:
            return RunStart("")
        if resume is not None:
            named = recorder.resume(resume, self.config)
        if named is None:
            return RunStart()
        if isinstance(named, (str, bytes)) or not isinstance(named, Collection):
            raise ConfigurationError(
                f"completed_components is {named!r:.80}, not a collection of names.",
                hint="Give what load_checkpoint_for_resume returns, or a list.",
                field="completed_components",
            )
        known = {one.name for one in self.config.components}
        texts = {name for name in named if isinstance(name, str)}
        unknown = sorted(texts - known) or [name for name in named if not isinstance(name, str)]
        if unknown:
            raise ConfigurationError(
                f"completed_components has {unknown[0]!r}, which is no component of the pipeline "
                f"{self.config.name!r}.",
                hint=f"Its components are: {', '.join(sorted(known)) or 'none'}.",
                field="completed_components",
            )
        if not isinstance(named, CompletedComponents):
            named = CompletedComponents(named)
        # One that was resumed by its lineage has an empty token, and keeps it.
        return RunStart(completed=named) if named.run_id is None else RunStart(named.token, named)
