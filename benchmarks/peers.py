"""How the peers are set up: as their own documentation recommends for one machine, nothing more.

Parsl runs without monitoring, usage tracking and scaling, once with its log file (its default) and
once without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def parsl_threads(
    threads: int, *, logging: bool = True, checkpoint: str | None = None, files: Any = ()
) -> Iterator[Any]:
    """Parsl with a thread pool."""
    import parsl
    from parsl.config import Config
    from parsl.dataflow.memoization import BasicMemoizer
    from parsl.executors.threads import ThreadPoolExecutor

    config = Config(
        executors=[ThreadPoolExecutor(label="threads", max_threads=threads)],
        memoizer=BasicMemoizer(checkpoint_mode=checkpoint, checkpoint_files=list(files)),
        strategy="none",
        usage_tracking=0,
        initialize_logging=logging,
    )
    with parsl.load(config):
        yield parsl


@contextlib.contextmanager
def parsl_processes(workers: int, *, logging: bool = True) -> Iterator[Any]:
    """Parsl with its own pool of processes, on this machine."""
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    config = Config(
        executors=[
            HighThroughputExecutor(
                label="processes",
                address="127.0.0.1",
                max_workers_per_node=workers,
                cores_per_worker=0.1,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            )
        ],
        strategy="none",
        usage_tracking=0,
        initialize_logging=logging,
    )
    with parsl.load(config):
        yield parsl
