"""The thread behind a process pool: sole owner of its backlog and of its workers.

::

    inbox ─► backlog ─ pack ─ give ──► workers ─ replies, deaths ──► finished()
               ▲                          │
               └── what had not begun ◄───┘   (a worker died, or another is idle)

The loop reads: take in, hand out, wait.  Nothing in it blocks but the wait, the reaping of a
process that was killed, and whatever a user's class does when it is pickled.

Guarantees and assumptions stand in :mod:`parsl_ckpt.executors.processes`.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from parsl_ckpt.errors import (
    CallTransportError,
    ExecutorError,
    ExecutorShutdownError,
    WorkerLostError,
    WorkerStartError,
)
from parsl_ckpt.executors import outcomes, wire
from parsl_ckpt.executors.base import logger, refuse, report
from parsl_ckpt.executors.family import kill_family
from parsl_ckpt.executors.limits import too_slow
from parsl_ckpt.executors.transport import Packer, Parcel
from parsl_ckpt.executors.workers import Call, WorkerProcess, exit_text
from parsl_ckpt.kernel.attempt import Attempt, Finished

__all__ = ["FAREWELL", "Pool", "Settings"]

# Work, in seconds, that a worker is given ahead, by what tasks took lately.
_AHEAD = 0.02
_OVERHEAD = 2e-5  # of a call in a worker, beside the function
_MEMORY = 0.2  # weight of the latest task in that average

_HEARTBEAT = 0.5  # bounds what a wake-up lost to a Ctrl-C in launch() costs
_FAILED_STARTS = 3  # tried again so often in a row, then what waits for a worker fails
_PAUSE = 0.05  # seconds after the first failed start; twice as long after each further one
FAREWELL = 5.0  # seconds that a dismissed worker has for its exit handlers


class Settings(NamedTuple):
    """What a pool is told: the checked arguments of its executor.

    Attributes:
        environment: the variables of the worker in a slot, beside those of this process.
    """

    label: str
    max_workers: int
    in_flight: int
    initializer: Callable[..., object] | None
    initargs: Sequence[Any]
    environment: Callable[[int], dict[str, str]]


class Pool:
    """Runs calls in worker processes, until it is told to close.

    Attributes:
        inbox: what was launched and not yet seen; any thread appends.
        kills: what shall be stopped, with the error that says why.
        asleep: whether the pool must be woken.
        closing: the pool ends when it has nothing to do.
        deadline: monotonic time after which nothing runs; before it, nothing new begins.
        ended: the pool's thread is done, what comes is refused.
    """

    def __init__(self, settings: Settings) -> None:
        # Written by any thread, each by single atomic operations.
        self.inbox: deque[tuple[Attempt, Finished]] = deque()
        self.kills: deque[tuple[Attempt, BaseException]] = deque()
        self.asleep = False
        self.closing = False
        self.deadline = math.inf
        self.ended = False
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)

        # Of the pool's thread.
        self._settings = settings
        self._label = settings.label
        self._backlog: deque[Call] = deque()
        self._workers: dict[int, WorkerProcess] = {}  # by slot
        self._selector = selectors.DefaultSelector()
        self._limits: dict[WorkerProcess, tuple[float, int]] = {}  # until when, and which call
        self._packer = Packer()
        self._seconds = _AHEAD / 2  # what a task takes, lately
        self._failed_starts = 0
        self._pause_until = 0.0  # no worker is started before
        self._broken: Callable[[str], ExecutorError] | None = None  # for good
        _pools.add(self)

    def wake(self) -> None:
        """Make the pool look at its inbox."""
        self.asleep = False
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has ended
            self._waker.send(b"\0")

    def close(self, deadline: float) -> None:
        """Begin to end."""
        self.deadline = min(self.deadline, deadline)
        self.closing = True
        self.wake()

    def refuse_inbox(self) -> None:
        """Finish what came too late."""
        self.ended = True
        while True:
            try:
                attempt, finished = self.inbox.popleft()
            except IndexError:
                return
            refuse(attempt, finished, self._label)

    # --- the pool's thread ------------------------------------------------------------------------

    def run(self) -> None:
        self._selector.register(self._alarm, selectors.EVENT_READ)
        try:
            while True:
                self._take_in()
                while self.kills:
                    self._kill(*self.kills.popleft())
                if self._limits:
                    self._enforce()
                if self.closing and self._is_over():
                    break
                self._hand_out()
                self._wait()
        except BaseException as exc:
            logger.exception("Executor %s failed; this is an error in parsl_ckpt", self._label)
            self._fail_everything(exc)
        finally:
            self._close()

    def _wait(self) -> None:
        """Sleep until something happens, and deal with it."""
        self.asleep = True  # from here on launch() wakes us; what it queued before, we see now
        idle = not self.inbox and not self.kills
        events = self._selector.select(self._patience() if idle else 0.0)
        self.asleep = False
        for key, mask in events:
            worker: WorkerProcess | None = key.data
            if worker is None:
                with contextlib.suppress(BlockingIOError):
                    self._alarm.recv(4096)
            elif self._workers.get(worker.slot) is not worker:
                continue  # buried a moment ago
            elif key.fd == worker.death:
                self._bury(worker)
            else:
                if mask & selectors.EVENT_WRITE:
                    worker.send()
                    self._listen(worker)
                if mask & selectors.EVENT_READ:
                    self._read(worker)
        if not events:  # where there is no descriptor for it
            for silent in list(self._workers.values()):
                if silent.process.poll() is not None:
                    self._bury(silent)

    def _patience(self) -> float:
        now = time.monotonic()
        patience = min(_HEARTBEAT, self.deadline - now)
        if self._backlog and self._pause_until > now:
            patience = min(patience, self._pause_until - now)
        for until, _ in self._limits.values():
            patience = min(patience, until - now)
        return max(0.0, patience)

    def _take_in(self) -> None:
        inbox, backlog = self.inbox, self._backlog
        while inbox:
            backlog.append(Call(*inbox.popleft()))
        if self._broken is not None:
            while backlog:
                self._drop(backlog.popleft(), self._broken)

    def _drop(self, call: Call, explain: Callable[[str], BaseException]) -> None:
        """Report a call that will not run (any more)."""
        if call.parcel is not None or call.attempt.claim():
            report(call.attempt, call.finished, None, explain(call.attempt.app))

    def _kill(self, attempt: Attempt, error: BaseException) -> None:
        """Stop an attempt, whatever has become of it."""
        for call in self._backlog:
            if call.attempt is attempt:
                self._backlog.remove(call)
                self._drop(call, lambda app: error)
                return
        for worker in list(self._workers.values()):
            if not any(call.attempt is attempt for call in worker.calls.values()):
                continue
            saved = self._halt(worker)
            if any(call.attempt is attempt for call in worker.calls.values()):
                self._bury(worker, lambda app: error)  # it runs
            for call in reversed(saved):
                if call.attempt is attempt:
                    self._drop(call, lambda app: error)
                else:
                    self._backlog.appendleft(call)
            return

    def _halt(self, worker: WorkerProcess) -> list[Call]:
        """See to it that a worker begins nothing else, and hear what it has said until then.

        What is still its own afterwards is what it runs, and nothing else is lost by killing it: it
        answers one call before it takes the right to begin the next.

        Returns:
            What it had not begun.
        """
        saved = worker.take_back(len(worker.calls))
        while frames := worker.reader.read():
            for frame in frames:
                self._handle(worker, frame)
        return saved

    def _enforce(self) -> None:
        """Stop what has run for longer than it may."""
        now = time.monotonic()
        for worker, (until, id) in list(self._limits.items()):
            call = worker.calls.get(id)
            if call is None:  # it has answered
                del self._limits[worker]
            elif until <= now:
                walltime = call.attempt.walltime
                assert walltime is not None
                del self._limits[worker]
                self._backlog.extendleft(reversed(self._halt(worker)))
                if id in worker.calls:  # it has not answered at the last moment
                    kill_family(worker.process.pid)
                    self._bury(worker, lambda app, walltime=walltime: too_slow(app, walltime))  # type: ignore[misc]

    # --- giving work ------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        touched: set[WorkerProcess] = set()
        self._give(touched)
        if self._backlog:
            self._grow()
        else:
            self._balance(touched)
        for worker in touched:
            worker.flush()
            self._listen(worker)

    def _give(self, touched: set[WorkerProcess]) -> None:
        """Give the backlog away, evenly, as far as the workers' windows are open."""
        window = self._window()
        while self._backlog:
            takers = [w for w in self._workers.values() if w.ready and _takes(w, window)]
            if not takers:
                return
            takers.sort(key=lambda w: len(w.calls))
            share = -(-len(self._backlog) // len(takers))
            for worker in takers:
                touched.add(worker)
                for _ in range(min(share, window - len(worker.calls))):
                    call = self._next_call()
                    if call is None:
                        return
                    worker.give(call)
                    if worker.laden:
                        break

    def _window(self) -> int:
        ahead = int(_AHEAD / (self._seconds + _OVERHEAD))
        return max(1, min(self._settings.in_flight, ahead))

    def _next_call(self) -> Call | None:
        """The oldest call of the backlog that is ours to run, packed."""
        while self._backlog:
            call = self._backlog.popleft()
            if call.parcel is None:
                if not call.attempt.claim():
                    continue
                try:
                    call.parcel = self._packer.pack(call.attempt)
                except CallTransportError as error:
                    report(call.attempt, call.finished, None, error)
                    continue
                if call.attempt.guard is not None:
                    call.attempt.guard()  # now that the arguments are bytes
            return call
        return None

    def _balance(self, touched: set[WorkerProcess]) -> None:
        """Let idle workers have half of what the busiest have not begun."""
        for idle in self._workers.values():
            if not idle.ready or idle.calls:
                continue
            busiest = max(self._workers.values(), key=lambda w: len(w.calls))
            if len(busiest.calls) < 2:
                return
            for call in busiest.take_back(len(busiest.calls) // 2):
                idle.give(call)
                touched.add(idle)

    def _grow(self) -> None:
        """Start workers for calls that no one has room for."""
        if time.monotonic() < self._pause_until:
            return
        missing = min(
            self._settings.max_workers - len(self._workers),
            len(self._backlog) - sum(not w.ready for w in self._workers.values()),
        )
        for _ in range(missing):
            slot = next(s for s in range(self._settings.max_workers) if s not in self._workers)
            try:
                self._start_worker(slot)
            except Exception as exc:
                self._start_failed(f"{type(exc).__name__}: {exc}")
                return

    def _start_worker(self, slot: int) -> None:
        parcel = self._initializer_parcel()
        worker = WorkerProcess(slot, self._label, self._settings.environment(slot))
        self._workers[slot] = worker
        self._selector.register(worker.stream, selectors.EVENT_READ, worker)
        if worker.death >= 0:
            self._selector.register(worker.death, selectors.EVENT_READ, worker)
        worker.set_up(parcel)
        self._listen(worker)

    def _initializer_parcel(self) -> Parcel | None:
        initializer = self._settings.initializer
        if initializer is None:
            return None
        call = Attempt(initializer, self._settings.initargs, app="initializer")
        return self._packer.pack(call)

    def _listen(self, worker: WorkerProcess) -> None:
        """Ask to be told when its socket takes more, while there is more to send."""
        mask = selectors.EVENT_READ
        if worker.sending:
            mask |= selectors.EVENT_WRITE
        if mask != worker.listening:
            worker.listening = mask
            self._selector.modify(worker.stream, mask, worker)

    # --- taking results ---------------------------------------------------------------------------

    def _read(self, worker: WorkerProcess) -> None:
        for frame in worker.reader.read():
            self._handle(worker, frame)
        if worker.reader.ended:
            self._bury(worker)
        elif worker.owing:
            worker.pay()

    def _handle(self, worker: WorkerProcess, frame: wire.Frame) -> None:
        if frame.kind == wire.READY:
            worker.ready = True
            self._failed_starts = 0
        elif frame.kind == wire.BEGUN:
            self._begun(worker, frame.id)
        elif frame.kind == wire.FAILED:
            self._initializer_failed(frame)
        else:
            self._answer(worker, frame)

    def _begun(self, worker: WorkerProcess, id: int) -> None:
        call = worker.calls.get(id)
        if call is not None and call.attempt.walltime is not None:
            self._limits[worker] = time.monotonic() + call.attempt.walltime, id

    def _answer(self, worker: WorkerProcess, frame: wire.Frame) -> None:
        call = worker.answered(frame.id)
        if call is None:
            return
        attempt = call.attempt
        attempt.began = frame.began
        attempt.seconds = frame.seconds
        attempt.worker = worker.name
        self._seconds += _MEMORY * (frame.seconds - self._seconds)
        value, error, encoded = outcomes.unpack(
            frame.kind, frame.flags, frame.codec, frame.data, frame.buffers, attempt.app
        )
        report(attempt, call.finished, value, error, encoded)

    # --- deaths -----------------------------------------------------------------------------------

    def _bury(
        self, worker: WorkerProcess, explain: Callable[[str], BaseException] | None = None
    ) -> None:
        """Close a worker's grave: hear its last words, fail what it ran, save what it did not."""
        for stream in (worker.stream, worker.death):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(stream)
        with contextlib.suppress(OSError):
            worker.process.kill()  # its descriptors may be closed while it lives
        while frames := worker.reader.read():
            for frame in frames:
                self._handle(worker, frame)
        saved = worker.take_back(len(worker.calls)) if worker.calls else []
        lost = list(worker.calls.values())
        exit = exit_text(worker.bury())
        del self._workers[worker.slot]
        self._limits.pop(worker, None)
        self._backlog.extendleft(reversed(saved))
        if not worker.ready and explain is None:
            self._start_failed(f"a worker process {exit} before it was ready")
        pid = worker.process.pid
        for call in lost:
            call.attempt.worker = worker.name
            error = (
                explain(call.attempt.app) if explain else self._lost(call.attempt.app, pid, exit)
            )
            report(call.attempt, call.finished, None, error)

    def _lost(self, app: str, pid: int, exit: str) -> WorkerLostError:
        return WorkerLostError(
            f"Worker process {pid} of executor {self._label!r} {exit} while it ran app {app!r}.",
            hint="If it was out of memory, use fewer workers; retries=N runs such tasks again.",
            app=app,
            executor=self._label,
            pid=pid,
            exit=exit,
        )

    def _start_failed(self, reason: str) -> None:
        """Try again after a pause; where nothing works, fail what waits, not what comes later."""
        logger.warning("Executor %s: %s", self._label, reason)
        now = time.monotonic()
        if now < self._pause_until:
            return  # several were started together, and failed together
        self._pause_until = now + _PAUSE * 2**self._failed_starts
        if self._failed_starts < _FAILED_STARTS:
            self._failed_starts += 1
            return
        if any(worker.ready for worker in self._workers.values()):
            return
        self._failed_starts = 0

        def explain(app: str) -> WorkerStartError:
            return WorkerStartError(
                f"Executor {self._label!r} cannot start worker processes to run app {app!r}: "
                f"{reason}.",
                hint="What the workers printed says more.",
                app=app,
                executor=self._label,
            )

        while self._backlog:
            self._drop(self._backlog.popleft(), explain)

    def _initializer_failed(self, frame: wire.Frame) -> None:
        _, cause, _ = outcomes.unpack(
            frame.codec, frame.flags, 0, frame.data, frame.buffers, "initializer"
        )

        def explain(app: str) -> WorkerStartError:
            error = WorkerStartError(
                f"The initializer of executor {self._label!r} failed, so app {app!r} cannot run: "
                f"{type(cause).__name__}: {cause}",
                hint="Mend the initializer; its traceback is the cause of this error.",
                app=app,
                executor=self._label,
            )
            error.__cause__ = cause
            return error

        self._broken = explain

    # --- the end ----------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Whether the pool may end; with a deadline, it sees to it."""
        if self.deadline < math.inf:
            for worker in self._workers.values():
                self._backlog.extend(worker.take_back(len(worker.calls)))
            while self._backlog:
                self._drop(self._backlog.popleft(), self._not_begun)
            if time.monotonic() >= self.deadline:
                for worker in list(self._workers.values()):
                    if worker.calls:
                        self._bury(worker, self._still_running)
                return True
        return not (self.inbox or self._backlog or any(w.calls for w in self._workers.values()))

    def _not_begun(self, app: str) -> ExecutorShutdownError:
        return ExecutorShutdownError(
            f"Executor {self._label!r} was shut down before app {app!r} began.",
            hint="Call apps while the kernel is loaded.",
            app=app,
            executor=self._label,
        )

    def _still_running(self, app: str) -> ExecutorShutdownError:
        return ExecutorShutdownError(
            f"App {app!r} still ran when executor {self._label!r} was shut down.",
            hint="Allow a longer grace.",
            app=app,
            executor=self._label,
        )

    def _close(self) -> None:
        """Send the workers away, wait for them, refuse what comes too late."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.dismiss()
        farewell = time.monotonic() + FAREWELL
        if self.deadline < math.inf:
            farewell = min(farewell, max(self.deadline, time.monotonic() + 0.5))
        for worker in workers:
            if worker.ready:
                worker.wait(max(0.0, farewell - time.monotonic()))
            worker.bury()
        self._workers.clear()
        self._selector.close()
        self.refuse_inbox()
        self._waker.close()
        self._alarm.close()

    def _fail_everything(self, exc: BaseException) -> None:
        """After an error of our own: whatever happens, no one waits for ever."""

        def explain(app: str) -> ExecutorError:
            error = ExecutorError(
                f"Executor {self._label!r} failed by itself before app {app!r} was done: "
                f"{type(exc).__name__}: {exc}",
                hint="This is an error in parsl_ckpt; please report it with the log.",
                app=app,
                executor=self._label,
            )
            error.__cause__ = exc
            return error

        for worker in list(self._workers.values()):
            for call in list(worker.calls.values()):
                self._drop(call, explain)
            worker.bury()
        self._workers.clear()
        while self._backlog:
            self._drop(self._backlog.popleft(), explain)

    def _forget_in_child(self) -> None:
        """In a forked child: do not hold the workers' channels open."""
        for worker in list(self._workers.values()):
            worker.let_go()
        self._waker.close()
        self._alarm.close()


def _takes(worker: WorkerProcess, window: int) -> bool:
    count = len(worker.calls)
    return count < window and not (count and worker.laden)


# --- forks of this process ------------------------------------------------------------------------

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._forget_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
