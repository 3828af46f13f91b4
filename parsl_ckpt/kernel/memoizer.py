"""Memoizers: what says when outcomes are saved and used, and who else is asked for them.

They have Parsl's names and signatures, so that one that was written for Parsl works here.  The
checkpoint itself is the kernel's: a memoizer is asked only about calls of which nothing is
recorded, and what it answers is recorded.

Rule of this file: a memoizer that asks nobody and tells nobody costs nothing.

Source of the idea: ``parsl.dataflow.memoization``.
"""

from __future__ import annotations

import os
import threading
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.carrying import TASKS, carried_protocols
from parsl_ckpt.errors import ConfigurationError, KernelClosedError
from parsl_ckpt.kernel.carried import Carried
from parsl_ckpt.kernel.elsewhere import CallRecord, Elsewhere

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

TaskRecord = Mapping[str, Any]


class Memoizer(metaclass=ABCMeta):
    """Somebody who is asked for the outcome of a call that the checkpoint does not hold.

    The kernel calls these methods, for cached apps only: ``start`` when the run begins,
    ``check_memo`` before such a call is computed, one of ``update_memo_result`` and
    ``update_memo_exception`` when it has come to something and before its future is done, and
    ``close`` at the end.  They may be called by several threads at once, and may take their time,
    but not wait for calls of the same run.  What they raise is told once, and the call is computed.
    """

    @abstractmethod
    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        """The outcome of a call, if it is known.

        Args:
            task: the call: ``func``, ``func_name``, ``args``, ``kwargs`` (values, no futures),
                ``hashsum`` (its key), ``ignore_for_cache``, ``id``, ``app_fu`` and others of
                Parsl's names.

        Returns:
            A future, done or not, whose value is recorded as the call's outcome, or whose exception
            is the call's; None to have it computed.
        """

    def start(self, *, run_dir: str, config_run_dir: str) -> None:  # noqa: B027
        """The run begins.

        Args:
            run_dir: the directory of this run.
            config_run_dir: the directory of all runs.
        """

    def update_memo_result(self, task: TaskRecord, r: Any) -> None:  # noqa: B027
        """A call has come to a value, or ``check_memo`` has given one."""

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:  # noqa: B027
        """A call has failed for good."""

    def close(self) -> None:  # noqa: B027
        """The run is over."""


class BasicMemoizer(Memoizer):
    """When outcomes are saved, and which ones are used; as the fields of ``Config`` of these names.

    Args:
        checkpoint_files: checkpoint directories whose outcomes are used; None for all earlier ones
            if a mode is set.
        checkpoint_period: for ``"periodic"``: ``"HH:MM:SS"``, or seconds.
        checkpoint_mode: ``"task_exit"``, ``"periodic"``, ``"dfk_exit"``, ``"manual"`` or None.
        memoize: False switches caching off for all apps (``Config(app_cache=False)``).
        parsl_keys: note Parsl's key of every call that is computed, so that
            ``parsl-ckpt export-parsl`` can write its outcome for Parsl.
        memoize_exceptions: a call that has failed in this run fails again at once, as in Parsl.

    Override :meth:`check_memo` to ask elsewhere, and call the original where you have no answer:

    >>> class Shared(BasicMemoizer):
    ...     def check_memo(self, task):
    ...         return known.get(task["hashsum"]) or super().check_memo(task)
    """

    def __init__(
        self,
        *,
        checkpoint_files: Sequence[str | os.PathLike[str]] | None = None,
        checkpoint_period: str | float | None = None,
        checkpoint_mode: str | None = None,
        memoize: bool = True,
        parsl_keys: bool = False,
        memoize_exceptions: bool = False,
    ) -> None:
        switches = {"parsl_keys": parsl_keys, "memoize_exceptions": memoize_exceptions}
        for name, value in switches.items():  # the others are checked with those of the Config
            if not isinstance(value, bool):
                raise ConfigurationError(
                    f"BasicMemoizer({name}={value!r}) is neither True nor False.",
                    hint="Use True or False.",
                    field=name,
                )
        self.checkpoint_files = checkpoint_files
        self.checkpoint_period = checkpoint_period
        self.checkpoint_mode = checkpoint_mode
        self.memoize = memoize
        self.parsl_keys = parsl_keys
        self.memoize_exceptions = memoize_exceptions
        self.run_dir: str | None = None
        self.config_run_dir: str | None = None
        self._save: Callable[[], object] | None = None
        self._carried: Carried | None = None
        self._failures: dict[str, BaseException] = {}

    def checkpoint(self) -> None:
        """Write every outcome that is known to the checkpoint, whatever the mode.

        Raises:
            CheckpointNotSavedError: some could not be written.
            KernelClosedError: no run is under way with this memoizer.
        """
        if self._save is None:
            raise KernelClosedError(
                "There is nothing to checkpoint: no run is under way with this memoizer.",
                hint="Load Config(memoizer=...) first, and call checkpoint() before the run ends.",
            )
        self._save()

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        """The run begins."""
        self.run_dir, self.config_run_dir = run_dir, config_run_dir

    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        """What is known beside the checkpoint: this run's failures, what Parsl had recorded."""
        answer: Future[Any] = Future()
        failure = self._failures.get(task["hashsum"] or "")
        if failure is not None:
            answer.set_exception(failure)
            return answer
        known = self._carried is not None and isinstance(task, CallRecord)
        found = self._carried.find(task) if known else None  # type: ignore[union-attr, arg-type]
        if found is None:
            return None
        answer.set_result(found.value)
        return answer

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        """A call has failed for good."""
        if self.memoize_exceptions and task["hashsum"]:
            self._failures[task["hashsum"]] = e

    def __repr__(self) -> str:
        mode = f"checkpoint_mode={self.checkpoint_mode!r}" if self.checkpoint_mode else ""
        return f"{type(self).__name__}({mode})"

    # -- for the run -------------------------------------------------------------------------------

    def _begin(self, carried: Carried | None, save: Callable[[], object]) -> None:
        with _beginning:
            if self._save is not None:
                raise ConfigurationError(
                    "Config.memoizer: this memoizer belongs to a run that is under way.",
                    hint="Make one for each run.",
                    field="memoizer",
                )
            self._save = save
        self._carried = carried
        self._failures = {}

    def _end(self) -> None:
        self._save = self._carried = None


