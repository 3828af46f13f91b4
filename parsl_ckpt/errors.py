"""Every error of the library: one base, one true sentence each, and what to do about it.

Rule of this file: an error names the app, the parameter, the field or the file that it is about, in
the sentence and as an attribute, and carries a ``hint`` that tells the user the next step.  Errors
travel between processes, so each pickles with all of its fields.
"""

from __future__ import annotations

from typing import Any


class ParslCkptError(Exception):
    """Base of every error that the library raises on purpose.

    Args:
        message: one true sentence about what happened.
        hint: what the user can do now; shown after the sentence.
        fields: what the error is about, each readable as an attribute (``app``, ``parameter``,
            ``path``, ...).

    >>> raise ParslCkptError("The spoon is missing.", hint="Bring one.", path="/drawer")
    Traceback (most recent call last):
    parsl_ckpt.errors.ParslCkptError: The spoon is missing. Bring one.
    """

    def __init__(self, message: str = "", *, hint: str = "", **fields: Any) -> None:
        if message.endswith("..") and not message.endswith("..."):
            message = message[:-1]  # it ends with a sentence of another error
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields
        self.__dict__.update(fields)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.fields)


def _rebuild(
    kind: type[ParslCkptError], message: str, hint: str, fields: dict[str, Any]
) -> ParslCkptError:
    return kind(message, hint=hint, **fields)


# --- kernel ---------------------------------------------------------------------------------------


class KernelError(ParslCkptError):
    """Base of what the kernel has to say about tasks."""


class IllegalTransitionError(KernelError):
    """A task was to go to a state that the table of states does not allow: a bug of ours."""


class NoDataFlowKernelError(KernelError):
    """An app was called, or the kernel asked for, and none is loaded."""


class KernelClosedError(KernelError):
    """An app was called on a kernel that is ending or has ended."""


class NotStartedError(KernelError):
    """A task was not started because of a failure elsewhere (``lazyErrors=False``)."""


class NestedAppError(KernelError):
    """An app was called inside a worker process, where there is no kernel."""


class PropagatedError(KernelError):
    """A task failed because another one did; ``__cause__`` is the first failure.

    Attributes:
        tid: number of the task.
        causes: for each task or future that failed, its failure and its description.
    """

    @property
    def task_id(self) -> int:
        """Number of the task, as Parsl calls it."""
        return int(self.fields.get("tid", -1))

    @property
    def dependent_exceptions_tids(self) -> list[tuple[BaseException, str]]:
        """Each failure with a description of what failed, as Parsl calls it.

        A failure that came about by way of others is a DependencyError here too.
        """
        told = [(error, name) for name, error in self.fields.get("causes", ())]
        chain = self.fields.get("chain", ())
        if told and len(chain) > 1:
            told[0] = _inner(chain[1:], told[0][0]), told[0][1]
        return told


def _inner(chain: tuple[str, ...], root: BaseException) -> DependencyError:
    """The error in between, which is not kept: errors would grow along a chain of tasks."""
    error = DependencyError(
        f"A task was not run because its input {' <- '.join(chain)} failed.",
        chain=chain,
        causes=((chain[0], root),),
    )
    error.__cause__ = root
    return error


class DependencyError(PropagatedError):
    """A task was not run because an input failed; ``__cause__`` is the first failure.

    Attributes:
        app: the app that was not run.
        causes: for each input that failed, its description and the first failure behind it.
        chain: descriptions of the tasks from the direct input to the one that failed first.
    """


class JoinError(PropagatedError):
    """A future that a join app returned has failed; ``__cause__`` is its failure."""


class JoinValueError(KernelError, TypeError):
    """A join app returned something other than a future or a list of futures."""


class CacheKeyError(KernelError):
    """Something about an app keeps its calls from being cached."""


class CheckpointNotSavedError(KernelError):
    """Results exist that could not be written to the checkpoint."""


# --- configuration --------------------------------------------------------------------------------


class ConfigurationError(ParslCkptError, ValueError):
    """A field of a configuration is wrong; ``field`` names it."""


