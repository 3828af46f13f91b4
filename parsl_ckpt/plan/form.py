"""The JSON form of a job: what tools read and write.

A text in UTF-8 (or ASCII, as we write it), one object::

    {
      "format": "parsl_ckpt.job",
      "version": 1,
      "tasks": [
        {"id": "split", "outputs": ["train", "test"]},
        {"id": "fit", "parameters": ["data"], "inputs": [["data", "split", "train"]]}
      ],
      "groups": [["split", "fit"]],
      "requested": [["fit", "result"]]
    }

``id``
    Name of the task: any string, once.
``outputs``
    Names of what it gives, in order; absent: ``["result"]``.
``parameters``
    Names of what its inputs must give, each at least once; absent: not declared, any will do.
``inputs``
    The edges that end here, in order: parameter (``""`` says no more than "after"), task, output.
    Absent: none. A task may be named before it is defined.
``groups``
    Tasks that must run together; no task is in two. Absent: none.
``requested``
    Wanted outputs: task, output. Absent: all outputs of the tasks that nobody takes anything from.

A field that is not in this list is refused, and so is another version: a reader that passed over
what it does not know would compute another job. What is written is deterministic: fields in this
order, tasks as they were defined, absent where it can be, one task on a line.

Names are written with ``\\u`` escapes, so that any string survives, lone surrogates (parts of file
names that are not UTF-8) included.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from .. import errors
from .builder import JobBuilder
from .job import RESULT, Job, shown

FORMAT = "parsl_ckpt.job"
VERSION = 1

_JOB = ("format", "version", "tasks", "groups", "requested")
_TASK = ("id", "outputs", "parameters", "inputs")
_KNOWN = frozenset(_TASK)
_write = json.JSONEncoder(separators=(",", ":")).encode


def dump(job: Job) -> str:
    """The form of a job; equal jobs have equal forms.

    >>> print(dump(Job.of(["a", "b"], [("a", ("b", "x"))])))
    {"format":"parsl_ckpt.job","version":1,"tasks":[
    {"id":"a"},
    {"id":"b","inputs":[["x","a","result"]]}
    ],"groups":[],"requested":[["b","result"]]}
    """
    head = _write({"format": FORMAT, "version": VERSION})[:-1]
    tasks = ",\n".join(_write(_task(job, number)) for number in range(len(job)))
    tail = _write({"groups": job.groups, "requested": job.requested})[1:]
    return f'{head},"tasks":[\n{tasks}\n],{tail}'


def _task(job: Job, number: int) -> dict[str, Any]:
    outputs, parameters = job.tasks.shape(number)
    told: dict[str, Any] = {"id": job.tasks[number]}
    if outputs != (RESULT,):
        told["outputs"] = outputs
    if parameters is not None:
        told["parameters"] = parameters
    inputs = [(edge.parameter, edge.source, edge.output) for edge in job.edges.of(number)]
    if inputs:
        told["inputs"] = inputs
    return told


def load(text: str | bytes) -> Job:
    """The job of a form.

    Raises:
        JobFormatError: the text is no form of a job; the sentence names the task.
        PlanError: it is, and the job is wrong (:meth:`JobBuilder.build`).

    >>> load('{"format": "parsl_ckpt.job", "version": 1, "tasks": [{"id": "a", "inputs": 1}]}')
    Traceback (most recent call last):
    parsl_ckpt.errors.JobFormatError: The inputs of task 'a' should be a list: 1. Write a list.
    """
    return _Reader().job(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refused if a field stands in it twice: which one counts is anybody's guess."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        task = found.get("id")
        where = f" of task {shown(task)}" if isinstance(task, str) else ""
        _refuse(f"Field {shown(twice)}{where} stands there twice.", "Leave one of them.", task)
    return found


#: Stands where a task stood that the builder has by now.
_TAKEN = ("a task",)


class _Reader:
    """Hands each task to the builder as soon as it is parsed: a million of them as lists take 1 GB.

    What is wrong with one is kept until it is known that the text is a job at all.
    """

    def __init__(self) -> None:
        self._builder = JobBuilder()
        self._wrong: errors.PlanError | None = None

    def job(self, text: str | bytes) -> Job:
        found = self._parsed(text)
        for number, task in enumerate(_list(found.get("tasks"), "The field 'tasks' of the job")):
            if task is not _TAKEN:
                if self._wrong is not None:
                    raise self._wrong
                _refuse(f"Task number {number} has no name.", 'A task is an object with an "id".')
        for group in _list(found.get("groups", []), "The field 'groups' of the job"):
            if not _all_strings(group):
                _refuse(
                    f"A group is {shown(group)}, which is not a list of strings.",
                    'Write ["task", "task"].',
                )
            self._builder.group(*group)
        if "requested" in found:
            self._builder.want()
            for want in _list(found["requested"], "The field 'requested' of the job"):
                if not _all_strings(want, 2):
                    _refuse(
                        f"A requested output is {shown(want)}, which is not a list of 2 strings.",
                        'Write ["task", "output"].',
                    )
                self._builder.want((want[0], want[1]))
        return self._builder.build()

    def _parsed(self, text: str | bytes) -> dict[str, Any]:
        try:
            found = json.loads(text, object_pairs_hook=self._object)
        except errors.JobFormatError:
            raise
        except RecursionError:
            _refuse("The text is nested too deeply to be a job.", "See parsl_ckpt.plan.form.")
        except (ValueError, TypeError) as error:
            _refuse(
                f"The text is no JSON: {error}.", "Write it with Job.to_json, or a JSON library."
            )
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            _refuse(
                "The text is JSON, and no job.",
                f'A job is an object with "format": "{FORMAT}".',
            )
        version = found.get("version")
        if type(version) is not int or version != VERSION:
            _refuse(
                f"The job is written in version {shown(version)} of its form.",
                f"This library reads version {VERSION}.",
            )
        _only(found, _JOB, "The job")
        return found

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        found = _once(pairs)
        task = type(found.get("id")) is str and found.get("format") != FORMAT
        if task and self._wrong is None:
            try:
                self._take(found)
            except errors.PlanError as error:
                self._wrong = error
            else:
                return _TAKEN
        return found

    def _take(self, task: dict[str, Any]) -> None:
        name = task["id"]
        if not _KNOWN.issuperset(task):
            _only(task, _TASK, f"Task {shown(name)}", name)
        self._builder.task(
            name,
            outputs=_strings(task.get("outputs", [RESULT]), "outputs", name),
            parameters=(
                _strings(task["parameters"], "parameters", name) if "parameters" in task else None
            ),
        )
        link, edges = self._builder.link, task.get("inputs", [])
        if type(edges) is not list:
            _list(edges, f"The inputs of task {shown(name)}", name)
        for edge in edges:
            if not _all_strings(edge, 3):
                _refuse(
                    f"An input of task {shown(name)} is {shown(edge)}, which is not a list of 3 "
                    "strings.",
                    'Write ["parameter", "task", "output"].',
                    name,
                )
            parameter, source, output = edge
            link(source, output, name, parameter)


_STRINGS = frozenset((str,))


def _all_strings(value: object, count: int | None = None) -> bool:
    return (
        type(value) is list
        and (count is None or len(value) == count)
        and set(map(type, value)) <= _STRINGS
    )


def _strings(value: Any, what: str, task: str) -> list[str]:
    if not _all_strings(value):
        _refuse(
            f"The {what} of task {shown(task)} are {shown(value)}, which is not a list of strings.",
            f'Write "{what}": ["name", "name"].',
            task,
        )
    return value  # type: ignore[no-any-return]


def _list(value: Any, what: str, task: object = None) -> list[Any]:
    if type(value) is not list:
        _refuse(f"{what} should be a list: {shown(value)}.", "Write a list.", task)
    return value


def _only(found: dict[str, Any], known: Collection[str], what: str, task: object = None) -> None:
    for field in found:
        if field not in known:
            _refuse(
                f"{what} has a field {shown(field)}, which this version does not know.",
                f"The fields are: {', '.join(known)}.",
                task,
            )


def _refuse(sentence: str, hint: str, task: object = None) -> NoReturn:
    tasks = (task,) if isinstance(task, str) else ()
    raise errors.JobFormatError(sentence, hint=hint, tasks=tasks) from None