_beginning = threading.Lock()
_ASKED = ("check_memo", "update_memo_result", "update_memo_exception")


def attach(
    kernel: Kernel,
    memoizer: Memoizer | None,
    *,
    run_dir: str,
    config_run_dir: str,
    save: Callable[[], object],
) -> Memoizer:
    """Have a kernel ask a memoizer, if it has anything to say.

    Args:
        kernel: the kernel.
        memoizer: the one that was configured; None for one that knows what was carried over.
        run_dir, config_run_dir: see :meth:`Memoizer.start`.
        save: writes the checkpoint.

    Raises:
        ConfigurationError: it belongs to another run.
    """
    memoizer = BasicMemoizer() if memoizer is None else memoizer
    carried, noting, silent = None, False, False
    kind = type(memoizer)
    if isinstance(memoizer, BasicMemoizer):
        noting = memoizer.parsl_keys and kernel.memo.record
        protocols = _protocols(kernel)
        carried = Carried(kernel, protocols) if protocols or noting else None
        memoizer._begin(carried, save)
        silent = carried is None and not memoizer.memoize_exceptions
    own = all(getattr(kind, name) is getattr(BasicMemoizer, name, None) for name in _ASKED)
    if kernel.memo.lookup and not (own and silent):
        identify = carried.key if carried is not None and noting else None
        kernel.elsewhere = Elsewhere(kernel, memoizer, quick=own, identify=identify)
    try:
        memoizer.start(run_dir=run_dir, config_run_dir=config_run_dir)
    except BaseException:
        detach(memoizer)
        raise
    return memoizer


def detach(memoizer: Memoizer) -> None:
    """The run is over.

    Raises:
        BaseException: what ``close`` raises.
    """
    try:
        memoizer.close()
    finally:
        if isinstance(memoizer, BasicMemoizer):
            memoizer._end()


def _protocols(kernel: Kernel) -> tuple[int, ...]:
    """Of what was carried over, where it may be used."""
    protocols = carried_protocols(kernel.store)
    if protocols and not kernel.store.pickle:
        kernel.problems.warn(
            "carried",
            "Results that were carried over from Parsl are pickles, so Config(pickle=False) "
            "leaves them out, and their calls run.",
        )
        return ()
    if not protocols and kernel.memo.lookup:
        _point_at_parsls(kernel)
    return protocols


def _point_at_parsls(kernel: Kernel) -> None:
    """Tell of checkpoints that Parsl has left where ours are looked for."""
    empty = [path for path, count in kernel.store.loaded if not count]
    found = [path for path in empty if os.path.isfile(os.path.join(path, TASKS))]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        root = os.path.dirname(os.path.dirname(found[0]))
        kernel.problems.warn_once(
            "parsl",
            "",
            f"{found[0]}{more}: results of Parsl, which are not used. To take them over: "
            f"parsl-ckpt import-parsl {root if more else found[0]}",
        )
