"""Write results as a checkpoint of Parsl's, for programs that go back to it.

Parsl finds a result by its own key of the call. That is known of what was carried over from Parsl,
and of what was recorded with Config(memoizer=BasicMemoizer(parsl_keys=True)). Other results are
left out, which is told. Give DIR to Parsl as one of its checkpoint_files.

--script work.py names the script: values of classes that it defines itself take that, and Parsl's
keys are then worked out for calls of its apps, too, whose arguments are short. It is run as if it
were imported: what is to run only as a script must stand under 'if __name__ == "__main__":'.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from parsl_ckpt.cli import _common


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where tasks.pkl is to be written"
    )
    parser.add_argument("--script", metavar="FILE", help="what defines the classes of the values")


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint.returning import export_parsl

    with _common.progress("exporting", None) as progress, _main(options.script) as apps:
        done = export_parsl(
            options.run_dir, options.output, only=options.runs or None, apps=apps,
            progress=progress,
        )  # fmt: skip
    print(f"{done.path}: {_common.plural(done.records, 'result')}.")
    if done.unknown:
        print(
            f"{_common.plural(done.unknown, 'result')} left out: Parsl's keys of their calls are "
            "not known (BasicMemoizer(parsl_keys=True) notes them)."
        )
    for app, why in done.unwritten:
        print(f"A result of {app} cannot be written: {why}")
    if done.failed > len(done.unwritten):
        print(f"So cannot {done.failed - len(done.unwritten):,} more.")
    return 1 if done.failed else 0


@contextlib.contextmanager
def _main(path: str | None) -> Iterator[dict[str, Any]]:
    """Have what a script defines be that of ``__main__``, under which values name it; its apps."""
    import os
    import sys
    import types

    from parsl_ckpt.errors import ArchiveError

    if path is None:
        yield {}
        return
    module, ours = types.ModuleType("__parsl_ckpt_script__"), sys.modules["__main__"]
    module.__file__ = os.path.abspath(path)
    sys.path.insert(0, os.path.dirname(module.__file__))
    sys.modules[module.__name__] = module
    try:
        with open(path, "rb") as file:
            source = file.read()
        exec(compile(source, path, "exec"), module.__dict__)
    except (OSError, SyntaxError, ImportError) as error:
        raise ArchiveError(
            f"{path} cannot be run: {error}.", hint="Give the path of the script.", path=path
        ) from error
    finally:
        del sys.modules[module.__name__]
    _rename(vars(module), module.__name__)
    module.__name__ = "__main__"
    sys.modules["__main__"] = module
    try:
        yield _apps(module)
    finally:
        sys.modules["__main__"] = ours


def _apps(module: ModuleType) -> dict[str, Any]:
    from parsl_ckpt.apps.app import AppBase

    return {
        app._name: (app.__wrapped__, tuple(app._options.ignore_for_cache or ()), app.kind == "bash")
        for app in vars(module).values()
        if isinstance(app, AppBase)
    }


def _rename(names: dict[str, Any], module: str) -> None:
    for value in list(names.values()):
        function = getattr(value, "__wrapped__", value)  # of an app
        if getattr(function, "__module__", None) == module:
            with contextlib.suppress(AttributeError, TypeError):
                function.__module__ = "__main__"
                if isinstance(value, type):
                    _rename(dict(vars(value)), module)