# --- checkpoint store -----------------------------------------------------------------------------


class StoreError(ParslCkptError):
    """Base of what the checkpoint store raises; ``path`` names the file or directory."""


class StoreWriteError(StoreError, OSError):
    """Records could not be written or synced; what was written earlier is untouched."""


class StoreBusyError(StoreError):
    """Someone else is looking after the directory, or a run is writing there."""


class ArchiveError(StoreError):
    """A file is not an archive of runs, or is damaged, or holds what has no place in one."""


class StoreClosedError(StoreError):
    """The store was closed, or opened without a directory to write to."""


class CheckpointNotFoundError(StoreError, FileNotFoundError):
    """A checkpoint directory that was named does not exist."""


class UntrustedCheckpointError(StoreError, PermissionError):
    """A checkpoint that was named belongs to someone else, or others can write to it."""


class UnreadableRecordError(StoreError):
    """A record exists and what it holds cannot be had: damage, a missing blob, a missing class."""


class FormatError(UnreadableRecordError):
    """Bytes are not what the format or the codec says they must be."""


class UnserializableValueError(StoreError, TypeError):
    """A value cannot be encoded, so it cannot be recorded; ``type`` names its type."""


# --- executors ------------------------------------------------------------------------------------


class ExecutorError(ParslCkptError):
    """An executor cannot do its work; ``executor`` is its label."""


class ExecutorShutdownError(ExecutorError):
    """An attempt was launched, and its executor was shut down before it had begun or ended."""


class WorkerLostError(ExecutorError):
    """A worker process died while it ran this app; ``exitcode`` is negative for a signal."""


class WorkerStartError(ExecutorError):
    """Worker processes cannot be started, or their initializer failed."""


class CallTransportError(ExecutorError, TypeError):
    """A call cannot travel to a worker process; ``parameter`` names what does not pickle."""


class ResultTransportError(ExecutorError, TypeError):
    """A task succeeded and its value cannot travel home from the worker process."""


class RemoteError(ExecutorError):
    """Stands for an exception of a task that could not travel.

    Attributes:
        kind: name of its type; empty if that is not known.
        bases: names of the classes that it derives from.
    """


class UnidentifiableValueError(ParslCkptError, ValueError):
    """A value has no identity that holds in another process; fields: ``path``, ``type_name``."""


class FileIdentityError(ParslCkptError):
    """The content of a file that counts for an address cannot be read; field: ``path``."""


# --- apps -----------------------------------------------------------------------------------------


class AppDefinitionError(ParslCkptError, ValueError):
    """A function cannot be an app as it was declared."""


class IdentityWarning(UserWarning):
    """Something that a call depends on cannot be watched; the message says what and what to do."""


# --- trust ----------------------------------------------------------------------------------------


class KeyFileError(ConfigurationError):
    """A signing key, or the key for secret arguments, cannot be used; ``path`` names its file."""


# --- remote run directories -----------------------------------------------------------------------


class RemoteStoreError(StoreError, OSError):
    """A remote run directory cannot be used; ``url`` names it."""


class NotUploadedError(CheckpointNotSavedError):
    """Records are safe in the local spool and not yet uploaded.

    Attributes:
        path: the run directory's URL.
        spool: the directory in which they are.
        files, bytes: how much it is.
    """


# --- what apps may ask for ------------------------------------------------------------------------


class TaskRandomError(KernelError):
    """``task_rng()`` was called where there is nothing to seed it from."""


# --- explanations ---------------------------------------------------------------------------------


class NotAnAppError(ParslCkptError, TypeError):
    """What was asked about is no app."""


class BlessingError(KernelError):
    """There is nothing that could be blessed."""


# --- what calls ask for ---------------------------------------------------------------------------


class RequestError(ParslCkptError, ValueError):
    """What a call asks for beside its arguments cannot be; ``parameter`` names it."""


# --- failures of apps -----------------------------------------------------------------------------


class AppException(ParslCkptError):
    """An app failed by itself, which another try may mend; the names below are Parsl's."""


