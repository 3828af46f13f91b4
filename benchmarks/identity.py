"""Identities: how right, and how quick, beside dask.tokenize, joblib.hash and Parsl's id_for_memo.

Each runs over the published battery (``parsl_ckpt.testing.identity``): values that must differ and
were given one digest are *wrong hits*, values that are the same and were given two are *needless
misses*.  Then: one array of float64; the address of a call with three scalar arguments; the code of
an app that reaches 500 functions, in a process that has not seen it, and when the file was edited
just now; and that of an app with three helpers at each later call.  The peers digest neither
helpers nor constants, so there is no number.
"""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Measurement, Row

CALLS = 20_000
FUNCTIONS = 500
APP = """
import math
SCALE = 2.5
LIMITS = (1, 10)
def clip(x): return min(max(x, LIMITS[0]), LIMITS[1])
def norm(x, y): return math.hypot(x, y)
def shown(name): return f"{name!r}"
def app(x, y, name): return norm(clip(x), y) * SCALE, shown(name)
"""


def _battery(hasher: Callable[[Any], Any]) -> Row:
    from parsl_ckpt.testing.identity import run

    report = run(hasher)
    return {
        "pairs": report.differ + report.agree,
        "wrong hits": len(report.collisions),
        "needless misses": len(report.misses),
        "refusals": len(report.refusals),
    }


def _array(hasher: Callable[[Any], Any], megabytes: int) -> Row:
    import numpy as np

    values = np.arange(megabytes * 125_000, dtype="f8")
    hasher(values[:1000])  # imports, threads
    best = min(_seconds(lambda: hasher(values)) for _ in range(3))
    return {"GB/s": values.nbytes / best / 1e9}


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _each(call: Callable[..., Any], calls: int) -> float:
    """Microseconds a call, the best of some runs: others use the machine too."""

    def many() -> None:
        for i in range(calls):
            call(i, 2.5, "name")

    return min(_seconds(many) for _ in range(5)) / calls * 1e6


def _module(name: str, text: str) -> Any:
    Path(f"{name}.py").write_text(text, encoding="utf-8")
    sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _large() -> str:
    functions = [
        f"def h{n}(x, y=2):\n    total = C{n}\n    for k in range(x):\n        if k % 2:\n"
        f"            total += h{n + 1}(k) * y\n        else:\n            total -= k ** 2\n"
        f"    return total\n"
        for n in range(FUNCTIONS)
    ]
    constants = [f"C{n} = {n}" for n in range(FUNCTIONS)]
    return "\n".join([*functions, f"def h{FUNCTIONS}(x): return x", *constants, ""])


def prepare_ours(megabytes: int, prepared: str) -> None:
    """A module that Python has compiled, as at the second run of a program that was not edited."""
    os.chdir(prepared)
    Path("bench_compiled.py").write_text(_large(), encoding="utf-8")
    time.sleep(2.5)  # what was compiled within two seconds of an edit is not relied on
    sys.dont_write_bytecode = False
    py_compile.compile("bench_compiled.py")


def ours(megabytes: int, prepared: str) -> Row:
    from parsl_ckpt.identity import Addresser, Binder, CodeIdentity, leaf

    app = _module("bench_app", APP).app
    code = CodeIdentity(app)
    code.digest()
    binder = Binder(app)
    addresser = Addresser("app", code, binder)
    edited = CodeIdentity(_module("bench_large", _large()).h0)
    sys.path.insert(0, prepared)
    compiled = CodeIdentity(importlib.import_module("bench_compiled").h0)
    return {
        **_array(leaf, megabytes),
        "µs a call": _each(lambda *args: addresser.address(binder.bind(args, {})), CALLS),
        "ms 500 functions": _seconds(compiled.digest) * 1e3,
        "after an edit": _seconds(edited.digest) * 1e3,
        "µs later": _each(lambda *args: code.digest(), CALLS),
        **_battery(leaf),
    }


def with_dask(megabytes: int) -> Row:
    from dask.base import tokenize

    return {
        **_array(tokenize, megabytes),
        "µs a call": _each(tokenize, CALLS // 20),
        **_battery(tokenize),
    }


def with_joblib(megabytes: int) -> Row:
    import joblib

    return {
        **_array(joblib.hash, megabytes),
        "µs a call": _each(lambda *args: joblib.hash(args), CALLS // 20),
        **_battery(joblib.hash),
    }


def with_parsl(megabytes: int) -> Row:
    """It identifies no arrays; those who need them register a function of their own."""
    from parsl.dataflow.memoization import id_for_memo

    return {
        "GB/s": 0.0,
        "µs a call": _each(lambda *args: [id_for_memo(part) for part in args], CALLS // 20),
        **_battery(id_for_memo),
    }


MEASUREMENT = Measurement(
    title="Identity of values: an array, a call with three scalars, code; pairs of the battery",
    columns=["GB/s", "µs a call", "ms 500 functions", "after an edit", "µs later", "pairs",
             "wrong hits", "needless misses", "refusals"],
    params={"megabytes": 1000},
    quick={"megabytes": 100},
    rounds=2,
    digits=1,
    aim="4 GB/s and five times joblib; 4 µs; 50 ms; 2 µs; and none of the rest",
    contenders=[
        Contender("parsl_ckpt", ours, prepare=prepare_ours, rounds=2),
        Contender("dask.tokenize", with_dask, rounds=1),
        Contender("joblib.hash", with_joblib, rounds=1),
        Contender("Parsl id_for_memo", with_parsl, rounds=1),
    ],
)  # fmt: skip
