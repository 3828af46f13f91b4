"""One process of the simulation: a kernel, what its user does with it, and what he was promised.

Rule of this file: it draws everything from its universe's chance, and tells the universe of what
is wrong instead of raising, because much of it runs inside the library, which would catch that.
See :mod:`parsl_ckpt.testing.simulate`.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures._base import PENDING
from queue import SimpleQueue
from typing import Any, Protocol

from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.store import Durability, Store
from parsl_ckpt.errors import (
    CircuitBreakerOpenError,
    DependencyError,
    ExecutorShutdownError,
    JoinError,
    KernelClosedError,
    StoreError,
    WorkerLostError,
)
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.attempt import Attempt
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.ending import Ending
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.policies import ResiliencePolicy
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.kernel.task import FAIL_RETRYABLE, Spec

from .faults import ERRORS, Die, Died, Fail, Fault, FaultyBackend, Late, Operation, Tear
from .simulated import Scheduler, SimulatedExecutor, SimulatedRuntime
from .workload import APPS, BY_NAME, App, Call, Failed, Key, Model, Part, number_of, outcome

ROOT = "disk"
PATIENT = ("shaky", "pair", "plain", "boom")  # apps that are tried again in their own way
GUARDED = ("shaky", "boom", "plain", "two")  # apps that a circuit breaker guards


class Surroundings(Protocol):
    """What a life needs of its universe."""

    chance: random.Random
    calls: list[Call]
    versions: dict[str, int]
    mode: str | None
    durability: Durability
    rotate: int
    hold_bytes: int
    follow: bool
    retries: int
    resilient: bool
    lossy: bool
    cut: bool
    disk: FaultyBackend
    paths: list[str]
    safe: set[Key]
    durable: set[Key]
    lives: list[Life]
    problem: str | None

    def violated(self, text: str) -> None:
        """Something is not as promised."""

    def forget(self, result: Result) -> None:
        """A record was removed."""


class Boom(Exception):
    """What some apps always raise."""


class Transient(Exception):
    """What an attempt raises sometimes."""


class Life:
    """One process: a kernel with everything that belongs to it, from its start to its end.

    Args:
        universe: where it lives.
        number: of its run.
    """

    def __init__(self, universe: Surroundings, number: int) -> None:
        chance = universe.chance
        self.universe = universe
        self.chance = chance
        self.model = Model(universe.calls, dict(universe.versions))
        self.path = f"{ROOT}/runs/{number:03d}/checkpoint"
        self.known = set(universe.safe)  # must be found: what was safe when it began, and its own
        self.promised: set[Key] = set()  # recorded or held
        self.saved: set[Key] = set()  # written by this process
        self.executed: set[Key] = set()
        self.running: Counter[Key] = Counter()
        self.open: list[tuple[int, AppFuture]] = []  # futures not looked at yet
        self.latest: dict[int, AppFuture] = {}
        self.faults = 0  # of the disk
        self.troubled = False  # the disk failed since all was saved last
        self.removed: set[str] = set()  # apps of which a record was removed
        self.cancelled = False
        self.ended = False
        self.over = False
        self.depth = 0
        self.rate = chance.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.3))
        self.death = chance.choice((0.0, 0.0, 0.0005, 0.005, 0.02))
        self.syncs = 0
        self.scheduler = Scheduler(chance)
        self.disk = universe.disk.process(self.fault)
        self.mode = universe.mode
        store = Store.open(
            self.path, sources=universe.paths, named=False, backend=self.disk,
            durability=universe.durability, rotate_records=universe.rotate,
            hold_bytes=universe.hold_bytes,
            compression="none",  # a seed is one life, whatever is installed
        )  # fmt: skip
        self.store = store
        self._sync, store.sync = store.sync, self.sync  # type: ignore[method-assign]
        self.executor = SimulatedExecutor(self.scheduler, "workers", self.began, self.fate)
        self.joins = SimulatedExecutor(self.scheduler, "joins", self.began, lambda _: None)
        self.kernel = Kernel(
            store, {"workers": self.executor}, self.joins, mode=self.mode, period=3.0,
            retry=RetryPolicy(universe.retries), runtime=SimulatedRuntime(self.scheduler),
            follow=universe.follow,
        )  # fmt: skip
        if universe.follow:  # whoever lives at the same time, and whoever begins meanwhile
            store.follow(f"{ROOT}/runs", now=self.kernel.clock.now)
        self.ending = Ending(self.kernel, [self.executor, self.joins])
        self.specs = {app.name: self.spec(app) for app in APPS}

    # -- the program -------------------------------------------------------------------------------

    def spec(self, app: App) -> Spec:
        def body(a: Any, b: Any = 0, *rest: Any) -> Any:
            return self.execute(app, (a, b, *rest))

        version = str(self.model.versions[app.name])
        binder = Binder(body, (), app.name)
        code = CodeIdentity(body, "name")
        return Spec(
            app.name, body, kind=app.kind, cache=app.cache, lineage=app.lineage, binder=binder,
            addresser=Addresser(app.name, code, binder, version) if app.cache else None,
            resilience=self.policy(app),
        )  # fmt: skip

    def policy(self, app: App) -> ResiliencePolicy | None:
        """How failures of an app are met, where it has a say in that."""
        if not self.universe.resilient:
            return None
        retry = RetryConfig(4, 0.3, 2.0, jitter=0) if app.name in PATIENT else None
        breaker = CircuitBreakerConfig(2, 1, 1.0) if app.name in GUARDED else None
        policy = ResiliencePolicy(retry, breaker)
        return self.kernel.retries.resolved(app.name, app.name, policy)

    def execute(self, app: App, args: tuple[Any, ...]) -> Any:
        """The body of every app."""
        if app.fails:
            raise Boom(app.name)
        if app.shaky and self.chance.random() < 0.3:
            raise Transient(app.name)
        if app.kind == "join":
            return self.kernel.submit(self.specs["child"], (number_of(args),), {})
        if app.cache and app.recordable:
            self.executed.add(self.model.key_of(app, args))
        return outcome(app, self.model.versions[app.name], args)

    def began(self, attempt: Attempt) -> None:
        """A worker has taken an attempt."""
        key = self.key_of(attempt)
        if key is None:
            return
        self.running[key] += 1
        if self.universe.lossy or key[0] in self.removed:
            return
        if self.running[key] > 1:
            self.universe.violated(f"{key} is executed twice at once")
        # The power may have taken a newer record's blob, which is found out when it is read.
        shadowed = self.universe.cut and attempt.task.refresh
        if key in self.known and not shadowed:
            self.universe.violated(f"{key} was remembered, and is executed again")

    def fate(self, attempt: Attempt) -> BaseException | None:
        """An attempt is about to end."""
        key = self.key_of(attempt)
        if key is not None:
            self.running[key] -= 1
        if self.chance.random() < 0.01:
            return WorkerLostError("The worker was lost.", app=attempt.app)
        return None

    def key_of(self, attempt: Attempt) -> Key | None:
        app = BY_NAME[attempt.app]
        if not (app.cache and app.recordable) or app.kind == "join":
            return None
        return self.model.key_of(app, tuple(attempt.args))

    # -- what its user does ------------------------------------------------------------------------

    def act(self) -> None:
        """Something that the user's program does."""
        drawn = self.chance.random()
        if drawn < 0.62:
            self.submit(int(self.chance.random() * len(self.model.calls)))
        elif drawn < 0.90:
            self.look()
        elif drawn < 0.93:
            self.cancel()
        elif drawn < 0.95:
            self.checkpoint()
        elif drawn < 0.97:
            self.change()
        elif drawn < 0.974:
            self.remove()
        elif drawn < 0.985:
            self.settle()
        elif self.chance.random() < 0.3:
            self.end()

    def submit(self, index: int) -> AppFuture:
        """Call an app; what it takes is called first, unless that has been done."""
        call, chance = self.model.calls[index], self.chance
        args: list[Any] = []
        for arg in call.args:
            if type(arg) is int:
                args.append(arg)
                continue
            other = self.latest.get(arg.call)
            if other is None or (chance.random() < 0.05):
                other = self.submit(arg.call)
            if chance.random() < 0.15:  # the value in the future's place
                value = self.model.outcome(arg.call)
                if type(value) is not Failed:
                    args.append(copy.deepcopy(value["n"] if type(arg) is Part else value))
                    continue
            args.append(other["n"] if type(arg) is Part else other)
        future = self.kernel.submit(self.specs[call.app.name], tuple(args), {})
        self.latest[index] = future
        self.open.append((index, future))
        return future

    def look(self) -> None:
        """See which futures are done, and take the promises that come with them."""
        left = []
        for index, future in self.open:
            if future._lazy is None and future._phase == PENDING:
                left.append((index, future))
            elif future._state == PENDING:  # a hit that was none
                if not (self.universe.lossy or self.universe.cut):
                    self.universe.violated(f"call {index} was a hit and could not be read")
                left.append((index, future))
            else:
                self.check(index, future)
        self.open = left

    def check(self, index: int, future: AppFuture) -> None:
        """The outcome of a future is the one that its call must have."""
        expected, error = self.model.outcome(index), future._exception
        if error is not None:
            self.check_error(index, expected, error)
            return
        if future._result != expected or type(future._result) is not type(expected):
            self.universe.violated(f"call {index} gave {future._result!r}, not {expected!r}"[:300])
        key = self.model.key(index)
        if key is None or key not in self.executed:
            return
        if future._record:
            if self.mode == "task_exit" and not (self.ended or self.universe.lossy):
                self.check_told(future)
            self.promise(key)
        elif not (self.faults or self.universe.lossy or self.ended or key[0] in self.removed):
            self.universe.violated(f"call {index} is done and was not recorded")

    def check_told(self, future: AppFuture) -> None:
        """What is done and only held has been announced, before it was done."""
        writer = self.kernel.writer
        if future.from_memo:
            return  # what is held is found at once, while the first call of it is being told
        if self.store._writing.find_held(future._value_key or b"") is None:
            return
        incident = f" {writer._incident}"
        if not any(cause.endswith(incident) for cause in self.kernel.problems._told):
            self.universe.violated(f"task {future.tid} is not written, and nobody was told")

    def check_error(self, index: int, expected: Any, error: BaseException) -> None:
        root: BaseException = error
        while isinstance(root, (DependencyError, JoinError)) and root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, Boom):
            good = type(expected) is Failed
        elif isinstance(root, CancelledError):
            good = self.cancelled or self.ending.begun
        elif isinstance(root, (ExecutorShutdownError, KernelClosedError)):
            good = self.ending.begun
        elif isinstance(root, CircuitBreakerOpenError):
            good = self.universe.resilient and root.fields["app"] in GUARDED
        else:
            good = isinstance(root, (Transient, WorkerLostError))
        if not good:
            self.universe.violated(f"call {index} failed with {root!r}, to be {expected!r}"[:300])

    def promise(self, key: Key) -> None:
        """``result()`` has returned: from now on this must not be executed again."""
        if key[0] in self.removed:
            return  # the record may have been removed before we looked
        if self.over:
            return  # the process ended without waiting for this
        self.promised.add(key)
        if self.kernel.memo.record:
            self.known.add(key)
        if self.mode == "task_exit" and not self.troubled:
            self.saved.add(key)
            self.universe.safe.add(key)
            if self.universe.durability == "power":
                self.universe.durable.add(key)

    def cancel(self) -> None:
        if self.open:
            _, future = self.chance.choice(self.open)
            if future._lazy is None and future._phase == PENDING:
                self.cancelled = True
                # As AppFuture.cancel, which would wait for the reply.
                self.kernel.post_safely(self.kernel._cancel, future, SimpleQueue())

    def change(self) -> None:
        """Change a value after it was returned: what is recorded must not change with it."""
        for index, future in list(self.latest.items())[-3:]:
            if future._lazy is not None or type(future._result) is not list or not future._record:
                continue
            key = self.model.key(index)  # equal calls that are made at once share the value
            equal = {n for n in range(len(self.model.calls)) if self.model.key(n) == key}
            looked_at = all(n not in equal for n, _ in self.open)
            users = (
                call.app for call in self.model.calls
                for arg in call.args if type(arg) is not int and arg.call in equal
            )  # fmt: skip
            if looked_at and all(user.cache for user in users):  # others get the very object
                future._result.append("changed")
                del self.latest[index]

    def checkpoint(self) -> None:
        """What ``DataFlowKernel.checkpoint`` does."""
        if self.depth or self.ending.begun:
            return
        self.look()
        before = set(self.promised)
        self.ending.flush(modes.CHECKPOINT)
        writer = self.kernel.writer
        if writer.unsaved or writer.lost:
            if not self.troubled:
                self.universe.violated("a checkpoint could not save, and nothing failed")
            return
        self.saved |= before
        self.universe.safe |= before
        with contextlib.suppress(StoreError):
            self.store.sync()
            self.troubled = bool(self.store.held)

    def sync(self) -> None:
        """What was safe before a sync is on the disk after it."""
        before = self.saved & self.universe.safe
        self.syncs += 1
        try:
            if self.syncs == 1:
                with self.locked():
                    self._sync()
                self.universe.durable |= before
        finally:
            self.syncs -= 1

    def remove(self) -> None:
        """Forget a record; from then on nothing is known of what must be found."""
        if self.depth or self.kernel.writer._strand.busy or self.ending.begun:  # type: ignore[attr-defined]
            return
        known: list[Any] = list(self.latest.values())
        future = self.chance.choice(known or [None])
        if future is None or not future._record or future._value_key is None:
            return
        stored = self.store.find(future._value_key)
        if stored is not None:
            for life in self.universe.lives:
                life.removed.add(stored.result.app)
                life.promised = {key for key in life.promised if key[0] != stored.result.app}
            self.universe.forget(stored.result)
            with contextlib.suppress(StoreError), self.locked():
                self.store.remove(stored.record_id)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The user is in the store: a real thread that writes would wait for its lock."""
        strand: Any = self.kernel.writer._strand
        held, strand.busy = strand.busy, True
        try:
            yield
        finally:
            strand.busy = held

    def settle(self) -> None:
        """Let everything run to its end: then nothing hangs, and nothing is left."""
        if self.depth:
            return
        if not self.drain():
            return
        if self.open:
            index, future = self.open[0]
            self.universe.violated(f"call {index} hangs: {future!r}, {future._task!r}")
        kernel = self.kernel
        if kernel.tasks or kernel.memo.inflight:
            self.universe.violated(f"left: {kernel.tasks} {kernel.memo.inflight}"[:300])
        if left := kernel.retries.left:
            self.universe.violated(f"left: {left} of what is tried again or guarded")
        for spec in self.specs.values():
            guard = spec.resilience.circuit_breaker if spec.resilience is not None else None
            if isinstance(guard, CircuitBreaker) and guard.probes:
                self.universe.violated(f"left: {guard.probes} probes of {guard!r}")

    def drain(self) -> bool:
        """Let everything go on until nothing can; False if the process died of it."""
        rounds = 0
        while rounds < 9:
            while self.scheduler.step():
                if self.disk.dead or self.universe.problem:
                    return False
            self.look()  # a hit that is none is found out here, and executed
            if not self.open:
                break
            if not (self.waits() and self.scheduler.tick()):
                rounds += 1
        return not (self.disk.dead or self.universe.problem)

    def waits(self) -> bool:
        """Whether a task waits for its next attempt, which comes when time passes."""
        return any(task.state == FAIL_RETRYABLE for task in self.kernel.tasks.values())

    def end(self) -> None:
        """An orderly end."""
        if self.depth or self.ended:
            return
        self.ended = True
        # Two threads may be in the store now, which a real lock would keep apart.
        errors = self.ending.end(self.chance.choice((None, None, 0.0)))
        self.look()
        self.over = True
        if not self.drain():  # what a thread left behind still does
            return
        if self.open:
            self.universe.violated(f"after the end call {self.open[0][0]} is not done")
        if errors and not self.troubled:
            self.universe.violated(f"the end failed, and nothing else did: {errors!r}")
        if self.mode is not None and not errors and not self.troubled:
            self.universe.safe |= self.promised
            self.universe.durable |= self.promised

    # -- the disk ----------------------------------------------------------------------------------

    def fault(self, operation: Operation) -> Fault | None:
        """What happens at an operation of the disk; while it lasts, other threads go on."""
        chance = self.chance
        if self.depth < 2 and chance.random() < 0.2:
            self.depth += 1
            try:
                for _ in range(int(chance.random() * 4)):
                    if chance.random() < 0.2 and not self.ending.begun:
                        self.submit(int(chance.random() * len(self.model.calls)))
                    else:
                        self.scheduler.step(errands=False)  # what waits would wait for us
                    if self.disk.dead:
                        raise Died
            finally:
                self.depth -= 1
        drawn = chance.random()
        if drawn < self.death:
            return Die(chance.choice((0.0, chance.random(), 1.0)))
        if drawn < self.death + self.rate:
            self.troubled = True
            self.faults += 1
            if operation.name == "write" and chance.random() < 0.5:
                return Tear(chance.random(), chance.choice(ERRORS))
            return chance.choice((Fail, Late))(chance.choice(ERRORS))
        return None

    def die(self) -> None:
        """The process is gone; what its user had seen stays promised."""
        self.disk.faults = None
        leaving = self.store.leaving  # at a moment of its own, not when it is collected as garbage
        if not self.disk.dead:  # else what is done may have become so after the death
            with contextlib.suppress(Died):
                self.look()
                if leaving is not None:
                    leaving()
        if leaving is not None:
            leaving.detach()
        self.disk.die()
        self.scheduler.drop()
