"""The command ``parsl-ckpt``: each subcommand is one file in this folder.

Rule of this room: a command parses, asks the library, and prints; what it does can be done from
Python as well.  To add one, add a module (its name is the command's) with a docstring whose first
line is the help, and::

    def arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(options: argparse.Namespace) -> int: ...           # the exit status

A module named with a leading underscore is no command; one that would be a word of Python's, such
as ``import``, has one at its end.  Commands import what they need inside
``run``, so that ``parsl-ckpt --help`` stays quick.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from parsl_ckpt.cli._common import printable
from parsl_ckpt.errors import ParslCkptError

RUN_SCRIPTS = ("bless", "export-parsl", "pipeline", "plan")
"""Commands that run code of the user's in this process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of this process by default.

    Returns:
        The exit status: 0 success, 1 what was asked for could not be done, 2 wrong usage, 130
        interrupted.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        return int(options.run(options))
    except ParslCkptError as error:
        print(f"parsl-ckpt: {printable(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # ``parsl-ckpt ls | head``
        sys.stderr.close()
        return 0
    except OSError as error:  # such as someone else's runs, or a full disk
        if options.command in RUN_SCRIPTS:
            raise  # it may be the script's, who wants to know where
        place = "" if error.filename is None else f"{error.filename}: "
        print(printable(f"parsl-ckpt: {place}{error.strerror or error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("parsl-ckpt: interrupted", file=sys.stderr)
        return 130


def commands() -> dict[str, ModuleType]:
    """The subcommands: name to module, in alphabetical order."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return {
        name.rstrip("_").replace("_", "-"): importlib.import_module(f"{__name__}.{name}")
        for name in names
        if not name.startswith("_")
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parsl-ckpt", description="Look after runs and their checkpoints."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in commands().items():
        text = (module.__doc__ or "").strip()
        command = subparsers.add_parser(
            name,
            help=text.splitlines()[0] if text else None,
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(command)
        command.set_defaults(run=module.run, command=name)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version("parsl_ckpt")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"parsl-ckpt {version}")
        parser.exit()
