"""What users hold: a kernel together with its run directory, its checkpoint and its executors."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from parsl_ckpt.apps import staging
from parsl_ckpt.checkpoint import heartbeat, where
from parsl_ckpt.checkpoint.heartbeat import Heartbeat
from parsl_ckpt.checkpoint.lease import Leases
from parsl_ckpt.checkpoint.rundir import claim_run, get_all_checkpoints
from parsl_ckpt.checkpoint.sources import with_used
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.config import Config, caching, check_files, check_sharing, from_legacy
from parsl_ckpt.errors import (
    CheckpointNotSavedError,
    ConfigurationError,
    KernelClosedError,
    KernelError,
    NoDataFlowKernelError,
    StoreError,
)
from parsl_ckpt.executors.named import made, threads
from parsl_ckpt.identity.keys import signing_secret
from parsl_ckpt.identity.privacy import Privacy
from parsl_ckpt.kernel import modes, shutdown
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.current import current
from parsl_ckpt.kernel.ending import Ending
from parsl_ckpt.kernel.importing import AbsentKernel, imported_by_worker, open_to_other_threads
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.memoizer import attach, detach
from parsl_ckpt.kernel.midway import Midway
from parsl_ckpt.kernel.neighbours import Neighbours
from parsl_ckpt.kernel.records import States, Tasks
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.spans import Span, seconds_of
from parsl_ckpt.kernel.streams import LogNames
from parsl_ckpt.observe.diary import Diary
from parsl_ckpt.observe.questions import Questions
from parsl_ckpt.observe.runlog import Reporter

if TYPE_CHECKING:
    from parsl_ckpt.apps.blessing import Blessing
    from parsl_ckpt.checkpoint.budget import Budget

logger = logging.getLogger(__name__)

JOIN_WORKERS = 4  # grows while join apps wait


class DataFlowKernel(Questions):
    """A run: apps are called on it, and its checkpoint keeps what they come to.

    Args:
        config: a :class:`~parsl_ckpt.config.Config`, the original API's dictionary, or None.
        checkpointFiles: checkpoint directories to use, as ``Config.checkpoint_files``; the original
            API's name.
        checkpoint_files: the same.

    Attributes:
        config: the configuration.
        run_id: ``"000"``, ``"001"``, ...
        run_dir: the directory of this run, as it was configured (``"runinfo/000"``).
        events: :meth:`~parsl_ckpt.kernel.events.Events.subscribe` to follow what happens.
        memoizer: the configuration's, or one that is made.

    Raises:
        ConfigurationError: the configuration is wrong.
        CheckpointNotFoundError: a checkpoint that was named does not exist.

    >>> with DataFlowKernel(Config(checkpoint_mode="task_exit")) as dfk:  # doctest: +SKIP
    ...     print(simulate(1).result())
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | None = None,
        checkpointFiles: Sequence[Any] | None = None,
        *,
        checkpoint_files: Sequence[Any] | None = None,
    ) -> None:
        if config is None:
            config = Config()
        elif not isinstance(config, Config):
            config = from_legacy(config)
        named = checkpointFiles if checkpoint_files is None else checkpoint_files
        if named is None:
            named = config.checkpoint_files
        check_files(named)
        self.config = config
        check_sharing(config, named)
        configured = where.plain(config.run_dir)
        absolute = where.absolute(configured)
        signing_secret(config.signing_key, [absolute])  # refuses a key that is kept with the data
        trusting: dict[str, Any] = {"trust": config.trust, "signing_key": config.signing_key}
        lookup, record = caching(config)
        with contextlib.ExitStack() as undo:
            backend = where.backend_of(
                absolute, *(named or ()), options=config.storage_options,
                period=config.upload_period, on_failure=self._tell_upload,
            )  # fmt: skip
            undo.callback(backend.close, 0.0)
            backend.begin()
            self._backend = backend
            trusting["backend"] = backend
            sources = _sources(config, configured, named, trusting)
            trusting["backend"] = backend.if_remote()  # of the sources as well
            self.run_id = claim_run(absolute, backend=backend)
            self.run_dir = where.join(configured, self.run_id)
            self._checkpoint_dir = where.join(self.run_dir, "checkpoint")
            remote = where.is_url(absolute)
            if not remote:
                undo.callback(_give_back, os.path.join(absolute, self.run_id))
            store = Store.open(
                where.join(absolute, self.run_id, "checkpoint"),
                sources=sources,
                named=named is not None,
                durability=config.durability,
                pickle=config.pickle,
                compression=config.compression,
                rotate_bytes=where.ROTATE_BYTES if remote else 256 << 20,
                **trusting,
            )
            undo.callback(store.close)
            self._executors = made(config.executors)
            internal = threads("_parsl_ckpt_join", JOIN_WORKERS)
            for executor in (*self._executors, internal):
                executor.start()
                undo.callback(executor.shutdown, 0.0)
            begun = undo.pop_all()
        leases = None
        if config.checkpoint_mode == "task_exit" and named is None and not remote:
            leases = Leases(store.catalog.backend, absolute, self.run_id)
        self.kernel = Kernel(
            store,
            {executor.label: executor for executor in self._executors},
            internal,
            mode=config.checkpoint_mode,
            period=config.period_seconds,
            retry=RetryPolicy(config.retries, config.retry_handler),
            lookup=lookup,
            record=record,
            follow=config.follow or config.single_flight == "shared",
            single_flight=config.single_flight,
            leases=leases,
            lazy_errors=config.lazy_errors,
            code_default=config.code,
            audit_rate=config.audit_rate,
            dependency_resolver=config.dependency_resolver,
            privacy=Privacy(frozenset(config.secret), config.previews, config.signing_key),
        )
        self.kernel.log_name = LogNames(
            None if remote else os.path.join(absolute, self.run_id), config.std_autopath
        )
        self.kernel.storage_access = staging.of_run(self, config, self._executors)
        self.events = self.kernel.events
        self.kernel.owner = self
        try:
            self.memoizer = attach(
                self.kernel, config.memoizer, run_dir=self.run_dir, config_run_dir=configured,
                save=self.checkpoint,
            )  # fmt: skip
        except BaseException:  # the user's
            begun.close()
            raise
        self.kernel.explain = lambda future: self._asking.future(future)
        self._diary = Diary(self.kernel, record)
        executors = [*self._executors, internal]
        self._midway = midway = Midway(
            self.kernel, executors, None if remote else absolute, config.checkpoint_mode is not None
        )
        self._ending = Ending(self.kernel, executors, midway.also(self._diary.end))
        self._budget = _budget(config, absolute, store) if record else None
        self._heart = Heartbeat(
            where.join(absolute, self.run_id), used=store.sources, backend=backend.if_remote(),
            period=heartbeat.REMOTE_PERIOD if remote else heartbeat.PERIOD,
            each=midway.also(None if self._budget is None else self._budget.look),
        )  # fmt: skip
        self._heart.start()
        self._neighbours = Neighbours(self.kernel, self._heart.use, record)
        store.follow(
            absolute if named is None else None,
            directories=None if named is None else [os.fspath(path) for path in named],
            joined=self._neighbours.joined,
        )
        self._reporter = Reporter(
            config.initialize_logging, None if remote else os.path.join(absolute, self.run_id),
            self.run_dir, self.counts, self.kernel.clock, self.events,
        )  # fmt: skip
        self._reporter.begin(config)
        self._tell_loaded()
        self._diary.begin(self.loaded)
        shutdown.register(self)

    def __new__(cls, *_: Any, **__: Any) -> Any:
        module = imported_by_worker()
        if module:
            return AbsentKernel(module)
        open_to_other_threads()
        return super().__new__(cls)

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # its parameters, for help()

    # -- what it knows -----------------------------------------------------------------------------

    @property
    def loaded(self) -> list[tuple[str, int]]:
        """The checkpoints that are used, oldest first, each with its number of records."""
        return [(str(path), count) for path, count in self.kernel.store.loaded]

    @property
    def checkpoint_dir(self) -> str:
        """The directory of this run's checkpoint, as it was configured."""
        return self._checkpoint_dir

    def counts(self) -> dict[str, int]:
        """Number of tasks by state, those that are done included."""
        return self.kernel.state_counts()

    @property
    def tasks(self) -> Tasks:
        """The tasks that are not over, by number, each as ``future.task_record`` has it."""
        return Tasks(self.kernel)

    @property
    def task_count(self) -> int:
        """How many calls have been made so far."""
        return self.kernel.submission.count

    @property
    def task_state_counts(self) -> dict[States, int]:
        """Number of tasks by state, as Parsl calls it: :meth:`counts` with :class:`States`."""
        return {States(state): number for state, number in self.counts().items()}

    def log_tasks(self) -> None:
        """Log each step of tasks from now on, if the logger ``parsl_ckpt.tasks`` is at DEBUG."""
        self._reporter.log_tasks()

    # -- what it does ------------------------------------------------------------------------------

    def checkpoint(self) -> str:
        """Write every outcome that is known to the checkpoint, whatever the mode.

        Returns:
            The directory of the checkpoint, such as ``runinfo/000/checkpoint``.

        Raises:
            CheckpointNotSavedError: some outcomes could not be written, or cannot be recorded at
                all; the others are saved. (NotUploadedError: they are on this machine only.)
            KernelClosedError: the run has ended (and has flushed what its mode asks for).
        """
        if self._ending.begun:
            raise KernelClosedError(
                f"The run {self.run_dir} has ended, so there is nothing to checkpoint.",
                hint="Call checkpoint() before cleanup().",
            )
        self._ending.flush(modes.CHECKPOINT)
        sync_error = None
        try:
            self.kernel.store.sync()
        except StoreError as failure:
            sync_error = failure
        error = self._not_saved(new=True)
        if error is None and sync_error is not None:
            error = self._not_safe(sync_error)
        if error is not None:
            raise error from sync_error
        self._backend.flush()
        return self._checkpoint_dir

    def invalidate(self, app: str | None = None, *, older_than: Span | None = None) -> int:
        """Remove recorded outcomes from what this run, and every later one, finds.

        Nothing is taken out of files: a record says what is removed. What was computed from it is
        looked up by its values from then on. What is known is saved first, as by
        :meth:`checkpoint`.

        Args:
            app: name of the app; ``*`` and ``?`` as in file names; None for all apps.
            older_than: only what ended longer ago: ``"7d"``, ``"12h"``, ``"HH:MM:SS"``, a timedelta
                or seconds.

        Returns:
            How many records were removed.

        Raises:
            ConfigurationError: neither is given, or ``older_than`` is not a span of time.
            StoreWriteError: the removal cannot be recorded.
        """
        before = None
        if older_than is not None:
            seconds = seconds_of(older_than)
            if seconds is None or not seconds >= 0:
                raise ConfigurationError(
                    f"invalidate(older_than={older_than!r}): that is not a span of time.",
                    hint="Use '7d', '12h', 'HH:MM:SS', a timedelta, or a number of seconds.",
                    field="older_than",
                )
            before = time.time() - seconds
        if not isinstance(app, (str, type(None))):
            raise ConfigurationError(
                f"invalidate(app={app!r:.80}): that is not the name of an app.",
                hint=f"Use invalidate({getattr(app, '__name__', 'simulate')!r}).",
                field="app",
            )
        if app is None and before is None:
            raise ConfigurationError(
                "invalidate() was told neither an app nor an age.",
                hint="Use invalidate('*') to remove everything.",
                field="app",
            )
        self._ending.flush(modes.CHECKPOINT)
        self._midway.sweep()  # while it can be told what is done with
        return self.kernel.store.invalidate("*" if app is None else app, before)

    def bless(self, app: Any, sample: int = 5, *, dry_run: bool = False) -> Blessing:
        """Use what an app computed before an edit of its code that does not matter.

        Some recorded calls are executed again under the code as it is now. Only if all of them give
        the values that are recorded are the records of that earlier code filed under this one as
        well. What was done is noted in the run, and :meth:`revoke_blessing` takes it back.

        Args:
            app: the app, as it is now.
            sample: how many recorded calls are executed for each earlier code, at most. Arguments
                are kept of a few calls of each run; of other calls only digests are.
            dry_run: execute and compare, and file nothing.

        Raises:
            BlessingError: nothing is recorded under another code.
            CacheKeyError: the app is not cached, or its code does not count.
            StoreWriteError: what holds cannot be filed.
        """
        from parsl_ckpt.apps.blessing import bless, spec_of

        return bless(self.kernel, spec_of(self.kernel, app), sample, dry_run)

    def revoke_blessing(self, app: Any) -> int:
        """Take back every blessing of an app's code as it is now; how many records that concerns.

        Raises:
            CacheKeyError: the app is not cached, or its code does not count.
            StoreWriteError: the removal cannot be recorded.
        """
        from parsl_ckpt.apps.blessing import revoke, spec_of

        return revoke(self.kernel, spec_of(self.kernel, app))

    def wait_for_current_tasks(self) -> None:
        """Wait until no task is under way.

        Raises:
            KernelError: it was called by a task of this run.
        """
        self._refuse_in_tasks("wait_for_current_tasks")
        if self.kernel.forked and self.kernel.refusal is not None:
            raise self.kernel.refusal
        self._ending.wait_for_tasks()

    def cleanup(self) -> None:
        """End the run: cancel what has not begun, wait for what runs, save, close.

        Further calls do nothing.

        Raises:
            CheckpointNotSavedError: some outcomes are not in the checkpoint although the mode
                asks for it; everything else has been done.
            KernelError: it was called by a task of this run.
        """
        self._refuse_in_tasks("cleanup")
        errors = self._end(None)
        if self._ending.hurry:  # Ctrl-C while it ended; now that all is saved it goes on its way
            raise KeyboardInterrupt
        if errors:
            raise errors[0] from (errors[1] if len(errors) > 1 else None)

    def _refuse_in_tasks(self, name: str) -> None:
        if worker.pool is not None and worker.pool in self._ending.executors:
            raise KernelError(
                f"{name}() was called by a task, which would wait for itself.",
                hint="Call it in the main program.",
            )

    def _end(self, grace: float | None) -> list[BaseException]:
        """End once; further calls wait for the first, and have nothing to tell."""
        if self.kernel.forked:  # it is the parent's to end
            _let_go_of(self)
            return []
        first = not self._ending.begun
        try:
            if first:
                self._diary.wait()
            errors = self._ending.end(grace)
            if first:
                self._let_go()
                self._heart.stop(tasks=self.counts())
                if self._budget is not None:
                    self._budget.enforce()
                try:
                    self._backend.close(grace)
                except CheckpointNotSavedError as not_uploaded:
                    errors.append(not_uploaded)
                self._reporter.end()
        finally:
            shutdown.unregister(self)
            _let_go_of(self)
        if first:
            error = self._not_saved(new=False) if self.config.checkpoint_mode is not None else None
            if error is None:
                error = next((self._not_safe(e) for e in errors if isinstance(e, StoreError)), None)
            if error is not None:  # first: it says what the others come to
                errors.insert(0, error)
        return errors

    def _let_go(self) -> None:
        staging.registry.release(self)
        try:
            detach(self.memoizer)
        except BaseException as error:  # the user's, at the end of everything
            logger.error("The memoizer could not be closed.", exc_info=error)

    def _not_safe(self, failure: StoreError) -> CheckpointNotSavedError:
        return CheckpointNotSavedError(
            f"The checkpoint {self._checkpoint_dir} may not be on the disk: {failure.message}",
            hint=failure.hint,
            path=self._checkpoint_dir,
        )

    def _not_saved(self, new: bool) -> Exception | None:
        writer = self.kernel.writer
        return self.kernel.problems.not_saved(
            self._checkpoint_dir, writer.unsaved, writer.lost, new=new
        )

    # -- with blocks, signals, exits ---------------------------------------------------------------

    def __enter__(self) -> DataFlowKernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        mode = self.config.exit_mode
        if mode == "skip":
            return
        if error is not None:
            for problem in self._end(self.config.grace):
                logger.error("%s", problem)
            return
        if mode == "wait":
            self.wait_for_current_tasks()
        self.cleanup()

    def end_on_signal(self) -> None:
        """Save what is complete and end within the configured grace."""
        self._tell(self._end(self.config.grace))

    def end_at_exit(self, exceptional: bool) -> None:
        """End with the program; after an uncaught exception within the configured grace."""
        self._tell(self._end(self.config.grace if exceptional else None))

    def _tell(self, errors: list[BaseException]) -> None:
        for error in errors:
            print(f"parsl_ckpt: {error}", file=sys.stderr)

    # -- beginning ---------------------------------------------------------------------------------

    def _tell_upload(self, error: BaseException, incident: int) -> None:
        """An upload failed; it is tried again."""
        if hasattr(self, "kernel"):
            text = f"results are not uploaded to {self.run_dir} yet, and safe on this machine"
            self.kernel.problems.announce("upload", text, error, incident)

    def _tell_loaded(self) -> None:
        self._neighbours.tell_left_out()
        loaded = self.loaded
        if loaded:
            used = ", ".join(f"{path} ({count})" for path, count in loaded)
            self._reporter.say(
                f"Run {self.run_dir} uses {sum(count for _, count in loaded)} recorded outcomes of "
                f"{len(loaded)} earlier checkpoint(s): {used}"
            )

    def __repr__(self) -> str:
        return f"<DataFlowKernel {self.run_dir}>"


