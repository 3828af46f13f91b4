"""How a job is made: named tasks, named outputs, edges in any order, checked at the end.

Rule of this file: what is said about a job may be said in any order, so only what is wrong in
itself (a name that is no string, a second task of one name) is refused at once; everything else
waits for :meth:`JobBuilder.build`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import accumulate, islice
from operator import le

from .. import errors
from . import validate
from .job import AFTER, RESULT, Edges, Job, Output, Shape, Tasks, shown

#: A task, for its only output, or a task and the name of one.
Source = str | tuple[str, str]
#: A task, for an edge that says "after", or a task and the name of a parameter.
Target = str | tuple[str, str]

#: Stands for "the only output" among the numbers of names.
_ONLY = -1


class JobBuilder:
    """Gathers what makes a job.

    >>> builder = JobBuilder()
    >>> builder.task("split", outputs=("train", "test"))
    'split'
    >>> builder.task("fit", parameters=("data",))
    'fit'
    >>> builder.task("score", parameters=("model", "data"))
    'score'
    >>> builder.edge(("split", "train"), ("fit", "data"))
    >>> builder.edge("fit", ("score", "model"))
    >>> builder.edge(("split", "test"), ("score", "data"))
    >>> builder.want("fit", "score")
    >>> builder.build()
    <Job: 3 tasks, 3 edges, 2 requested>
    """

    def __init__(self) -> None:
        self._shapes: dict[Shape, int] = {}
        self._tasks: dict[str, int] = {}
        # Edges: numbers of names, which are resolved at the end. Three million edges are mostly
        # mentions of the same names, and equal strings need not be kept more than once.
        self._mentioned: dict[str, int] = {}
        self._sources = array("i")
        self._outputs = array("i")
        self._targets = array("i")
        self._parameters = array("i")
        self._groups: list[tuple[str, ...]] = []
        self._wanted: list[tuple[str, str | None]] | None = None

    def task(
        self,
        name: str,
        *,
        outputs: Iterable[str] = (RESULT,),
        parameters: Iterable[str] | None = None,
    ) -> str:
        """Define a task.

        Args:
            name: any characters, any length, once.
            outputs: names of what it gives.
            parameters: names of what edges must give it, each at least once; None takes any edge
                and misses none.

        Returns:
            the name.

        Raises:
            DuplicateTaskError: there is one of that name.
            JobFormatError: a name is no string, or the outputs are none, or one occurs twice.
        """
        if not isinstance(name, str):
            raise validate.no_name("A task's name", name, name)
        if name in self._tasks:
            raise errors.DuplicateTaskError(
                f"Two tasks are called {shown(name)}.",
                hint="Give each task a name of its own.",
                tasks=(name,),
            )
        shape = Shape(
            _names(name, "outputs", outputs),
            None if parameters is None else _names(name, "parameters", parameters),
        )
        if not shape.outputs:
            raise errors.JobFormatError(
                f"Task {shown(name)} has no output.",
                hint="A task that gives nothing has an output too: that it is done.",
                tasks=(name,),
            )
        self._tasks[name] = self._shapes.setdefault(shape, len(self._shapes))
        return name

    def edge(self, source: Source, target: Target) -> None:
        """Say that a task takes an output of another.

        Args:
            source: a task and its output; the task alone if it has one output.
            target: a task and its parameter; the task alone if it only comes after. A parameter
                may be given by several edges.
        """
        giver, output = (source, None) if isinstance(source, str) else _pair("source", source)
        taker, parameter = (target, AFTER) if isinstance(target, str) else _pair("target", target)
        self.link(giver, output, taker, parameter)

    def link(self, giver: str, output: str | None, taker: str, parameter: str) -> None:
        """:meth:`edge`, for those who know that all of these are strings; None: the only output."""
        mentioned = self._mentioned
        number = mentioned.setdefault
        self._sources.append(number(giver, len(mentioned)))
        self._outputs.append(_ONLY if output is None else number(output, len(mentioned)))
        self._targets.append(number(taker, len(mentioned)))
        self._parameters.append(number(parameter, len(mentioned)))

    def group(self, *tasks: str) -> None:
        """Say that tasks must run together: all of them, or none."""
        for name in tasks:
            if not isinstance(name, str):
                raise validate.no_name("A task's name in a group", name, name)
        if tasks:
            self._groups.append(tuple(dict.fromkeys(tasks)))

    def want(self, *outputs: Source) -> None:
        """Request outputs; a task alone stands for all of its outputs.

        A builder that is never asked wants the sinks; one that is asked for nothing wants nothing.
        """
        if self._wanted is None:
            self._wanted = []
        self._wanted += [
            (output, None) if isinstance(output, str) else _pair("want", output)
            for output in outputs
        ]

    def build(self) -> Job:
        """The job.

        Raises:
            UnknownTaskError: an edge or a group names a task that is not defined.
            UnknownOutputError: an edge takes an output that its source does not have.
            UnknownParameterError: an edge goes to a parameter that its target does not have.
            MissingArgumentError: no edge gives a parameter that was declared.
            UnknownWantError: what is wanted is not in the job.
            GroupError: a task is in two groups.
            PlanCycleError: tasks wait for one another.
        """
        tasks = Tasks.make(self._tasks, list(self._shapes), array("i", self._tasks.values()))
        job = Job(tasks, self._edges(tasks), tuple(self._groups))
        validate.groups(job)
        job = Job(job.tasks, job.edges, job.groups, self._requested(job))
        validate.validate(job)
        return job

    def _edges(self, tasks: Tasks) -> Edges:
        names = list(self._mentioned)
        place = [tasks.number.get(name, -1) for name in names]
        targets = array("i", map(place.__getitem__, self._targets))
        givers = array("i", map(place.__getitem__, self._sources))
        if -1 in targets or -1 in givers:
            raise validate.unknown_end(
                tasks,
                map(names.__getitem__, self._sources),
                map(names.__getitem__, self._targets),
            )
        sources = self._resolved(tasks, givers, names)
        counts = [0] * (len(tasks) + 1)
        for target in targets:
            counts[target + 1] += 1
        parameters = self._parameters
        if not all(map(le, targets, islice(targets, 1, None))):
            order = sorted(range(len(targets)), key=targets.__getitem__)  # stable: as they came
            sources = array("i", map(sources.__getitem__, order))
            parameters = array("i", map(parameters.__getitem__, order))
        # a copy: a builder may go on, and what it has built does not change
        return Edges.make(tasks, array("i", accumulate(counts)), sources, parameters[:], names)

    def _resolved(self, tasks: Tasks, givers: array[int], names: list[str]) -> array[int]:
        """Numbers of the outputs that edges name."""
        first, shape_of = tasks.first_output, tasks.shape_of
        number = self._mentioned
        places = [
            {number[name]: at for at, name in enumerate(shape.outputs) if name in number}
            for shape in tasks.shapes
        ]
        for place, shape in zip(places, tasks.shapes, strict=True):
            if len(shape.outputs) == 1:
                place[_ONLY] = 0
        try:
            return array(
                "i",
                [
                    first[task] + places[shape_of[task]][output]
                    for task, output in zip(givers, self._outputs, strict=True)
                ],
            )
        except KeyError:
            outputs = (None if at == _ONLY else names[at] for at in self._outputs)
            targets = map(names.__getitem__, self._targets)
            edges = zip(givers, outputs, targets, strict=True)
            raise validate.unknown_output(tasks, edges) from None

    def _requested(self, job: Job) -> tuple[Output, ...]:
        if self._wanted is None:
            return sinks(job)
        found: dict[Output, None] = {}
        for name, output in self._wanted:
            outputs = job.outputs(name) if name in job.tasks else ()
            if not outputs or (output is not None and output not in outputs):
                raise validate.unknown_want(name, output, outputs)
            for each in outputs if output is None else (output,):
                found[Output(name, each)] = None
        return tuple(found)


def sinks(job: Job) -> tuple[Output, ...]:
    """All outputs of the tasks that nobody takes anything from."""
    tasks = job.tasks
    taken = bytearray(len(tasks))
    for output in set(job.edges.source):
        taken[tasks.owner[output]] = 1
    return tuple(
        Output(name, output)
        for number, name in enumerate(tasks)
        if not taken[number]
        for output in tasks.shape(number).outputs
    )


def _names(task: str, what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Iterable):
        raise errors.JobFormatError(
            f"The {what} of task {shown(task)} are {shown(names)}, which is no list of names.",
            hint=f"Give the names of its {what}, as a list.",
            tasks=(task,),
        )
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise validate.no_name(f"A name among the {what} of task {shown(task)}", name, task)
    if len(set(found)) != len(found):
        raise errors.JobFormatError(
            f"Task {shown(task)} has two {what} of one name.",
            hint=f"Give each of its {what} a name of its own.",
            tasks=(task,),
        )
    return found


def _pair(what: str, pair: object) -> tuple[str, str]:
    if (
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], str)
    ):
        return pair
    raise errors.JobFormatError(
        f"A {what} is {shown(pair)}, which is neither a task nor a pair of two names.",
        hint="Write 'task' or ('task', 'name').",
        tasks=(),
    )
