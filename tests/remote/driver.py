"""A driver process: ``driver.py URL WHAT``; prints one line of JSON when it has done what it must.

``die``: computes two, uploads, computes two more, and is killed when the last result() has
returned.  ``wait``: computes when a line comes in, and ends at the next.  ``share``: computes,
uploads, and ends when a line comes in.  ``go``: computes so many, large ones and small ones, and
says so while it uploads all the time.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import parsl_ckpt
from parsl_ckpt import Config, python_app

ran: list[int] = []


@python_app(cache=True, code="name")
def double(x: int) -> int:
    ran.append(x)
    return 2 * x


@python_app(cache=True, code="name")
def filled(x: int) -> bytes:
    print("ran", x, flush=True)
    return bytes([x % 251]) * (300_000 if x % 5 == 0 else 100)


def go(url: str, count: int) -> None:
    config = Config(run_dir=url, checkpoint_mode="task_exit", upload_period=0.05)
    with parsl_ckpt.load(config):
        for x in range(count):
            assert set(filled(x).result()) == {x % 251}
            print("done", x, flush=True)


def tell(dfk: parsl_ckpt.DataFlowKernel, values: list[int]) -> None:
    print(json.dumps({"run": dfk.run_id, "values": values, "ran": ran}), flush=True)


def main(url: str, what: str, *numbers: str) -> None:
    if what == "go":
        go(url, int(numbers[0]))
        return
    config = Config(run_dir=url, checkpoint_mode="task_exit", upload_period=3600.0)
    wanted = [int(number) for number in numbers]
    with parsl_ckpt.load(config) as dfk:
        if what == "wait":
            print(json.dumps({"run": dfk.run_id}), flush=True)
            sys.stdin.readline()
        if what == "die":
            half = len(wanted) // 2
            values = [double(x).result() for x in wanted[:half]]
            dfk.checkpoint()
            values += [double(x).result() for x in wanted[half:]]
            tell(dfk, values)
            os.kill(os.getpid(), signal.SIGKILL)
        values = [double(x).result() for x in wanted]
        if what == "share":
            dfk.checkpoint()
        tell(dfk, values)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
