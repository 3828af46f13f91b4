"""A plan as a page: one file that needs no other, no network and no script.

Rule of this file: what is told is told by :mod:`~parsl_ckpt.plan.explain` and drawn by
:mod:`~parsl_ckpt.plan.svg`; here it is only set.  Every text that comes from elsewhere is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from . import svg
from .explain import MAYBE, STATES, TASKS, Explanation, cells, short, tasks_of
from .job import Job
from .svg import text
from .trim import Trim

_STYLE = """\
.parsl-plan { font: 14px/1.45 system-ui, sans-serif; color: #1b1b1b; background: #fff; }
.parsl-plan table { border-collapse: collapse; margin: 0.6em 0 1em; }
.parsl-plan th, .parsl-plan td { padding: 0.15em 0.9em 0.15em 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid #e4e4e4; }
.parsl-plan .number { text-align: right; font-variant-numeric: tabular-nums; }
.parsl-plan pre { margin: 0.2em 0 0.8em 1.5em; font-size: 12px; }
.parsl-plan .run { color: #1f5fa8; } .parsl-plan .restored { color: #2f6f2f; }
.parsl-plan .cut { color: #808080; }
.parsl-plan .drawing { overflow: auto; border: 1px solid #e4e4e4; margin: 0.5em 0 1.2em; }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 1.5em; }}</style>
</head>
<body>
{body}
</body>
</html>
"""

_LEGEND = (
    "<p>Blue: runs. Green: restored. Dashed: cut away. A thick border: wanted. Numbers at arrows "
    "count what is handed on.</p>"
)


def page(told: Explanation, job: Job, trim: Trim, app_of: Callable[[str], str]) -> str:
    """A plan as a page.

    Args:
        told: what is told of it.
        job: the whole job.
        trim: what was found of it.
        app_of: the app of a task.
    """
    body = _set(told, list(_drawings(job, trim, app_of)))
    return _PAGE.format(title=text(told.summary()), body=body)


def fragment(told: Explanation) -> str:
    """An explanation as a part of a page, such as the output of a notebook's cell."""
    return _set(told, [])


def _drawings(job: Job, trim: Trim, app_of: Callable[[str], str]) -> Iterator[str]:
    if not len(job):
        return
    apps = svg.apps(job, trim, app_of)
    yield "<h2>By app</h2>"
    yield _LEGEND
    yield _framed(apps) if apps else "<p>There are too many apps to be drawn.</p>"
    tasks = svg.tasks(job, trim)
    yield "<h2>Task by task</h2>"
    if tasks:
        yield _framed(tasks)
    else:
        yield (
            f"<p>{len(job):,} tasks are too many to be drawn here; plan.to_dot() has them all.</p>"
        )


def _framed(drawing: str) -> str:
    return f'<div class="drawing">\n{drawing}\n</div>'


def _set(told: Explanation, drawings: Sequence[str]) -> str:
    parts = [f'<div class="parsl-plan">\n<style>{_STYLE}</style>', f"<p>{text(told.summary())}"]
    if told.forecast is not None and told.run:
        parts.append(f"<br>Forecast: {text(told.foretold())}.")
    parts.append("</p>")
    if told.wrong:
        wrong = "\n".join(f"{app}: {what}" for app, what in told.wrong[:TASKS])
        parts.append(f"<p>Calls that cannot be made:</p><pre>{text(wrong)}</pre>")
    if told.total:
        parts.append(_table(("app", *STATES, "work"), [cells(one) for one in told.apps], 1))
    parts += drawings
    parts += _causes(told)
    if told.tasks:
        parts.append("<h2>Tasks</h2>")
        rows = [(short(name), state, why) for name, _, state, why in told.tasks]
        parts.append(_table(("task", "state", "why"), rows, 0))
        if len(told.tasks) < told.total:
            parts.append(f"<p>and {told.total - len(told.tasks):,} more.</p>")
    for name, reason in told.reasons:
        parts.append(f"<p>{text(name)}</p><pre>{text(reason)}</pre>")
    return "\n".join([*parts, "</div>"])


def _causes(told: Explanation) -> Iterator[str]:
    if not told.causes:
        return
    yield f"<h2>Why they {'ran' if told.ran else 'run'}</h2>\n<ul>"
    for cause in told.causes:
        yield f"<li>{text(cause.app)} ({text(tasks_of(cause))}): {text(cause.why)}."
        if cause.details:
            lines = "\n".join(cause.details)
            yield f"<pre>{text(lines)}</pre>"
        yield "</li>"
    yield "</ul>"
    if told.maybe and not told.ran:
        yield f"<p>{text(MAYBE)}</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> str:
    """A table; from column ``right`` on of numbers, 0 for none."""

    def row(cells: Sequence[str], tag: str) -> str:
        told = []
        for at, cell in enumerate(cells):
            kind = "number" if right and at >= right else cell if cell in STATES else ""
            marked = f' class="{kind}"' if kind else ""
            told.append(f"<{tag}{marked}>{text(cell)}</{tag}>")
        return f"<tr>{''.join(told)}</tr>"

    lines = [row(head, "th"), *(row(cells, "td") for cells in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
