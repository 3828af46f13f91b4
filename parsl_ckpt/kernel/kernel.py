"""The way of one call, from the app to its future.

    caller                          kernel                                  executor
    submit ─ bind, address ─┬─ hit ──► finished future
                            └─ miss ─► link ─ inputs known ─► enter ─ miss ─► launch ─► run
      future ◄── close_task ◄── committed ◄── writer ◄── record ◄── (retry?) ◄── finished

Methods stand in the order in which a call meets them.  Those whose comment says *in turn* run on
the strand, one at a time, and change the tables; all others change no table but by one atomic
entry.

*Guarantees.*  A task is concluded once.  A future is never left waiting because of the store, an
observer, a callback or Ctrl-C in a caller: what was entered but not launched is found and launched
by whoever joins it or waits for the kernel.  All futures of a batch are done before a callback
runs.

*Assumptions.*  ``finished`` is called once for every attempt that was claimed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from functools import partial
from queue import SimpleQueue
from typing import Any

from parsl_ckpt.checkpoint.lease import Leases
from parsl_ckpt.checkpoint.store import Entry, Store, Stored
from parsl_ckpt.errors import DependencyError, ParslCkptError
from parsl_ckpt.identity.code import Mode
from parsl_ckpt.identity.privacy import Privacy
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.attempt import Launcher
from parsl_ckpt.kernel.auditing import Auditing
from parsl_ckpt.kernel.calls import Calls
from parsl_ckpt.kernel.elsewhere import Elsewhere
from parsl_ckpt.kernel.entering import Entering
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.execution import Execution
from parsl_ckpt.kernel.failures import not_started, unexplained
from parsl_ckpt.kernel.forked import watch
from parsl_ckpt.kernel.futures import AppFuture, Callback
from parsl_ckpt.kernel.hits import Hit, Inputs, Look, mark
from parsl_ckpt.kernel.joining import await_joined
from parsl_ckpt.kernel.lifting import lifted_spec, mark_part
from parsl_ckpt.kernel.memo import Memo
from parsl_ckpt.kernel.planning import Desk, awake
from parsl_ckpt.kernel.problems import Problems
from parsl_ckpt.kernel.records import History
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.resolving import DependencyResolver, resolving_of
from parsl_ckpt.kernel.retries import Retries
from parsl_ckpt.kernel.runtime import Runtime
from parsl_ckpt.kernel.sharing import Sharing
from parsl_ckpt.kernel.specimens import Specimens
from parsl_ckpt.kernel.strand import Strand, Tally
from parsl_ckpt.kernel.streams import no_log_name
from parsl_ckpt.kernel.submission import Submission
from parsl_ckpt.kernel.task import Spec, Task, arguments_of
from parsl_ckpt.kernel.timer import Clock
from parsl_ckpt.kernel.unkept import Passing
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
        follow: what is not found is looked for in what other live runs have appended since.
        single_flight: ``"shared"``: of equal calls of several processes, one is computed.
        leases: what those are taken with; None if that is not possible.
        lazy_errors: False raises the first failure at the next call and starts nothing new.
        code_default: what of the code counts for apps that do not say.
        privacy: what of the arguments is hidden in addresses and records.
        audit_rate: share of the hits that are executed again and compared.
        dependency_resolver: where futures are looked for among arguments; None for ours.
        clock: for tests; None for the runtime's.
        runtime: where threads come from, for simulations; None for real ones.
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
        follow: bool = False,
        single_flight: str = "process",
        leases: Leases | None = None,
        lazy_errors: bool = True,
        code_default: Mode = "closure",
        privacy: Privacy | None = None,
        audit_rate: float = 0.0,
        dependency_resolver: DependencyResolver | None = None,
        clock: Clock | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime = runtime or Runtime()
        self.store = store
        self.resolving = resolving_of(dependency_resolver)
        self.owner: Any = None  # what users hold
        self.memo = Memo(store, lookup, record, follow)
        self.errands = runtime.errands()
        self.events = runtime.events()
        self.problems = Problems(self.events)
        self.clock: Clock = runtime.clock() if clock is None else clock
        self.writer = Writer(
            store,
            mode=mode,
            period=period,
            clock=self.clock,
            committed=lambda batch: self.strand.post((self.committed, batch)),
            problem=lambda text, error, time: self.problems.announce("", text, error, time),
            run=self.errands.run,
            runtime=runtime,
        )
        self.strand: Strand[Post] = runtime.strand(self._handle)
        self.porter = runtime.porter()
        self.inputs = Inputs(self.memo, self.writer)
        # Tables. Callers enter tasks; the owner alone removes them.
        self.tasks: dict[int, Task] = {}
        self.counts: Counter[str] = Counter()
        self.hits = Tally()
        self.looks: dict[int, list[Look]] = {}  # futures being looked at, see hits.Call
        # Owner only: what the batch under way has brought about.
        self._callbacks: list[tuple[AppFuture, list[Callback]]] = []
        self._effects: list[Callable[[], None]] = []
        self._idle: list[Any] = []
        # What answers AppFuture.why(); set by who knows more than this room.
        self.explain: Callable[[AppFuture], Any] = unexplained
        # Who fetches and delivers files of other schemes, for executors that do not say.
        self.storage_access: Sequence[Any] = ()
        # Who is told when the future of a call is concluded, by its number; outside the turn.
        self.heard: dict[int, tuple[Callable[[AppFuture], None], ...]] = {}
        # What is to be done at the end, when no task is under way any more, before all is flushed.
        self.at_end: list[Callable[[], None]] = []
        # Who is asked about calls of which nothing is recorded, if anybody is.
        self.elsewhere: Elsewhere | None = None
        # What names the files of AUTO_LOGNAME; set by who knows the run's directory.
        self.log_name: Callable[[Mapping[str, Any], str], Any] = no_log_name
        # What makes submission refuse; see ending.py.
        self.refusal: ParslCkptError | None = None
        self.failure: BaseException | None = None
        self.forked = watch(self)  # whether this is a child of the process that has the threads
        self._lazy_errors = lazy_errors
        self.retries = Retries(self, retry or RetryPolicy())
        self.attempt_failed = self.retries.failed
        self.caching = lookup or record
        self.code_default = code_default
        self.privacy = privacy or Privacy()
        # The stages on both sides of the owner.
        self.execution: Execution = Execution(self, executors, internal)
        self.submission: Submission = Submission(self, self.execution)
        self.entering = Entering(self, self.execution)
        self.submit = self.submission.submit
        self.desk = Desk(self)
        self.sharing = Sharing(self, leases) if leases is not None else None
        self._single_flight = single_flight
        self.calls = Calls(self)
        self.specimens = Specimens(store)
        self.unkept = Passing(self)
        self.auditing = Auditing(self, audit_rate) if audit_rate else None

    def shares(self, app: str, wanted: str | None) -> bool:
        """Whether equal calls of an app wait for one another across processes.

        Args:
            app: its name.
            wanted: what it asks for: ``"shared"``, ``"process"`` or None for the kernel's default.
        """
        if (wanted or self._single_flight) != "shared":
            return False
        if not (self.memo.lookup and self.memo.record):
            return False  # PARSL_CKPT says so
        if self.sharing is None:
            self.problems.warn(
                app,
                f"{app} asks for single_flight='shared', which takes a run with "
                "checkpoint_mode='task_exit' and without checkpoint_files; other processes may "
                "compute the same calls at the same time.",
            )
        return self.sharing is not None

    def hear(self, tids: Iterable[int], call: Callable[[AppFuture], None]) -> None:
        """Have somebody told when the futures of calls are concluded; before any can be."""
        heard, alone = self.heard, (call,)
        for tid in tids:
            heard[tid] = (*heard[tid], call) if tid in heard else alone

    def effect(self, call: Callable[[], None]) -> None:
        """*In turn.* Have a call made when the turn is over."""
        self._effects.append(call)

    def post_safely(self, method: Callable[..., None], *args: Any) -> None:
        """Have a method called in turn; for threads that Ctrl-C may interrupt."""
        self.porter.carry(self.strand.post, (method, *args))

    def link(self, task: Task) -> None:
        """*In turn.* Have the task released when its inputs are known."""
        if task.state in states.FINAL_STATES:
            self.forget(task)
            return
        if task.linked:
            return
        task.linked = True
        task.to(states.PENDING)
        self.tasks[task.tid] = task
        for future in task.inputs:
            if isinstance(future, AppFuture) and future._kernel is self:
                if future._lazy is not None and not awake(future, task):
                    return
                producer = future._task
                if producer is not None and producer.state not in states.FINAL_STATES:
                    task.missing += 1
                    if producer.dependants is None:
                        producer.dependants = []
                    producer.dependants.append(task)
            else:
                task.missing += 1
                self._effects.append(lambda f=future: self._await(f, task))  # type: ignore[misc]
        if task.missing == 0:
            self._effects.append(lambda: self.entering.enter(task))

    def _await(self, future: Future[Any], task: Task) -> None:
        """Have a task released by a future that is not ours; a finished one calls back at once."""
        try:
            future.add_done_callback(lambda _: self.post_safely(self.release, task))
        except BaseException as error:
            self.strand.post((self.fail, task, error, states.FAILED))

    def release(self, task: Task) -> None:
        """*In turn.* One more input of the task is known."""
        task.missing -= 1
        if task.missing == 0 and task.state not in states.FINAL_STATES:
            self._effects.append(lambda: self.entering.enter(task))

    def join_future(self, other: Task, future: AppFuture) -> None:
        """*In turn.* One more future waits for a task, or takes its outcome if it is done."""
        while other.merged is not None:
            other = other.merged
        future._task = other
        if other.request is not None:
            future._request = other.request
        if other.state not in states.FINAL_STATES:
            if other.joined is None:
                other.joined = []
            other.joined.append(future)
        elif other.state is states.CANCELLED and self.refusal is None:
            # Whoever waited for it gave it up, just before this call joined: it is made anew.
            future.from_memo = False
            future._task = task = Task(future.tid, other.spec, arguments_of(other), future)
            self.link(task)
        else:
            self._conclude(other, future)

    def relink(self, task: Task) -> None:
        """*In turn.*"""
        task.linked = False
        self.link(task)

    def start(self, task: Task) -> None:
        """*In turn.* Hand the task to an executor, unless it was cancelled meanwhile."""
        if task.state in states.FINAL_STATES:
            task.attempt = None
            self.forget(task)  # it was entered under its value key after it was over
        else:
            task.to(states.LAUNCHED)
            self._effects.append(lambda: self.execution.launch(task))

    def committed(self, batch: Sequence[tuple[Task | None, Entry]]) -> None:
        """*In turn.* The writer has dealt with these."""
        self.memo.commits += 1
        for task, entry in batch:
            if task is not None:
                task.record_id = entry.record_id
                try:
                    self.done(task, task.value)
                except Exception as error:  # one bad task must not cost the others of its batch
                    self._abandon(task, error)

    def fail(self, task: Task, error: BaseException, state: str) -> None:
        """*In turn.*"""
        if task.state in states.FINAL_STATES:
            self.forget(task)
            return
        task.to(state)
        task.error = error
        self._note_failure(task.tid, task.spec, error, task.address, task.attempt)
        self._close_task(task)

    def count_unentered(self, tid: int, spec: Spec, error: BaseException) -> None:
        """*In turn.* A call failed before it became a task."""
        self.counts[states.FAILED] += 1
        self._note_failure(tid, spec, error)

    def _note_failure(
        self,
        tid: int,
        spec: Spec,
        error: BaseException,
        address: Any = None,
        attempt: Any = None,
    ) -> None:
        """*In turn.*"""
        if not self._lazy_errors and self.failure is None:
            self.failure = error
            self.strand.post((self._stop_unbegun,))
        state = states.DEP_FAIL if isinstance(error, DependencyError) else states.FAILED
        self.events.emit_failure(spec.name, tid, state, error)
        self._effects.append(lambda: self.inputs.record_failure(tid, spec, error, address, attempt))

    def _stop_unbegun(self) -> None:
        """*In turn.* After the first failure with ``lazyErrors: False``: start nothing new."""
        for task in list(self.tasks.values()):
            if self._claim(task):
                error = self.retries.last_error(task) or not_started(task)
                self.fail(task, error, states.FAILED)

    def joining(self, task: Task, value: Any) -> None:
        """*In turn.* A join app has returned what to wait for."""
        if task.state not in states.FINAL_STATES:
            task.to(states.JOINING)
            if task.history is not None:
                task.history.joins = value
            self._effects.append(lambda: await_joined(self, task, value))

    def joined(self, task: Task, value: Any, error: BaseException | None) -> None:
        """What a join app waited for is known; from any thread but the main one."""
        if task.request is not None and error is None:
            error = self.execution.look_at_outputs(task)
        if error is not None:
            self.strand.post((self.attempt_failed, task, error))
        elif task.key is not None:
            self.execution.record(task, value)
        else:
            self.strand.post((self.done, task, value))

    def done(self, task: Task, value: Any) -> None:
        """*In turn.*"""
        if task.state in states.FINAL_STATES:
            return
        task.to(task.ends)
        task.value = value
        self._close_task(task)

    def lifted(self, task: Task, value: Any) -> None:
        """*In turn.* A part of a future's value, which stands for the same record."""
        if task.state not in states.FINAL_STATES:
            task.to(states.LAUNCHED)
            self.done(task, value)

    def memo_hit(self, task: Task, stored: Stored) -> None:
        """*In turn.* A task that was entered turned out to be recorded already."""
        if task.state in states.FINAL_STATES:
            self.forget(task)
            return
        task.to(states.MEMO_DONE)
        task.stored = stored
        self._close_task(task)

    def merge(self, task: Task, other: Task) -> None:
        """*In turn.* A task turned out to be the same call as another one under way."""
        if task.state in states.FINAL_STATES:
            return
        while other.merged is not None:
            other = other.merged
        task.state = states.MEMO_DONE
        task.merged = other
        if task.history is not None:
            if other.history is None:
                other.history = History()
            task.history.instead = other.history
        for future in task.futures:
            future.from_memo = True
            self.join_future(other, future)
        for dependant in task.dependants or ():
            if other.state in states.FINAL_STATES:
                self.release(dependant)
            elif other.dependants is None:
                other.dependants = [dependant]
            else:
                other.dependants.append(dependant)
        self.forget(task)

    def _close_task(self, task: Task) -> None:
        """*In turn.* Conclude the futures, release the dependants, forget the task."""
        self.counts[task.state] += 1
        if task.history is not None:
            task.history.close(task)
        self._conclude(task, task.future)
        if task.joined is not None:
            for future in task.joined:
                self._conclude(task, future)
        if task.dependants is not None:
            for dependant in task.dependants:
                self.release(dependant)
            task.dependants = None
        task.attempt = None
        if self.events.listening:
            self.events.emit(Event("task", task.spec.name, task.tid, task.state))
        self.forget(task)

    def forget(self, task: Task) -> None:
        """*In turn.* Take a task that is over from the tables."""
        if task.key is not None or task.lineage is not None:
            self.memo.leave(task)
            if task.claim is not None and self.sharing is not None:
                self.sharing.leave(task)
        if task.spec.resilience is not None:
            self.retries.leave(task)
        self.tasks.pop(task.tid, None)
        if not self.tasks and self._idle:
            for waiter in self._idle:
                waiter.set()
            self._idle.clear()

    def _conclude(self, task: Task, future: AppFuture) -> None:
        """*In turn.* Give a future the outcome of its task."""
        future._spec = task.spec
        if task.spec.kind == "lift":
            mark_part(task.spec, task.args[0], task.args[1], future)
        else:
            future._value_key = task.key
            future._record = task.record_id
            if task.key is not None and (
                not task.record_id
                or task.refresh
                or task.spec.valid is not None
                or task.request is not None
            ):
                future._missed = task.address, task.spec, task.refresh
                if task.spec.persist is not True:
                    future._unkept, future._leaf = task.unkept or (None, None)
        if task.stored is not None:
            mark(future, task.stored)
            callbacks = []
            if future._conclude_lazily(Hit(self, task.spec, arguments_of(task), task.stored)):
                self._effects.append(lambda: self._awaken(future))
        elif task.state is states.CANCELLED:
            callbacks = future._conclude(
                CANCELLED_AND_NOTIFIED, None, CancelledError(), states.CANCELLED
            )
        else:
            callbacks = future._conclude(FINISHED, task.value, task.error, task.state)
        if callbacks:
            self._callbacks.append((future, callbacks))
        if self.heard and future.tid in self.heard:
            self._effects += [partial(call, future) for call in self.heard.pop(future.tid)]

    def _awaken(self, future: AppFuture) -> None:
        """Tell those who wait for a future that became a hit, if it is one indeed."""
        callbacks = future._awaken()
        if callbacks:
            self.errands.run(lambda: future._run_callbacks(callbacks))

    def _handle(self, batch: list[Post]) -> list[Callable[[], None]]:
        """Make the calls of a batch, in turn; give what is to be done outside."""
        for post in batch:
            try:
                post[0](*post[1:])
            except Exception as error:
                logger.exception("A kernel event failed; this is a bug in parsl_ckpt.")
                for subject in post[1:2]:
                    if isinstance(subject, Task):
                        self._abandon(subject, error)
        effects, self._effects = self._effects, []
        if self._callbacks:
            called, self._callbacks = self._callbacks, []
            effects.append(lambda: self.errands.run(lambda: _run_callbacks(called)))
        return effects

    def _abandon(self, task: Task, error: BaseException) -> None:
        """*In turn.* Rather a task that fails than one that hangs."""
        if task.state not in states.FINAL_STATES:
            task.state = states.FAILED
            task.error = error
            self._close_task(task)

    def cancel(self, future: AppFuture) -> bool:
        """Give up on a call that has not begun; see :meth:`AppFuture.cancel`."""
        reply: SimpleQueue[bool] = SimpleQueue()
        self.post_safely(self._cancel, future, reply)
        return reply.get()

    def _cancel(self, future: AppFuture, reply: SimpleQueue[bool]) -> None:
        """*In turn.*"""
        reply.put(self._detach(future))

    def _detach(self, future: AppFuture) -> bool:
        """*In turn.* Let go of a future, and of its task if nobody else waits for that."""
        task = future._task
        if task is None or future._phase != PENDING or future not in task.futures:
            return False
        if not task.joined:
            return self.give_up(task)
        if future is task.future:
            task.future = task.joined.pop()
        else:
            task.joined.remove(future)
        cancelled = CancelledError()
        callbacks = future._conclude(CANCELLED_AND_NOTIFIED, None, cancelled, states.CANCELLED)
        self._callbacks.append((future, callbacks))
        self._effects += [partial(call, future) for call in self.heard.pop(future.tid, ())]
        return True

    def give_up(self, task: Task) -> bool:
        """*In turn.* Cancel a task that no worker has begun."""
        if not self._claim(task):
            return False
        error = self.retries.last_error(task)
        if error is not None and self.refusal is not None:  # the end, not a wish to cancel
            self.fail(task, error, states.FAILED)
            return True
        task.to(states.CANCELLED)
        task.error = CancelledError()
        self._close_task(task)
        return True

    def _claim(self, task: Task) -> bool:
        """*In turn.* Keep a task from ever beginning, if it has not begun."""
        if task.state == states.FAIL_RETRYABLE:  # it waits for its next attempt, not made yet
            return True
        if task.state not in (states.UNSCHED, states.PENDING, states.LAUNCHED):
            return False
        return task.attempt is None or task.attempt.claim()

    def lift(self, future: AppFuture, kind: str, item: Any) -> AppFuture:
        """A future of an item or an attribute of another future's value."""
        return self.submit(lifted_spec(kind), (future, item), {})

    def why(self, future: AppFuture) -> Any:
        """Why the task of a future ran, or did not have to; see :meth:`AppFuture.why`."""
        return self.explain(future)

    def state_counts(self) -> dict[str, int]:
        """Number of tasks by state, those that are done included."""
        counts = Counter(self.counts)
        counts[states.MEMO_DONE] += self.hits.total()
        for task in list(self.tasks.values()):
            counts[task.status] += 1
        return {state: counts[state] for state in states.STATES}

    def under_way(self) -> list[Task]:
        """Every task that is not over, those included whose caller was interrupted half-way."""
        for task in list(self.memo.inflight.values()):
            self.tasks.setdefault(task.tid, task)
        return [task for task in list(self.tasks.values()) if task.state not in states.FINAL_STATES]

    def when_idle(self, waiter: Any) -> None:
        """Have ``waiter.set()`` called when no task is under way, orphans launched first."""
        for task in self.under_way():
            self.submission.nudge(task)
        self.post_safely(self._when_idle, waiter)

    def _when_idle(self, waiter: Any) -> None:
        """*In turn.*"""
        for task in list(self.tasks.values()):
            if task.state in states.FINAL_STATES:  # its caller entered it after it was over
                self.forget(task)
        if self.tasks:
            self._idle.append(waiter)
        else:
            waiter.set()


def _run_callbacks(batch: list[tuple[AppFuture, list[Callback]]]) -> None:
    for future, callbacks in batch:
        future._run_callbacks(callbacks)
