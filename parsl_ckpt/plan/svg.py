"""A graph drawn in layers, as a piece of SVG that stands in a page.

Rule of this file: pure, deterministic, and simple: a task stands one layer to the right of the last
one that it takes something from, and near the middle of those (the barycenter method of K.
Sugiyama, S. Tagawa, M. Toda, 1981, two sweeps).  Names are data: they are escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from .job import Job
from .trim import Trim
from .validate import backwards

#: More tasks than this are not drawn one by one, and more apps neither.
MOST = 300
#: Of so many edges each is drawn; of more, the first.
EDGES = 3000

_GAP, _BETWEEN, _MARGIN = 10, 64, 8
_SWEEPS = 2


class Node(NamedTuple):
    """A box.

    Args:
        lines: what stands in it.
        title: what is told of it when it is pointed at.
        state: ``"run"``, ``"restored"`` or ``"cut"``.
        wanted: it is asked for.
    """

    lines: tuple[str, ...]
    title: str
    state: str
    wanted: bool = False


class Line(NamedTuple):
    """An edge, between numbers of nodes.

    Args:
        source, target: from where to where.
        idle: nothing goes along it.
        label: what stands at it.
    """

    source: int
    target: int
    idle: bool = False
    label: str = ""


def tasks(job: Job, trim: Trim) -> str:
    """A job with what was cut away of it; empty if it has too many tasks."""
    if not 0 < len(job) <= MOST:
        return ""
    state = states(trim)
    wanted = frozenset(task for task, _ in job.requested)
    nodes = [
        Node((name,), f"{name}: {state(name)}", state(name), name in wanted) for name in job.tasks
    ]
    owner, first = job.tasks.owner, job.edges.first
    lines = dict.fromkeys(
        Line(owner[output], at, state(name) != "run")
        for at, name in enumerate(job.tasks)
        for output in job.edges.source[first[at] : first[at + 1]]
    )
    return drawn(nodes, list(lines), _depths(job), 150)


def apps(job: Job, trim: Trim, app_of: Callable[[str], str]) -> str:
    """A job with the tasks of each app as one box; empty if there are too many apps.

    Args:
        job: the job.
        trim: what was found of it.
        app_of: the app of a task.
    """
    state, number = states(trim), dict[str, int]()
    counts: list[Counter[str]] = []
    of: list[int] = []
    for name in job.tasks:
        app = number.setdefault(app_of(name), len(number))
        if app == len(counts):
            counts.append(Counter())
        counts[app][state(name)] += 1
        of.append(app)
    if not 0 < len(number) <= MOST:
        return ""
    owner, first = job.tasks.owner, job.edges.first
    between: Counter[tuple[int, int]] = Counter()
    busy: set[tuple[int, int]] = set()
    for at, name in enumerate(job.tasks):
        runs = state(name) == "run"
        for output in job.edges.source[first[at] : first[at + 1]]:
            pair = of[owner[output]], of[at]
            between[pair] += 1
            if runs:
                busy.add(pair)
    nodes = [_app(name, counts[at]) for name, at in number.items()]
    lines = [
        Line(*pair, pair not in busy, f"{count:,}" if count > 1 else "")
        for pair, count in between.items()
        if pair[0] != pair[1]
    ]
    return drawn(nodes, lines, _layers(_depths(job), of, len(number)), 190)


def states(trim: Trim) -> Callable[[str], str]:
    """What becomes of each task, by name."""
    found = dict.fromkeys(trim.restored, "restored") | dict.fromkeys(trim.cut, "cut")
    return lambda name: found.get(name, "run")


def _app(name: str, counts: Mapping[str, int]) -> Node:
    told = ", ".join(f"{counts[state]:,} {state}" for state in _COLOURS if counts[state])
    state = next(state for state in _COLOURS if counts[state])
    return Node((name, told), f"{name}: {told}", state)


def _depths(job: Job) -> list[int]:
    """How many tasks stand before each, one after the other, at most."""
    owner, first, source = job.tasks.owner, job.edges.first, job.edges.source
    depth = [0] * len(job)
    for task in reversed(backwards(job)):
        depth[task] = max(
            (depth[owner[output]] + 1 for output in source[first[task] : first[task + 1]]),
            default=0,
        )
    return depth


def _layers(depths: Sequence[int], of: Sequence[int], count: int) -> list[int]:
    """The layer of each app: that of its first task, without layers that are empty."""
    least = [max(depths, default=0)] * count
    for depth, app in zip(depths, of, strict=True):
        least[app] = min(least[app], depth)
    rank = {depth: at for at, depth in enumerate(sorted(set(least)))}
    return [rank[depth] for depth in least]


# --- drawing --------------------------------------------------------------------------------------

_COLOURS = {
    "run": ("#ffffff", "#1f5fa8", "#10243a"),
    "restored": ("#cfe8cf", "#3b7d3b", "#14321a"),
    "cut": ("#fafafa", "#aaaaaa", "#888888"),
}


def drawn(nodes: Sequence[Node], lines: Sequence[Line], layer: Sequence[int], width: int) -> str:
    """Boxes and edges as SVG.

    Args:
        nodes: the boxes.
        lines: the edges.
        layer: of each box.
        width: of a box.
    """
    height = 8 + 16 * max(len(node.lines) for node in nodes)
    columns = _ordered(layer, lines)
    grid = _Grid(columns, layer, width, height)
    lines = lines[:EDGES]
    hidden = list(map(grid.hides, lines))
    above = 2 * height if any(hidden) else 0
    place = [(x, y + above) for x, y in map(grid.place, range(len(nodes)))]
    whole = 2 * _MARGIN + len(columns) * (width + _BETWEEN) - _BETWEEN
    tall = 2 * _MARGIN + max(map(len, columns)) * (height + _GAP) - _GAP + above
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{whole}" height="{tall}" '
        f'viewBox="0 0 {whole} {tall}" font-family="sans-serif" font-size="12">'
    ]
    for line, under in zip(lines, hidden, strict=True):
        (x0, y0), (x1, y1) = place[line.source], place[line.target]
        ends = x0 + width, y0 + height / 2, x1, y1 + height / 2
        parts += _line(line, ends, 2 * height if under else 0)
    for at, box in enumerate(nodes):
        parts += _box(box, *place[at], width, height)
    return "\n".join([*parts, "</svg>"])


class _Grid:
    """Where boxes stand: in columns, each in the middle of the tallest."""

    def __init__(
        self, columns: list[list[int]], layer: Sequence[int], width: int, height: int
    ) -> None:
        self._layer = layer
        self._row = {node: at for column in columns for at, node in enumerate(column)}
        self._sizes = [len(column) for column in columns]
        tallest = max(self._sizes)
        self._tops = [(tallest - size) / 2 for size in self._sizes]
        self._across, self._down = width + _BETWEEN, height + _GAP
        self._near = (height / 2 + 2) / self._down

    def place(self, node: int) -> tuple[float, float]:
        """The upper left corner of a box."""
        at = self._layer[node]
        return _MARGIN + at * self._across, _MARGIN + self._level(node) * self._down

    def hides(self, line: Line) -> bool:
        """Whether an edge would pass behind a box."""
        first, last = self._layer[line.source], self._layer[line.target]
        begin, end = self._level(line.source), self._level(line.target)
        for at in range(min(first, last) + 1, max(first, last)):
            level = begin + (end - begin) * (at - first) / (last - first) - self._tops[at]
            if abs(level - round(level)) < self._near and 0 <= round(level) < self._sizes[at]:
                return True
        return False

    def _level(self, node: int) -> float:
        return self._tops[self._layer[node]] + self._row[node]


def _ordered(layer: Sequence[int], lines: Sequence[Line]) -> list[list[int]]:
    """The boxes of each layer, from top to bottom."""
    columns: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for node, at in enumerate(layer):
        columns[at].append(node)
    before: list[list[int]] = [[] for _ in layer]
    after: list[list[int]] = [[] for _ in layer]
    for line in lines:
        before[line.target].append(line.source)
        after[line.source].append(line.target)
    row = {node: at / len(column) for column in columns for at, node in enumerate(column)}
    for _ in range(_SWEEPS):
        for order, beside in ((columns, before), (columns[::-1], after)):
            for column in order:
                middle = {
                    node: sum(row[one] for one in beside[node]) / len(beside[node])
                    if beside[node]
                    else row[node]
                    for node in column
                }
                column.sort(key=middle.__getitem__)  # stable: the rest as they came
                row.update((node, at / len(column)) for at, node in enumerate(column))
    return columns


def _line(line: Line, ends: tuple[float, float, float, float], rise: float) -> Iterator[str]:
    """An edge between two points; with ``rise``, in a bow above what is between them."""
    x0, y0, x1, y1 = ends
    bend = max(abs(x1 - x0) / (4 if rise else 2), _BETWEEN / 2)
    colour, dashes = ("#bbbbbb", ' stroke-dasharray="4 3"') if line.idle else ("#555555", "")
    yield (
        f'<path d="M{x0:g} {y0:g} C{x0 + bend:g} {y0 - rise:g} {x1 - bend:g} {y1 - rise:g} '
        f'{x1 - 5:g} {y1:g}" fill="none" stroke="{colour}"{dashes}/>'
    )
    yield f'<path d="M{x1:g} {y1:g} l-7 -3.5 v7 z" fill="{colour}"/>'
    if line.label:
        yield (
            f'<text x="{(x0 + x1) / 2:g}" y="{(y0 + y1) / 2 - 4 - 0.75 * rise:g}" '
            f'text-anchor="middle" font-size="11" fill="#555555">{text(line.label)}</text>'
        )


def _box(node: Node, x: float, y: float, width: int, height: int) -> Iterator[str]:
    fill, edge, ink = _COLOURS[node.state]
    dashes = ' stroke-dasharray="4 3"' if node.state == "cut" else ""
    thick = 3 if node.wanted else 1
    yield f"<g><title>{text(node.title)}</title>"
    yield (
        f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="4" fill="{fill}" '
        f'stroke="{edge}" stroke-width="{thick}"{dashes}/>'
    )
    for at, line in enumerate(node.lines):
        yield (
            f'<text x="{x + width / 2:g}" y="{y + 17 + 16 * at:g}" text-anchor="middle" '
            f'fill="{ink}">{text(_fitting(line, width))}</text>'
        )
    yield "</g>"


def _fitting(line: str, width: int) -> str:
    most = width // 7  # about seven pixels a letter
    if len(line) <= most:
        return line
    return f"{line[: most - 8]}…{line[-7:]}"  # the end has the number of the task


def text(anything: object) -> str:
    """A text in HTML or SVG that shows what it is made of, whatever that is."""
    shown = [
        one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in str(anything)
    ]
    return escape("".join(shown))
