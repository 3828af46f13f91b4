"""What a plan would do, told to a person: how many tasks run, why, and for how long.

    standings, trim ─► a state and a reason for each task ─► counted per app, grouped by reason
                                                          └─► some tasks, line by line

Rule of this file: nothing is found out here that takes more than a look at what was found out
already.  What the code of an app was is asked once for each app; a reason in full, with all that
differs, once for each task that is asked for by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from parsl_ckpt.checkpoint.rundir import run_of

from .earlier import Edition, Sample
from .schedule import Forecast
from .standing import ABSENT, Standing
from .trim import Trim

if TYPE_CHECKING:
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.task import Spec

RUN, RESTORED, CUT = "run", "restored", "cut"
STATES = (RUN, RESTORED, CUT)
#: How many tasks are told of, if nobody says.
TASKS = 20
#: How many lines of what has changed in an app.
LINES = 16

#: The name and the standing of a task of the plan; None for a future of somewhere else.
Named = Callable[["Future[Any]"], "tuple[str, Standing] | None"]


class Asks(Protocol):
    """Who knows more of what is recorded than a plan does."""

    def planned(self, future: AppFuture, standing: Standing, named: Named) -> Any:
        """Why a call would run, in full."""

    def edited(self, spec: Spec, code: bytes, version: str) -> Sequence[Any]:
        """How the code of an app differs from an earlier one."""


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
        forecast: how long it would take; None after it has run.
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


class View(NamedTuple):
    """What of a plan is to be explained; functions take the name of a task.

    Args:
        trim: what was found of it.
        names: of all tasks, in order.
        spec: the app of a task.
        standing: how a task stands.
        inputs: the names of the tasks that a task takes something from.
        sample: what is recorded of its apps.
        forecast: how long it takes; None if it has run.
        ran: it has run.
        lookup: what is recorded is looked up.
        wrong: calls that cannot be made.
    """

    trim: Trim
    names: Sequence[str]
    spec: Callable[[str], Spec]
    standing: Callable[[str], Standing]
    inputs: Callable[[str], Iterable[str]]
    sample: Sample
    forecast: Forecast | None
    ran: bool
    lookup: bool
    wrong: tuple[tuple[str, str], ...]


def explained(
    view: View,
    asks: Asks,
    seconds: Callable[[str], float | None],
    tasks: int | None,
    reasons: tuple[tuple[str, Any], ...] = (),
) -> Explanation:
    """Explain a plan.

    Args:
        view: the plan.
        asks: who tells what has changed in the code of an app.
        seconds: how long a task took earlier.
        tasks: how many are told of one by one; None for all.
        reasons: those that were asked for, in full.
    """
    teller = _Teller(view)
    every = list(map(teller.task, view.names))
    return Explanation(
        tuple(_by_app(every, seconds)),
        tuple(teller.causes(asks)),
        tuple(every if tasks is None or len(every) <= tasks else _some(every, tasks)),
        len(every),
        view.forecast,
        reasons,
        teller.maybe,
        view.ran,
        view.wrong,
    )


EDITED = "its code has changed"
NOT_CACHED = "its app is not cached"
OFF = "nothing is looked up (Config(app_cache=False), or PARSL_CKPT in the environment)"
_LATER = "it is known only when what it takes is"
#: What a standing says where more can be said.
_PLAIN = frozenset(
    {
        "",
        "nothing is recorded of it",
        "what it takes is computed anew",
        _LATER,
    }
)


class _Teller:
    """Gives each task of a plan its state and its reason, and counts the reasons."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._restored = frozenset(view.trim.restored)
        self._cut = frozenset(view.trim.cut)
        self._edited: dict[str, tuple[Edition, str] | None] = {}
        self._specs: dict[str, Spec] = {}
        self._causes: dict[tuple[str, str], list[Any]] = {}
        self.maybe = False

    def task(self, name: str) -> Planned:
        """Tell of a task."""
        spec = self._view.spec(name)
        standing = self._view.standing(name)
        if name in self._cut:
            return Planned(name, spec.name, CUT, "nobody needs it")
        if name in self._restored:
            return Planned(name, spec.name, RESTORED, _recorded(standing))
        cause, why = self._why(name, spec, standing)
        self._specs.setdefault(spec.name, spec)
        self._causes.setdefault((spec.name, cause), [name, 0])[1] += 1
        return Planned(name, spec.name, RUN, why)

    def _why(self, name: str, spec: Spec, standing: Standing) -> tuple[str, str]:
        """The reason as it is counted, and as it is told of this task."""
        why = standing.why
        if not spec.cache or spec.addresser is None:
            return NOT_CACHED, NOT_CACHED
        if not self._view.lookup:
            return OFF, OFF
        running = self._running(name)
        self.maybe = self.maybe or bool(running) or why == _LATER
        if why not in _PLAIN:
            return why, why
        if self.edited(spec) is not None:
            return EDITED, EDITED
        if running:
            some = ", ".join(running[:3]) + (" and more" if len(running) > 3 else "")
            verb = "runs" if len(running) == 1 else "run"
            return "what it takes runs", f"it takes {some}, which {verb}"
        if standing.state == ABSENT and why == "nothing is recorded of it":
            if spec.name in self._view.sample.apps:
                why = "no call with these arguments is recorded"
            elif self._view.sample.whole:
                why = "no call of it is recorded"
        return why, why

    def _running(self, name: str) -> list[str]:
        """Some of the tasks that a task takes something from and that run; at most four."""
        found: dict[str, None] = {}
        for source in self._view.inputs(name):
            if source not in self._restored and source not in self._cut:
                found[source] = None
                if len(found) > 3:
                    break
        return list(found)

    def edited(self, spec: Spec) -> tuple[Edition, str] | None:
        """The newest code under which calls of an app are recorded, if none is under its own."""
        if spec.name not in self._edited:
            self._edited[spec.name] = self._find_edited(spec)
        return self._edited[spec.name]

    def _find_edited(self, spec: Spec) -> tuple[Edition, str] | None:
        earlier = self._view.sample.apps.get(spec.name)
        if earlier is None or spec.addresser is None:
            return None
        code, version = spec.addresser.code.digest(), spec.addresser.version
        return None if earlier.knows(code, version) else earlier.newest

    def causes(self, asks: Asks) -> Iterator[Cause]:
        """Why tasks run."""
        for (app, why), (name, count) in self._causes.items():
            edited = self.edited(self._specs[app]) if why == EDITED else None
            if edited is None:
                yield Cause(app, why, count, name)
                continue
            (code, version), run = edited
            spec = self._specs[app]
            if version is None and spec.addresser is not None:
                version = spec.addresser.version
            lines = [
                line
                for one in asks.edited(spec, code, version or "")
                for line in str(one).splitlines()
            ]
            if len(lines) > LINES:
                more = f"… {len(lines) - LINES} more lines; plan.why({name!r}) has them"
                lines[LINES:] = [more]
            yield Cause(app, f"{why} since run {run}", count, name, tuple(lines))


