"""A workflow that is moved in mid-life, with files that Parsl has written (see ``fixtures/``)."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from parsl_ckpt.identity.parsl_key import PROTOCOL
from tests.carry.sides import CALLS, WORK, Side, recorded

made_with_this_protocol = pytest.mark.skipif(
    PROTOCOL != 4, reason="the fixtures were made with pickle's protocol 4"
)


@pytest.fixture(params=["parsl_ckpt", "parsl_ckpt.compat.parsl"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    return Side(request.param, tmp_path / "ours")


def as_parsl_left_it(place: Path, fixtures: Path) -> Path:
    directory = place / "000" / "checkpoint"
    directory.mkdir(parents=True)
    shutil.copyfile(fixtures / "tasks.pkl", directory / "tasks.pkl")
    for made in (place, directory, directory / "tasks.pkl"):
        made.chmod(0o700)
    return place


def test_nothing_of_it_runs_again(ours: Side, tmp_path: Path, fixtures: Path) -> None:
    parsl = as_parsl_left_it(tmp_path / "parsl", fixtures)
    assert "14 results" in ours.command("import-parsl", str(parsl))
    assert ours.work() == Counter()
    shutil.rmtree(ours.runs / "000")  # by now it is recorded here
    assert ours.work() == Counter()


def test_what_is_missing_runs(ours: Side, tmp_path: Path, fixtures: Path) -> None:
    parsl = as_parsl_left_it(tmp_path / "parsl", fixtures)
    tasks = parsl / "000" / "checkpoint" / "tasks.pkl"
    tasks.write_bytes(tasks.read_bytes()[:700])  # it died while it wrote
    assert "Cut off" in ours.command("import-parsl", str(parsl))
    ran = ours.work()
    assert 0 < ran.total() < CALLS.total()


@made_with_this_protocol
def test_what_goes_back_is_what_parsl_would_have_written(
    ours: Side, tmp_path: Path, fixtures: Path
) -> None:
    assert ours.work() == CALLS  # nothing was carried over: the keys are worked out here
    said = ours.command("export-parsl", "-o", str(tmp_path / "back"), "--script", str(WORK))
    assert "14 results" in said
    assert recorded(tmp_path / "back" / "tasks.pkl") == recorded(fixtures / "tasks.pkl")


@made_with_this_protocol
def test_without_notes_the_script_tells_the_keys(
    ours: Side, tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHOUT_NOTES", "1")
    assert ours.work() == CALLS
    said = ours.command("export-parsl", "-o", str(tmp_path / "back"), "--script", str(WORK))
    assert "13 results" in said
    assert "1 result left out" in said
    back, parsl = recorded(tmp_path / "back" / "tasks.pkl"), recorded(fixtures / "tasks.pkl")
    assert [parsl[key] for key in parsl if key not in back] == [21]  # of a list: only its digest
    assert all(back[key] == parsl[key] for key in parsl if key in back)
    ours.command("export-parsl", "-o", str(tmp_path / "no-script"))
    assert recorded(tmp_path / "no-script" / "tasks.pkl") == {}
