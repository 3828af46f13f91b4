"""The kernel of a run: the one that is given, the one that is loaded, or one made for the run.

*Guarantees.*  While a run goes on its kernel is loaded, unless another one is, so that components
may call apps. What was loaded, or made, for a run is let go of, or ended, when the last run that
uses it is over; runs may go on side by side, on several threads, and within components.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from parsl_ckpt import dataflow
from parsl_ckpt.config import Config
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.errors import CheckpointNotSavedError, ConfigurationError
from parsl_ckpt.executors.base import NamedExecutor
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.pipeline.config import PipelineConfig

logger = logging.getLogger(__name__)


@dataclass
class _Held:
    """A kernel that is loaded because of runs.

    Attributes:
        dfk: the kernel.
        made_for: the settings it was made with for a run; None if it was given.
        runs: how many use it.
        waited: what still runs on it was waited for already.
        ending: its last run is over, and it ends.
        ended: it has.
    """

    dfk: DataFlowKernel
    made_for: object = None
    runs: int = 0
    waited: bool = False
    ending: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


_lock = threading.Lock()
_held: list[_Held] = []  # at most one: one kernel is loaded in a process


@contextlib.contextmanager
def kernel_for(config: PipelineConfig, given: DataFlowKernel | None) -> Iterator[DataFlowKernel]:
    """The kernel on which a pipeline runs.

    Raises:
        ConfigurationError: another run has made a kernel with other settings, which ends with it.
        KernelClosedError: the one that is given, or loaded, has ended, or is that of the process of
            which this one is a fork.
    """
    if given is not None:
        _refuse_closed(given)
    held = _hold(config, given)
    if held is None:
        dfk = given or dataflow.dfk()
        _refuse_closed(dfk)
        yield dfk
        return
    try:
        yield given or held.dfk
    except BaseException as error:
        _let_go(held, error)
        raise
    else:
        _let_go(held, None)


def _refuse_closed(dfk: DataFlowKernel) -> None:
    if dfk.kernel.refusal is not None and worker.pool is None:  # tasks that it runs it takes
        raise dfk.kernel.refusal


def waited(dfk: DataFlowKernel) -> None:
    """Note that an interrupted run has waited for what runs, as long as the kernel's grace: if the
    kernel ends with the run, its end does not wait as long once more."""
    with _lock:
        for held in _held:
            held.waited = held.waited or held.dfk is dfk


def labels_for(config: PipelineConfig, given: DataFlowKernel | None) -> set[str]:
    """The labels of the executors that there will be."""
    dfk = given or dataflow.loaded()
    if dfk is not None:
        return set(dfk.kernel.execution.labels)
    return {one.label for one in config.executors} or {"threads"}


def _hold(config: PipelineConfig, given: DataFlowKernel | None) -> _Held | None:
    """Count one more run; None if the kernel that is loaded is nobody's but the user's."""
    while True:
        with _lock:
            loaded = dataflow.loaded()
            held = next((one for one in _held if one.dfk is loaded), None)
            if held is None or not held.ending:
                return _counted(config, given, loaded, held)
        if worker.pool is not None:  # a task, for whose end that of the kernel waits
            return None
        held.ended.wait()


def _counted(
    config: PipelineConfig,
    given: DataFlowKernel | None,
    loaded: DataFlowKernel | None,
    held: _Held | None,
) -> _Held | None:
    """*Locked.*"""
    settings = str(config.run_dir), config.executors
    if loaded is None:
        if given is not None:
            dataflow.use(given)
            held = _Held(given)
        else:
            held = _Held(_made(config), settings)
        _held[:] = [held]
    elif held is None:
        return None
    elif given is None and held.made_for not in (None, settings) and worker.pool is None:
        raise ConfigurationError(
            "Another pipeline runs in this process, on a kernel of its own with other "
            "executors or another run directory.",
            hint="Load a kernel with parsl_ckpt.load(), or give each runner one: dfk=...",
            field="dfk",
        )
    held.runs += 1
    return held


def _made(config: PipelineConfig) -> DataFlowKernel:
    executors = [NamedExecutor(one.kind, one.label, one.workers) for one in config.executors]
    return dataflow.load(
        Config(executors=executors, checkpoint_mode="task_exit", run_dir=config.run_dir)
    )


def _let_go(held: _Held, error: BaseException | None) -> None:
    """Count one run less, and end what the last one leaves."""
    try:
        with _lock:
            held.runs -= 1
            if held.runs:
                return
            if held.made_for is None:
                if held in _held:
                    _held.remove(held)
                if dataflow.loaded() is held.dfk:
                    dataflow.clear()
                return
            held.ending = True  # who begins now waits for the end
        if held.waited and error is not None:
            held.dfk._ending.hurry = True
        held.dfk.__exit__(None if error is None else type(error), error, None)
    except CheckpointNotSavedError as unsaved:
        # A value that cannot be recorded was warned of, and makes no run fail that is done.
        logger.warning("%s", unsaved)
    finally:
        if held.ending:
            held.ended.set()
            with _lock:
                _held[:] = [one for one in _held if one is not held]
