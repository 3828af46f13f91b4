"""A conformance battery for identities: pairs of values that must differ, and that must agree.

It is run over this library's own identity, and over any other function from a value to a digest:

.. code-block:: python

    import pickle

    from parsl_ckpt.testing.identity import run

    report = run(pickle.dumps)
    assert "same dicts: order of insertion" in report.misses

or ``python -m parsl_ckpt.testing.identity joblib:hash``, which also compares two processes with
different hash seeds.

Rule of this room: a pair is two functions that make a value afresh, so that nothing is found equal
because it is the same object.  What must differ is what a pure function could tell apart by type
and content; what must agree is all else: how a value was built, where it lies in memory, which of
its parts are the same object, how code is written and what it is called.  A user's own code is
stood for by modules that are written to a temporary directory and imported (``project.py``).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Make = Callable[[], Any]
Hasher = Callable[[Any], Any]

FILES = ("scalars", "containers", "library", "objects", "code", "arrays", "tables", "tensors")
"""The modules of this room that have pairs: ``differ()`` and ``agree()`` each."""

OURS = "parsl_ckpt.identity:leaf"
SECONDS = 120


@dataclass(frozen=True)
class Pair:
    """Two values.

    Attributes:
        name: group and case, as in ``"dicts: keys"`` and ``"same dicts: order of insertion"``.
        agree: whether both must be given the same digest, or else different ones.
        one: makes the first.
        other: makes the second.
    """

    name: str
    agree: bool
    one: Make
    other: Make


@dataclass(frozen=True)
class Report:
    """What a hasher made of the pairs; names of pairs.

    Attributes:
        differ: how many pairs had to differ.
        agree: how many had to agree.
        collisions: pairs that must differ and were given one digest: wrong hits.
        misses: values that are the same and were given two digests, be it a pair that must agree,
            or one value that was made twice: needless misses.
        refusals: pairs with a value that was given no digest, and why.
        unstable: pairs whose digests are others in another process.
    """

    differ: int
    agree: int
    collisions: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()

    @property
    def perfect(self) -> bool:
        """Whether there is nothing to complain of."""
        return not (self.collisions or self.misses or self.refusals or self.unstable)

    def __str__(self) -> str:
        lines = [f"{self.differ} pairs that must differ, {self.agree} that must agree"]
        for title, names in (
            ("collisions", self.collisions),
            ("needless misses", self.misses),
            ("refusals", [f"{name}  ({why})" for name, why in self.refusals.items()]),
            ("others in another process", self.unstable),
        ):
            lines.append(f"{title}: {len(names)}")
            lines += [f"    {name}" for name in names]
        return "\n".join(lines)


@functools.cache
def pairs() -> tuple[Pair, ...]:
    """All pairs; those of libraries that are not installed are left out."""
    found: list[Pair] = []
    for name in FILES:
        module = importlib.import_module(f"{__name__}.{name}")
        for agree, table in ((False, module.differ()), (True, module.agree())):
            prefix = "same " if agree else ""
            found += [Pair(prefix + case, agree, *makers) for case, makers in table.items()]
    return tuple(found)


def run(hasher: Hasher, over: Iterable[Pair] | None = None) -> Report:
    """Try a hasher on all pairs, in this process.

    Args:
        hasher: gives the digest of a value, anything that can be compared; it refuses by raising.
        over: these pairs only.

    Returns:
        What was found.  ``unstable`` is empty: see :func:`compare_processes`.

    >>> str(run(repr, over=[Pair("a", False, lambda: 1, lambda: 1.0)])).splitlines()[1]
    'collisions: 0'
    """
    collisions, misses, refusals = [], [], {}
    tried = pairs() if over is None else tuple(over)
    for pair in tried:
        try:
            one, again, other = (hasher(make()) for make in (pair.one, pair.one, pair.other))
        except Exception as error:
            refusals[pair.name] = _short(error)
            continue
        if one != again or (pair.agree and one != other):
            misses.append(pair.name)
        elif not pair.agree and one == other:
            collisions.append(pair.name)
    return Report(
        sum(not pair.agree for pair in tried),
        sum(pair.agree for pair in tried),
        tuple(collisions),
        tuple(misses),
        refusals,
    )


def digests(hasher: Hasher) -> dict[str, list[str]]:
    """The digests of all pairs as text, to be compared with those of another process."""
    found = {}
    for pair in pairs():
        try:
            found[pair.name] = [_text(hasher(make())) for make in (pair.one, pair.other)]
        except Exception:
            found[pair.name] = []
    return found


def compare_processes(
    spec: str = OURS, seeds: Iterable[str] = ("1", "2"), pythons: Iterable[str] = (sys.executable,)
) -> tuple[str, ...]:
    """Names of the pairs whose digests are not the same in all of several processes.

    Args:
        spec: the hasher, as ``"module:function"``.
        seeds: hash seeds to run with.
        pythons: interpreters to run with.

    Raises:
        RuntimeError: a process failed.
    """
    found: dict[str, set[tuple[str, ...]]] = {}
    place = str(Path(__file__).resolve().parents[3])
    for python in pythons:
        for seed in seeds:
            path = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
            done = subprocess.run(
                [python, "-m", __name__, "--digests", spec],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            if done.returncode:
                raise RuntimeError(f"{python} failed: {done.stderr[-1000:]}")
            for name, pair in json.loads(done.stdout.splitlines()[-1]).items():
                found.setdefault(name, set()).add(tuple(pair))
    return tuple(name for name, different in found.items() if len(different) > 1)


def hasher_of(spec: str) -> Hasher:
    """The function that ``"module:function"`` names.

    Raises:
        ValueError: it names none.
    """
    module, _, name = spec.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{spec!r} names no hasher: {error}") from error
    if not callable(found):
        raise ValueError(f"{spec!r} is not a function")
    return found  # type: ignore[no-any-return]


def _text(digest: Any) -> str:
    data = digest if isinstance(digest, bytes) else repr(digest).encode()
    return hashlib.sha256(data).hexdigest()


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:100]


__all__ = ["Pair", "Report", "compare_processes", "digests", "hasher_of", "pairs", "run"]