class AppTimeout(AppException, TimeoutError):
    """A call took longer than its walltime; fields: ``app``, ``walltime`` in seconds."""


class AppBadFormatting(AppException):
    """The function of a bash app could not make its command line; field: ``app``."""


class BashAppNoReturn(AppBadFormatting, ValueError):
    """The function of a bash app returned no command line; field: ``app``."""


class BadStdStreamFile(AppException):
    """A standard stream cannot go where it should; fields: ``app``, ``stream``, ``path``."""


class MissingOutputs(AppException):
    """A call succeeded and did not write all of its output files.

    Attributes:
        reason: the sentence.
        outputs: the files that are missing.
    """

    def __init__(self, reason: str = "", outputs: Any = (), **fields: Any) -> None:
        super().__init__(reason, **fields)
        self.reason = reason
        self.outputs = list(outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_positional, (
            type(self),
            (self.reason, self.outputs),
            self.hint,
            self.fields,
        )


class BashExitFailure(AppException):
    """The command of a bash app ended with a status other than 0.

    Attributes:
        app_name: the app.
        exitcode: the status; of a shell that a signal has ended, minus the number of the signal.
    """

    def __init__(self, app_name: str, exitcode: int, **fields: Any) -> None:
        if exitcode >= 0:
            how = f"exited with status {exitcode}"
        else:
            how = f"was ended by signal {-exitcode}"
        super().__init__(f"The command of bash app {app_name!r} {how}.", **fields)
        self.app_name = app_name
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        known = self.app_name, self.exitcode
        return _rebuild_positional, (type(self), known, self.hint, self.fields)


def _rebuild_positional(kind: Any, known: tuple[Any, ...], hint: str, fields: Any) -> Any:
    return kind(*known, hint=hint, **fields)


class InvalidResourceSpecification(ExecutorError):
    """A call asks for resources that its executor cannot provide.

    Attributes:
        invalid_keys: the names of what was asked for.
    """


# --- files that are elsewhere ---------------------------------------------------------------------


class StagingError(AppException, ValueError):
    """A file could not be fetched or delivered, or has not been; ``url`` names it."""


# --- results as a table ---------------------------------------------------------------------------


class NotRecordedError(StoreError, LookupError):
    """Results were asked for of an app of which nothing is recorded; ``app`` is its name."""


class TableError(ParslCkptError, ValueError):
    """Results do not fit the table that was asked for."""


class MissingLibraryError(ParslCkptError, ImportError):
    """What was asked for takes a library that is not installed; ``library`` is its name."""


# --- plans ----------------------------------------------------------------------------------------


class PlanError(ParslCkptError, ValueError):
    """Base of what can be wrong with a job or a plan; ``tasks`` has the names of the tasks."""


class JobFormatError(PlanError):
    """What should describe a job does not: a name is no string, a JSON text has another form."""


class DuplicateTaskError(PlanError):
    """Two tasks have one name."""


class UnknownTaskError(PlanError, LookupError):
    """A task is named that the job does not have."""


class UnknownOutputError(PlanError, LookupError):
    """An output is named that its task does not have; field: ``output``."""


class UnknownParameterError(PlanError, LookupError):
    """An edge goes to a parameter that its task does not have; field: ``parameter``."""


class UnknownWantError(PlanError, LookupError):
    """What is wanted is not in the plan."""


class MissingArgumentError(PlanError):
    """No edge gives what a task must have; field: ``parameters``, the names."""


class GroupError(PlanError):
    """A task is in two groups."""


class PlanCycleError(PlanError):
    """Tasks wait for one another; ``tasks`` has them in the order of the cycle."""


class PlanNotRunError(PlanError):
    """A call in a plan was looked at, or waited for, before the plan was run."""


class PlanUsedError(PlanError):
    """A plan was asked for what it does only before it has run, or only afterwards."""


class PersistError(PlanError):
    """What is to be restored or persisted cannot be meant so; ``field`` names what is wrong."""


class ForecastError(PlanError):
    """Durations or a number of workers from which no time can be forecast."""


# --- pipelines ------------------------------------------------------------------------------------


class PipelineError(ParslCkptError):
    """Base of what can go wrong with a pipeline beside the failures of its components."""


class PipelineConfigError(PipelineError, ConfigurationError):
    """A pipeline is not described as it must be.

    Attributes:
        problems: all that is wrong, each with its ``place`` and ``text``.
        path: the file, if it came from one.
    """


class ComponentError(PipelineError):
    """A component cannot be made or run as it is configured; ``component`` is its name."""


class MissingInputError(ComponentError, KeyError):
    """A component asks for the value of another that has none that is known; ``name`` is whose."""

    __str__ = ParslCkptError.__str__


class ProgressError(PipelineError):
    """The progress of a run cannot be recorded as was asked, so the run does not go on.

    Hooks stop a run by raising this or a subclass; whatever else they raise is logged.
    """


# --- resilience -----------------------------------------------------------------------------------


class CircuitBreakerOpenError(ParslCkptError):
    """A call was not made, because what it calls has failed too often; no attempt is spent.

    Attributes:
        breaker: name of the circuit breaker.
        state: ``"open"``, or ``"half_open"`` where as many probes as it lets through are under way.
        time_until_reset: seconds until probes are let through.
    """


# --- loops that are stopped -----------------------------------------------------------------------


class CheckpointedStop(ParslCkptError):
    """A loop was stopped by a signal right after a commit (``stop_on_signal=True``).

    Attributes:
        signal: name of the signal.
    """


class SinkError(ParslCkptError, ValueError):
    """The output of a workflow cannot be written or read; ``path`` names it."""


# --- restart sessions -----------------------------------------------------------------------------


class CheckpointError(ParslCkptError):
    """Base of what can be wrong with a restart session; ``checkpoint`` is its name."""


class CheckpointStateCollision(CheckpointError):
    """Two objects were bound as one state; ``state`` is its name."""


class CheckpointSerializationError(CheckpointError, TypeError):
    """Something is not carried by the codec, and nothing was written.

    Fields: ``state`` and ``field``, or ``key`` of the metadata.
    """


class CheckpointStateSchemaError(CheckpointError):
    """What was saved is not what the class is now.

    Fields: ``state`` and ``changes``, a sentence for each field that was removed, added or retyped.
    """


class IncompleteRestore(CheckpointError):
    """A session would go on with states that were not restored; ``missing`` are their names."""


# --- progress of pipelines ------------------------------------------------------------------------


class RunClaimedError(ProgressError):
    """Someone else runs a pipeline under this id.

    Attributes:
        run_id, pipeline_name: the run.
        path: the file that says so, if it is one.
    """


class CheckpointSaveError(ProgressError):
    """The progress of a run could not be recorded; fields: ``run_id``, ``pipeline_name``."""


class NoCheckpointError(PipelineError, ValueError):
    """There is no progress to resume; fields: ``run_id``, ``pipeline_name``."""


class CheckpointDamagedError(PipelineError):
    """The progress of a run is recorded and cannot be read; ``path`` says where."""


class PipelineConfigChangedError(PipelineError):
    """A run cannot be resumed because the pipeline is made of other components now.

    Attributes:
        run_id: the run.
        pipeline_name: the pipeline.
        changes: what is different, a clause each; empty if only the fingerprint is known.
    """

    def __init__(
        self, run_id: str, pipeline_name: str, changes: Any = (), hint: str = "", **fields: Any
    ) -> None:
        told = "; ".join(changes) or "its fingerprint is another one"
        super().__init__(
            f"Run {run_id!r} of pipeline {pipeline_name!r} cannot be resumed, because the pipeline "
            f"has changed since: {told}.",
            hint=hint or "Undo the change, or begin anew: without resume, or under another run id.",
            **fields,
        )
        self.run_id, self.pipeline_name, self.changes = run_id, pipeline_name, tuple(changes)

    def __reduce__(self) -> tuple[Any, ...]:
        known = self.run_id, self.pipeline_name, self.changes
        return _rebuild_positional, (type(self), known, self.hint, self.fields)
