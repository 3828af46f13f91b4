"""Parsl's ``Config``: its parameters, its order, its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from parsl_ckpt import config as ours
from parsl_ckpt.compat.executors import ThreadPoolExecutor
from parsl_ckpt.compat.memo import BasicMemoizer
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.resolving import SHALLOW_DEPENDENCY_RESOLVER

_MEMO = ("checkpoint_mode", "checkpoint_period", "checkpoint_files", "app_cache")


class Config(ours.Config):
    """How a run works, as Parsl has it.

    Args:
        executors: what runs the apps; one pool of two threads if there are none.
        memoizer: None for a :class:`~parsl_ckpt.compat.memo.BasicMemoizer`.
        dependency_resolver: None for ``SHALLOW_DEPENDENCY_RESOLVER``.
        exit_mode, retries, retry_handler, run_dir, std_autopath, initialize_logging: see
            :class:`parsl_ckpt.Config`.
        garbage_collect: False keeps the record of every task in ``dfk.tasks``.
        internal_tasks_max_threads, strategy, strategy_period, max_idletime, usage_tracking,
            project_name: taken, and without effect: nothing is scaled and nobody is told.
        monitoring: only None.
        more: ``checkpoint_mode``, ``checkpoint_period``, ``checkpoint_files`` and ``app_cache``, as
            earlier versions of Parsl had them; and the fields of :class:`parsl_ckpt.Config` that
            Parsl does not have. ``code`` is ``"function"`` unless it is given: what an app reaches
            by name does not count, as in Parsl; its own code does.

    Raises:
        ConfigurationError: a field is wrong; it names the field.
    """

    def __init__(
        self,
        executors: Iterable[Any] | None = None,
        memoizer: Any = None,
        dependency_resolver: Any = None,
        exit_mode: Any = "cleanup",
        garbage_collect: bool = True,
        internal_tasks_max_threads: int = 10,
        retries: float = 0,
        retry_handler: Callable[..., float] | None = None,
        run_dir: Any = "runinfo",
        std_autopath: Callable[..., Any] | None = None,
        strategy: str | None = "simple",
        strategy_period: float = 5,
        max_idletime: float = 120.0,
        monitoring: Any = None,
        usage_tracking: int = 0,
        project_name: str | None = None,
        initialize_logging: Any = True,
        **more: Any,
    ) -> None:
        if monitoring is not None:
            raise ConfigurationError(
                "Config.monitoring: there is no monitoring database.",
                hint="Leave it out; dfk.events.subscribe() and `parsl-ckpt show` tell of tasks.",
                field="monitoring",
            )
        older = {name: more.pop(name) for name in _MEMO if name in more}
        if memoizer is None:
            memoizer = BasicMemoizer(memoize=older.pop("app_cache", True), **older)
        elif older:
            name = next(iter(older))
            raise ConfigurationError(
                f"Config.{name} and Config.memoizer are both given.",
                hint=f"Give it to the memoizer: BasicMemoizer({name}=...).",
                field=name,
            )
        chosen: Sequence[Any] = tuple(executors or ()) or (ThreadPoolExecutor(),)
        more.setdefault("code", "function")
        super().__init__(
            executors=chosen,
            memoizer=memoizer,
            dependency_resolver=dependency_resolver or SHALLOW_DEPENDENCY_RESOLVER,
            exit_mode=exit_mode,
            retries=retries,
            retry_handler=retry_handler,
            run_dir=run_dir,
            std_autopath=std_autopath,
            initialize_logging=initialize_logging,
            **more,
        )
        self.garbage_collect = garbage_collect
        self.internal_tasks_max_threads = internal_tasks_max_threads
        self.strategy = strategy
        self.strategy_period = strategy_period
        self.max_idletime = max_idletime
        self.monitoring = None
        self.usage_tracking = usage_tracking
        self.project_name = project_name
