"""List the runs: how they ended, when, how much they recorded.

A run is live while its process is, has ended if it did so in order, and has died otherwise. What it
recorded is there in each case.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.inventory import RunInfo


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    parser.add_argument("--apps", action="store_true", help="say how many results each app has")
    parser.add_argument("-v", "--verbose", action="store_true", help="say where each run came from")
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    backend, places = _common.places(options, options.runs)
    with _common.progress("reading", _common.total_size(backend, places)) as progress:
        found = maintain.runs(options.run_dir, only=options.runs or None, progress=progress)
    if options.json:
        _common.show_json([{**asdict(info), "results": info.results} for info in found])
    elif not found:
        _common.show(f"There are no runs in {options.run_dir} yet.")
    elif options.verbose:
        for info in found:
            _common.show(*_lines(info), "")
    else:
        _common.show(_table(found, options.apps))
    return 0


def _table(found: list[RunInfo], apps: bool) -> object:
    table = _common.table(
        "run", "state", ">age", ">lasted", ">results", ">failures", ">size", "command"
    )
    for info in found:
        table.add_row(
            info.name, info.state, _ago(info), _lasted(info), f"{info.results:,}",
            f"{info.records.get('failure', 0):,}", _common.amount(info.size), _command(info),
        )  # fmt: skip
        if apps:
            for app, number in sorted(info.apps.items(), key=lambda at: -at[1]):
                table.add_row("", "", "", "", f"{number:,}", "", "", f"  {app or '(no app)'}")
    return table


def _lines(info: RunInfo) -> list[str]:
    told: dict[str, Any] = info.provenance
    git = told.get("git") or {}
    clean = "" if git.get("clean", True) else ", with changes"
    lines = [
        f"{info.name}: {info.state}, begun {_ago(info)} ago, lasted {_lasted(info)}",
        f"  results   {info.results:,} in {_common.amount(info.size)}, "
        f"{_common.plural(info.records.get('failure', 0), 'failure')}",
    ]
    if info.apps:
        most = sorted(info.apps.items(), key=lambda at: -at[1])
        lines.append("  apps      " + ", ".join(f"{app or '-'} {n:,}" for app, n in most))
    if info.tasks:
        states = {state: n for state, n in info.tasks.items() if n}
        lines.append("  tasks     " + ", ".join(f"{name} {n:,}" for name, n in states.items()))
    if told.get("command"):
        lines.append(f"  command   {_command(info)}")
        lines.append(f"  in        {told.get('cwd')}")
    if git.get("commit"):
        lines.append(f"  commit    {git['commit'][:12]} ({git.get('branch')}{clean})")
    if told.get("host"):
        lines.append(f"  by        {told.get('user')} on {told['host']}")
        lines.append(f"  Python    {told.get('python')}")
    if info.inside:
        lines.append(f"  inside    the records of {', '.join(info.inside)}")
    return lines


def _ago(info: RunInfo) -> str:
    return _common.ago(info.began)


def _lasted(info: RunInfo) -> str:
    if info.began is None or info.ended is None:
        return "-"
    return _common.span(info.ended - info.began)


def _command(info: RunInfo) -> str:
    command = info.provenance.get("command")
    if not isinstance(command, (list, tuple)) or not command:
        return ""
    words = [str(word) for word in command]
    if len(words) > 1 and os.path.basename(os.path.dirname(words[1])) in ("bin", "Scripts"):
        words = words[1:]  # a command, which Python runs: parsl-ckpt pipeline run ...
    return " ".join([os.path.basename(words[0]), *words[1:]])
