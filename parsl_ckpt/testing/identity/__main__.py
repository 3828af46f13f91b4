"""``python -m parsl_ckpt.testing.identity [module:function]``: the battery over a hasher.

Exit status: 0 if there is nothing to complain of, 1 if there is, 2 if there is no such hasher.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys

from . import OURS, compare_processes, digests, hasher_of, run


def main(argv: list[str] | None = None) -> int:
    """Run the battery.

    Args:
        argv: arguments; those of the process if None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m parsl_ckpt.testing.identity",
        description="Pairs of values that must differ and pairs that must agree, over a hasher.",
    )
    parser.add_argument(
        "hasher", nargs="?", default=OURS, help="module:function, from a value to a digest"
    )
    parser.add_argument("--digests", action="store_true", help="print all digests as JSON")
    parser.add_argument(
        "--one-process", action="store_true", help="do not compare processes (hash seeds)"
    )
    options = parser.parse_args(argv)
    sys.path.insert(0, os.getcwd())  # a hasher of one's own stands there, as with python -m
    try:
        hasher = hasher_of(options.hasher)
    except ValueError as error:
        parser.error(str(error))
    if options.digests:
        print(json.dumps(digests(hasher)))
        return 0
    report = run(hasher)
    if not options.one_process:
        report = dataclasses.replace(report, unstable=compare_processes(options.hasher))
    print(report)
    return 0 if report.perfect else 1


if __name__ == "__main__":
    sys.exit(main())
