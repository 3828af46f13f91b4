"""A job as a picture, in the language of Graphviz.

Rule of this file: names are data. Nodes are called ``n0``, ``n1``, …; a name stands in a label
only, escaped, and shortened where it is long, so that no name can end a string, open an attribute
or be taken for markup. The escapes are those of https://graphviz.org/doc/info/lang.html and of
``escString`` (a backslash in a label asks for something, and so does ``&``).
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import errors
from .job import AFTER, RESULT, Edge, Job, is_job, shown
from .trim import Trim

#: Longer names are shortened, in characters.
MOST = 120

_STYLES = {
    "run": "",
    "restored": 'style=filled, fillcolor="#cfe8cf", shape=cylinder',
    "cut": 'style=dashed, color="#999999", fontcolor="#999999"',
}


def to_dot(job: Job, trim: Trim | None = None) -> str:
    """The text from which ``dot -Tsvg`` draws a job.

    Args:
        job: the whole job.
        trim: what was found of it; with it, what is restored is drawn as a filled cylinder and what
            is cut in dashes, and edges that nothing goes along are dashed too.

    Returns:
        the text, the same for the same job. Wanted tasks have a double border.

    >>> job = Job.of(["a", "b"], [("a", ("b", "x"))])
    >>> print(to_dot(job), end="")
    digraph plan {
      rankdir=LR;
      node [shape=box];
      n0 [label="a"];
      n1 [label="b", peripheries=2];
      n0 -> n1 [label="x"];
    }
    """
    is_job(job)
    if trim is not None and not isinstance(trim, Trim):
        raise errors.PlanError(
            f"What was found of the job is {shown(trim)}, which no trimming gives.",
            hint="Give what trim(job, persisted) returns, or nothing.",
            tasks=(),
        )
    return "\n".join(_lines(job, trim)) + "\n"


def _lines(job: Job, trim: Trim | None) -> Iterator[str]:
    number = job.tasks.number
    restored = frozenset(trim.restored if trim else ())
    cut = frozenset(trim.cut if trim else ())
    wanted = frozenset(task for task, _ in job.requested)
    yield "digraph plan {"
    yield "  rankdir=LR;"
    yield "  node [shape=box];"
    for at, name in enumerate(job.tasks):
        state = "restored" if name in restored else "cut" if name in cut else "run"
        about = [f"label={quoted(name)}", _STYLES[state]]
        if name in wanted:
            about.append("peripheries=2")
        yield f"  n{at} [{', '.join(filter(None, about))}];"
    for at, group in enumerate(job.groups):
        members = " ".join(f"n{number[name]};" for name in group)
        yield f'  subgraph cluster_{at} {{ label="together"; style=rounded; {members} }}'
    for edge in job.edges:
        idle = edge.target in restored or edge.target in cut
        label = _between(edge)
        about = [f"label={quoted(label)}" if label else "", "style=dashed" if idle else ""]
        told = ", ".join(filter(None, about))
        yield f"  n{number[edge.source]} -> n{number[edge.target]}{f' [{told}]' if told else ''};"
    yield "}"


def _between(edge: Edge) -> str:
    """What is said of an edge: its output unless it is the only one, and its parameter."""
    if edge.output == RESULT:
        return edge.parameter
    return edge.output if edge.parameter == AFTER else f"{edge.output} → {edge.parameter}"


def quoted(name: str) -> str:
    """A name as a quoted label that shows it, whatever it is made of.

    >>> print(quoted('say "hi" to R&D'))
    "say \\"hi\\" to R&amp;D"
    """
    if len(name) > MOST:
        name = f"{name[: MOST - 1]}…"
    return f'"{"".join(map(_character, name))}"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return ascii(character)[1:-1].replace("\\", "\\\\")  # \x00, a lone surrogate: shown, not sent


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
