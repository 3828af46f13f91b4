"""What can be wrong with a job, each a typed error that names the tasks and says what to do.

Rule of this file: checks are linear and iterative (a chain of a million tasks is an ordinary job),
and what makes an error readable is worked out only once there is one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from .. import errors
from .job import AFTER, Job, Tasks, is_job, listed, shown


def validate(job: Job) -> None:
    """Check what concerns a job as a whole; a job from a builder has been.

    Raises:
        MissingArgumentError, UnknownParameterError: edges and parameters do not agree.
        PlanCycleError: tasks wait for one another.

    >>> from parsl_ckpt.plan import Job
    >>> Job.of(["a", "b"], [("a", "b"), ("b", "a")])
    Traceback (most recent call last):
    parsl_ckpt.errors.PlanCycleError: Tasks wait for one another: 'a' -> 'b' -> 'a'. Remove one of \
these edges.
    """
    is_job(job)
    arguments(job)
    backwards(job)


def groups(job: Job) -> None:
    """Every member is a task of the job, and of one group only."""
    seen: set[str] = set()
    for group in job.groups:
        for name in group:
            if name not in job.tasks:
                raise errors.UnknownTaskError(
                    f"A group has task {shown(name)}, which the job does not have.",
                    hint="Define the task, or leave it out of the group.",
                    tasks=(name,),
                )
            if name in seen:
                raise errors.GroupError(
                    f"Task {shown(name)} is in two groups.",
                    hint="Make one group of them: tasks that run together with the same task run "
                    "together.",
                    tasks=(name,),
                )
            seen.add(name)


def arguments(job: Job) -> None:
    """Where parameters are declared, edges give each of them, and no other."""
    tasks, edges = job.tasks, job.edges
    declared = [None if s.parameters is None else frozenset(s.parameters) for s in tasks.shapes]
    if not any(known is not None for known in declared):
        return
    names, first = edges.parameters, edges.first
    for task, shape in enumerate(tasks.shape_of):
        known = declared[shape]
        if known is None:
            continue
        given = {names[at] for at in edges.parameter[first[task] : first[task + 1]]} - {AFTER}
        if given != known - {AFTER}:
            raise _disagreeing(tasks, task, given)


def _disagreeing(tasks: Tasks, task: int, given: set[str]) -> errors.PlanError:
    name, declared = tasks[task], tasks.shape(task).parameters or ()
    other = sorted(given.difference(declared))
    if other:
        has = f"It has {listed(declared)}." if declared else "It has none."
        return errors.UnknownParameterError(
            f"An edge goes to parameter {shown(other[0])} of task {shown(name)}, which it does not "
            "have.",
            hint=f"{has} Declare the parameter, or correct the edge.",
            tasks=(name,),
            parameter=other[0],
        )
    missing = tuple(p for p in declared if p not in given and p != AFTER)
    return errors.MissingArgumentError(
        f"No edge gives task {shown(name)} its {listed(missing)}.",
        hint="Add the edge, or declare only those parameters that edges give.",
        tasks=(name,),
        parameters=missing,
    )


def backwards(job: Job) -> array[int]:
    """Numbers of all tasks, each before those that it takes something from.

    A task that is free to be next is taken in the order in which it became so: deterministic.

    Raises:
        PlanCycleError: there is no such order.
    """
    owner, first, source = job.tasks.owner, job.edges.first, job.edges.source
    takers = [0] * len(job)
    for output in source:
        takers[owner[output]] += 1
    order = array("i", [task for task, count in enumerate(takers) if not count])
    for task in order:  # grows while it is read: it is the queue too
        for output in source[first[task] : first[task + 1]]:
            giver = owner[output]
            takers[giver] -= 1
            if not takers[giver]:
                order.append(giver)
    if len(order) < len(job):
        raise _cycle(job, takers)
    return order


def _cycle(job: Job, takers: Sequence[int]) -> errors.PlanCycleError:
    """The cycle that is found by going from taker to taker: each task left over has one."""
    owner, first, source = job.tasks.owner, job.edges.first, job.edges.source
    follows: dict[int, int] = {}
    for task, count in enumerate(takers):
        if count:
            for output in source[first[task] : first[task + 1]]:
                follows.setdefault(owner[output], task)
    at = next(task for task, count in enumerate(takers) if count)
    way: dict[int, None] = {}
    while at not in way:
        way[at] = None
        at = follows[at]
    passed = list(way)
    names = tuple(job.tasks[task] for task in passed[passed.index(at) :])
    told = " -> ".join(map(shown, names[:8]))
    more = f" … ({len(names) - 8} more)" if len(names) > 8 else ""
    return errors.PlanCycleError(
        f"Tasks wait for one another: {told}{more} -> {shown(names[0])}.",
        hint="Remove one of these edges.",
        tasks=names,
    )


# --- what a builder finds -------------------------------------------------------------------------


def no_name(what: str, found: object, task: object) -> errors.JobFormatError:
    return errors.JobFormatError(
        f"{what} is {shown(found)}, which is no string.",
        hint="Names are strings, of any characters and any length.",
        tasks=(task,) if isinstance(task, str) else (),
    )


def unknown_end(
    tasks: Tasks, sources: Iterable[str], targets: Iterable[str]
) -> errors.UnknownTaskError:
    """The first edge that begins or ends where there is no task."""
    source, target = next(
        edge
        for edge in zip(sources, targets, strict=True)
        if edge[0] not in tasks or edge[1] not in tasks
    )
    unknown = target if source in tasks else source
    return errors.UnknownTaskError(
        f"An edge goes from task {shown(source)} to task {shown(target)}, and the job has no task "
        f"{shown(unknown)}.",
        hint="Define the task, or correct the edge.",
        tasks=(unknown,),
        source=source,
        target=target,
    )


def unknown_output(
    tasks: Tasks, edges: Iterable[tuple[int, str | None, str]]
) -> errors.UnknownOutputError:
    """The first edge that takes what its source does not give."""
    source, output, target = next(
        edge
        for edge in edges
        if edge[1] not in (known := tasks.shape(edge[0]).outputs)
        and not (edge[1] is None and len(known) == 1)
    )
    outputs = tasks.shape(source).outputs
    if output is None:
        sentence = (
            f"Task {shown(target)} takes the result of task {shown(tasks[source])}, which has "
            f"{len(outputs)} outputs."
        )
    else:
        sentence = (
            f"Task {shown(target)} takes output {shown(output)} of task {shown(tasks[source])}, "
            "which it does not have."
        )
    return errors.UnknownOutputError(
        sentence,
        hint=f"Name one of {listed(outputs)}.",
        tasks=(tasks[source],),
        output=output,
        target=target,
    )


def unknown_want(
    name: str, output: str | None, outputs: tuple[str, ...]
) -> errors.UnknownWantError:
    if outputs:
        return errors.UnknownWantError(
            f"Output {shown(output)} of task {shown(name)} is wanted, and the task has no such "
            "output.",
            hint=f"Want one of {listed(outputs)}.",
            tasks=(name,),
            output=output,
        )
    return errors.UnknownWantError(
        f"Task {shown(name)} is wanted, and it is not in the plan.",
        hint="Want what the plan has, or define the task.",
        tasks=(name,),
        output=output,
    )
