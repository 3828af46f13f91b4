"""A script that is run with nothing behind it: calls are looked up, and none is made.

    script ─ DataFlowKernel(config) ─► a kernel in a directory that is thrown away, which reads the
    │                                  checkpoints that the script's own would read
    ├─ app(x), outside of a plan ─► recorded; a hit has its value, as ever
    ├─ looks at what is no hit ─┐
    ├─ end of a plan's block ───┼─► what is planned is told, the script ends
    └─ its end ─────────────────┘

Rule of this file: this process does nothing else.  The script is ``__main__``, as it would be; what
it does outside of apps (printing, writing files of its own) it does.

*Guarantees.*  No app is executed: executors are replaced by such as run nothing.  Nothing is
written to the script's run directory.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures._base import PENDING
from types import TracebackType
from typing import Any

from parsl_ckpt import dataflow
from parsl_ckpt.checkpoint import where
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints
from parsl_ckpt.cli._script import Enough, as_main, compiled, executed
from parsl_ckpt.config import Config, from_legacy
from parsl_ckpt.dataflow import DataFlowKernel
from parsl_ckpt.errors import ParslCkptError
from parsl_ckpt.executors.base import Executor, refuse
from parsl_ckpt.executors.named import made
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.attempt import Attempt, Finished
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import mark
from parsl_ckpt.kernel.lifting import mark_part
from parsl_ckpt.kernel.memo import all_restored
from parsl_ckpt.kernel.planning import Planned, Recording, Stage
from parsl_ckpt.kernel.task import MEMO_DONE, Spec
from parsl_ckpt.plan.plan import Plan
from parsl_ckpt.plan.standing import HIT, Standings

#: Told of a plan: the plan, and a sentence on where the script is.
Tell = Callable[[Plan, str], None]


class Rehearsal:
    """One run of a script.

    Args:
        tell: called with what is planned, once the script has come so far.

    Attributes:
        kernels: how many the script has begun.
        told: something has been told.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._begun: list[DataFlowKernel] = []
        self._directory = ""
        self._failure: ParslCkptError | None = None
        self.told = False

    @property
    def kernels(self) -> int:
        return len(self._begun)

    def run(self, script: str, arguments: Sequence[str]) -> int:
        """Run a script as far as something can be told.

        Args:
            script: its path.
            arguments: what it finds in ``sys.argv`` behind its name.

        Returns:
            The exit status: that of the script, if it came to its end or failed.

        Raises:
            ScriptError: it cannot be read, or is no Python.
            ParslCkptError: what was found cannot be told.
        """
        code = compiled(script)
        with contextlib.ExitStack() as stack:
            self._directory = stack.enter_context(_temporary())
            stack.enter_context(as_main(script, arguments))
            stack.enter_context(self._instead())
            stack.callback(self._end)
            status = executed(code, script)
        if self._failure is not None:
            raise self._failure
        return status

    @contextlib.contextmanager
    def _instead(self) -> Iterator[None]:
        """While kernels that are made are ours."""
        begin = DataFlowKernel.__init__
        rehearsal = self

        def begin_ours(
            dfk: DataFlowKernel,
            config: Config | Mapping[str, Any] | None = None,
            checkpointFiles: Sequence[Any] | None = None,
            *,
            checkpoint_files: Sequence[Any] | None = None,
        ) -> None:
            if config is None:
                config = Config()
            elif not isinstance(config, Config):
                config = from_legacy(config)
            named = checkpointFiles if checkpoint_files is None else checkpoint_files
            rehearsal._begin(dfk, config, named, begin)

        DataFlowKernel.__init__ = begin_ours  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            DataFlowKernel.__init__ = begin  # type: ignore[method-assign]

    def _begin(
        self,
        dfk: DataFlowKernel,
        config: Config,
        named: Sequence[Any] | None,
        begin: Callable[..., None],
    ) -> None:
        """Begin a kernel that reads what the script's would, and writes elsewhere."""
        if named is None:
            named = config.checkpoint_files
        configured = where.plain(config.run_dir)
        if named is None and where.is_url(configured):
            named = _remote(config, configured)
        ours = _harmless(config, os.path.join(self._directory, str(len(self._begun))))
        ours.checkpoint_files = named
        usual = dataflow._sources

        def sources(_: Config, run_root: str, named: Any, trusting: dict[str, Any]) -> list[str]:
            return usual(config, configured, named, trusting)

        dataflow._sources = sources  # type: ignore[assignment]
        try:
            begin(dfk, ours)
        finally:
            dataflow._sources = usual
        dfk.config = config
        kernel = dfk.kernel
        eager = _Eager(self, dfk)
        kernel.submission = eager
        kernel.submit = eager.submit
        instance: Any = dfk  # what is set on it stands before what its class has
        plan, end = dfk.plan, dfk._end
        instance.plan = lambda persist=None: self._watched(_begun(plan, persist, configured, ours))
        instance.wait_for_current_tasks = lambda: self._waited(eager)
        instance._end = lambda grace: self._ended(eager, lambda: end(grace))
        self._begun.append(dfk)

    # -- where the script may stop -----------------------------------------------------------------

    def _watched(self, plan: Plan) -> Plan:
        """A plan that ends the script with its block."""
        plan.__class__ = _Watched
        plan.rehearsal = self  # type: ignore[attr-defined]
        return plan

    def closed(self, plan: Plan) -> None:
        """The block of a plan is over."""
        raise self._enough(plan, "")

    def needed(self, eager: _Eager, future: AppFuture) -> Enough:
        """The script wants to know what is not recorded."""
        what = f"The script needs the result of {_shown(future)} to go on"
        return self._stuck(eager, future, f"{what}, and that call would have to run.")

    def _waited(self, eager: _Eager) -> None:
        """The script waits for all that it has called."""
        for future in eager.futures.values():
            if not future._restored:
                what = f"The script waits for its tasks, and {_shown(future)} would have to run."
                raise self._stuck(eager, future, what)

    def _stuck(self, eager: _Eager, future: AppFuture, sentence: str) -> Enough:
        plan = eager.so_far()
        lines = [sentence]
        with contextlib.suppress(ParslCkptError):  # of a part of a value there is no more to say
            lines.append(str(plan.why(future)))
        lines.append("What it would do then is not known; so far it has called these:")
        return self._enough(plan, "\n".join(lines))

    def _ended(self, eager: _Eager, end: Callable[[], Any]) -> Any:
        """A kernel ends, and no plan was recorded on it."""
        if not self.told and eager.futures:
            what = "The script came to its end without a plan; it called these apps:"
            self._enough(eager.so_far(), what)
        return end()

    def _enough(self, plan: Plan, sentence: str) -> Enough:
        """Tell what is planned; what ends the script."""
        self.told = True
        try:
            self._tell(plan, sentence)
        except ParslCkptError as error:  # ours, not the script's
            self._failure = error
        return Enough()

    def _end(self) -> None:
        for dfk in self._begun:
            DataFlowKernel.cleanup(dfk)  # Parsl's would wait for tasks first


