"""Use what an app computed before an edit of its code that does not matter.

Executes a few recorded calls under the code as it is now, and compares. Only if all of them give
the recorded values are the old records filed under the new code as well; the run that did so keeps
a note of it, and --revoke takes it back.

The file is imported: what is to run only as a script must stand under
'if __name__ == "__main__":'.
"""

from __future__ import annotations

import argparse
from typing import Any

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "app", metavar="APP", help="where the app is: script.py:simulate or package.module:simulate"
    )
    _common.run_dir(parser)
    parser.add_argument(
        "--sample", type=_common.count, default=5, metavar="N",
        help="calls to execute for each earlier version of the code, at most (default: 5)",
    )  # fmt: skip
    parser.add_argument("--revoke", action="store_true", help="take earlier blessings back")
    _common.dry_run(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from parsl_ckpt.config import Config
    from parsl_ckpt.dataflow import DataFlowKernel

    app = _app(options.app)
    with DataFlowKernel(Config(checkpoint_mode="task_exit", run_dir=options.run_dir)) as dfk:
        if options.revoke:
            count = dfk.revoke_blessing(app)
            if options.json:
                _common.show_json({"revoked": count})
            else:
                _common.show(f"Taken back: {_common.plural(count, 'record')}.")
            return 0
        done = dfk.bless(app, options.sample, dry_run=options.dry_run)
    if options.json:
        _common.show_json({"dry_run": options.dry_run, **asdict(done)})
        return 1 if done.refused else 0
    _common.show(f"Executed again: {_common.plural(len(done.executed), 'call')} of {done.app}.")
    for code in done.blessed:
        _common.show(f"What code {code[:16]} computed holds.")
    for code, why in done.refused.items():
        _common.show(f"What code {code[:16]} computed does not hold: {why}.")
    verb = "Would file" if options.dry_run else "Filed"
    _common.show(f"{verb} {_common.plural(done.records, 'record')} under the code as it is now.")
    return 1 if done.refused else 0


def _app(place: str) -> Any:
    """The app at ``file.py:name`` or ``module:name``."""
    import importlib
    import importlib.util
    import os
    import sys

    from parsl_ckpt.apps.app import AppBase
    from parsl_ckpt.errors import BlessingError

    where, _, name = place.rpartition(":")
    if not where:
        raise BlessingError(
            f"{place!r} does not say where the app is.",
            hint="Write script.py:name or package.module:name.",
        )
    try:
        if where.endswith(".py"):
            sys.path.insert(0, os.path.dirname(os.path.abspath(where)))
            stem = os.path.basename(where)[: -len(".py")]
            spec = importlib.util.spec_from_file_location(stem, where)
            assert spec is not None and spec.loader is not None
            module = sys.modules[stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, os.getcwd())
            module = importlib.import_module(where)
    except (ImportError, OSError, SyntaxError) as error:
        raise BlessingError(
            f"{where} cannot be imported: {error}.", hint="Give the path of a file, or a module."
        ) from error
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)  # type: ignore[assignment]
    if not isinstance(found, AppBase):
        apps = sorted(key for key, value in vars(module).items() if isinstance(value, AppBase))
        raise BlessingError(
            f"There is no app {name!r} in {where}.",
            hint=f"It has: {', '.join(apps)}." if apps else "It has no apps.",
        )
    return found
