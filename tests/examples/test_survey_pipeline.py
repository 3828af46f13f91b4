"""The survey as a pipeline: killed in its middle component, resumed, as good as never killed."""

from __future__ import annotations

import email
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# The example as it stands, but what its middle component calls half-way ends the process.
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import survey_pipeline

def ranked(graph):
    os.kill(os.getpid(), signal.SIGKILL)

survey_pipeline.ranked = ranked
survey_pipeline.main(sys.argv[1:])
"""


@pytest.fixture
def tree(tmp_path):
    """Packages of the standard library."""
    for package in (email, json):
        shutil.copytree(Path(package.__file__).parent, tmp_path / "tree" / package.__name__)
    return tmp_path / "tree"


def started(command, out, tree, *more):
    return subprocess.run(
        [sys.executable, *command, "--out", out, "--root", tree, "--workers", "1", *more],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def tables(out):
    from pyarrow import parquet

    with closing(sqlite3.connect(out / "survey.db")) as database:
        found = {
            name: database.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for name in ("modules", "packages", "imports")
        }
    return found, parquet.read_table(out / "modules.parquet").to_pylist()


def test_killed_in_the_middle_component_and_resumed(tmp_path, tree):
    out, calm = tmp_path / "out", tmp_path / "calm"
    killed = started(["-c", KILLED, str(EXAMPLES)], out, tree, "--run-id", "monday")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = out / "checkpoints" / "survey" / "monday.json"
    told = json.loads(state.read_text())
    assert (told["completed_components"], told["status"]) == (["extract"], "in_progress")
    assert not (out / "survey.db").exists()

    script = [str(EXAMPLES / "survey_pipeline.py")]
    resumed = started(script, out, tree, "--run-id", "monday", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "extract: restored from run monday" in resumed.stdout
    assert "Component extract (1 of 4) begins" not in resumed.stderr
    told = json.loads(state.read_text())
    assert told["status"] == "completed"
    assert sorted(told["completed_components"]) == [
        "extract", "load_parquet", "load_sqlite", "transform",
    ]  # fmt: skip

    undisturbed = started(script, calm, tree)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert tables(out) == tables(calm)
    found, rows = tables(out)
    assert len(found["modules"]) == len(rows) == len(list(tree.rglob("*.py")))
    assert [row[0] for row in found["packages"]] == ["email", "json"]
    assert ("email.mime.audio", "email.mime.nonmultipart") in found["imports"]


def test_a_run_id_that_is_not_known_is_told_and_nothing_runs(tmp_path, tree):
    script = [str(EXAMPLES / "survey_pipeline.py")]
    ended = started(script, tmp_path / "out", tree, "--resume", "--run-id", "tuesday")
    assert ended.returncode == 1
    assert "No checkpoint found for run 'tuesday' of pipeline 'survey'." in ended.stderr
    assert "begins: 4 components" not in ended.stderr
