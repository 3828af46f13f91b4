"""What becomes of a task whose attempt has failed, and of calls that a circuit breaker guards.

    failed ─┬─ the app's own RetryConfig ──────────────────────┐
            └─ the kernel's policy; a handler on an errand ────┤
    start ◄── again ◄── (delay: the timer) ◄──────────────────┴──► fail
      │
      └─► launch ─► admit ─ permit? ─┬─ yes ─► executor
                                     └─ no ──► fail, no attempt spent

*Guarantees.*  A task that waits for its next attempt holds no worker and no thread; it can be
cancelled, and an ending kernel fails it with its last error instead of waiting.  A breaker that
opens lets nothing begin: what was handed to an executor before, and has not begun, is taken back.
A permit is given back when its task is over or its attempt has failed, whatever happens.  Listeners
of breakers run on errands.

*Assumptions.*  What is *in turn* is called by the kernel's owner.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.attempt import Attempt
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig, CircuitState, Permit
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.policies import ResiliencePolicy
from parsl_ckpt.kernel.records import record_of
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.task import Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel


class Retries:
    """Who decides whether there is another attempt, and when it may begin.

    Args:
        kernel: the kernel.
        policy: for apps that have none of their own.
    """

    def __init__(self, kernel: Kernel, policy: RetryPolicy) -> None:
        self._kernel = kernel
        self._policy = policy
        self._breakers: dict[tuple[str, CircuitBreakerConfig], CircuitBreaker] = {}
        # Owner only. Of tasks whose apps have a policy, by number: what the last attempt raised,
        # and those that a breaker has let through.
        self._errors: dict[int, BaseException] = {}
        self._admitted: dict[CircuitBreaker, dict[int, tuple[Task, Permit]]] = {}
        # By the timer's thread: whose next attempt is due, and whether an errand is to fetch them.
        self._due: deque[Task] = deque()
        self._fetching = threading.Lock()

    def resolved(self, app: str, place: str, policy: ResiliencePolicy) -> ResiliencePolicy | None:
        """A policy with the breaker that belongs to an app in this kernel; None if it says nothing.

        Args:
            app: name of the app, for the breaker and for messages.
            place: module and qualified name: an app that is defined anew has the breaker that it
                had.
            policy: what the app is declared with.
        """
        guard = policy.circuit_breaker
        if isinstance(guard, CircuitBreakerConfig):
            made = CircuitBreaker(guard, app, clock=self._kernel.clock.now)
            guard = self._breakers.setdefault((place, guard), made)
            policy = ResiliencePolicy(policy.retry, guard)
        if guard is not None and guard not in self._admitted:
            self._admitted.setdefault(guard, {})
            self._watch(guard)
        return policy or None

    def _watch(self, breaker: CircuitBreaker) -> None:
        """Have observers told of a breaker, which may outlive the kernel."""
        known = weakref.ref(self._kernel)

        def tell(name: str, old: CircuitState, new: CircuitState) -> None:
            kernel = known()
            if kernel is None:
                end()
            else:
                text = f"Circuit breaker {name!r} is {new.value.replace('_', ' ')}."
                kernel.events.emit(Event("breaker", name, -1, new.value, text))

        end = breaker.subscribe(tell)

    @property
    def left(self) -> int:
        """What is kept of tasks: none, when none is under way."""
        return len(self._errors) + sum(map(len, self._admitted.values()))

    # -- failures ----------------------------------------------------------------------------------

    def failed(self, task: Task, error: BaseException) -> None:
        """*In turn.* Have it decided whether there is another try; a handler may take its time."""
        if task.history is not None:
            task.history.fail(error)
        kernel, own = self._kernel, task.spec.resilience
        if own is not None:
            self._give_back(task, error)
            if own.retry is not None:
                task.cost += 1.0
                delay = own.retry.delay(task.tries) if own.retry.again(task.tries, error) else None
                self._go_on(task, error, delay)
                return
        if self._policy.handler is None:
            kernel.effect(lambda: self._judge(task, error))
        else:
            kernel.effect(lambda: kernel.errands.run(lambda: self._judge(task, error)))

    def _judge(self, task: Task, error: BaseException) -> None:
        """Have the policy, which is the user's code, decide on another try."""
        kernel = self._kernel
        try:
            cost = self._policy.cost(error, record_of(task, kernel))
        except BaseException as handler_error:
            handler_error.__cause__ = error
            kernel.strand.post((kernel.fail, task, handler_error, states.FAILED))
        else:
            kernel.strand.post((self._charge, task, error, cost))

    def _charge(self, task: Task, error: BaseException, cost: float) -> None:
        """*In turn.*"""
        task.cost += cost
        self._go_on(task, error, 0.0 if self._policy.allows(task.cost) else None)

    def _go_on(self, task: Task, error: BaseException, delay: float | None) -> None:
        """*In turn.* Have the next attempt made after a delay; None: there is none."""
        kernel = self._kernel
        if task.state in states.FINAL_STATES:
            return
        if delay is None or kernel.refusal is not None or kernel.failure is not None:
            self._fail(task, error)
            return
        task.to(states.FAIL_RETRYABLE)
        kernel.events.emit_failure(task.spec.name, task.tid, states.FAIL_RETRYABLE, error)
        if task.spec.resilience is not None:
            self._errors[task.tid] = error
        if not delay:
            self._again(task)
            return
        # Until then its attempt is the one that has failed, which is never begun again, whoever
        # launches the task once more: a caller who is late, or somebody who waits for the kernel.
        kernel.clock.call_later(delay, lambda: self._is_due(task))

    def _is_due(self, task: Task) -> None:
        """Have the next attempt made, now; thousands may be due at once, and share a thread."""
        self._due.append(task)
        if self._fetching.acquire(False):
            self._kernel.errands.run(self._fetch)

    def _fetch(self) -> None:
        """On an errand, because what follows the turn may block."""
        due = [self._due.popleft() for _ in range(len(self._due))]
        self._fetching.release()
        if self._due and self._fetching.acquire(False):  # which came just before the release
            self._kernel.errands.run(self._fetch)
        self._kernel.strand.post((self._all_again, due))

    def _all_again(self, tasks: list[Task]) -> None:
        """*In turn.*"""
        for task in tasks:
            self._again(task)

    def _again(self, task: Task) -> None:
        """*In turn.* Make the next attempt."""
        previous = task.attempt
        if task.state == states.FAIL_RETRYABLE and previous is not None:
            self._kernel.execution.attempt(task, previous.args, previous.kwargs)
            self._kernel.start(task)

    def _fail(self, task: Task, error: BaseException) -> None:
        """*In turn.*"""
        elsewhere = self._kernel.elsewhere
        if elsewhere is not None and task.key is not None:
            self._kernel.effect(lambda: elsewhere.failed(task, error))
        else:
            self._kernel.fail(task, error, states.FAILED)

    def last_error(self, task: Task) -> BaseException | None:
        """*In turn.* What the last attempt raised of a task that waits for the next one."""
        return self._errors.get(task.tid) if task.state == states.FAIL_RETRYABLE else None

    # -- breakers ----------------------------------------------------------------------------------

    def admit(self, task: Task, attempt: Attempt) -> None:
        """*In turn.* Launch an attempt if its breaker lets it through; harmless if it has."""
        kernel, policy = self._kernel, task.spec.resilience
        if task.state in states.FINAL_STATES:
            kernel.forget(task)
            return
        if task.attempt is not attempt or task.state != states.LAUNCHED or policy is None:
            return
        breaker = policy.circuit_breaker
        assert isinstance(breaker, CircuitBreaker)
        admitted = self._admitted[breaker]
        if task.tid not in admitted:
            permit = breaker.try_acquire(kernel.errands.run)
            if permit is None:
                self._refuse(task, breaker)
                return
            admitted[task.tid] = task, permit
        kernel.effect(lambda: kernel.execution.launch(task, admitted=True))

    def _refuse(self, task: Task, breaker: CircuitBreaker) -> None:
        """*In turn.* Fail a task that may not begin, unless it has begun."""
        attempt = task.attempt
        if attempt is not None and attempt.claim():
            task.tries -= 1  # it was not made
            error = breaker.refusal(task.spec.name)
            error.__cause__ = self._errors.get(task.tid)
            self._fail(task, error)

    def _give_back(self, task: Task, error: BaseException) -> None:
        """*In turn.* Tell the breaker of a failure; take back what has not begun if it opens."""
        policy = task.spec.resilience
        breaker = policy.circuit_breaker if policy is not None else None
        if not isinstance(breaker, CircuitBreaker):
            return
        admitted = self._admitted[breaker]
        known = admitted.pop(task.tid, None)
        if known is not None:
            known[1].ended(error)
        if admitted and breaker.state is CircuitState.OPEN:
            for other, _ in list(admitted.values()):
                self._refuse(other, breaker)

    def leave(self, task: Task) -> None:
        """*In turn.* A task is over whose app has a policy."""
        self._errors.pop(task.tid, None)
        policy = task.spec.resilience
        known = None
        if policy is not None and isinstance(policy.circuit_breaker, CircuitBreaker):
            known = self._admitted[policy.circuit_breaker].pop(task.tid, None)
        if known is not None:
            if task.state is states.EXEC_DONE:
                known[1].succeeded()
            else:
                known[1].released()
