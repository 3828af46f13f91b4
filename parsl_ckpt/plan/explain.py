"""What a plan would do, as a value that tells itself: how many tasks run, why, and for how long.

Rule of this file: nothing is found out here; :mod:`~parsl_ckpt.plan.finding` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .schedule import Forecast

RUN, RESTORED, CUT = "run", "restored", "cut"
STATES = (RUN, RESTORED, CUT)
#: How many tasks are told of, if nobody says.
TASKS = 20


class Planned(NamedTuple):
    """A task of a plan.

    Args:
        name: its name.
        app: the name of its app.
        state: ``"run"``, ``"restored"`` or ``"cut"``.
        why: a reason, as the end of a sentence.
    """

    name: str
    app: str
    state: str
    why: str


class Counted(NamedTuple):
    """The tasks of an app.

    Args:
        app: its name.
        run, restored, cut: how many there are of each.
        work: seconds that those which run took earlier; None if that is not known.
    """

    app: str
    run: int
    restored: int
    cut: int
    work: float | None


class Cause(NamedTuple):
    """Why tasks of one app run.

    Args:
        app: its name.
        why: the reason, as the end of a sentence.
        number: how many tasks run for it.
        task: the name of the first one.
        details: lines that tell more.
    """

    app: str
    why: str
    number: int
    task: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a plan would do, or did: ``str()`` tells it, in a notebook it is shown as tables.

    Attributes:
        apps: the tasks counted, by app, in the order of the plan.
        causes: why tasks run, by app.
        tasks: some tasks.
        total: how many there are.
        forecast: how long it would take, or what is left of it; None after it has run.
        reasons: of tasks that were asked for, in full.
        maybe: some tasks that are counted as running may turn out to be known when what they take
            is.
        ran: the plan has run.
        wrong: calls that cannot be made: the name of the app, and what is wrong.
    """

    apps: tuple[Counted, ...]
    causes: tuple[Cause, ...]
    tasks: tuple[Planned, ...]
    total: int
    forecast: Forecast | None
    reasons: tuple[tuple[str, Any], ...] = ()
    maybe: bool = False
    ran: bool = False
    wrong: tuple[tuple[str, str], ...] = ()

    @property
    def run(self) -> int:
        """How many tasks run."""
        return sum(one.run for one in self.apps)

    @property
    def restored(self) -> int:
        """How many tasks are restored."""
        return sum(one.restored for one in self.apps)

    @property
    def cut(self) -> int:
        """How many tasks are cut away."""
        return sum(one.cut for one in self.apps)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for programs."""
        return {
            "tasks": self.total, "run": self.run, "restored": self.restored, "cut": self.cut,
            "forecast": None if self.forecast is None else dict(vars(self.forecast)),
            "apps": [one._asdict() for one in self.apps],
            "causes": [one._asdict() | {"details": list(one.details)} for one in self.causes],
            "listed": [one._asdict() for one in self.tasks],
            "reasons": {name: reason.to_dict() for name, reason in self.reasons},
            "wrong": [list(one) for one in self.wrong],
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Explanation: {self.summary()}>"

    def __str__(self) -> str:
        return self.text()

    def text(self, more: str = "explain(tasks='all') has them") -> str:
        """As plain text.

        Args:
            more: where tasks are that are not told of, as the end of a sentence.
        """
        return "\n".join(self._lines(more)).rstrip()

    def _repr_html_(self) -> str:
        from .html import fragment

        return fragment(self)

    def _lines(self, where: str) -> Iterator[str]:
        yield self.summary()
        if self.forecast is not None and self.run:
            yield f"Forecast: {self.foretold()}."
        if self.wrong:
            yield ""
            yield "Calls that cannot be made:"
            for app, what in self.wrong[:TASKS]:
                yield f"  {app}: {what}"
            if len(self.wrong) > TASKS:
                yield f"  and {len(self.wrong) - TASKS:,} more"
        if not self.total:
            return
        yield ""
        yield from columns(("app", *STATES, "work"), [cells(one) for one in self.apps], right=1)
        if self.causes:
            yield ""
            yield "Why they ran:" if self.ran else "Why they run:"
            for cause in self.causes:
                yield f"  {cause.app} ({tasks_of(cause)}): {cause.why}."
                yield from (f"      {line}".rstrip() for line in cause.details)
        if self.maybe and not self.ran:
            yield ""
            yield MAYBE
        if self.tasks:
            yield ""
            told = [(short(name), state, why) for name, _, state, why in self.tasks]
            yield from columns(("task", "state", "why"), told)
            if len(self.tasks) < self.total:
                yield f"and {self.total - len(self.tasks):,} more; {where}."
        for name, reason in self.reasons:
            yield ""
            yield f"{name}"
            yield from (f"  {line}".rstrip() for line in str(reason).splitlines())

    def foretold(self) -> str:
        """The forecast, as the end of a sentence."""
        known = self.forecast
        if known is None or known.unknown == known.tasks:
            return "none, because no call of these apps is recorded"
        told = (
            f"{span(known.seconds)} for {plural(known.tasks, 'task')} on "
            f"{plural(known.width, 'worker')}"
        )
        if not known.unknown:
            return told
        count = "counts" if known.unknown == 1 else "count"
        return f"{told}, and longer: {known.unknown:,} of unknown duration {count} as nothing"

    def summary(self) -> str:
        """The counts, as a sentence."""
        if not self.total:
            return "The plan is empty: no call of an app was recorded in its with block."
        is_, run = ("was", "ran") if self.ran else ("is", "run")
        are = "were" if self.ran else "are"

        def told(number: int, what: str, one: str, many: str) -> str:
            verb = one if number == 1 else many
            return f"{number:,} {verb} {what}".strip() if number else f"none {one} {what}".strip()

        counts = (
            told(self.run, "", "ran" if self.ran else "runs", run),
            told(self.restored, "restored", is_, are),
            told(self.cut, "cut away", is_, are),
        )
        return f"Plan of {plural(self.total, 'task')}: {', '.join(counts)}."


MAYBE = (
    "A task that takes what runs is looked up once more by the values that it gets: it does not\n"
    "run if they are what they were."
)


# --- as text --------------------------------------------------------------------------------------


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> Iterator[str]:
    """A table in plain text.

    Args:
        head: the names of the columns.
        rows: the cells.
        right: from which column on cells are aligned to the right; 0 for none.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if right and at >= right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def cells(counted: Counted) -> tuple[str, ...]:
    """A row of the table of apps."""
    work = "" if not counted.run else "?" if counted.work is None else span(counted.work)
    numbers = [f"{number:,}" if number else "-" for number in counted[1:4]]
    return (short(counted.app), *numbers, work or "-")


def short(text: str, most: int = 60) -> str:
    """A name in a table, whatever it is made of."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= most else f"{text[: most - 1]}…"


def span(seconds: float) -> str:
    """A duration.

    >>> span(0.0000021), span(0.25), span(75.0), span(7200.0)
    ('2 µs', '250 ms', '75.0 s', '2.0 h')
    """
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.0f} {unit}"
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plural(number: int, what: str) -> str:
    """A counted noun."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def tasks_of(cause: Cause) -> str:
    """How many tasks run for a reason, and which."""
    return cause.task if cause.number == 1 else f"{cause.number:,} tasks, such as {cause.task}"