def _shown(future: AppFuture) -> str:
    return f"{future._spec.name} (task {future.tid})"


class _Watched(Plan):
    """A plan of the script."""

    rehearsal: Rehearsal

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if kind is None:
            self.rehearsal.closed(self)


# --- calls outside of a plan ----------------------------------------------------------------------


class _Looked(Planned, gc=False, eq=False):
    """A call that the script makes: looked up, never begun."""

    def load(self, future: AppFuture) -> bool:
        """Find the value of a hit; else the script ends.  It goes on standing for the call."""
        if future._phase == PENDING:
            stage: Any = self.stage
            future._conclude_looked(stage.value(self, future), None)
            future._status = MEMO_DONE
        return False


class _Eager(Recording, Stage):
    """Takes the calls that a script makes outside of plans.

    Args:
        rehearsal: who is told when the script can go no further.
        dfk: what the script holds.
    """

    def __init__(self, rehearsal: Rehearsal, dfk: DataFlowKernel) -> None:
        Stage.__init__(self)
        Recording.__init__(self, dfk.kernel, self)
        self._rehearsal = rehearsal
        self._dfk = dfk
        self._standings = Standings(dfk.kernel)

    def _record(
        self,
        spec: Spec,
        arguments: Arguments,
        future: AppFuture,
        key: bytes | None = None,
        refresh: bool = False,
    ) -> AppFuture:
        super()._record(spec, arguments, future, key, refresh)
        future._lazy = _Looked(self._kernel, spec, arguments, self, key, refresh)
        standing = self._standings.look([future])[future.tid]
        if standing.state == HIT:
            if spec.kind == "lift":
                parent, item = arguments.args
                mark_part(spec, parent, item, future)
            elif standing.stored is not None:
                mark(future, standing.stored)
            future.from_memo = future._restored = True
        return future

    def value(self, call: Planned, future: AppFuture) -> Any:
        """The value of a call that is recorded; the script ends at one that is not."""
        kernel, spec, arguments = self._kernel, call.spec, call.arguments
        if spec.kind == "lift":
            parent, item = arguments.args
            if isinstance(item, AppFuture):
                item = item.result()
            return spec.fn(parent.result(), item)
        stored = self._standings.look([future])[future.tid].stored if future._restored else None
        if stored is None and spec.cache and not call.refresh and all_restored(arguments.futures):
            stored = kernel.calls.find(  # by the values of what it takes
                spec, arguments.args, arguments.kwargs, arguments.request
            )
        if stored is not None:
            with contextlib.suppress(ParslCkptError):  # damaged: it would run
                value = kernel.store.value(stored)
                mark(future, stored)
                return value
        raise self._rehearsal.needed(self, future)

    def so_far(self) -> Plan:
        """The calls as a plan in which all are wanted: made by themselves, none is cut away."""
        plan = Plan(self._kernel, self._kernel.desk, self._dfk._asking)
        plan._recording = self
        plan._closed = True
        plan._wanted = [one for one in self.futures.values() if one._spec.kind != "lift"]
        return plan


