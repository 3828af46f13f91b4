"""The description of a run holds facts, no secrets, and never fails."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

from parsl_ckpt.kernel import provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(directory, *words):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(
        ["git", *identity, "-c", "core.hooksPath=/dev/null", *words],
        cwd=directory,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_it_names_the_process_the_machine_and_the_versions():
    facts = provenance.collect()
    assert facts["pid"] == os.getpid()
    assert facts["cwd"] == os.getcwd()
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["command"]
    assert "parsl_ckpt" in facts["packages"]
    assert os.uname().release in facts["platform"]


def test_no_process_is_started_for_it_outside_a_repository(tmp_path, monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError(f"a process was started: {args}")

    monkeypatch.setattr(platform, "_uname_cache", None, raising=False)
    for name in ("Popen", "run", "check_output"):
        monkeypatch.setattr(subprocess, name, started)
    assert provenance.collect(tmp_path)["platform"]


def test_it_is_plain_data():
    assert json.loads(json.dumps(provenance.collect()))


def test_no_environment_variable_leaks_into_it(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2-secret")
    monkeypatch.setenv("LOGNAME", "hunter2-secret")
    assert "hunter2-secret" not in json.dumps(provenance.collect())


@needs_git
def test_a_clean_tree_is_clean_and_untracked_files_do_not_change_that(repository):
    (repository / "runinfo").mkdir()
    (repository / "runinfo" / "new").write_text("x")
    state = provenance.git_state(repository)
    assert state["clean"] is True
    assert state["branch"] == "main"
    assert len(state["commit"]) >= 40


@needs_git
def test_an_edited_file_makes_it_unclean_also_as_seen_from_a_folder_below(repository):
    below = repository / "deep" / "er"
    below.mkdir(parents=True)
    (repository / "a.txt").write_text("two")
    assert provenance.git_state(below)["clean"] is False


@needs_git
def test_a_repository_without_a_commit_has_none(tmp_path):
    git(tmp_path, "init", "-q")
    assert provenance.git_state(tmp_path)["commit"] is None


def test_outside_a_repository_git_is_not_even_started(tmp_path, monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError("started a process")

    monkeypatch.setattr(provenance, "_inside_repository", lambda directory: False)
    monkeypatch.setattr(subprocess, "run", started)
    assert provenance.git_state(tmp_path) is None


def test_a_git_that_hangs_or_is_absent_is_no_error(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()

    def hangs(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert provenance.git_state(tmp_path) is None
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert provenance.git_state(tmp_path) is None


def test_something_called_git_that_is_no_repository_is_no_error(tmp_path):
    (tmp_path / ".git").write_text("rubbish")
    assert provenance.git_state(tmp_path) is None


def test_a_working_directory_that_is_gone_is_no_error(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, sys; from parsl_ckpt.kernel.provenance import collect\n"
        f"os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
        "print(collect()['cwd'])"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stdout.strip() == "None", answer.stderr
