"""A task whose inputs are known: looked up by their values, and executed if that finds nothing.

Runs outside the kernel's turn, on the thread that brought the last input, because it may have to
decode values and hash them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.store import Stored
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.data import is_spoiled
from parsl_ckpt.kernel.failures import dependency_error, failure_of, not_started
from parsl_ckpt.kernel.hits import InputPending
from parsl_ckpt.kernel.memo import lineage_leaves, parents_of, unkept_id
from parsl_ckpt.kernel.outputs import remember, validity
from parsl_ckpt.kernel.steady import look_at_futures
from parsl_ckpt.kernel.task import Task, arguments_of

if TYPE_CHECKING:
    from parsl_ckpt.kernel.execution import Execution
    from parsl_ckpt.kernel.kernel import Kernel


class Entering:
    """What happens between the last input of a task and its launch."""

    def __init__(self, kernel: Kernel, execution: Execution) -> None:
        self._kernel = kernel
        self._execution = execution
        self._resolving = kernel.resolving

    def enter(self, task: Task) -> None:
        """Go on with a task whose inputs are known; whatever goes wrong is the task's failure."""
        self._attend(task, self._enter)

    def proceed(self, task: Task) -> None:
        """Have a task launched that was looked up, and that nobody else computes."""
        self._attend(task, self._enter_uncached)

    def find_elsewhere(self, task: Task) -> Stored | None:
        """Look up what other processes may have recorded since the task was looked up last."""
        memo, key = self._kernel.memo, task.key
        valid = validity(self._kernel, task.spec, task.request)
        assert key is not None
        return memo.find(key, valid) or memo.search(key, valid)

    def found(self, task: Task, stored: Stored) -> None:
        """A record has turned up for a task."""
        kernel = self._kernel
        self._alias(task, stored)
        if kernel.auditing is not None:
            kernel.auditing.look(task.spec, arguments_of(task), stored)
        kernel.strand.post((kernel.memo_hit, task, stored))

    def _attend(self, task: Task, step: Callable[[Task], None]) -> None:
        kernel = self._kernel
        try:
            step(task)
        except InputPending:
            kernel.strand.post((kernel.relink, task))
        except BaseException as error:  # the user's __hash__ or __reduce__ may raise anything
            kernel.strand.post((kernel.fail, task, error, states.FAILED))

    def _enter(self, task: Task) -> None:
        kernel = self._kernel
        failed = [(one, failure) for one in task.inputs if (failure := failure_of(one))]
        if failed:
            error = dependency_error(task, failed)
            kernel.strand.post((kernel.fail, task, error, states.DEP_FAIL))
        elif kernel.failure is not None:
            kernel.strand.post((kernel.fail, task, not_started(task), states.FAILED))
        elif task.spec.cache and kernel.caching:
            self._enter_cached(task)
        else:
            self._enter_uncached(task)

    def _enter_cached(self, task: Task) -> None:
        """Look the task up by the values of its inputs; run it if that finds nothing."""
        kernel, spec, memo = self._kernel, task.spec, self._kernel.memo
        if task.key is None or task.inputs:
            self._address(task)
        assert task.key is not None
        valid = validity(kernel, spec, task.request)
        commits = memo.commits
        stored = None
        if task.refresh:
            pass
        elif task.key == task.lineage and task.inputs:
            stored = memo.find_by_lineage(task.key, task.inputs, valid)
        else:
            stored = memo.find(task.key, valid)
        if stored is None and not task.alone:
            other = memo.enter(task.key, task)
            if other is not task:
                if other.admits(task):
                    kernel.strand.post((kernel.merge, task, other))
                    kernel.submission.nudge(other)
                    return
                task.alone = True
            elif commits != memo.commits and not task.refresh:
                stored = memo.find(task.key, valid)
        if stored is None and task.request is not None:
            remember(valid, task.future)
        if stored is not None:
            self.found(task, stored)
        elif kernel.elsewhere is not None and not task.refresh:
            kernel.elsewhere.ask(task)
        else:
            self._miss(task)

    def missed(self, task: Task) -> None:
        """Go on with a task of which nothing is known elsewhere either."""
        self._attend(task, self._miss)

    def _miss(self, task: Task) -> None:
        """Have a task computed, unless another process does that."""
        kernel = self._kernel
        alone = task.alone or task.refresh
        if task.spec.shared and kernel.sharing is not None and not alone:
            kernel.sharing.ask(task)
        else:
            self._enter_uncached(task)

    def _address(self, task: Task) -> None:
        """Give the task its address by the values of its inputs.

        Where a value has no identity the lineage stands for it, if that is known; the outcome is
        recorded only if all inputs are.
        """
        spec = task.spec
        task.files = look_at_futures(task.inputs)  # before they are read
        try:
            leaves = (
                {future: self._kernel.inputs.leaf(future) for future in task.inputs}
                if self._resolving.by_lineage
                else {}
            )
        except InputPending:
            raise
        except BaseException:
            if task.lineage is None or any(map(is_spoiled, task.inputs)):
                raise
            leaves = lineage_leaves(task.inputs) or {}
            task.pristine = parents_of(task.inputs) is not None
        if any(map(unkept_id, task.inputs)):
            self._kernel.unkept.borrow(task)
        args, kwargs = self._resolving.substitute(task.args, task.kwargs, leaves)
        task.address = spec.addresser.address(spec.binder.bind(args, kwargs))  # type: ignore[union-attr]
        task.key = task.address.key

    def _enter_uncached(self, task: Task) -> None:
        kernel = self._kernel
        args, kwargs = self.values(task)
        if task.spec.kind == "lift":
            kernel.strand.post((kernel.lifted, task, task.spec.fn(*args)))
        else:
            self._execution.attempt(task, args, kwargs)
            kernel.strand.post((kernel.start, task))

    def values(self, task: Task) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a task, with values in the places of its inputs.

        Raises:
            InputPending: the record of one of them cannot be read.
        """
        values = {one: self._kernel.inputs.value(one, task) for one in task.inputs}
        return self._resolving.substitute(task.args, task.kwargs, values)

    def _alias(self, task: Task, stored: Stored) -> None:
        """File the record that was found by value under the task's lineage as well."""
        parents = parents_of(task.inputs)
        recorded = self._kernel.memo.record and task.pristine
        if task.lineage is None or parents is None or not recorded:
            return
        if stored.result.lineage != task.lineage or stored.parents != parents:
            entry = self._kernel.store.stage_alias(
                key=task.lineage, record_id=stored.record_id, target=stored.result.key,
                parents=parents,
            )  # fmt: skip
            self._kernel.writer.commit(None, entry)