# -- what a run is made of -------------------------------------------------------------------------


def _sources(
    config: Config, run_root: str, named: Sequence[Any] | None, trusting: dict[str, Any]
) -> list[str]:
    if named is not None:
        return with_used(named, trusting)
    if config.checkpoint_mode is None and not config.follow:
        return []
    return get_all_checkpoints(run_root, backend=trusting["backend"])


def _give_back(run: str) -> None:
    """Remove the directory of a run that could not begin; only if nothing is in it."""
    with contextlib.suppress(OSError):
        os.rmdir(run)


def _budget(config: Config, root: str, store: Store) -> Budget | None:
    if config.max_checkpoint_bytes is None:
        return None
    from parsl_ckpt.checkpoint.budget import Budget

    return Budget(
        root, store.path or "", config.max_checkpoint_bytes, signing_key=config.signing_key
    )


# -- the loaded kernel -----------------------------------------------------------------------------


class _Loaded:
    """The kernel loaded in this process, or None."""

    dfk: DataFlowKernel | None = None


def _let_go_of(dfk: DataFlowKernel) -> None:
    if current.kernel is dfk.kernel:
        current.kernel = None
    if _Loaded.dfk is dfk:
        _Loaded.dfk = None


def load(
    config: Config | Mapping[str, Any] | None = None,
    *,
    checkpoint_files: Sequence[str | Path] | None = None,
) -> DataFlowKernel:
    """Begin a run and make it the one that apps run on.

    Args:
        config: a :class:`~parsl_ckpt.config.Config`; None for threads without a checkpoint mode.
        checkpoint_files: as ``Config.checkpoint_files``.

    Returns:
        The kernel; as a context manager it ends the run at the end of the block.

    Raises:
        ConfigurationError: one is loaded already, or the configuration is wrong.
    """
    if _Loaded.dfk is not None and not _Loaded.dfk.kernel.forked:
        raise ConfigurationError(
            f"A kernel is loaded already: {_Loaded.dfk.run_dir}.",
            hint="End it with parsl_ckpt.dfk().cleanup(), or let go of it with "
            "parsl_ckpt.clear(), before loading another; or make a DataFlowKernel(...) of its own "
            "and bind apps to it.",
        )
    kernel = DataFlowKernel(config, checkpoint_files=checkpoint_files)
    use(kernel)
    return kernel


def use(kernel: DataFlowKernel) -> None:
    """Make a kernel the one that apps run on."""
    if isinstance(kernel, DataFlowKernel):  # none in a worker process
        _Loaded.dfk, current.kernel = kernel, kernel.kernel


def loaded() -> DataFlowKernel | None:
    """The loaded kernel, or None."""
    return _Loaded.dfk


def dfk() -> DataFlowKernel:
    """The loaded kernel.

    Raises:
        NoDataFlowKernelError: none is loaded.
    """
    if _Loaded.dfk is None:
        raise NoDataFlowKernelError("No kernel is loaded.", hint="Call parsl_ckpt.load() first.")
    return _Loaded.dfk


def clear() -> None:
    """Let go of the loaded kernel without ending it, so that another can be loaded."""
    _Loaded.dfk = None
    current.kernel = None
