"""A job: tasks with named outputs, and what each takes from the others.

Rule of this file: a job is a value. It is made whole (:class:`~parsl_ckpt.plan.builder.JobBuilder`,
:meth:`Job.of`, :meth:`Job.from_json`), checked then, and never changes. Names are what users see;
inside there are numbers in arrays, so that a million tasks with three million edges take some
hundred MB, most of it their names.

How it is laid out::

    tasks.names         name of each task, in the order in which they were defined
    tasks.shape_of      number of its shape; a shape is what many tasks share: outputs, parameters
    tasks.first_output  task t has the outputs first_output[t] .. first_output[t + 1] - 1
    tasks.owner         task of an output
    edges.first         task t takes the edges first[t] .. first[t + 1] - 1
    edges.source        the output that an edge takes
    edges.parameter     the parameter that it goes to: a number in edges.parameters

Equal jobs have equal arrays: shapes and parameters are numbered in the order of their first use.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat
from typing import Any, NamedTuple, TypeVar, overload

from .. import errors

#: The output of a task of which nothing else is said.
RESULT = "result"
#: The parameter of an edge that says no more than "after".
AFTER = ""


class Output(NamedTuple):
    """An output of a task, by name.

    Args:
        task: name of the task.
        output: name of the output.

    >>> Output("split", "train")
    Output(task='split', output='train')
    """

    task: str
    output: str = RESULT


class Edge(NamedTuple):
    """``target`` takes an output of ``source`` as its ``parameter``.

    Args:
        source: name of the task that gives.
        output: name of its output.
        target: name of the task that takes.
        parameter: name of what it is taken as; empty for a mere order.

    >>> Edge("split", "train", "fit", "data").target
    'fit'
    """

    source: str
    output: str
    target: str
    parameter: str = AFTER


class Shape(NamedTuple):
    """What many tasks have in common.

    Args:
        outputs: names of what it gives.
        parameters: names of what edges must give it; None where that is not declared, and any
            edge is welcome.
    """

    outputs: tuple[str, ...] = (RESULT,)
    parameters: tuple[str, ...] | None = None


_T = TypeVar("_T")


def by_first_use(numbers: array[int], values: Sequence[_T]) -> tuple[array[int], tuple[_T, ...]]:
    """The values that are used, in the order of their first use, and numbers to suit."""
    if len(values) == 1 and numbers:
        return numbers, tuple(values)
    used = list(dict.fromkeys(numbers))
    if used == list(range(len(used))):
        return numbers, tuple(values[: len(used)])
    new = {old: number for number, old in enumerate(used)}
    return array("i", map(new.__getitem__, numbers)), tuple(values[old] for old in used)


@dataclass(frozen=True, slots=True, repr=False)
class Tasks(Sequence[str]):
    """The names of a job's tasks, in order; iterated, they are names."""

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    shape_of: array[int]
    first_output: array[int] = field(compare=False)
    owner: array[int] = field(compare=False)
    number: dict[str, int] = field(compare=False)

    @classmethod
    def make(cls, names: Iterable[str], shapes: Sequence[Shape], shape_of: array[int]) -> Tasks:
        """Lay out tasks with distinct names."""
        names = tuple(names)
        shape_of, shapes = by_first_use(shape_of, shapes)
        sizes = [len(shape.outputs) for shape in shapes]
        if set(sizes) <= {1}:  # then outputs have the numbers of their tasks
            first = array("i", range(len(names) + 1))
            owner = array("i", range(len(names)))
        else:
            widths = [sizes[shape] for shape in shape_of]
            first = array("i", accumulate(widths, initial=0))
            owner = array("i", chain.from_iterable(map(repeat, range(len(names)), widths)))
        number = dict(zip(names, range(len(names)), strict=True))
        return cls(names, shapes, shape_of, first, owner, number)

    def shape(self, task: int) -> Shape:
        return self.shapes[self.shape_of[task]]

    def output(self, number: int) -> Output:
        """The output with this number, by name."""
        task = self.owner[number]
        return Output(self.names[task], self.shape(task).outputs[number - self.first_output[task]])

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.number

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return self.names[at]

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"<{len(self)} tasks>"


