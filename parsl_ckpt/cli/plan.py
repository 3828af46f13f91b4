"""Tell what a script would compute and what it would not have to: no app is called.

Runs SCRIPT up to the end of its first plan (with dfk.plan() as plan: ...) and prints what that
would do: how many tasks run, are restored and are cut away, why, and how long it would take. Calls
of apps outside of a plan are looked up: what is recorded has its value. Where the script needs the
result of a call that would have to run, it ends, and what it has called so far is told.

Nothing is written to the run directory, and none is made. What the script does outside of apps, it
does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.plan.plan import Plan


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks", type=_tasks, metavar="N", default=20,
        help="how many tasks are listed, or 'all' (default: 20)",
    )  # fmt: skip
    parser.add_argument(
        "--why", action="append", metavar="TASK",
        help="tell all of this task, such as fit-6; may be repeated",
    )  # fmt: skip
    parser.add_argument("--html", metavar="FILE", help="write a page with the graph as well")
    parser.add_argument("--dot", metavar="FILE", help="write the graph for Graphviz as well")
    _common.as_json(parser)
    parser.add_argument("script", metavar="SCRIPT", help="a Python script")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments"
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.cli._rehearsal import Rehearsal

    found: list[tuple[Any, str]] = []
    html, dot = (path and os.path.abspath(path) for path in (options.html, options.dot))

    def tell(plan: Plan, sentence: str) -> None:
        found[:] = [(plan.explain(options.why or options.tasks), sentence)]
        for path, draw in ((html, plan.to_html), (dot, plan.to_dot)):
            if path is not None:
                _write(path, draw())

    rehearsal = Rehearsal(tell)
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        status = rehearsal.run(options.script, options.arguments)
    if not found:
        if status == 0:
            kernel = "calling an app" if rehearsal.kernels else "beginning a run"
            _common.show(f"The script came to its end without {kernel}: there is nothing to plan.")
        return status
    told, sentence = found[0]
    if options.json:
        _common.show_json(told.to_dict() | {"script": options.script, "remark": sentence})
    else:
        text = told.text("--tasks all lists them")
        _common.show(*([sentence, ""] if sentence else []), text)
    return status


def _tasks(text: str) -> int | str:
    return text if text == "all" else _common.count(text)


def _write(path: str, text: str) -> None:
    """Write a file, whole or not at all."""
    from parsl_ckpt.errors import ParslCkptError
    from parsl_ckpt.observe.tables import whole_file

    try:
        with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ParslCkptError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Name a file in a directory that is there.",
            path=path,
        ) from error
