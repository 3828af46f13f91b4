"""A pool of worker processes that never import the user's ``__main__``.

::

    launch() ─ append ─► inbox ─┐                        ┌─ stream, tokens ─► worker 0
    (any thread)                ▼                        │                    (worker.py)
              the pool's thread: backlog ─ pack, give ───┼─ stream, tokens ─► worker 1
                                ▲                        │
    finished() ◄─ unpack ─ replies, deaths ◄─────────────┘

One thread of this process owns all state: it packs calls (:mod:`transport`), gives each worker
enough of them that it never waits (:mod:`wire`), takes them back when another is idle, reads
replies (:mod:`outcomes`) and notices deaths (:mod:`workers`).

Guarantees
    * No call waits behind a long one while another worker idles: what a worker was given and has
      not begun can be taken back at any instant, without its doing.
    * The death of a worker fails the one call that it ran, with WorkerLostError.  What it was given
      and had not begun goes to the others, in order, untouched.  A place is filled again when there
      is work for it; where no worker gets ready in a few attempts, what waits fails.
    * A call that runs longer than its walltime is stopped by killing its worker and the processes
      that it started; what else that worker was given goes to the others, untouched.
    * A KeyboardInterrupt in ``launch`` can at worst delay the attempt by one heartbeat.
    * Workers end with this process, however it ends.

Assumptions
    * A task that forks and lets the child use the worker's descriptors is on its own.

Decision record: ``docs/design/0002-process-pool.rst``.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors.base import (
    Executor,
    check_count,
    check_grace,
    check_label,
    check_storage,
    check_workers,
)
from parsl_ckpt.executors.cores import available_cores
from parsl_ckpt.executors.pool import FAREWELL, Pool, Settings
from parsl_ckpt.kernel.attempt import SESSIONS_VARIABLE, Attempt, Finished

__all__ = ["ProcessPoolExecutor"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class ProcessPoolExecutor(Executor):
    """Runs attempts in worker processes on this machine.

    Scripts need no ``if __name__ == "__main__"`` guard; closures, lambdas and what the script
    defines work as function, argument and result.  Workers are started when there is work.

    Args:
        max_workers: how many run at once; by default as many as there are cores to use.
        label: the name by which apps choose this executor.
        initializer: called in each worker before its first task; if it raises, the pool is broken.
        initargs: arguments of the initializer.
        env: environment variables of the workers, beside those of this process.  By default the
            thread pools of numerical libraries (``OMP_NUM_THREADS`` and its like) get an equal
            share of the cores, where the environment does not say otherwise.
        available_accelerators: names (or the number) of accelerators; each worker is pinned to one
            by ``CUDA_VISIBLE_DEVICES``, ``ROCR_VISIBLE_DEVICES`` and ``ZE_AFFINITY_MASK``, and
            there are no more workers than accelerators.  The idea and its variables are Parsl's.
        in_flight: how many calls a worker is given at most; how many it is given depends on how
            long they take, and whatever it has not begun can be given to another.
        max_threads: the same as ``max_workers``, as Parsl calls it.
        storage_access: Staging providers that fetch and deliver files of other schemes for its
            tasks; None for those of the Config.
        working_dir: where such files lie while a task runs; by default the system's temporary
            directory.

    Raises:
        ConfigurationError: a value is wrong; the error names the field.

    >>> from parsl_ckpt.kernel.attempt import Attempt
    >>> pool = ProcessPoolExecutor(max_workers=1)
    >>> pool.start()
    >>> pool.launch(Attempt(pow, (2, 10)), lambda attempt, value, error, encoded: print(value))
    >>> pool.shutdown()
    1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        label: str = "processes",
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        env: Mapping[str, str] | None = None,
        available_accelerators: int | Sequence[str] = (),
        in_flight: int = 256,
        max_threads: int | None = None,
        storage_access: Sequence[Any] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        name = type(self).__name__
        self.label = check_label(name, label)
        self.storage_access, self.working_dir = check_storage(name, storage_access, working_dir)
        self.available_accelerators = _check_accelerators(name, available_accelerators)
        asked = check_workers(name, max_workers, max_threads)
        width = asked or len(self.available_accelerators) or available_cores()
        self.max_workers = min(width, len(self.available_accelerators) or width)
        self.initializer = _check_initializer(name, initializer)
        self.initargs = _check_initargs(name, initargs)
        self.env = _check_env(name, env)
        self.in_flight = min(check_count(name, "in_flight", in_flight), 512)
        self._begin()

    def _begin(self) -> None:
        self._pool = Pool(
            Settings(
                self.label,
                self.max_workers,
                self.in_flight,
                self.initializer,
                self.initargs,
                self._environment,
            )
        )
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def again(self) -> ProcessPoolExecutor:
        another = copy.copy(self)
        another._begin()
        return another

    @property
    def width(self) -> int:
        return self.max_workers

    def start(self) -> None:
        if self._thread is None:
            name = f"{self.label}-pool"
            thread = threading.Thread(target=self._pool.run, name=name, daemon=True)
            thread.start()
            self._thread = thread

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        pool = self._pool
        pool.inbox.append((attempt, finished))
        if pool.asleep:
            pool.wake()
        if pool.ended:
            pool.refuse_inbox()

    def honour(
        self, attempt: Attempt, walltime: float | None, resources: Mapping[str, Any] | None
    ) -> None:
        super().honour(attempt, None, resources)
        attempt.walltime = walltime  # a real limit: the pool kills its worker

    def kill(self, attempt: Attempt, error: BaseException) -> None:
        """Stop an attempt and finish it with that error; harmless if it has ended.

        If it runs, its worker is killed and replaced; what else that worker was given goes to the
        others, untouched.
        """
        self._pool.kills.append((attempt, error))
        self._pool.wake()

    def shutdown(self, grace: float | None = None) -> None:
        if os.getpid() != self._pid:  # a forked child has no such thread, and these are not its
            return
        self._pool.close(check_grace(grace))
        if self._thread is None:
            self._pool.refuse_inbox()
        elif self._thread is not threading.current_thread():
            # The pool keeps to the grace by itself; beyond it only user code can hold it up.
            self._thread.join(None if grace is None else max(0.0, grace) + FAREWELL)

    def _environment(self, slot: int) -> dict[str, str]:
        threads = str(max(1, available_cores() // self.max_workers))
        env = {name: threads for name in _THREAD_VARIABLES if name not in os.environ}
        env["PARSL_WORKER_RANK"] = str(slot)
        env["PARSL_WORKER_COUNT"] = str(self.max_workers)
        if self.sessions is not None:
            env[SESSIONS_VARIABLE] = self.sessions
        if self.available_accelerators:
            accelerator = self.available_accelerators[slot]
            env["CUDA_VISIBLE_DEVICES"] = accelerator
            env["ROCR_VISIBLE_DEVICES"] = accelerator
            env["ZE_AFFINITY_MASK"] = accelerator
            env["ZE_ENABLE_PCI_ID_DEVICE_ORDER"] = "1"
        env.update(self.env)
        return env


# --- what the constructor checks ------------------------------------------------------------------


def _check_accelerators(owner: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return tuple(str(n) for n in range(value))
    named = isinstance(value, Sequence) and not isinstance(value, str)
    if named and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ConfigurationError(
        f"{owner}(available_accelerators=...) must be a number or a list of strings, "
        f"not {value!r}.",
        hint="Pass how many there are, or their names.",
        field="available_accelerators",
    )


def _check_initializer(owner: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"{owner}(initializer=...) must be callable, not {value!r}.",
            hint="Pass a function, and its arguments as initargs.",
            field="initializer",
        )
    return value


def _check_initargs(owner: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ConfigurationError(
            f"{owner}(initargs=...) must be a tuple of arguments, not {value!r}.",
            hint="For one argument, write initargs=(argument,).",
            field="initargs",
        )
    return tuple(value)


def _check_env(owner: str, value: Any) -> dict[str, str]:
    env = {} if value is None else value
    if not isinstance(env, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in env.items()
    ):
        raise ConfigurationError(
            f"{owner}(env=...) must map names of variables to strings, not {value!r}.",
            hint='For example env={"OMP_NUM_THREADS": "4"}.',
            field="env",
        )
    return dict(env)
