"""The two sides of what is carried over: the same workflow, run by either library."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import parsl_ckpt

FIXTURES = Path(__file__).resolve().parent / "fixtures"
WORK = FIXTURES / "work.py"
VALUES = {
    "numbers": [0, 2, 4, 6, 8], "total": 21, "point": [3, 0.75],
    "quiet": {"x": 7, "items": [[7, None], "text"]}, "large": 66560, "both": 12, "chain": 40,
    "command": 0,
}  # fmt: skip
CALLS = Counter(number=8, total=1, point=1, quiet=1, large=1, both=1, command=1)
"""How often each app runs where nothing is known."""


class Side:
    """One library, in one directory.

    Args:
        package: ``"parsl"``, ``"parsl_ckpt"``, or ``"parsl_ckpt.compat.parsl"``.
        place: where its runs and its log are.
        python: the interpreter that has it.
    """

    def __init__(self, package: str, place: Path, python: str = sys.executable) -> None:
        self.package, self.python = package, python
        self.place = place
        self.place.mkdir(parents=True, exist_ok=True)
        self.runs = place / "runinfo"

    def work(self, *checkpoints: Path) -> Counter[str]:
        """Run the workflow; how often each app was executed."""
        log = self.place / "log"
        log.write_text("")
        done = self.run(str(WORK), self.package, str(self.runs), str(log), *map(str, checkpoints))
        assert json.loads(done) == VALUES
        return Counter(log.read_text().split())

    def run(self, *command: str) -> str:
        """Run the side's Python; what it prints."""
        env = dict(os.environ)
        if self.package != "parsl":
            env["PYTHONPATH"] = str(Path(parsl_ckpt.__file__).parent.parent)
        done = subprocess.run(
            [self.python, *command], capture_output=True, text=True, timeout=120, env=env,
            cwd=self.place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command(self, *words: str) -> str:
        """Run a command of ours; what it prints."""
        return self.run("-m", "parsl_ckpt.cli", *words)


class _Named(dict[str, Any]):
    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


def recorded(path: Path) -> dict[str, Any]:
    """What a checkpoint of Parsl's holds: key to value; objects as what they are made of."""

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return _Named if module == "__main__" else super().find_class(module, name)

    found = {}
    with open(path, "rb") as file:
        while True:
            try:
                data = Reader(file).load()
            except EOFError:
                return found
            found[data["hash"]] = data["result"]
