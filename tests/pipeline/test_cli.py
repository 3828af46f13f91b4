"""Pipelines from the shell: what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt import cli
from tests.pipeline.conftest import runs

Tell = Callable[..., tuple[int, str, str]]

STEPS = """\
import os


class Count:
    def __init__(self, path, value=1):
        self.path, self.value = path, value

    def run(self):
        with open(self.path, "a") as file:
            file.write(".")
        if os.path.exists(f"{self.path}.broken"):
            raise OSError("broken")
        if os.path.exists(f"{self.path}.deadly"):
            os.kill(os.getpid(), 9)
        return self.value


class Add:
    def run(self, inputs):
        with open("sum", "w") as file:
            file.write(str(sum(inputs.values())))
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Tell:
    """Runs a command; gives its exit status, its output, and its error output."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def tell(*argv: str) -> tuple[int, str, str]:
        try:
            status = cli.main(["pipeline", *argv])
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    yield tell  # type: ignore[misc]
    sys.modules.pop("cli_steps", None)


def raw() -> dict[str, Any]:
    def of(name: str, kind: str = "Count", **rest: Any) -> dict[str, Any]:
        made = {"name": name, "component_type": "source", "class_path": f"cli_steps.{kind}", **rest}
        return made if kind == "Add" else {"config": {"path": name}, **made}

    return {
        "name": "survey",
        "components": [
            of("extract"), of("clean", depends_on=["extract"], retry="no_retry"),
            of("load", "Add", depends_on=["extract", "clean"]), of("other"),
        ],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "cli_steps.py").write_text(STEPS)
    (tmp_path / "pipeline.json").write_text(json.dumps(raw()))


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.split()]


def test_a_run_that_succeeds_ends_with_0(told: Tell):
    status, out, err = told("run", "pipeline.json", "--run-id", "run-001")
    assert status == 0
    assert ["extract", "success", "1"] in [row[:3] for row in rows(out)]
    assert "Run run-001 of survey: success." in out
    assert "Component load (3 of 4) is done" in err
    assert Path("sum").read_text() == "2"


def test_a_run_that_fails_in_part_ends_with_2_and_tells_how_to_go_on(told: Tell):
    Path("clean.broken").touch()
    status, out, err = told("run", "pipeline.json", "--run-id", "run-001", "--no-fail-fast")
    assert status == 2
    assert "OSError: broken" in out and "because 'clean' failed" in out
    assert "parsl-ckpt pipeline run pipeline.json --run-id=run-001 --resume" in out
    assert "Component clean has failed" in err
    Path("clean.broken").unlink()
    status, out, _ = told("run", "pipeline.json", "--run-id", "run-001", "--resume")
    assert status == 0
    assert ["extract", "restored", "-", "of", "run", "run-001"] in rows(out)
    assert (runs("extract"), runs("clean"), runs("other")) == (1, 2, 1)
    assert Path("sum").read_text() == "2"


def test_a_run_in_which_nothing_succeeds_ends_with_1(told: Tell):
    Path("extract.broken").touch()
    Path("other.broken").touch()
    assert told("run", "pipeline.json", "--quiet")[0] == 1


@pytest.mark.parametrize(("argument", "fail_fast"), [((), True), (("--no-fail-fast",), False)])
def test_fail_fast_is_the_default(told: Tell, monkeypatch, argument, fail_fast):
    from parsl_ckpt.pipeline import runner

    seen: list[bool] = []
    conductor = runner.Conductor

    def noted(*about: Any, **options: Any) -> Any:
        seen.append(options["fail_fast"])
        return conductor(*about, **options)

    monkeypatch.setattr(runner, "Conductor", noted)
    assert told("run", "pipeline.json", "-q", *argument)[0] == 0
    assert seen == [fail_fast]


def test_resume_without_an_id_takes_the_last_run_that_has_not_succeeded(told: Tell):
    Path("clean.broken").touch()
    told("run", "pipeline.json", "--run-id", "first", "-q")
    Path("clean.broken").unlink()
    told("run", "pipeline.json", "--run-id", "second", "-q")
    status, out, _ = told("run", "pipeline.json", "--resume", "-q")
    assert status == 0 and "Run first of survey: success." in out
    status, _, err = told("run", "pipeline.json", "--resume", "-q")
    assert status == 1 and "No checkpoint found" in err


def test_a_run_without_an_id_gets_one_that_can_be_resumed(told: Tell):
    Path("clean.broken").touch()
    _, out, _ = told("run", "pipeline.json", "-q", "--json")
    run_id = json.loads(out)["run_id"]
    Path("clean.broken").unlink()
    assert told("run", "pipeline.json", "--run-id", run_id, "--resume", "-q")[0] == 0


def test_progress_may_be_kept_in_files(told: Tell):
    Path("clean.broken").touch()
    where = "--checkpoints", "progress"
    assert told("run", "pipeline.json", "--run-id", "run-001", "-q", *where)[0] == 2
    assert list(Path("progress").rglob("*.json")) != []
    status, out, _ = told("status", "pipeline.json", *where)
    assert status == 0 and "clean" in out
    assert told("status", "pipeline.json")[1].startswith("There is no record")
    Path("clean.broken").unlink()
    status, out, _ = told("run", "pipeline.json", "--run-id", "run-001", "--resume", "-q", *where)
    assert status == 0 and "restored" in out


def test_by_lineage_only_what_changed_runs(told: Tell):
    told("run", "pipeline.json", "-q")
    assert told("run", "pipeline.json", "-q", "--lineage")[0] == 0
    assert (runs("extract"), runs("clean")) == (1, 1)
    content = raw()
    content["components"][1]["config"]["value"] = 7
    Path("pipeline.json").write_text(json.dumps(content))
    assert told("run", "pipeline.json", "-q", "--lineage")[0] == 0
    assert (runs("extract"), runs("clean"), Path("sum").read_text()) == (1, 2, "8")


def test_status_shows_how_far_runs_have_come(told: Tell):
    assert told("status", "pipeline.json")[:2] == (
        0, "There is no record of runs of pipeline survey.\n",
    )  # fmt: skip
    Path("clean.broken").touch()
    told("run", "pipeline.json", "--run-id", "bad", "-q", "--no-fail-fast")
    Path("clean.broken").unlink()
    told("run", "pipeline.json", "--run-id", "good", "-q")
    status, out, _ = told("status", "pipeline.json")
    assert status == 0
    bad, good = rows(out)[2:]  # which end in how long ago that was
    assert bad[:6] == ["bad", "failed", "2", "of", "4", "clean"]
    assert good[:5] == ["good", "completed", "4", "of", "4"]
    status, out, _ = told("status", "pipeline.json", "--run-id", "bad")
    assert status == 2
    assert rows(out)[2:] == [
        ["extract", "success"], ["clean", "failed"], ["load", "not", "yet"], ["other", "success"],
    ]  # fmt: skip
    assert told("status", "pipeline.json", "--run-id", "good")[0] == 0
    assert told("status", "pipeline.json", "--run-id", "nobody")[0] == 1
    told_json = json.loads(told("status", "pipeline.json", "--run-id", "bad", "--json")[1])
    assert sorted(told_json[0]["completed_components"]) == ["extract", "other"]


def test_a_torn_file_is_reported_by_a_status_and_not_taken_for_none(told: Tell, caplog: Any):
    where = "--checkpoints", "progress"
    told("run", "pipeline.json", "--run-id", "good", "-q", *where)
    told("run", "pipeline.json", "--run-id", "torn", "-q", *where)
    (torn,) = Path("progress").rglob("torn.json")
    torn.write_text("{")
    status, out, err = told("status", "pipeline.json", "--run-id", "torn", *where)
    assert (status, out) == (1, "") and f"{torn.name} cannot be read" in err
    status, out, _ = told("status", "pipeline.json", *where)
    assert status == 0 and "good" in out and f"{torn.name} cannot be read" in caplog.text


def test_validate_tells_all_problems_with_their_places(told: Tell):
    status, out, _ = told("validate", "pipeline.json")
    assert (status, out) == (0, "pipeline.json: pipeline survey, version 1.0, 4 components.\n")
    content = raw()
    content["components"][1]["depends_on"] = ["extrakt"]
    content["components"][2]["class_path"] = "cli_steps.Nobody"
    Path("pipeline.json").write_text(json.dumps(content))
    status, _, err = told("validate", "pipeline.json")
    assert status == 1
    assert "components[1].depends_on[0] ('clean') is 'extrakt'" in err
    assert "components[2].class_path ('load') is 'cli_steps.Nobody'" in err


def test_validate_tells_of_executors_that_there_are_not(told: Tell):
    content = raw()
    content["components"][0]["executors"] = "big"
    Path("pipeline.json").write_text(json.dumps(content))
    status, _, err = told("validate", "pipeline.json")
    assert status == 1 and "names the executor 'big'" in err
    assert told("dry-run", "pipeline.json")[0] == 1


def test_dry_run_shows_the_order_and_runs_nothing(told: Tell):
    status, out, _ = told("dry-run", "pipeline.json")
    assert status == 0
    assert [row[0] for row in rows(out)[3:-1]] == ["extract", "clean", "load", "other"]
    assert "Nothing was run." in out
    assert runs("extract") == 0 and not Path("runinfo").exists()


@pytest.mark.parametrize("verb", ["run", "dry-run", "status", "validate"])
def test_a_file_that_is_not_there_is_a_failure(told: Tell, verb: str):
    status, _, err = told(verb, "nowhere.json")
    assert status == 1 and "nowhere.json" in err


def test_two_ways_to_go_on_are_refused(told: Tell):
    status, _, err = told("run", "pipeline.json", "--resume", "--lineage")
    assert status == 1 and "two ways" in err


def test_classes_lie_beside_the_file_wherever_one_is(told: Tell, tmp_path: Path):
    (tmp_path / "deep").mkdir()
    os.rename("cli_steps.py", "deep/cli_steps.py")
    os.rename("pipeline.json", "deep/pipeline.json")
    assert told("validate", "deep/pipeline.json")[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("where", [(), ("--checkpoints", "progress")])
def test_a_run_that_is_killed_in_the_middle_goes_on(told: Tell, where: tuple[str, ...]):
    Path("clean.deadly").touch()
    assert program("run", "pipeline.json", "--run-id", "run-001", "-q", *where).returncode == -9
    assert told("status", "pipeline.json", "--run-id", "run-001", *where)[0] == 2
    Path("clean.deadly").unlink()
    status, out, _ = told("run", "pipeline.json", "--run-id", "run-001", "--resume", "-q", *where)
    assert status == 0
    assert ["extract", "restored", "-", "of", "run", "run-001"] in rows(out)
    assert (runs("extract"), runs("clean"), Path("sum").read_text()) == (1, 2, "2")


def test_the_command_works_as_a_program():
    done = program("run", "pipeline.json", "-q")
    assert done.returncode == 0, done.stderr
    assert "success" in done.stdout


def program(*argv: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.run(
        [sys.executable, "-m", "parsl_ckpt.cli", "pipeline", *argv],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_file_that_is_not_there_is_told_by_its_name(told: Tell):
    status, out, err = told("run", "nowhere.yaml")
    assert (status, out) == (1, "")
    assert err.startswith("parsl-ckpt: nowhere.yaml cannot be read: No such file or directory.")


@pytest.mark.parametrize("more", [(), ("--resume",), ("--checkpoints", "progress")])
def test_an_empty_id_is_refused_and_not_taken_for_none(told: Tell, more: tuple[str, ...]):
    assert told("run", "pipeline.json", "--run-id", "run-001")[0] == 0
    status, out, err = told("run", "pipeline.json", "--run-id", "", *more)
    assert (status, out) == (1, "")
    assert "run_id is empty" in err


def test_the_command_to_go_on_with_is_quoted(told: Tell):
    Path("extract.broken").touch()
    odd = "it's 5 o'clock; rm -rf $HOME"
    _, out, _ = told("run", "pipeline.json", "--run-id", odd)
    (line,) = (line for line in out.splitlines() if "--resume" in line)
    assert f"--run-id={odd}" in shlex.split(line)
