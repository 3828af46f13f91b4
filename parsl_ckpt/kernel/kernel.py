"""The way of one call, from the app to its future.

    caller                          kernel                                  executor
    submit ─ bind, address ─┬─ hit ──► finished future
                            └─ miss ─► link ─ inputs known ─► enter ─ miss ─► launch ─► run
      future ◄── close_task ◄── committed ◄── writer ◄── record ◄── (retry?) ◄── finished

Methods stand in the order in which a call meets them.  Those whose comment says *in turn* run on the
strand, one at a time, and change the tables; all others change no table but by one atomic entry.

*Guarantees.*  A task is concluded once.  A future is never left waiting because of the store, an
observer, a callback or Ctrl-C in a caller: what was entered but not launched is found and launched
by whoever joins it or waits for the kernel.  All futures of a batch are done before a callback runs.

*Assumptions.*  ``finished`` is called once for every attempt that was claimed.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from queue import SimpleQueue
from typing import Any

from parsl_ckpt.checkpoint.store import Entry, Store, Stored
from parsl_ckpt.errors import ConfigurationError, NotStartedError, ParslCkptError
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.arguments import gather, substitute
from parsl_ckpt.kernel.attempt import Attempt, Launcher, worker
from parsl_ckpt.kernel.errands import Errands
from parsl_ckpt.kernel.events import Event, Events
from parsl_ckpt.kernel.failures import dependency_error, failure_of, record_of
from parsl_ckpt.kernel.futures import AppFuture, Callback
from parsl_ckpt.kernel.hits import Hit, Inputs
from parsl_ckpt.kernel.joining import await_joined
from parsl_ckpt.kernel.lifting import LiftedHit, lifted_key, lifted_spec
from parsl_ckpt.kernel.memo import Memo, all_restored, lineage_of, parents_of
from parsl_ckpt.kernel.problems import Problems
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.strand import Porter, Strand, Tally
from parsl_ckpt.kernel.task import Spec, Task
from parsl_ckpt.kernel.timer import Clock, Timer
from parsl_ckpt.kernel.writer import Writer

logger = logging.getLogger(__name__)

Post = tuple[Any, ...]  # (method, *arguments), to be called in turn


class Kernel:
    """Owner of all tasks of one run.

    Args:
        store: where outcomes are found and recorded.
        executors: by label; what apps may run on.
        internal: what join apps run on.
        mode: checkpoint mode, see :mod:`parsl_ckpt.kernel.modes`.
        period: seconds, for the mode ``periodic``.
        retry: what is tried again.
        lookup, record: False switches the finding or the recording of outcomes off.
        lazy_errors: False raises the first failure at the next call and starts nothing new.
        code_default: what of the code counts for apps that do not say.
        clock: for tests; None for the real one.
    """

    def __init__(
        self,
        store: Store,
        executors: Mapping[str, Launcher],
        internal: Launcher,
        *,
        mode: str | None = None,
        period: float = 3600.0,
        retry: RetryPolicy | None = None,
        lookup: bool = True,
        record: bool = True,
        lazy_errors: bool = True,
        code_default: str = "closure",
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.memo = Memo(store, lookup, record)
        self.errands = Errands("parsl_ckpt-errand")
        self.events = Events("parsl_ckpt-observer")
        self.problems = Problems(self.events)
        self.clock: Clock = clock or Timer("parsl_ckpt-timer")
        self.writer = Writer(
            store,
            mode=mode,
            period=period,
            clock=self.clock,
            committed=lambda batch: self.strand.post((self._committed, batch)),
            problem=lambda text, error: self.problems.announce("", text, error),
            run=self.errands.run,
        )
        self.strand: Strand[Post] = Strand(self._handle)
        self.porter = Porter("parsl_ckpt-porter")
        self.inputs = Inputs(self.memo, self.writer)
        # Tables. Callers enter tasks; the owner alone removes them.
        self.tasks: dict[int, Task] = {}
        self.counts: Counter[str] = Counter()
        self._tids = itertools.count()
        self._hits = Tally()
        # Owner only: what the batch under way has brought about.
        self._callbacks: list[tuple[AppFuture, list[Callback]]] = []
        self._effects: list[Callable[[], None]] = []
        self._idle: list[Any] = []
        # What makes submission refuse; see ending.py.
        self.refusal: ParslCkptError | None = None
        self.failure: BaseException | None = None
        self._lazy_errors = lazy_errors
        self._retry = retry or RetryPolicy()
        self._internal = internal
        self._caching = lookup or record
        self.code_default = code_default
        self._executors = dict(executors)
        self._everyone = itertools.cycle(self._executors.values())

    # -- submission: the caller's thread -----------------------------------------------------------

    def submit(
        self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AppFuture:
        """Enter a call of an app.

        Args:
            spec: the app.
            args, kwargs: its arguments; futures may stand in them, at any depth of builtin
                containers.

        Returns:
            The future of its outcome. Whatever is wrong with the arguments is the future's error.

        Raises:
            KernelClosedError: the kernel is ending and the caller is not one of its tasks.
            Exception: with ``lazyErrors: False``, the first failure of an earlier task.
        """
        if self.refusal is not None or self.failure is not None:
            self._refuse()
        future = AppFuture(self, next(self._tids))
        try:
            found = gather(args, kwargs)
            task = Task(future.tid, spec, found.args, found.kwargs, future)
            task.opaque = found.opaque
            if found.futures:
                task.inputs = found.futures
                return self._submit_waiting(task, future)
            if spec.cache and self._caching:
                return self._submit_cached(task, future)
        except Exception as error:
            future._conclude(FINISHED, None, error, states.FAILED)
            self._fail_unentered(future, spec, error)
            return future
        future._task = task
        self._attempt(task, task.args, task.kwargs)
        self.tasks[task.tid] = task
        self._launch(task)
        return future

    def _submit_cached(self, task: Task, future: AppFuture) -> AppFuture:
        """A cached call whose inputs are all known: a hit, or one to join, or to run."""
        spec, memo = task.spec, self.memo
        address = spec.addresser.address(spec.binder.bind(task.args, task.kwargs))  # type: ignore[union-attr]
        key = address.key
        task.address = address
        task.key = key
        future._key = key if spec.lineage else None
        commits = memo.commits
        stored = None if task.refresh else memo.find(key)
        if stored is None:
            future._task = task
            self._attempt(task, task.args, task.kwargs)
            other = memo.enter(key, task)
            if other is not task:
                if other.spec.executors == spec.executors:
                    return self._join(other, task, future)
                task.alone = True
            elif commits != memo.commits:  # it may have been committed since the look-up
                stored = memo.find(key)
                if stored is not None:
                    self.porter.carry(self.strand.post, (self._memo_hit, task, stored))
                    return future
            self.tasks[task.tid] = task
            self._launch(task)
            return future
        self._hit(future, Hit(self, task, stored))
        return future

    def _submit_waiting(self, task: Task, future: AppFuture) -> AppFuture:
        """A call with futures among its arguments: looked up by lineage, else linked to them."""
        spec, memo = task.spec, self.memo
        future._task = task
        if spec.kind == "lift":
            return self._submit_lifted(task, future)
        if spec.cache and self._caching:
            task.lineage = lineage_of(task)
        if task.lineage is not None:
            future._key = task.lineage if spec.lineage else None
            if all_restored(task.inputs) and not task.refresh:
                stored = memo.find_by_lineage(task.lineage, task.inputs)
                if stored is not None:
                    self._hit(future, Hit(self, task, stored))
                    return future
            other = memo.enter(task.lineage, task)
            if other is not task:
                if other.spec.executors == spec.executors:
                    return self._join(other, task, future)
                task.alone = True
        self.tasks[task.tid] = task
        self.porter.carry(self.strand.post, (self._link, task))
        return future

    def _submit_lifted(self, task: Task, future: AppFuture) -> AppFuture:
        """An item of another future's value: lazy if that is, else computed when that is known."""
        parent, item = task.args
        future._key = lifted_key(task.spec, parent, item)
        if all_restored(task.inputs):
            future._conclude_lazily(LiftedHit(self, task))
            future._record = parent._record
        else:
            self.tasks[task.tid] = task
            self.porter.carry(self.strand.post, (self._link, task))
        return future

    def _hit(self, future: AppFuture, hit: Hit) -> None:
        self._hits.add()
        hit.mark(future)
        future._conclude_lazily(hit)
        if self.events.listening:
            self.events.emit(Event("task", hit.task.spec.name, future.tid, states.MEMO_DONE))

    def _join(self, other: Task, task: Task, future: AppFuture) -> AppFuture:
        """Wait for the equal call that is under way instead of running a second one."""
        future._task = other
        future.from_memo = True
        self.porter.carry(self.strand.post, (self._joined, other, future))
        self.nudge(other)
        return future

    def rerun(self, task: Task) -> None:
        """Enter a task whose recorded outcome turned out to be unreadable."""
        self.porter.carry(self.strand.post, (self._link, task))

    def nudge(self, task: Task) -> None:
        """Launch, or link, a task again whose caller may have been interrupted before it did."""
        if task.launched or task.linked:
            return
        if task.attempt is not None:
            self._launch(task)
        else:
            self.porter.carry(self.strand.post, (self._link, task))

    def _refuse(self) -> None:
        if self.failure is not None and not self._lazy_errors:
            raise self.failure
        if self.refusal is not None and worker.pool is None:
            raise self.refusal

    def _fail_unentered(self, future: AppFuture, spec: Spec, error: BaseException) -> None:
        self.porter.carry(self.strand.post, (self._count_failure, future.tid, spec, error))

    # -- the graph ---------------------------------------------------------------------------------

    def _link(self, task: Task) -> None:
        """*In turn.* Have the task released when its inputs are known."""
        if task.linked or task.state in states.FINAL_STATES:
            return
        task.linked = True
        task.to(states.PENDING)
        for future in task.inputs:
            if isinstance(future, AppFuture) and future._kernel is self:
                producer = future._task
                if producer is not None and producer.state not in states.FINAL_STATES:
                    task.missing += 1
                    if producer.dependants is None:
                        producer.dependants = []
                    producer.dependants.append(task)
            elif not future.done():
                task.missing += 1
                self._effects.append(lambda f=future: f.add_done_callback(arrived))  # type: ignore[misc]

        def arrived(_: Future[Any]) -> None:
            self.porter.carry(self.strand.post, (self._release, task))

        if task.missing == 0:
            self._effects.append(lambda: self._enter(task))

    def _release(self, task: Task) -> None:
        """*In turn.* One more input of the task is known."""
        task.missing -= 1
        if task.missing == 0 and task.state not in states.FINAL_STATES:
            self._effects.append(lambda: self._enter(task))

    def _joined(self, other: Task, future: AppFuture) -> None:
        """*In turn.* One more future waits for a task, or takes its outcome if it is done."""
        if other.state in states.FINAL_STATES:
            self._conclude(other, future)
        else:
            other.futures.append(future)

    # -- a task whose inputs are known: on a worker, or whoever brought the last input ---------------

    def _enter(self, task: Task) -> None:
        try:
            failed = [(future, error) for future in task.inputs if (error := failure_of(future))]
            if failed:
                self.strand.post((self._fail, task, dependency_error(task, failed), states.DEP_FAIL))
            elif self.failure is not None and not self._lazy_errors:
                self.strand.post((self._fail, task, self._not_started(task), states.FAILED))
            elif task.spec.cache and self._caching:
                self._enter_cached(task)
            else:
                self._enter_uncached(task)
        except Exception as error:
            self.strand.post((self._fail, task, error, states.FAILED))

    def _enter_cached(self, task: Task) -> None:
        """Look the task up by the values of its inputs; run it if that finds nothing."""
        spec, memo = task.spec, self.memo
        leaves = {future: self.inputs.leaf(future) for future in task.inputs}
        args, kwargs = substitute(task.args, task.kwargs, leaves)
        task.address = spec.addresser.address(spec.binder.bind(args, kwargs))  # type: ignore[union-attr]
        task.key = task.address.key
        commits = memo.commits
        stored = None if task.refresh else memo.find(task.key)
        if stored is None and not task.alone:
            other = memo.enter(task.key, task)
            if other is not task:
                if other.spec.executors == spec.executors:
                    self.strand.post((self._merge, task, other))
                    self.nudge(other)
                    return
                task.alone = True
            elif commits != memo.commits and not task.refresh:
                stored = memo.find(task.key)
        if stored is not None:
            self._alias(task, stored)
            self.strand.post((self._memo_hit, task, stored))
        else:
            self._enter_uncached(task)

    def _enter_uncached(self, task: Task) -> None:
        values = {}
        for future in task.inputs:
            values[future] = self.inputs.value(future, task)
            if isinstance(future, AppFuture) and future._phase == PENDING:
                # A hit that turned out to be none: its task runs now, and is waited for.
                self.strand.post((self._relink, task))
                return
        args, kwargs = substitute(task.args, task.kwargs, values)
        if task.spec.kind == "lift":
            self.strand.post((self._lifted, task, task.spec.fn(*args)))
        else:
            self._attempt(task, args, kwargs)
            self.strand.post((self._start, task))

    def _alias(self, task: Task, stored: Stored) -> None:
        """File the record that was found by value under the task's lineage as well."""
        parents = parents_of(task.inputs)
        if task.lineage is None or parents is None or not self.memo.record:
            return
        if stored.result.lineage != task.lineage or stored.parents != parents:
            entry = self.store.stage_alias(
                key=task.lineage, record_id=stored.record_id, target=stored.result.key,
                parents=parents,
            )  # fmt: skip
            self.writer.commit(None, entry)

    def _relink(self, task: Task) -> None:
        """*In turn.*"""
        task.linked = False
        self._link(task)

    def _start(self, task: Task) -> None:
        """*In turn.* Hand the task to an executor, unless it was cancelled meanwhile."""
        if task.state not in states.FINAL_STATES:
            task.to(states.LAUNCHED)
            self._effects.append(lambda: self._launch(task))

    # -- execution ---------------------------------------------------------------------------------

    def _attempt(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Make the next execution of a task; the same one may be launched again, it is run once."""
        spec = task.spec
        task.tries += 1
        cached = task.key is not None
        attempt = Attempt(
            spec.fn, args, kwargs, app=spec.name, tid=task.tid, number=task.tries,
            encode=cached and self.memo.record, task=task,
        )  # fmt: skip
        if cached and task.opaque:
            attempt.guard = lambda: self._guard(task, args, kwargs)
        task.attempt = attempt
        if task.state is states.UNSCHED:
            task.state = states.LAUNCHED  # nobody else has seen the task yet

    def _launch(self, task: Task) -> None:
        attempt = task.attempt
        assert attempt is not None
        spec = task.spec
        try:
            if spec.kind == "join":
                executor = self._internal
            elif spec.executors:
                executor = self._executors[spec.executors[(task.tid) % len(spec.executors)]]
            else:
                executor = next(self._everyone)
            executor.launch(attempt, self._finished)
        except Exception as error:
            if attempt.claim():
                self._finished(attempt, None, error)
        task.launched = True
        if self.events.listening:
            self.events.emit(Event("task", spec.name, task.tid, states.LAUNCHED))

    def _guard(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Notice arguments that changed between the call and the launch: nothing is filed then."""
        spec = task.spec
        try:
            bound = spec.binder.bind(args, kwargs)  # type: ignore[union-attr, arg-type]
            same = spec.addresser.address(bound).key == task.key  # type: ignore[union-attr]
        except Exception:
            same = False
        if not same:
            task.pristine = False
            self.problems.warn(
                spec.name,
                f"An argument of {spec.name} (task {task.tid}) changed between the call and its "
                "execution, so its result is not recorded. Pass a copy of what you change.",
            )

    def _finished(
        self, attempt: Attempt, value: Any, error: BaseException | None, encoded: Any = None
    ) -> None:
        """An attempt has ended; on the thread of whatever ran it."""
        task: Task = attempt.task
        if error is not None:
            self.strand.post((self._attempt_failed, task, error))
        elif task.spec.kind == "join":
            self.strand.post((self._joining, task, value))
        elif task.key is None:
            self.strand.post((self._done, task, value))
        else:
            self.record(task, value, encoded)

    def record(self, task: Task, value: Any, encoded: Any = None) -> None:
        """Encode a value and hand it to the writer; the future follows when it is committed."""
        if not (self.memo.record and task.pristine):
            self.strand.post((self._done, task, value))
            return
        task.value = value
        try:
            entry = self.inputs.entry(task, value, encoded)
        except Exception as error:
            self.problems.unsaved(task.spec.name, task.tid, error)
            self.strand.post((self._done, task, value))
        else:
            self.writer.commit(task, entry)

    def _committed(self, batch: Sequence[tuple[Task | None, Entry]]) -> None:
        """*In turn.* The writer has dealt with these."""
        self.memo.commits += 1
        for task, entry in batch:
            if task is not None:
                task.record_id = entry.record_id
                self._done(task, task.value)

    # -- failure and retry -------------------------------------------------------------------------

    def _attempt_failed(self, task: Task, error: BaseException) -> None:
        """*In turn.*"""
        self._effects.append(lambda: self._judge(task, error))

    def _judge(self, task: Task, error: BaseException) -> None:
        """Have the policy, which is the user's code, decide on another try."""
        try:
            cost = self._retry.cost(error, record_of(task))
        except Exception as handler_error:
            handler_error.__cause__ = error
            self.strand.post((self._fail, task, handler_error, states.FAILED))
        else:
            self.strand.post((self._retry_or_fail, task, error, cost))

    def _retry_or_fail(self, task: Task, error: BaseException, cost: float) -> None:
        """*In turn.*"""
        task.cost += cost
        stopped = self.refusal is not None or (self.failure is not None and not self._lazy_errors)
        if task.state in states.FINAL_STATES:
            return
        if stopped or not self._retry.allows(task.cost):
            self._fail(task, error, states.FAILED)
            return
        previous = task.attempt
        assert previous is not None
        task.to(states.FAIL_RETRYABLE)
        self._attempt(task, previous.args, previous.kwargs)
        self._start(task)

    def _fail(self, task: Task, error: BaseException, state: str) -> None:
        """*In turn.*"""
        if task.state in states.FINAL_STATES:
            return
        task.to(state)
        task.error = error
        self._count_failure(task.tid, task.spec, error, state)
        self._close_task(task)

    def _count_failure(
        self, tid: int, spec: Spec, error: BaseException, state: str = states.FAILED
    ) -> None:
        """*In turn.*"""
        if self.failure is None and not isinstance(error, NotStartedError):
            self.failure = error if not self._lazy_errors else None
        if tid not in self.tasks:
            self.counts[state] += 1
        self._effects.append(lambda: self.inputs.record_failure(tid, spec, error))

    def _not_started(self, task: Task) -> NotStartedError:
        return NotStartedError(
            f"Task {task.tid} ({task.spec.name}) was not started because an earlier task failed.",
            hint="Set lazyErrors to True to go on after failures.",
            app=task.spec.name,
            tid=task.tid,
        )

    # -- the end of a task -------------------------------------------------------------------------

    def _joining(self, task: Task, value: Any) -> None:
        """*In turn.* A join app has returned what to wait for."""
        if task.state not in states.FINAL_STATES:
            task.to(states.JOINING)
            self._effects.append(lambda: await_joined(self, task, value))

    def joined(self, task: Task, value: Any, error: BaseException | None) -> None:
        """What a join app waited for is known; from any thread but the main one."""
        if error is not None:
            self.strand.post((self._attempt_failed, task, error))
        elif task.key is not None:
            self.record(task, value)
        else:
            self.strand.post((self._done, task, value))

    def _done(self, task: Task, value: Any) -> None:
        """*In turn.*"""
        if task.state in states.FINAL_STATES:
            return
        task.to(states.EXEC_DONE)
        task.value = value
        self._close_task(task)

    def _lifted(self, task: Task, value: Any) -> None:
        """*In turn.* A part of a future's value, which stands for the same record."""
        if task.state not in states.FINAL_STATES:
            task.to(states.LAUNCHED)
            task.record_id = task.inputs[0]._record or b""  # type: ignore[attr-defined]
            self._done(task, value)

    def _memo_hit(self, task: Task, stored: Stored) -> None:
        """*In turn.* A task that was entered turned out to be recorded already."""
        if task.state in states.FINAL_STATES:
            return
        task.to(states.MEMO_DONE)
        task.stored = stored
        self._close_task(task)

    def _merge(self, task: Task, other: Task) -> None:
        """*In turn.* A task turned out to be the same call as another one under way."""
        if task.state in states.FINAL_STATES:
            return
        task.state = states.MEMO_DONE
        self.tasks.pop(task.tid, None)
        self.memo.leave(task)
        for future in task.futures:
            future._task = other
            future.from_memo = True
            self._joined(other, future)
        for dependant in task.dependants or ():
            if other.state in states.FINAL_STATES:
                self._release(dependant)
            elif other.dependants is None:
                other.dependants = [dependant]
            else:
                other.dependants.append(dependant)

    def _close_task(self, task: Task) -> None:
        """*In turn.* Conclude the futures, release the dependants, forget the task."""
        self.counts[task.state] += 1
        self.tasks.pop(task.tid, None)
        if task.key is not None or task.lineage is not None:
            self.memo.leave(task)
        for future in task.futures:
            self._conclude(task, future)
        if task.dependants is not None:
            for dependant in task.dependants:
                self._release(dependant)
            task.dependants = None
        task.attempt = None
        if self.events.listening:
            self.events.emit(Event("task", task.spec.name, task.tid, task.state))
        if not self.tasks and self._idle:
            for waiter in self._idle:
                waiter.set()
            self._idle.clear()

    def _conclude(self, task: Task, future: AppFuture) -> None:
        """*In turn.* Give a future the outcome of its task."""
        future._value_key = task.key
        future._record = task.record_id
        if task.stored is not None:
            hit = Hit(self, task, task.stored)
            hit.mark(future)
            callbacks = future._conclude_lazily(hit)
        elif task.state is states.CANCELLED:
            callbacks = future._conclude(
                CANCELLED_AND_NOTIFIED, None, CancelledError(), states.CANCELLED
            )
        else:
            callbacks = future._conclude(FINISHED, task.value, task.error, task.state)
        if callbacks:
            self._callbacks.append((future, callbacks))

    # -- the strand --------------------------------------------------------------------------------

    def _handle(self, batch: list[Post]) -> list[Callable[[], None]]:
        """Make the calls of a batch, in turn; give what is to be done outside."""
        for post in batch:
            try:
                post[0](*post[1:])
            except Exception as error:
                logger.exception("A kernel event failed; this is a bug in parsl_ckpt.")
                if isinstance(post[1], Task):
                    self._abandon(post[1], error)
        effects = self._effects
        if effects:
            self._effects = []
        if self._callbacks:
            called = self._callbacks
            self._callbacks = []
            effects.append(lambda: self.errands.run(lambda: _run_callbacks(called)))
        return effects

    def _abandon(self, task: Task, error: BaseException) -> None:
        """*In turn.* Rather a task that fails than one that hangs."""
        if task.state not in states.FINAL_STATES:
            task.state = states.FAILED
            task.error = error
            self._close_task(task)

    # -- for futures -------------------------------------------------------------------------------

    def cancel(self, future: AppFuture) -> bool:
        """Give up on a call that has not begun; see :meth:`AppFuture.cancel`."""
        reply: SimpleQueue[bool] = SimpleQueue()
        self.porter.carry(self.strand.post, (self._cancel, future, reply))
        return reply.get()

    def _cancel(self, future: AppFuture, reply: SimpleQueue[bool]) -> None:
        """*In turn.*"""
        task = future._task
        if task is None or future._phase != PENDING or future not in task.futures:
            reply.put(False)
        elif len(task.futures) > 1:
            task.futures.remove(future)
            callbacks = future._conclude(
                CANCELLED_AND_NOTIFIED, None, CancelledError(), states.CANCELLED
            )
            self._callbacks.append((future, callbacks))
            reply.put(True)
        else:
            reply.put(self.give_up(task))

    def give_up(self, task: Task) -> bool:
        """*In turn.* Cancel a task that no worker has begun."""
        if task.state not in (states.UNSCHED, states.PENDING, states.LAUNCHED):
            return False
        if task.attempt is not None and not task.attempt.claim():
            return False
        task.to(states.CANCELLED)
        task.error = CancelledError()
        self._close_task(task)
        return True

    def lift(self, future: AppFuture, kind: str, item: Any) -> AppFuture:
        """A future of an item or an attribute of another future's value."""
        return self.submit(lifted_spec(kind), (future, item), {})

    # -- how it stands -----------------------------------------------------------------------------

    def labels_for(self, app: str, wanted: str | Sequence[str]) -> tuple[str, ...]:
        """The labels of the executors that may run an app; empty for all.

        Raises:
            ConfigurationError: there is no executor of a wanted label.
        """
        labels = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        if "all" in labels:
            return ()
        for label in labels:
            if label not in self._executors:
                raise ConfigurationError(
                    f"The app {app} asks for the executor {label!r}, which this kernel does not "
                    "have.",
                    hint=f"It has: {', '.join(sorted(self._executors))}.",
                    app=app,
                    label=label,
                )
        return labels

    def state_counts(self) -> dict[str, int]:
        """Number of tasks by state, those that are done included."""
        counts = Counter(self.counts)
        counts[states.MEMO_DONE] += self._hits.total()
        for task in list(self.tasks.values()):
            counts[task.status] += 1
        return {state: counts[state] for state in states.STATES}

    def when_idle(self, waiter: Any) -> None:
        """Have ``waiter.set()`` called when no task is under way, orphans launched first."""
        for task in list(self.tasks.values()):
            self.nudge(task)
        self.porter.carry(self.strand.post, (self._when_idle, waiter))

    def _when_idle(self, waiter: Any) -> None:
        """*In turn.*"""
        if self.tasks:
            self._idle.append(waiter)
        else:
            waiter.set()


def _run_callbacks(batch: list[tuple[AppFuture, list[Callback]]]) -> None:
    for future, callbacks in batch:
        future._run_callbacks(callbacks)
