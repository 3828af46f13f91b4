"""Why each task of a plan would run: what its standing says, and what may be said beside.

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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from parsl_ckpt.checkpoint.rundir import run_of

from .earlier import Edition, Sample
from .explain import CUT, RESTORED, RUN, Cause, Counted, Explanation, Planned, span
from .schedule import Forecast
from .standing import ABSENT, HIT, Standing
from .trim import Trim

if TYPE_CHECKING:
    from parsl_ckpt.kernel.futures import AppFuture
    from parsl_ckpt.kernel.task import Spec

#: How many lines are told of what has changed in an app.
LINES = 16

#: The name and the standing of a task of the plan; None for a future of somewhere else.
Named = Callable[["Future[Any]"], "tuple[str, Standing] | None"]


class Asks(Protocol):
    """Who knows more of what is recorded than a plan does."""

    def planned(self, future: AppFuture, standing: Standing, named: Named) -> Any:
        """Why a call would run, in full."""

    def edited(self, spec: Spec, code: bytes, version: str) -> Sequence[Any]:
        """How the code of an app differs from an earlier one."""


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
    if stored is None or standing.state != HIT:
        return "its call turned out to be a hit"
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
