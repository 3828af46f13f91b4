"""How a job is made: named tasks, named outputs, edges in any order, checked at the end.

Rule of this file: what is said about a job may be said in any order, so only what is wrong in
itself (a name that is no string, a second task of one name) is refused at once; everything else
waits for :meth:`JobBuilder.build`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from .. import errors
from . import validate
from .job import AFTER, RESULT, Edges, Job, Output, Shape, Tasks, shown

#: A task, for its only output, or a task and the name of one.
Source = str | tuple[str, str]
#: A task, for an edge that says "after", or a task and the name of a parameter.
Target = str | tuple[str, str]


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
        # Names, resolved at the end; four lists, because a million tuples would be objects
        self._sources: list[str] = []
        self._outputs: list[str | None] = []
        self._targets: list[str] = []
        self._parameters: list[str] = []
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
        self._sources.append(giver)
        self._outputs.append(output)
        self._targets.append(taker)
        self._parameters.append(parameter)

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
        try:
            targets = array("i", map(tasks.number.__getitem__, self._targets))
            sources = array("i", map(tasks.number.__getitem__, self._sources))
        except KeyError:
            raise validate.unknown_end(tasks, self._sources, self._targets) from None
        single = all(len(shape.outputs) == 1 for shape in tasks.shapes)
        if not single or any(output is not None for output in self._outputs):
            sources = self._resolved(tasks, sources)
        known = {name: at for at, name in enumerate(dict.fromkeys(self._parameters))}
        parameter = array("i", map(known.__getitem__, self._parameters))
        counts = [0] * (len(tasks) + 1)
        for target in targets:
            counts[target + 1] += 1
        for task in range(len(tasks)):
            counts[task + 1] += counts[task]
        first = array("i", counts)
        order = sorted(range(len(targets)), key=targets.__getitem__)  # stable: as they were said
        return Edges.make(
            tasks,
            first,
            array("i", map(sources.__getitem__, order)),
            array("i", map(parameter.__getitem__, order)),
            list(known),
        )

    def _resolved(self, tasks: Tasks, sources: array[int]) -> array[int]:
        """Numbers of the outputs that edges name."""
        places = [{name: at for at, name in enumerate(s.outputs)} for s in tasks.shapes]
        for place in places:
            if len(place) == 1:
                place[None] = 0  # type: ignore[index]
        first, shape_of = tasks.first_output, tasks.shape_of
        try:
            return array(
                "i",
                [
                    first[task] + places[shape_of[task]][output]  # type: ignore[index]
                    for task, output in zip(sources, self._outputs, strict=True)
                ],
            )
        except KeyError:
            raise validate.unknown_output(
                tasks, zip(sources, self._outputs, self._targets, strict=True)
            ) from None

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
