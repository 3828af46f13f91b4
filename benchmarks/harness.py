"""How a measurement is made.

A measurement has several *contenders*.  Each round runs every one of them once, in a process of its
own and a fresh directory, and the rounds follow one another: whatever else the machine does then
falls on all alike.  What is shown is the median over the rounds, its spread, and the ratio to the
first contender *of this run*.  A contender whose library is not installed is shown as such.

A contender is a function at the top of its module.  It gets the measurement's parameters by name
and returns ``{column: number}``; raising ImportError means that it is not installed.  What it needs
to find prepared is made by its ``prepare`` function, once for all that are measured with the same
parameters, into the directory that each round then finds as ``prepared``; who changes what is there
does so in a copy (:func:`copied`).

What the library should reach is written down as :class:`Goal`, and told at the end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: No contender may take longer than this for one round, in seconds.
LIMIT = 600

#: Programs that were installed beside this interpreter are found, as in an active environment.
_PATH = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])

Row = dict[str, float]


@dataclass(frozen=True)
class Contender:
    """One row of a table.

    Args:
        label: what it is called.
        run: measures once.
        prepare: makes what the rounds need.
        params: parameters that differ from the measurement's (a slow peer gets fewer tasks; what
            is compared is always per item).
        rounds: at most so many, for one that takes long.
    """

    label: str
    run: Callable[..., Row]
    prepare: Callable[..., None] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    rounds: int | None = None


@dataclass(frozen=True)
class Goal:
    """What one contender should reach.

    Args:
        what: in words.
        label: the contender.
        column: of its row.
        at_least, at_most: the limit.
        of: the limit is a multiple of what this contender has in the column.
        unit: follows the number.
    """

    what: str
    label: str
    column: str
    at_least: float | None = None
    at_most: float | None = None
    of: str | None = None
    unit: str = ""

    def judge(self, results: Sequence[Result]) -> list[str] | None:
        """What, limit, measured, whether it is reached; None where something was not measured."""
        found = {result.contender.label: result.median(self.column) for result in results}
        value = found.get(self.label)
        if value is not None and self.of is not None:
            base = found.get(self.of)
            value = value / base if base else None
        if value is None:
            return None
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        reached = value >= limit if self.at_least is not None else value <= limit
        sign = "≥" if self.at_least is not None else "≤"
        times = " times" if self.of is not None else ""
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        return [
            self.what, f"{sign} {limit:,g}{times}{self.unit}", f"{shown}{times}{self.unit}",
            "reached" if reached else "not reached",
        ]  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """One table.

    Args:
        title: what is measured, in what unit.
        contenders: the first is the one that all are compared with.
        columns: what each gives; the first is compared.
        params: full size.
        quick: what is smaller with ``--quick``.
        aim: what the library should reach, in words.
        goals: the same in numbers.
        digits: decimals shown.
    """

    title: str
    contenders: Sequence[Contender]
    columns: Sequence[str]
    params: dict[str, Any]
    quick: dict[str, Any] = field(default_factory=dict)
    aim: str = ""
    goals: Sequence[Goal] = ()
    digits: int = 2
    rounds: int = 5


# --- the side of the measured process ------------------------------------------------------------


@contextlib.contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Seconds spent inside the block; garbage is collected before it."""
    gc.collect()
    began = time.perf_counter()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.perf_counter()) - began
    ended.append(time.perf_counter())


def memory() -> float:
    """Memory of this process in MB: resident now where that can be had, else the peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def peak() -> float:
    """The most memory that this process has had, in MB."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3


def copied(prepared: str, name: str) -> str:
    """A copy, in the directory of this round, of what was prepared; its files take no room."""
    shutil.copytree(Path(prepared, name), name, copy_function=_link)
    return name


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _measured(module: str, function: str, params: str) -> None:
    try:
        answer = getattr(importlib.import_module(module), function)(**json.loads(params))
    except ImportError as error:
        answer = {"missing": error.name or str(error)}
    sys.stdout.flush()
    print(f"\n@@{json.dumps(answer)}", flush=True)


# --- the side of the table -----------------------------------------------------------------------


@dataclass
class Result:
    """What the rounds of one contender gave."""

    contender: Contender
    rows: list[Row] = field(default_factory=list)
    trouble: str = ""

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]

    def median(self, name: str) -> float | None:
        values = self.column(name)
        return statistics.median(values) if values else None


