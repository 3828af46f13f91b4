"""What can be asked of a run: why a call would run, what a plan of calls would take, how far it is.

Rule of this file: the questions, as users find them on the kernel that they hold; the answers are
worked out elsewhere in this room, and nothing is computed before it is asked for.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_ckpt.config import Config
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.observe.asking import Asking
    from parsl_ckpt.observe.reasons import Reason
    from parsl_ckpt.observe.results import Results
    from parsl_ckpt.plan.persist import PersistSpec
    from parsl_ckpt.plan.plan import Plan


class Questions:
    """The questions to a kernel; a part of :class:`~parsl_ckpt.dataflow.DataFlowKernel`."""

    kernel: Kernel
    config: Config

    def progress(self, **options: Any) -> AbstractContextManager[Any]:
        """A context in which a progress bar is shown; see :mod:`parsl_ckpt.observe.progress`."""
        from parsl_ckpt.observe.progress import Progress

        return Progress(self.kernel.state_counts, **options)

    def explain(self, app: Any, /, *args: Any, **kwargs: Any) -> Reason:
        """Whether a call would run, and why: what differs from the nearest one that is recorded.

        Nothing is executed.  ``future.why()`` tells the same of a call that was made.

        Args:
            app: an app.
            args, kwargs: its arguments; futures may stand in them.

        Returns:
            A :class:`~parsl_ckpt.observe.reasons.Reason`; ``print()`` tells it.

        Raises:
            NotAnAppError: it is no app.
            UnidentifiableValueError: an argument has no identity; names the parameter.
            TypeError: the app cannot be called so.
        """
        return self._asking.call(app, args, kwargs)

    def plan(self, persist: PersistSpec | None = None) -> Plan:
        """Record calls of apps instead of making them, and then make those that are needed.

        Args:
            persist: what is restored from which named set, and persisted to which; by default
                whatever is recorded is restored, and no names are given.

        Returns:
            A :class:`~parsl_ckpt.plan.plan.Plan`, to be used in a with statement.

        Raises:
            PersistError: the named sets are not those of this run's directory.

        >>> with dfk.plan() as plan:  # doctest: +SKIP
        ...     model = fit([clean(read(file)) for file in files])
        >>> plan.run().results()  # doctest: +SKIP

        The idea is that of the graph-level restart of earthkit-workflows' *cascade*.
        """
        from parsl_ckpt.plan.plan import Plan

        return Plan(self.kernel, self.kernel.desk, self._asking, persist)

    def results(
        self,
        app: Any,
        *,
        code: str | None = None,
        failures: bool = False,
        details: bool = False,
        flatten: bool = True,
    ) -> Results:
        """What is recorded of an app as a table: one row a call, parameters and value as columns.

        Args:
            app: an app, or its name.
            code, failures, details, flatten: as for :func:`~parsl_ckpt.observe.results.results`;
                ``code=None`` stands for an app's code as it is now.

        Returns:
            :class:`~parsl_ckpt.observe.results.Results`: iterate over its rows, or use its
            ``to_pandas()``, ``to_csv(path)``, ``to_parquet(path)``.

        Raises:
            CacheKeyError: the app is not cached.
            NotRecordedError: when rows are asked for: nothing is recorded of an app so named.
        """
        from parsl_ckpt.observe.results import on_kernel

        options = {"failures": failures, "details": details, "flatten": flatten}
        return on_kernel(self.kernel, lambda: self._asking.store, app, code, options)

    @functools.cached_property
    def _asking(self) -> Asking:
        from parsl_ckpt.observe.asking import Asking

        return Asking(self.kernel, self.config)
