"""What of a job need not be computed, given what is persisted.

The rule, from which everything here follows:

* An output is *needed* if it is requested or taken by a task that runs.
* A task *runs* if an output of it is needed and not persisted, or if it stands in a group with a
  task that runs.
* A task that does not run and of which an output is needed is *restored*: it stays as a leaf.
* Every other task that does not run is *cut*.

The rule is monotone (a task that runs only adds needs), so its least solution is found by walking
back once: every task is expanded at most once, every edge looked at at most once. Nothing is
loaded, nothing recurses. The idea is that of the graph-level restart of earthkit-workflows'
*cascade*.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

from .. import errors
from .job import Edges, Job, Shape, Tasks, is_job, shown


class Ignored(NamedTuple):
    """Something persisted that is of no use, and why.

    Args:
        task: name of the task; or, if ``known`` is false, what the job does not know.
        why: a sentence.
        known: whether the job has it.
    """

    task: object
    why: str
    known: bool = True


@dataclass(frozen=True)
class Trim:
    """A job without what need not be computed.

    Args:
        job: what is kept, in the order of the whole job: what runs, and as leaves what is restored.
        restored: names of the tasks that are taken from what is persisted; all are in ``job``.
        cut: names of the tasks that nobody needs any more.
        ignored: what is persisted and of no use; what the job does not know comes last.
    """

    job: Job
    restored: tuple[str, ...]
    cut: tuple[str, ...]
    ignored: tuple[Ignored, ...]

    @property
    def run(self) -> tuple[str, ...]:
        """Names of the tasks that run."""
        restored = frozenset(self.restored)
        return tuple(name for name in self.job.tasks if name not in restored)


def trim(job: Job, persisted: Iterable[object]) -> Trim:
    """Cut away what is no longer needed.

    Args:
        job: the whole job.
        persisted: what need not be computed: names of tasks (all of their outputs), or pairs of a
            task's and an output's name. What the job does not know is ignored.

    Returns:
        what is left, with reasons.

    Raises:
        PlanError: ``persisted`` is a single string, or there is no job.

    >>> job = Job.of(["read", "clean", "fit"], [("read", "clean"), ("clean", "fit")])
    >>> found = trim(job, {"clean"})
    >>> found.restored, found.cut, found.run
    (('clean',), ('read',), ('fit',))
    >>> trim(job, ["fit", "clean"]).cut
    ('read', 'clean')
    """
    is_job(job)
    there, unknown = _there(job, persisted)
    walk = _Walk(job, there)
    walk.back()
    runs, restored = walk.runs, walk.restored()
    names = job.tasks.names
    if not any(restored) and all(runs):
        kept = job
        cut: tuple[str, ...] = ()
    else:
        keep = bytes(map(int.__or__, runs, restored))
        kept = _kept(job, keep, restored)
        cut = tuple(compress(names, bytes(map((1).__sub__, keep))))
    return Trim(kept, tuple(compress(names, restored)), cut, (*walk.ignored(), *unknown))


def _there(job: Job, persisted: Iterable[object]) -> tuple[bytearray, list[Ignored]]:
    """For each output whether it is persisted; what is persisted and unknown."""
    if isinstance(persisted, (str, bytes)):
        raise errors.PlanError(
            f"What is persisted should be names, and is the string {shown(persisted)}.",
            hint="Put it into a list.",
            tasks=(),
        )
    tasks = job.tasks
    first, number = tasks.first_output, tasks.number
    there = bytearray(len(tasks.owner))
    unknown: dict[str, Ignored] = {}
    for item in persisted:
        name, output = item if isinstance(item, (tuple, list)) and len(item) == 2 else (item, None)
        task = number.get(name) if isinstance(name, str) else None
        if task is not None:
            if output is None:
                for at in range(first[task], first[task + 1]):
                    there[at] = 1
                continue
            outputs = tasks.shape(task).outputs
            if output in outputs:
                there[first[task] + outputs.index(output)] = 1
                continue
        told = shown(item)
        unknown.setdefault(told, Ignored(item, "the job does not have it", known=False))
    return there, [unknown[told] for told in sorted(unknown)]


class _Walk:
    """One walk from the requested outputs back to what is there."""

    def __init__(self, job: Job, there: bytearray) -> None:
        self.job = job
        self.there = there
        self.needed = bytearray(len(there))
        self.runs = bytearray(len(job))
        number = job.tasks.number
        self.group_of: dict[int, tuple[int, ...]] = {}
        for group in job.groups:
            members = tuple(number[name] for name in group)
            self.group_of.update(dict.fromkeys(members, members))
        #: what made a group run: the output, by the group's first member
        self.cause: dict[int, int] = {}

    def back(self) -> None:
        there, needed, runs, group_of = self.there, self.needed, self.runs, self.group_of
        owner, first, source = self.job.tasks.owner, self.job.edges.first, self.job.edges.source
        todo: list[int] = []
        outputs: Iterable[int] = self.job.wanted()
        while True:
            for output in outputs:
                if needed[output]:
                    continue
                needed[output] = 1
                if there[output] or runs[task := owner[output]]:
                    continue
                if task in group_of:
                    members = group_of[task]
                    self.cause[members[0]] = output
                    for member in members:
                        runs[member] = 1
                    todo += members
                else:
                    runs[task] = 1
                    todo.append(task)
            if not todo:
                return
            task = todo.pop()
            outputs = source[first[task] : first[task + 1]]

    def restored(self) -> bytearray:
        """For each task whether it is."""
        found = bytearray(len(self.runs))
        owner, runs = self.job.tasks.owner, self.runs
        for output in compress(range(len(owner)), self.needed):
            task = owner[output]
            if not runs[task]:
                found[task] = 1
        return found

    def ignored(self) -> list[Ignored]:
        """The tasks that run although something of them is persisted."""
        owner, runs = self.job.tasks.owner, self.runs
        found = dict.fromkeys(
            owner[output]
            for output in compress(range(len(owner)), self.there)
            if runs[owner[output]]
        )
        return [Ignored(self.job.tasks[task], self._why(task)) for task in found]

    def _why(self, task: int) -> str:
        tasks = self.job.tasks
        for at in range(tasks.first_output[task], tasks.first_output[task + 1]):
            if self.needed[at] and not self.there[at]:
                output = tasks.output(at).output
                return f"output {shown(output)} is needed too, and is not persisted"
        cause = tasks.output(self.cause[self.group_of[task][0]])
        return (
            f"it runs together with {shown(cause.task)}, of which output {shown(cause.output)} is "
            "needed and not persisted"
        )


def _kept(job: Job, keep: bytes, restored: bytearray) -> Job:
    """The job of the tasks that are kept; the restored ones take nothing."""
    old, edges = job.tasks, job.edges
    leaves = [Shape(shape.outputs, ()) for shape in old.shapes]
    leaf = len(old.shapes)
    shape_of = array(
        "i",
        [old.shape_of[task] + leaf * restored[task] for task in compress(range(len(old)), keep)],
    )
    tasks = Tasks.make(compress(old.names, keep), _distinct(old.shapes, leaves, shape_of), shape_of)
    return Job(
        tasks,
        _kept_edges(edges, tasks, keep, restored),
        tuple(group for group in job.groups if _runs(old, group[0], keep, restored)),
        job.requested,
    )


def _distinct(shapes: tuple[Shape, ...], leaves: list[Shape], shape_of: array[int]) -> list[Shape]:
    """All shapes, none twice: a task that takes nothing may look like a restored one."""
    every = [*shapes, *leaves]
    where = {shape: at for at, shape in reversed(list(enumerate(every)))}
    same = [where[shape] for shape in every]
    if same != list(range(len(every))):
        shape_of[:] = array("i", map(same.__getitem__, shape_of))
    return every


def _runs(tasks: Tasks, name: str, keep: bytes, restored: bytearray) -> bool:
    task = tasks.number[name]
    return bool(keep[task] and not restored[task])


def _kept_edges(edges: Edges, tasks: Tasks, keep: bytes, restored: bytearray) -> Edges:
    owner, first = edges.tasks.owner, edges.first
    renumbered = array("i", bytes(len(owner) * array("i").itemsize))
    kept_outputs = compress(range(len(owner)), map(keep.__getitem__, owner))
    for new, output in enumerate(kept_outputs):
        renumbered[output] = new
    source, parameter, begins = array("i"), array("i"), array("i", [0])
    for task in compress(range(len(keep)), keep):
        if not restored[task]:
            source.extend(edges.source[first[task] : first[task + 1]])
            parameter.extend(edges.parameter[first[task] : first[task + 1]])
        begins.append(len(source))
    source = array("i", map(renumbered.__getitem__, source))
    return Edges.make(tasks, begins, source, parameter, edges.parameters)
