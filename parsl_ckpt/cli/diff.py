"""Compare two runs: the first tasks whose inputs, code or values are not the same.

Calls of one key are compared by their values: numbers and arrays by their largest absolute and
relative difference. Other calls are compared with a call of the same app, argument by argument.
Tasks that differ only because an input of them does come last. Values that were pickled are
compared with --value only, because unpickling runs code. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.observe.runs import Comparison, Task


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="RUN_A", help="a run, such as 002")
    parser.add_argument("new", metavar="RUN_B", help="the run to compare it with")
    _common.run_dir(parser)
    parser.add_argument(
        "-n", "--first", type=_common.count, default=10, metavar="N",
        help="look into the first N tasks that differ (default: 10)",
    )  # fmt: skip
    parser.add_argument("--value", action="store_true", help="compare values that were pickled")
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.store import Store
    from parsl_ckpt.observe.runs import compare

    _, (old,) = _common.places(options, [options.old])
    _, (new,) = _common.places(options, [options.new])
    sources = list(dict.fromkeys([old.directory, new.directory]))
    with Store.open(None, sources=sources, named=False, pickle=options.value) as store:
        done = compare(
            store, old.directory, new.directory, limit=options.first, pickles=options.value
        )
    if options.json:
        _common.show_json(
            {
                "same": done.same, "more": done.more,
                "pairs": [pair.to_dict() for pair in done.pairs],
                "only_old": [task.to_dict() for task in done.only_old],
                "only_new": [task.to_dict() for task in done.only_new],
            }
        )  # fmt: skip
    else:
        _tell(done, old.name, new.name)
    return 1 if done.pairs or done.more or done.only_old or done.only_new else 0


def _tell(done: Comparison, old: str, new: str) -> None:
    for pair in done.pairs:
        after = " Its input differs, too." if pair.consequence else ""
        _common.show(str(pair) + ("\n " + after if after else ""))
    if done.more:
        _common.show(f"{_common.plural(done.more, 'more task')} differ; -n tells of them.")
    for tasks, run in ((done.only_old, old), (done.only_new, new)):
        if tasks:
            _common.show(f"Only in run {run}: {_listed(tasks)}.")
    _common.show(f"{_common.plural(done.same, 'call')} in both runs with the same value.")


def _listed(tasks: list[Task]) -> str:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.app] = counts.get(task.app, 0) + 1
    return ", ".join(
        f"{app or 'no app'}" + (f" ({count:,} calls)" if count > 1 else "")
        for app, count in list(counts.items())[:10]
    )