# --- what stands in for the real ------------------------------------------------------------------


class Idle(Executor):
    """An executor that runs nothing, in the place of one that would.

    Args:
        other: that one.
    """

    def __init__(self, other: Executor) -> None:
        self.label = other.label
        self.storage_access = other.storage_access
        self.working_dir = other.working_dir
        self._width = other.width

    @property
    def width(self) -> int:
        return self._width

    def start(self) -> None:
        pass

    def launch(self, attempt: Attempt, finished: Finished) -> None:
        refuse(attempt, finished, self.label)

    def shutdown(self, grace: float | None = None) -> None:
        pass


def _harmless(config: Config, directory: str) -> Config:
    """A configuration under which nothing is written elsewhere, and nobody else is asked."""
    ours = copy.copy(config)
    ours.run_dir = directory
    ours.executors = tuple(map(Idle, made(config.executors)))
    ours.checkpoint_mode = None
    ours.single_flight = "process"
    ours.follow = False
    ours.memoizer = None
    ours.max_checkpoint_bytes = None
    ours.audit_rate = 0.0
    ours.durability = "process"
    ours.initialize_logging = False
    return ours


def _begun(plan: Any, persist: Any, configured: str, ours: Config) -> Plan:
    """A plan of a kernel that stands in; named sets are those of the script's run directory."""
    if persist is None:
        begun: Any = plan()
        return begun  # type: ignore[no-any-return]
    root = where.absolute(configured)
    here = where.absolute(where.plain(persist.root)) == root
    begun = plan(dataclasses.replace(persist, root=ours.run_dir) if here else persist)
    if here:
        begun._sets._root = root
    return begun  # type: ignore[no-any-return]


def _remote(config: Config, root: str) -> list[str] | None:
    """The checkpoints of a run directory in an object store, if they would be used."""
    if config.checkpoint_mode is None and not config.follow:
        return []
    backend = where.backend_of(root, options=config.storage_options)
    try:
        return get_all_checkpoints(root, backend=backend)
    finally:
        backend.close(0.0)


@contextlib.contextmanager
def _temporary() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="parsl_ckpt-plan-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
