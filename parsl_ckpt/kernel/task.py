"""What a task is, and the table of the states through which it may go.

The table is data: :data:`TRANSITIONS` is what the code obeys, what the tests walk, and what the
diagram in ``docs/architecture.rst`` is made from (:func:`diagram`).  The names are Parsl's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import IllegalTransitionError
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.attempt import Attempt
from parsl_ckpt.kernel.request import NOTHING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl_ckpt.checkpoint.lease import Claim
    from parsl_ckpt.checkpoint.store import Stored
    from parsl_ckpt.identity.address import Addresser, Binder
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.policies import ResiliencePolicy
    from parsl_ckpt.kernel.records import History

UNSCHED = "unsched"  # known, nothing done about it yet
PENDING = "pending"  # waits for its inputs
LAUNCHED = "launched"  # handed to an executor
RUNNING = "running"  # begun by a worker
JOINING = "joining"  # a join app that waits for what it called
EXEC_DONE = "exec_done"  # ran, with a value
MEMO_DONE = "memo_done"  # did not have to run
FAILED = "failed"  # ran, or could not run, with an error
DEP_FAIL = "dep_fail"  # an input failed
FAIL_RETRYABLE = "fail_retryable"  # failed, and will be tried again
CANCELLED = "cancelled"

TRANSITIONS: Mapping[str, frozenset[str]] = {
    UNSCHED: frozenset({PENDING, LAUNCHED, MEMO_DONE, DEP_FAIL, FAILED, CANCELLED}),
    PENDING: frozenset({PENDING, LAUNCHED, MEMO_DONE, DEP_FAIL, FAILED, CANCELLED}),
    LAUNCHED: frozenset(
        {MEMO_DONE, RUNNING, JOINING, EXEC_DONE, FAILED, FAIL_RETRYABLE, CANCELLED}
    ),
    RUNNING: frozenset({JOINING, EXEC_DONE, FAILED, FAIL_RETRYABLE}),
    JOINING: frozenset({EXEC_DONE, FAILED, FAIL_RETRYABLE}),
    FAIL_RETRYABLE: frozenset({LAUNCHED, FAILED, CANCELLED}),
    EXEC_DONE: frozenset(),
    MEMO_DONE: frozenset(),
    FAILED: frozenset(),
    DEP_FAIL: frozenset(),
    CANCELLED: frozenset(),
}
STATES = tuple(TRANSITIONS)
FINAL_STATES = frozenset(state for state, following in TRANSITIONS.items() if not following)


def diagram() -> str:
    """The table of transitions as text, one state a line, for the documentation.

    >>> print(diagram().splitlines()[0])
    unsched -> cancelled, dep_fail, failed, launched, memo_done, pending
    """
    return "\n".join(
        f"{state} -> {', '.join(sorted(following)) or '(final)'}"
        for state, following in TRANSITIONS.items()
    )


@dataclass(frozen=True, eq=False)
class Spec:
    """An app as the kernel sees it.

    Attributes:
        name: the name that counts in addresses and stands in messages.
        fn: the user's function.
        kind: ``"python"``; ``"join"``, whose value is a future to wait for; ``"lift"``, an item or
            attribute of another future, computed by the kernel itself.
        cache: whether calls are looked up and recorded.
        executors: labels of the executors that may run it; empty for all.
        binder: how a call's arguments are bound to parameters.
        addresser: how a bound call becomes an address.
        lineage: whether its results may stand for themselves, unseen, in later addresses.
        valid: whether a record of it may be used; None for always.
        observed: ``fn`` is an :class:`~parsl_ckpt.kernel.watching.Observer`.
        code_default: the kernel's default for ``code``, under which this description was made.
        shared: equal calls of several processes wait for one of them; see :mod:`sharing`.
        keep_arguments: arguments of which a record has digests are kept beside it.
        source: the user's function, where ``fn`` is something around it.
        ignored: names of parameters that do not count in addresses.
        persist: whether outcomes are recorded; ``"auto"`` where that pays; see :mod:`unkept`.
        tag: what the user calls apps of its kind.
        resilience: how its failures are met, where it has a say in that; a breaker in it is one.
    """

    name: str
    fn: Callable[..., Any]
    kind: str = "python"
    cache: bool = False
    executors: tuple[str, ...] = ()
    binder: Binder | None = None
    addresser: Addresser | None = None
    lineage: bool = True
    code_default: str = "closure"
    shared: bool = False
    valid: Callable[[Stored], bool] | None = None
    observed: bool = False
    source: Callable[..., Any] | None = None
    ignored: tuple[str, ...] = ()
    keep_arguments: bool = False
    persist: bool | str = True
    tag: str | None = None
    resilience: ResiliencePolicy | None = None


class Task:
    """One call of an app while it is under way; owned by the kernel, dropped with its outcome.

    Attributes:
        tid: number of the task in its run.
        spec: the app.
        args, kwargs: the arguments as called; builtin containers copied, futures still in them.
        inputs: the futures among the arguments, each once.
        opaque: some argument is neither a plain value nor a builtin container of such.
        future: who waits for the outcome.
        joined: the futures of equal calls that joined; None if there are none.
        state: one of :data:`STATES`.
        key: value key, once the inputs are known; None for what is not cached.
        lineage: lineage key, when all futures among the inputs have one.
        address: the address behind ``key``, or for a task without futures behind both.
        merged: the equal call into which this one was merged, whose outcome is its own.
        missing: number of inputs not known yet; counted by the owner alone.
        dependants: tasks that wait for this one; owner only.
        attempt: the execution under way.
        linked: the owner has seen it.
        launched: an executor has been given the attempt (a hint: True only afterwards).
        tries: executions begun so far.
        cost: what failures have cost so far, against the retries allowed.
        refresh: an earlier outcome must not be used.
        claim: what the lease of its key is taken with, if other processes are to wait for it.
        alone: an equal call is under way that it may not join (other executors).
        pristine: what it gets are values as recorded, so that its outcome may be filed.
        remarks: what an observer has seen while it ran, or None.
        made: what is in its output files, in order, once it has run; or why it cannot be told.
        files: its input files, and how they were before its address was made of them.
        ends: the state in which it succeeds: ``memo_done`` if its value came from elsewhere.
        told: what a memoizer was told of it, or None; see :mod:`elsewhere`.
        request: what it asks for beside its arguments, or None.
        history: what is noted of it since somebody asked for its record; None before.
        unkept: the record that stands for its value, and that one's identity, if it is not kept.
        borrowed: of inputs of which it gets the value itself, for want of a record: app, value,
            and the identity that this has while nobody changes it.
    """

    __slots__ = (
        "address", "alone", "args", "attempt", "borrowed", "claim", "cost", "dependants", "ends",
        "error",
        "files", "future", "history", "inputs", "joined", "key", "kwargs", "launched", "lineage",
        "linked", "made", "merged", "missing", "opaque", "pristine", "record_id", "refresh",
        "remarks", "request", "spec", "state", "stored", "tid", "told", "tries", "unkept", "value",
    )  # fmt: skip

    def __init__(
        self,
        tid: int,
        spec: Spec,
        arguments: Arguments,
        future: AppFuture,
    ) -> None:
        self.tid = tid
        self.spec = spec
        self.args = arguments.args
        self.kwargs = arguments.kwargs
        self.inputs: tuple[Future[Any], ...] = arguments.futures
        self.opaque = arguments.opaque
        self.request = arguments.request
        self.future = future
        self.joined: list[AppFuture] | None = None
        self.state = UNSCHED
        self.key: bytes | None = None
        self.lineage: bytes | None = None
        self.address: Any = None
        self.merged: Task | None = None
        self.missing = 0
        self.dependants: list[Task] | None = None
        self.attempt: Attempt | None = None
        self.linked = False
        self.launched = False
        self.tries = 0
        self.cost = 0.0
        self.refresh = False
        self.alone = False
        self.pristine = True
        self.remarks: Any = None
        self.made: tuple[Any, ...] | BaseException = ()
        self.files: tuple[tuple[Any, bytes], ...] = ()
        self.ends = EXEC_DONE
        self.told: Any = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.stored: Any = None
        self.record_id = b""
        self.claim: Claim | None = None
        self.history: History | None = None
        self.unkept: tuple[bytes, bytes] | None = None
        self.borrowed: tuple[tuple[str, Any, bytes], ...] = ()

    def to(self, state: str) -> None:
        """Go on to another state.

        Raises:
            IllegalTransitionError: the table does not allow it.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(
                f"Task {self.tid} ({self.spec.name}) cannot go from {self.state} to {state}.",
                hint="This is a bug in parsl_ckpt; please report it.",
                app=self.spec.name,
                tid=self.tid,
            )
        self.state = state

    def admits(self, other: Task) -> bool:
        """Whether an equal call may take this one's outcome; if it is to be run anew, this is."""
        if self.spec.executors != other.spec.executors:
            return False
        ours, theirs = self.request, other.request
        if ours is not theirs and not (ours or NOTHING).admits(theirs or NOTHING):
            return False
        self.refresh = self.refresh or other.refresh
        return True

    @property
    def futures(self) -> tuple[AppFuture, ...]:
        """Everyone who waits for the outcome."""
        return (self.future, *(self.joined or ()))

    @property
    def status(self) -> str:
        """The state as users see it: an attempt that a worker has begun is running."""
        attempt = self.attempt
        if self.state == LAUNCHED and attempt is not None and attempt.claimed:
            return RUNNING
        return self.state


def arguments_of(task: Task) -> Arguments:
    """The arguments of a task as they were gathered."""
    arguments = Arguments(task.args, task.kwargs)
    arguments.futures = task.inputs
    arguments.opaque = task.opaque
    arguments.request = task.request
    return arguments
