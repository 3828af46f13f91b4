"""Parsl's executors, as far as one machine has them.

Threads are threads.  ``HighThroughputExecutor`` with a ``LocalProvider`` is our pool of processes,
with as many workers as all of its blocks would have.  What needs a batch system is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.executors import processes, threads
from parsl_ckpt.executors.base import Executor, check_workers
from parsl_ckpt.executors.cores import available_cores


class ThreadPoolExecutor(threads.ThreadPoolExecutor):
    """Threads, with Parsl's parameters and its default of two.

    Args:
        label: the name by which apps choose it.
        max_threads: how many tasks run at once.
        thread_name_prefix: beginning of the threads' names.
        storage_access, working_dir: see :class:`parsl_ckpt.ThreadPoolExecutor`.
        remote_monitoring_radio: without effect.
    """

    def __init__(
        self,
        label: str = "threads",
        max_threads: int | None = 2,
        thread_name_prefix: str | None = None,
        storage_access: Sequence[Any] | None = None,
        working_dir: str | None = None,
        remote_monitoring_radio: Any = None,
    ) -> None:
        super().__init__(
            label=label, max_threads=max_threads, storage_access=storage_access,
            thread_name_prefix=thread_name_prefix or f"ThreadPoolExecutor-{label}",
            working_dir=working_dir,
        )  # fmt: skip

    @property
    def max_threads(self) -> int:
        """How many tasks run at once; may be changed until a run has begun, as in Parsl."""
        return self.max_workers

    @max_threads.setter
    def max_threads(self, count: int) -> None:
        self.max_workers = check_workers(type(self).__name__, count, None) or 1


class SingleNodeLauncher:
    """Starts workers on this machine."""

    def __init__(self, debug: bool = True, fail_on_any: bool = False) -> None:
        self.debug = debug
        self.fail_on_any = fail_on_any


class SimpleLauncher(SingleNodeLauncher):
    """Starts workers on this machine."""

    def __init__(self, debug: bool = True) -> None:
        super().__init__(debug)


@dataclass
class LocalProvider:
    """This machine, in blocks.

    Args:
        nodes_per_block: must be 1.
        init_blocks, min_blocks, max_blocks: how many blocks there may be; there are always the
            most of these.
        launcher, cmd_timeout, parallelism: without effect.
        worker_init: must be empty: workers begin as this program does.

    Raises:
        ConfigurationError: one of them is wrong; it names the field.
    """

    nodes_per_block: int = 1
    launcher: Any = None
    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    worker_init: str = ""
    cmd_timeout: float = 30
    parallelism: float = 1

    def __post_init__(self) -> None:
        if self.nodes_per_block != 1:
            _refuse("LocalProvider", "nodes_per_block", self.nodes_per_block, "There is one node.")
        if self.worker_init.strip():
            _refuse(
                "LocalProvider", "worker_init", self.worker_init,
                "Start the program in the environment that its workers need, or use "
                "parsl_ckpt.ProcessPoolExecutor(initializer=..., env=...).",
            )  # fmt: skip

    @property
    def blocks(self) -> int:
        """How many blocks there are at most."""
        return max(self.init_blocks, self.min_blocks, self.max_blocks, 1)


class HighThroughputExecutor(processes.ProcessPoolExecutor):
    """Processes of this machine, with Parsl's parameters.

    Args:
        label: the name by which apps choose it.
        provider: a :class:`LocalProvider`, or None.
        max_workers_per_node: workers of a block; None for as many as fit the cores.
        cores_per_worker: how many cores a worker is to have.
        storage_access, working_dir: see :class:`parsl_ckpt.ProcessPoolExecutor`.
        available_accelerators: how many accelerators there are, or their names; workers get one
            each.
        more: taken, and without effect (addresses, ports, heartbeats, polling).

    Raises:
        ConfigurationError: it asks for more than this machine.
    """

    def __init__(
        self,
        label: str = "HighThroughputExecutor",
        provider: Any = None,
        *,
        max_workers_per_node: int | None = None,
        cores_per_worker: float = 1.0,
        storage_access: Sequence[Any] | None = None,
        working_dir: str | None = None,
        available_accelerators: int | Sequence[str] = (),
        **more: Any,
    ) -> None:
        provider = LocalProvider() if provider is None else provider
        if not isinstance(provider, LocalProvider):
            _refuse("HighThroughputExecutor", "provider", provider, "Use LocalProvider().")
        unknown = sorted(more.keys() - _UNUSED)
        if unknown:
            raise TypeError(f"HighThroughputExecutor() has no parameter {unknown[0]!r}")
        self.provider = provider
        self.max_workers_per_node = max_workers_per_node
        self.cores_per_worker = cores_per_worker
        super().__init__(
            max_workers=self._wanted, label=label, storage_access=storage_access,
            working_dir=working_dir, available_accelerators=available_accelerators,
        )  # fmt: skip
        self._made_for = self._wanted, self.label

    @property
    def _wanted(self) -> int:
        """How many workers there are to be, by what the attributes say now."""
        fitting = max(1, math.floor(available_cores() / max(self.cores_per_worker, 1e-9)))
        asked = self.max_workers_per_node
        each = fitting if asked is None else min(asked, fitting)
        return int(each * self.provider.blocks)

    def _environment(self, slot: int) -> dict[str, str]:
        pool = {"PARSL_WORKER_POOL_ID": self.label, "PARSL_WORKER_BLOCK_ID": "0"}
        return {**pool, **super()._environment(slot)}

    def start(self) -> None:
        """Get ready; attributes that scripts have changed since it was made count, as in Parsl."""
        if self._made_for != (self._wanted, self.label):
            super().__init__(
                max_workers=self._wanted, label=self.label, storage_access=self.storage_access,
                working_dir=self.working_dir, available_accelerators=self.available_accelerators,
            )  # fmt: skip
            self._made_for = self._wanted, self.label
        super().start()


_UNUSED = {
    "address", "address_probe_timeout", "block_error_handler", "cert_dir", "cpu_affinity",
    "drain_period", "enable_mpi_mode", "encrypted", "heartbeat_period", "heartbeat_threshold",
    "interchange_launch_cmd", "interchange_port_range", "launch_cmd", "loopback_address",
    "manager_selector", "max_workers", "mem_per_worker", "mpi_launcher", "poll_period",
    "prefetch_capacity", "remote_monitoring_radio", "worker_debug", "worker_logdir_root",
    "worker_port", "worker_port_range",
}  # fmt: skip


class Elsewhere:
    """What Parsl has for other machines; a class of each name refuses to be made."""

    name = "this"

    def __init__(self, *args: Any, **options: Any) -> None:
        raise ConfigurationError(
            f"{self.name} is for other machines than this one, which parsl_ckpt does not reach.",
            hint="Use ThreadPoolExecutor or HighThroughputExecutor(provider=LocalProvider()), or "
            "wrap() an executor of concurrent.futures that does.",
            field=self.name,
        )


def elsewhere(name: str) -> type:
    """A class that refuses to be made, under a name of Parsl's."""
    return type(name, (Elsewhere,), {"name": name})


def _refuse(owner: str, field: str, value: Any, hint: str) -> NoReturn:
    raise ConfigurationError(
        f"{owner}({field}={value!r}): there is only this machine.", hint=hint, field=field
    )


ParslExecutor = Executor
