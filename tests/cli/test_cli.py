"""The command line: one file a command, errors as one sentence, honest exit statuses."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import types

import pytest

from parsl_ckpt import cli
from parsl_ckpt.cli import demo
from parsl_ckpt.cli import pipeline as pipeline_command
from parsl_ckpt.cli import runs as runs_command


def test_each_command_says_in_its_first_line_what_it_does(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name, module in cli.commands().items():
        assert name in shown
        assert module.__doc__.splitlines()[0].endswith(".")


def test_help_of_every_command_works(capsys):
    for name in cli.commands():
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    assert "usage: parsl-ckpt" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("parsl-ckpt ")


def test_an_error_of_ours_is_a_sentence_and_a_status(tmp_path, capsys):
    (tmp_path / "something").write_text("mine")
    assert cli.main(["demo", "--run-dir", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "is not an empty directory" in shown
    assert "Traceback" not in shown
    assert [p.name for p in tmp_path.iterdir()] == ["something"]


def test_an_interruption_has_its_own_status(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130


def test_help_loads_nothing_heavy():
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from parsl_ckpt.cli import _parser; _parser()\n"
        "print('rich' in sys.modules and 'rich.table' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["/venv/bin/python3", "study.py", "-n", "3"], "python3 study.py -n 3"),
        (["/venv/bin/python3", "/venv/bin/parsl-ckpt", "ls"], "parsl-ckpt ls"),
        ([], ""),
    ],
)
def test_a_run_is_shown_by_the_command_that_was_typed(command, shown):
    assert runs_command._command(types.SimpleNamespace(provenance={"command": command})) == shown


def test_who_reads_the_output_of_a_pipeline_may_have_had_enough(monkeypatch):
    def closed(options):
        raise BrokenPipeError

    monkeypatch.setattr(pipeline_command, "_validate", closed)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert cli.main(["pipeline", "validate", "any.yaml"]) == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "runs/000"), "runs/000: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(monkeypatch, capsys, error, told):
    def refused(options):
        raise error

    monkeypatch.setattr(runs_command, "run", refused)
    assert cli.main(["runs"]) == 1
    assert capsys.readouterr().err == f"parsl-ckpt: {told}\n"


def test_what_the_system_refuses_a_script_keeps_its_traceback(monkeypatch):
    def refused(options):
        raise FileNotFoundError(2, "No such file", "input.csv")

    monkeypatch.setattr(importlib.import_module("parsl_ckpt.cli.plan"), "run", refused)
    with pytest.raises(FileNotFoundError):
        cli.main(["plan", "script.py"])
    assert set(cli.RUN_SCRIPTS) <= cli.commands().keys()