class Preparations:
    """What contenders find prepared; each is made once."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="parsl_ckpt-bench-")
        self._made: dict[str, tuple[str, str]] = {}

    def make(self, prepare: Callable[..., None], params: dict[str, Any]) -> tuple[str, str]:
        """(where it is, what went wrong)."""
        key = json.dumps([prepare.__module__, prepare.__name__, params], sort_keys=True)
        if key not in self._made:
            place = Path(self._directory.name, f"prepared-{len(self._made)}")
            place.mkdir()
            _note(f"{prepare.__module__}.{prepare.__name__}")
            answer = _separately(prepare, {**params, "prepared": str(place)})
            self._made[key] = (str(place), _trouble(answer))
        return self._made[key]

    def __enter__(self) -> Preparations:
        return self

    def __exit__(self, *exc: object) -> None:
        self._directory.cleanup()


def measure(
    measurement: Measurement,
    quick: bool,
    rounds: int | None,
    preparations: Preparations | None = None,
) -> list[Result]:
    """Run every contender, round after round."""
    if preparations is None:
        with Preparations() as preparations:
            return measure(measurement, quick, rounds, preparations)
    params = {**measurement.params, **(measurement.quick if quick else {})}
    results = [Result(contender) for contender in measurement.contenders]
    rounds = rounds or (1 if quick else measurement.rounds)
    prepared: dict[int, str] = {}
    for number, result in enumerate(results):
        if result.contender.prepare is not None:
            own = _params(result.contender, params, quick)
            prepared[number], result.trouble = preparations.make(result.contender.prepare, own)
    for this_round in range(rounds):
        for number, result in enumerate(results):
            contender = result.contender
            if result.trouble or this_round >= (contender.rounds or rounds):
                continue
            own = _params(contender, params, quick)
            if number in prepared:
                own["prepared"] = prepared[number]
            _note(f"{contender.label}, round {this_round + 1}")
            answer = _separately(contender.run, own)
            result.trouble = _trouble(answer)
            if not result.trouble:
                result.rows.append(answer)
    _note("")
    return results


def _params(contender: Contender, params: dict[str, Any], quick: bool) -> dict[str, Any]:
    own = dict(contender.params)
    if quick:  # a slow peer's smaller number stays smaller, and shrinks no further than the rest
        own = {
            key: min(value, params[key]) if key in params else value for key, value in own.items()
        }
    return {**params, **own}


def _separately(function: Callable[..., Any], params: dict[str, Any]) -> dict[str, Any]:
    """Call a function in a process and a directory of its own; its answer."""
    code = "import sys; from benchmarks.harness import _measured; _measured(*sys.argv[1:])"
    command = [sys.executable, "-c", code, function.__module__, function.__name__]
    with tempfile.TemporaryDirectory(prefix="parsl_ckpt-bench-") as directory:
        path = [str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]
        try:
            process = subprocess.run(
                [*command, json.dumps(params)],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PATH": _PATH},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return {"trouble": f"more than {LIMIT} s"}
    _, found, answer = process.stdout.rpartition("\n@@")
    if not found:
        last = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        return {"trouble": f"failed: {last[-1][:100]}"}
    decoded = json.loads(answer.splitlines()[0])
    return decoded if isinstance(decoded, dict) else {}


def _trouble(answer: dict[str, Any]) -> str:
    if "missing" in answer:
        return f"not installed ({answer['missing']})"
    return str(answer.get("trouble", ""))


def _note(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def table(measurement: Measurement, results: Sequence[Result]) -> str:
    """The results as plain text."""
    first = measurement.columns[0]
    reference = results[0].median(first)
    lines = [["", *measurement.columns, "spread", "ratio"]]
    for result in results:
        values = result.column(first)
        if not values:
            lines.append([result.contender.label, result.trouble or "-"])
            continue
        low, high = min(values), max(values)
        middle = result.median(first) or 0.0
        lines.append(
            [
                result.contender.label,
                *(_number(result.median(name), measurement.digits) for name in measurement.columns),
                f"{_number(low, measurement.digits)} to {_number(high, measurement.digits)}",
                f"{middle / reference:.2f}" if reference else "-",
            ]
        )
    widths = [
        max(len(line[i]) for line in lines if i < len(line) > 2) for i in range(len(lines[0]))
    ]
    widths[0] = max(len(line[0]) for line in lines)
    text = [measurement.title]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        if len(line) == 2:
            cells.append(line[1])
        else:
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  " + "   ".join(cells).rstrip())
    if measurement.aim:
        text.append(f"  aim: {measurement.aim}")
    return "\n".join(text)


def summary(judged: Sequence[Sequence[str]]) -> str:
    """The goals as plain text."""
    widths = [max(len(line[i]) for line in judged) for i in range(len(judged[0]))]
    lines = [
        "  "
        + "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in judged
    ]
    return "\n".join(["Aims", *lines])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
