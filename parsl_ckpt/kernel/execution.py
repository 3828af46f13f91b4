"""Attempts on their way to executors, and their outcomes on the way back.

attempt ─► launch ─► executor ... finished ─┬─ failed ────────────────► owner
                                            ├─ not cached ────────────► owner
                                            └─ cached ─► encode ─► writer ─► owner
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.store import Entry
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel import keeping, outputs, watching
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.attempt import Attempt, Launcher
from parsl_ckpt.kernel.delivery import Courier
from parsl_ckpt.kernel.events import Event
from parsl_ckpt.kernel.outputs import OUTPUTS, Delivered
from parsl_ckpt.kernel.specimens import ARGUMENTS
from parsl_ckpt.kernel.steady import changed, look_at_arguments
from parsl_ckpt.kernel.streams import STREAMS, path_of
from parsl_ckpt.kernel.task import Task
from parsl_ckpt.kernel.watching import Observed

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.midway import Midway
    from parsl_ckpt.kernel.request import Request


class Execution:
    """The executors' side of one kernel.

    Args:
        kernel: the kernel.
        executors: by label.
        internal: what join apps run on.
    """

    def __init__(
        self, kernel: Kernel, executors: Mapping[str, Launcher], internal: Launcher
    ) -> None:
        self._kernel = kernel
        self._executors = dict(executors)
        self._everyone = itertools.cycle(self._executors.values())
        self._internal = internal
        self._writing: dict[str, Task] = {}  # output files of attempts under way
        self.midway: Midway | None = None  # who sees to what tasks commit in the middle
        self._afresh = not kernel.memo.lookup

    def attempt(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Make the next execution of a task; the same one may be launched again, it is run once."""
        spec = task.spec
        task.tries += 1
        if task.refresh or self._afresh:
            self._begin_anew(task)
        cached = task.key is not None
        fn = spec.fn if task.request is None else self._courier(task)
        attempt = Attempt(
            fn, args, kwargs, app=spec.name, tid=task.tid, number=task.tries,
            encode=cached and self._kernel.memo.record and self._kernel.store.pickle
            and fn is spec.fn and not spec.observed and spec.persist is True,
            task=task, seed=task.key or b"",
        )  # fmt: skip
        if cached:
            self._outline(task, args, kwargs)
        if cached and task.opaque:
            attempt.guard = lambda: self._guard(task, args, kwargs)
        task.attempt = attempt
        if task.state is states.UNSCHED:
            task.state = states.LAUNCHED  # nobody else has seen the task yet

    def _begin_anew(self, task: Task) -> None:
        """Have the first try of a call that uses nothing recorded begin at its beginning."""
        if self.midway is not None and task.key is not None and task.tries == 1:
            self.midway.drop(task.key)

    def found(
        self, task: Task, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Record a value that is known from elsewhere, as if the task had come to it."""
        self._outline(task, args, kwargs)
        attempt = Attempt(task.spec.fn, args, kwargs, app=task.spec.name, tid=task.tid)
        attempt.claim()  # it is never launched, nor given up any more
        attempt.began = time.time()
        task.attempt = attempt
        self.record(task, value)

    def _courier(self, task: Task) -> Callable[..., Any]:
        """What runs for a task that asks for something: files that are fetched or written, streams
        and a time limit of a command."""
        spec, request = task.spec, task.request
        assert request is not None
        fn: Any = spec.fn
        if spec.kind == "bash":
            fn = fn.asked(request.stream("stdout"), request.stream("stderr"), request.walltime)
        if spec.kind == "join" or not (request.outputs or request.fetches):
            return fn  # type: ignore[no-any-return]
        self._writes(task, request.outputs)
        digest = task.key is not None and self._kernel.memo.record
        return Courier(fn, spec.name, request.outputs, digest, request.optional)

    def _writes(self, task: Task, files: Sequence[Any]) -> None:
        """Warn if another call under way writes to the same file: neither will have its own.

        So neither is recorded: the digest of one's file would be that of what the other wrote.
        """
        for file in files:
            name = file.url if file.elsewhere else os.path.abspath(file.filepath)
            other = self._writing.setdefault(name, task)
            if other is task or other.state in states.FINAL_STATES:
                self._writing[name] = task
                continue
            task.pristine = other.pristine = False
            both = " and ".join(sorted({task.spec.name, other.spec.name}))
            self._kernel.problems.warn_once(
                f"same output {both}",
                task.spec.name,
                f"Two calls under way ({both}; tasks {other.tid} and {task.tid}) write {file}: "
                "what is in it afterwards may not be what one of them has written, so neither is "
                "recorded. Give each call output files of its own.",
            )

    def _wrote(self, task: Task, files: Sequence[Any]) -> None:
        """Forget which files an attempt that has ended wrote."""
        for file in files:
            name = file.url if file.elsewhere else os.path.abspath(file.filepath)
            if self._writing.get(name) is task:
                del self._writing[name]

    def _equip(self, attempt: Attempt, executor: Launcher) -> None:
        """Tell a task that has files to fetch or to write who does that where it runs."""
        courier = attempt.fn
        if isinstance(courier, Courier):
            providers = getattr(executor, "storage_access", None)
            courier.providers = self._kernel.storage_access if providers is None else providers
            courier.working_dir = getattr(executor, "working_dir", None)

    def _outline(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Keep what long arguments are made of, before the task changes them."""
        address, spec = task.address, task.spec
        if address.wholes is None:
            for leaf in address.leaves:  # nothing but this is paid for numbers and short texts
                if leaf[0] & 0x80:
                    break
            else:
                return
        bound = spec.binder.bind(tuple(args), kwargs)  # type: ignore[union-attr]
        spec.addresser.outline(address, bound)  # type: ignore[union-attr]

    def launch(self, task: Task, admitted: bool = False) -> None:
        """Hand the task's attempt to an executor; harmless if that has been done already.

        Args:
            task: the task.
            admitted: its circuit breaker, if it has one, has let it through.
        """
        attempt = task.attempt
        if attempt is None:  # it was launched before, by whoever joined it, and is over already
            self._kernel.post_safely(self._kernel.forget, task)
            return
        spec = task.spec
        policy = spec.resilience
        if policy is not None and policy.circuit_breaker is not None and not admitted:
            self._kernel.post_safely(self._kernel.retries.admit, task, attempt)
            return
        if self._kernel.events.listening:
            self._kernel.events.emit(Event("task", spec.name, task.tid, states.LAUNCHED))
        try:
            if spec.kind == "join":
                executor = self._internal
            elif spec.executors:
                executor = self._executors[spec.executors[(task.tid) % len(spec.executors)]]
            else:
                executor = next(self._everyone)
            if task.history is not None:
                task.history.launch(executor.label)
            if task.request is not None:
                self._equip(attempt, executor)
                self._honour(executor, task, attempt, task.request)
            executor.launch(attempt, self._finished)
        except Exception as error:
            # The porter claims and reports it: here Ctrl-C might come between the two.
            self._kernel.porter.carry(self._not_launched, attempt, error)
        task.launched = True

    def _honour(self, executor: Launcher, task: Task, attempt: Attempt, request: Request) -> None:
        """Have the executor see to what a call asks of it; a command limits itself."""
        walltime = None if task.spec.kind == "bash" else request.walltime
        if walltime is not None or request.resources:
            executor.honour(attempt, walltime, request.resources)

    def _not_launched(self, attempt: Attempt, error: BaseException) -> None:
        if attempt.claim():
            self._finished(attempt, None, error)

    def _guard(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Notice arguments that changed between the call and the launch: nothing is filed then."""
        spec = task.spec
        task.files += look_at_arguments(args, kwargs)  # before they are read again
        try:
            bound = spec.binder.bind(args, kwargs)  # type: ignore[union-attr, arg-type]
            same = spec.addresser.address(bound).key == task.key  # type: ignore[union-attr]
        except Exception:
            same = False
        if not same:
            task.pristine = False
            self._kernel.problems.warn(
                spec.name,
                f"An argument of {spec.name} (task {task.tid}) changed between the call and its "
                "execution, so its result is not recorded. Pass a copy of what you change.",
            )

    def _finished(
        self, attempt: Attempt, value: Any, error: BaseException | None, encoded: Any = None
    ) -> None:
        """An attempt has ended; on the thread of whatever ran it."""
        kernel = self._kernel
        task: Task = attempt.task
        attempt.task = None  # whatever holds the attempt (a traceback) lets go of the task
        if task.request is not None:
            self._wrote(task, task.request.outputs)
            if type(value) is Delivered:
                value, task.made = value.value, value.files
        if task.spec.observed and type(value) is Observed:
            value, task.remarks = value
            self._heed(task)
        if error is not None:
            kernel.strand.post((kernel.attempt_failed, task, error))
        elif task.spec.kind == "join":
            kernel.strand.post((kernel.joining, task, value))
        elif task.key is None:
            kernel.strand.post((kernel.done, task, value))
        else:
            self.record(task, value, encoded)

    def _heed(self, task: Task) -> None:
        """Tell of what an observer has seen."""
        app, remarks = task.spec.name, task.remarks
        if remarks.changed:
            names = ", ".join(map(repr, remarks.changed))
            self._kernel.problems.warn_once(
                f"mutation {app} {names}",
                app,
                f"{app} changes its argument {names}: what the caller, or another app, does with "
                "it afterwards depends on whether this call runs. Have it change a copy.",
            )
        if remarks.inputs:
            listed = ", ".join(map(str, remarks.inputs[:5]))
            more = f" and {len(remarks.inputs) - 5} more" if len(remarks.inputs) > 5 else ""
            self._kernel.problems.warn_once(
                f"undeclared {app} {listed}",
                app,
                f"{app} reads what is no argument of it: {listed}{more}. Pass it as an argument, "
                "or declare the app with undeclared='key'.",
            )

    def record(self, task: Task, value: Any, encoded: Any = None) -> None:
        """Encode a value and hand it to the writer; the future follows when it is committed."""
        kernel = self._kernel
        if kernel.elsewhere is not None:
            kernel.elsewhere.succeeded(task, value)
        if task.files and task.pristine and kernel.memo.record:
            self._look_again(task)
        if task.borrowed:
            kernel.unkept.look_again(task)
        if not (kernel.memo.record and task.pristine):
            kernel.strand.post((kernel.done, task, value))
            return
        make = kernel.inputs.entry
        if task.spec.persist is not True:
            if kernel.unkept.passes(task, value):
                kernel.strand.post((kernel.done, task, value))
                return
            make = kernel.unkept.measured
        task.value = value
        try:
            entry = make(task, value, encoded)
            specimen = kernel.specimens.take(task)
            if specimen is not None:
                note = kernel.store.stage_note(entry.record_id, ARGUMENTS, specimen)
                kernel.writer.commit(None, note)
            if task.spec.keep_arguments:
                parameters = keeping.kept(kernel.store, task)
                if parameters is not None:
                    note = kernel.store.stage_note(entry.record_id, keeping.PARAMETERS, parameters)
                    kernel.writer.commit(None, note)
            if task.remarks is not None and task.remarks.inputs:  # first: never without them
                inputs = watching.encode(task.remarks.inputs)
                note = kernel.store.stage_note(entry.record_id, watching.UNDECLARED, inputs)
                kernel.writer.commit(None, note)
            if kernel.elsewhere is not None:
                kernel.elsewhere.note(task, entry)
            if task.request is not None:  # these as well
                self._note_outputs(task, entry)
        except BaseException as error:  # the user's __reduce__ may raise anything
            kernel.problems.unsaved(task.spec.name, task.tid, error)
            kernel.strand.post((kernel.done, task, value))
        else:
            kernel.writer.commit(task, entry)

    def _look_again(self, task: Task) -> None:
        """Notice input files that changed since the call: nobody knows what the function read."""
        files = changed(task.files, task.request.outputs if task.request else ())
        if files:
            task.pristine = False
            self._kernel.problems.warn_once(
                f"input {task.spec.name}",
                task.spec.name,
                f"{files[0]}, an input file of {task.spec.name} (task {task.tid}), was written to "
                "between the call and its end, so the result is not recorded. Have whatever writes "
                "it done before, or write another file.",
            )

    def look_at_outputs(self, task: Task) -> BaseException | None:
        """What is in the output files of a join app, whose function does not write them itself."""
        request = task.request
        assert request is not None
        try:
            if not request.optional:
                outputs.check(task.spec.name, request.outputs)
        except Exception as error:
            return error
        if task.key is not None and self._kernel.memo.record:
            task.made = outputs.all_made(request.outputs, outputs.made)
        return None

    def _note_outputs(self, task: Task, entry: Entry) -> None:
        """Keep with a record what the call has left behind beside its value."""
        request, kernel = task.request, self._kernel
        assert request is not None
        if isinstance(task.made, BaseException):  # without it, nobody could tell a hit
            raise task.made
        streams = [path_of(request.stream(name)) for name in STREAMS]
        if request.outputs or any(streams):
            note = outputs.encode(outputs.Outputs(task.made, *streams))
            kernel.writer.commit(None, kernel.store.stage_note(entry.record_id, OUTPUTS, note))

    def width_of(self, labels: Sequence[str]) -> int:
        """How many attempts the executors of these labels run at once; of all, for none."""
        chosen = [self._executors[label] for label in labels] or self._executors.values()
        return sum(max(getattr(executor, "width", 1), 1) for executor in chosen)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the executors."""
        return tuple(self._executors)

    @property
    def only(self) -> str | None:
        """The label of the executor, if there is one alone."""
        return next(iter(self._executors)) if len(self._executors) == 1 else None

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
