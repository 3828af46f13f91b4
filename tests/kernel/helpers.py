"""What the tests of the kernel share: a kernel over an executor that is driven by hand."""

from __future__ import annotations

import gc
import sys
import threading

from parsl_ckpt.checkpoint.memory import MemoryBackend
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.ending import Ending
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.testing.clock import FakeClock
from parsl_ckpt.testing.executors import ManualExecutor

DEADLINE = 30.0  # a broken kernel fails its test instead of hanging it; never part of a verdict


class Rig:
    """A kernel, its store in memory, and its executors, which run what they are told to."""

    def __init__(self, *, backend=None, run="1", sources=(), store=None, executors=None, **options):
        self.backend = backend or MemoryBackend()
        self.path = f"runs/{run}"
        self.store = store or Store.open(self.path, sources=sources, backend=self.backend)
        self.manual = ManualExecutor()
        self.internal = ManualExecutor("joins")
        self.executors = executors or {"manual": self.manual}
        self.clock = FakeClock()
        options.setdefault("mode", "task_exit")
        self.kernel = Kernel(self.store, self.executors, self.internal, clock=self.clock, **options)
        self.ending = Ending(self.kernel, [*self.executors.values(), self.internal])

    def call(self, spec, *args, **kwargs):
        return self.kernel.submit(spec, args, kwargs)

    def settle(self):
        """Wait until what was carried so far has been dealt with."""
        done = threading.Event()
        self.kernel.porter.carry(done.set)
        assert done.wait(DEADLINE), "the porter is stuck"

    def run(self):
        """Run whatever can run, until nothing waits; how many attempts that were."""
        ran = 0
        while True:
            self.settle()
            once = self.manual.run() + self.internal.run()
            self.settle()
            if not once and not self.manual.waiting and not self.internal.waiting:
                return ran
            ran += once

    def idle(self):
        """Whether the kernel says that nothing is under way."""
        waiter = threading.Event()
        self.kernel.when_idle(waiter)
        self.settle()
        return waiter.is_set()

    def end(self, grace=None):
        return self.ending.end(grace)

    def again(self, run, **options):
        """A later run over the same files."""
        self.end()
        return Rig(backend=self.backend, run=run, sources=[self.path], **options)


def spec_of(fn, *, cache=True, kind="python", name=None, executors=(), ignore=(), lineage=True):
    """What the kernel is told of an app."""
    name = name or fn.__name__
    if not cache:
        return Spec(name, fn, kind=kind, executors=executors)
    binder = Binder(fn, ignore, name)
    addresser = Addresser(name, CodeIdentity(fn), binder)
    return Spec(
        name, fn, kind=kind, cache=True, executors=executors, binder=binder, addresser=addresser,
        lineage=lineage,
    )  # fmt: skip


def outcome(future):
    """The value of a future that is done or about to be."""
    return future.result(timeout=DEADLINE)


def until(condition):
    """Wait for what threads of the kernel are about to do."""
    tick = threading.Event()
    for _ in range(int(DEADLINE / 0.001)):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("it does not come about")


def reach(condition, event, timeout=DEADLINE):
    """Wait for an event that another thread sets."""
    assert event.wait(timeout), condition


BY_LINES = sys.version_info >= (3, 12)  # not all bytecodes are traced since then


class Interruption:
    """Raises KeyboardInterrupt before the n-th bytecode, or line, that runs below ``call``."""

    def __init__(self, n):
        self.left = n

    def call(self, fn, swallowed=False):
        """Make a call; returns whether it was interrupted, which it may not swallow otherwise."""
        before = sys.gettrace()
        gc.disable()  # what others have hooked into it is not to be interrupted
        sys.settrace(self._enter)
        try:
            fn()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
            gc.enable()
        assert swallowed or self.left > 0, "the interruption was swallowed"
        return self.left <= 0

    def _enter(self, frame, event, arg):
        frame.f_trace_opcodes = True
        frame.f_trace_lines = BY_LINES
        return self._step

    def _step(self, frame, event, arg):
        if event in ("opcode", "line"):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._step
