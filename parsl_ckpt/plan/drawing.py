"""From recorded calls to a job: names, outputs, edges, and what is wanted.

Rule of this file: parts of values (``future["x"]``) and files are no tasks, but what their calls
give; equal calls of cached apps are one task; futures that are not of the plan are arguments like
any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.planning import Planned

from .builder import JobBuilder
from .job import RESULT, Job

Source = tuple[str, str]  # a task and its output


class Drawn(NamedTuple):
    """Recorded calls as a job.

    Args:
        job: the job.
        futures: the future of each call, by its number, in order; parts of values are none.
        names: the name of each call's task, by its number.
        number: the number of the call that is a task's first one, by its name.
        wanted: the futures that are wanted.
    """

    job: Job
    futures: Mapping[int, AppFuture]
    names: Mapping[int, str]
    number: Mapping[str, int]
    wanted: Sequence[Future[Any]]


def draw(recorded: Mapping[int, AppFuture], wanted: Sequence[Future[Any]] | None) -> Drawn:
    """Make a job of recorded calls.

    Args:
        recorded: the future of each call, by its number, in the order in which they were made.
        wanted: futures among them; None for what no other call takes.
    """
    pen = _Pen(recorded)
    for future in recorded.values():
        pen.add(future)
    if wanted is not None:
        for one in wanted:
            pen.builder.want(*pen.sources(one))
        if not wanted:
            pen.builder.want()
    job = pen.builder.build()
    if wanted is None:
        names = dict.fromkeys(output.task for output in job.requested)
        wanted = [pen.futures[pen.number[name]] for name in names]
    return Drawn(job, pen.futures, pen.names, pen.number, list(wanted))


class _Pen:
    def __init__(self, recorded: Mapping[int, AppFuture]) -> None:
        self.builder = JobBuilder()
        self.futures: dict[int, AppFuture] = {}
        self.names: dict[int, str] = {}
        self.number: dict[str, int] = {}
        self._recorded = recorded
        self._by_key: dict[bytes, str] = {}
        self._parts: dict[int, tuple[Source, ...]] = {}

    def add(self, future: AppFuture) -> None:
        lazy, tid = future._lazy, future.tid
        assert isinstance(lazy, Planned)
        arguments = lazy.arguments
        if lazy.spec.kind == "lift":
            self._parts[tid] = tuple(self._all(arguments.futures))
            return
        self.futures[tid] = future
        name = f"{lazy.spec.name}-{tid}"
        if lazy.key is not None and not lazy.refresh:
            first = self._by_key.setdefault(lazy.key, name)
            if first is not name:
                self.names[tid] = first
                return
        self.names[tid] = name
        self.number[name] = tid
        request = arguments.request
        files = 0 if request is None else len(request.outputs) - request.streams
        self.builder.task(name, outputs=(RESULT, *map(_file, range(files))) if files else _ONE)
        for source in self._all(arguments.futures):
            self.builder.edge(source, name)

    def _all(self, futures: Iterable[Future[Any]]) -> Iterator[Source]:
        for future in futures:
            yield from self.sources(future)

    def sources(self, future: Future[Any]) -> Sequence[Source]:
        """What of the plan a future stands for; nothing if it is not of the plan."""
        output = RESULT
        if isinstance(future, DataFuture):
            output, future = _file(future._index), future.parent
        if not isinstance(future, AppFuture) or self._recorded.get(future.tid) is not future:
            return ()
        parts = self._parts.get(future.tid)
        return ((self.names[future.tid], output),) if parts is None else parts


_ONE = (RESULT,)


def _file(index: int) -> str:
    return f"file{index}"


def flat(things: Any) -> Iterator[Any]:
    """What stands in builtin containers, however deep.

    >>> list(flat([1, (2, {"a": 3})]))
    [1, 2, 3]
    """
    if isinstance(things, dict):
        things = things.values()
    elif not isinstance(things, (list, tuple, set, frozenset)):
        yield things
        return
    for thing in things:
        yield from flat(thing)