def _recorded(standing: Standing) -> str:
    stored = standing.stored
    if stored is None:
        return "its outcome is known"
    run, seconds = run_of(stored.directory), stored.result.seconds
    return f"recorded in run {run}, where it took {span(seconds)}"


def _by_app(every: Iterable[Planned], seconds: Callable[[str], float | None]) -> Iterator[Counted]:
    counts: dict[str, Counter[str]] = {}
    work: dict[str, float | None] = {}
    for name, app, state, _ in every:
        counts.setdefault(app, Counter())[state] += 1
        if state == RUN:
            so_far, its = work.setdefault(app, 0.0), seconds(name)
            work[app] = None if so_far is None or its is None else so_far + its
    for app, counted in counts.items():
        yield Counted(app, counted[RUN], counted[RESTORED], counted[CUT], work.get(app, 0.0))


def _some(every: Sequence[Planned], most: int) -> list[Planned]:
    """Some tasks, in order: of each app and state the first ones, evenly."""
    groups: dict[tuple[str, str], list[int]] = {}
    for at, one in enumerate(every):
        members = groups.setdefault((one.app, one.state), [])
        if len(members) < most:
            members.append(at)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < most and depth < most:
        chosen += [members[depth] for members in groups.values() if depth < len(members)]
        depth += 1
    return [every[at] for at in sorted(chosen[:most])]


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