@dataclass(frozen=True, slots=True, repr=False)
class Edges:
    """What tasks take from one another, sorted by who takes; iterated, they are :class:`Edge`."""

    tasks: Tasks = field(compare=False)
    first: array[int]
    source: array[int]
    parameter: array[int]
    parameters: tuple[str, ...]

    @classmethod
    def make(
        cls,
        tasks: Tasks,
        first: array[int],
        source: array[int],
        parameter: array[int],
        parameters: Sequence[str],
    ) -> Edges:
        """Lay out edges that are sorted by who takes."""
        return cls(tasks, first, source, *by_first_use(parameter, parameters))

    def of(self, task: int) -> Iterator[Edge]:
        """The edges that end at the task with this number."""
        target = self.tasks.names[task]
        for at in range(self.first[task], self.first[task + 1]):
            source, output = self.tasks.output(self.source[at])
            yield Edge(source, output, target, self.parameters[self.parameter[at]])

    def __iter__(self) -> Iterator[Edge]:
        return chain.from_iterable(map(self.of, range(len(self.tasks))))

    def __len__(self) -> int:
        return len(self.source)

    def __hash__(self) -> int:
        return hash((len(self.first), len(self.source), self.parameters))

    def __repr__(self) -> str:
        return f"<{len(self)} edges>"


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """Tasks, what they take from one another, which run together, and which outputs are wanted.

    Made by :class:`~parsl_ckpt.plan.builder.JobBuilder` or :meth:`of`, which check it.

    Args:
        tasks: the names, with outputs and parameters.
        edges: what each takes.
        groups: names of tasks that must run together; no task is in two of them.
        requested: the outputs that are wanted.

    >>> job = Job.of(["read", "clean", "fit"], [("read", "clean"), ("clean", ("fit", "parts"))])
    >>> job
    <Job: 3 tasks, 2 edges, 1 requested>
    >>> [tuple(edge) for edge in job.edges]
    [('read', 'result', 'clean', ''), ('clean', 'result', 'fit', 'parts')]
    >>> Job.from_json(job.to_json()) == job
    True
    """

    tasks: Tasks
    edges: Edges
    groups: tuple[tuple[str, ...], ...] = ()
    requested: tuple[Output, ...] = ()

    @classmethod
    def of(
        cls,
        tasks: Iterable[str],
        edges: Iterable[tuple[Any, Any]] = (),
        groups: Iterable[Iterable[str]] = (),
        requested: Iterable[Any] | None = None,
    ) -> Job:
        """A job of tasks with one output each.

        Args:
            tasks: their names.
            edges: pairs of what :meth:`~parsl_ckpt.plan.builder.JobBuilder.edge` takes.
            groups: tasks that must run together.
            requested: what :meth:`~parsl_ckpt.plan.builder.JobBuilder.want` takes; the sinks if
                None.

        Raises:
            PlanError: of the kind that fits.
        """
        from .builder import JobBuilder

        builder = JobBuilder()
        for name in tasks:
            builder.task(name)
        for edge in edges:
            if not isinstance(edge, (tuple, list)) or len(edge) != 2:
                raise errors.JobFormatError(
                    f"An edge is {shown(edge)}, which is no pair of what gives and what takes.",
                    hint="Write ('task', 'task'), each with an output or a parameter if need be.",
                    tasks=(),
                )
            builder.edge(*edge)
        for group in groups:
            builder.group(*group)
        if requested is not None:
            builder.want(*requested)
        return builder.build()

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """The job that :meth:`to_json`, or another tool, has written.

        Raises:
            JobFormatError: the text is not of the form that :mod:`~parsl_ckpt.plan.form` describes.
            PlanError: it is, and the job is wrong.
        """
        from .form import load

        return load(text)

    def to_json(self) -> str:
        """The stable form of :mod:`~parsl_ckpt.plan.form`: equal jobs give equal texts."""
        from .form import dump

        return dump(self)

    def number(self, task: str) -> int:
        """Number of a task.

        Raises:
            UnknownTaskError: there is none of that name.
        """
        try:
            return self.tasks.number[task]
        except (KeyError, TypeError):
            raise errors.UnknownTaskError(
                f"The job has no task {shown(task)}.",
                hint="job.tasks has the names.",
                tasks=(task,),
            ) from None

    def outputs(self, task: str) -> tuple[str, ...]:
        """Names of what a task gives."""
        return self.tasks.shape(self.number(task)).outputs

    def parameters(self, task: str) -> tuple[str, ...] | None:
        """Names of what edges must give a task; None where that is not declared."""
        return self.tasks.shape(self.number(task)).parameters

    def inputs(self, task: str) -> tuple[Edge, ...]:
        """The edges that end at a task."""
        return tuple(self.edges.of(self.number(task)))

    def wanted(self) -> Iterator[int]:
        """Numbers of the requested outputs."""
        tasks = self.tasks
        for name, output in self.requested:
            task = tasks.number[name]
            yield tasks.first_output[task] + tasks.shape(task).outputs.index(output)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        counted = f"{len(self)} tasks, {len(self.edges)} edges, {len(self.requested)} requested"
        return f"<Job: {counted}>"


def is_job(found: object) -> None:
    """Refuse what is none.

    Raises:
        JobFormatError: it is none.
    """
    if not isinstance(found, Job):
        raise errors.JobFormatError(
            f"{shown(found)} is no job.",
            hint="JobBuilder, Job.of and Job.from_json make one; plan.job has that of a plan.",
            tasks=(),
        )


def shown(name: object, most: int = 80) -> str:
    """A name as it may stand in a sentence, whatever it is made of."""
    if isinstance(name, str) and len(name) > most:
        return f"{shown(name[:most])}… ({len(name)} characters)"
    try:
        told = repr(name) if isinstance(name, str) and name.isprintable() else ascii(name)
    except Exception:  # nested too deeply, or with a __repr__ of its own that fails
        return f"a {type(name).__name__}"
    return told if len(told) <= 12 * most else f"{told[:most]}…"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names as they may stand in a sentence, however many there are."""
    told = ", ".join(map(shown, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"
