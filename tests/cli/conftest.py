from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt import cli
from parsl_ckpt.checkpoint import Store

Tell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Tell:
    """Runs a command in a directory of its own; gives exit status, output, error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def tell(*argv: str) -> tuple[int, str, str]:
        try:
            status = cli.main(list(argv))
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return tell


@pytest.fixture
def runs(told: Tell) -> list[str]:
    """Three runs: 000 and 001 share calls, 001 has a large result, 002 has a failure."""
    made = []
    for number in range(3):
        path = f"runinfo/{number:03d}/checkpoint"
        with Store.open(path, sources=made) as store:
            for n in range(number, number + 4):
                store.put(n, n * 1.5, app="simulate", seconds=10.0 + n)
            if number == 1:
                store.put("table", os.urandom(300_000), app="table", seconds=0.01)
            if number == 2:
                store.append([store.stage_failure(
                    app="simulate", tid=7, error="ValueError: no [bold]such[/bold] thing", trace=b""
                )])  # fmt: skip
            store.append([store.stage_run("provenance", {
                "command": ["/usr/bin/python", "work.py", str(number)], "host": "here",
                "user": "me", "git": {"commit": "c0ffee" * 6, "branch": "main", "clean": False},
                "cwd": "/home/me", "started": "2026-01-31T12:00:00Z", "python": "3.11",
            })])  # fmt: skip
        made.append(path)
    return made
