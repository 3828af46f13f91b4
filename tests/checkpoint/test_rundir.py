"""Claiming runs, finding them, and trusting them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import Store, claim, get_all_checkpoints, get_last_checkpoint
from parsl_ckpt.errors import ConfigurationError, StoreError, UntrustedCheckpointError


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_are_numbered_in_order_of_their_claim() -> None:
    assert [claim(), claim(), claim("other/deep")] == [
        "runinfo/000",
        "runinfo/001",
        "other/deep/000",
    ]


def test_numbers_go_on_beyond_three_digits_and_sort_as_numbers() -> None:
    for name in ("2", "999", "1000", "note", "004", "x5"):
        os.makedirs(f"runinfo/{name}/checkpoint")
    os.makedirs("runinfo/005")
    assert claim() == "runinfo/1001"
    assert get_all_checkpoints() == [
        f"runinfo/{name}/checkpoint" for name in ("2", "004", "999", "1000")
    ]
    assert get_last_checkpoint() == ["runinfo/1000/checkpoint"]


def test_paths_stay_as_they_were_given(tmp_path: Path) -> None:
    os.makedirs("runinfo/000/checkpoint")
    assert get_all_checkpoints("runinfo") == ["runinfo/000/checkpoint"]
    assert get_all_checkpoints(tmp_path / "runinfo") == [str(tmp_path / "runinfo/000/checkpoint")]


def test_no_runs_are_no_checkpoints() -> None:
    assert get_all_checkpoints() == [] and get_last_checkpoint("nowhere") == []


def test_a_run_that_cannot_be_made_is_a_typed_error() -> None:
    Path("runinfo").write_text("a file")
    with pytest.raises(StoreError, match="runinfo"):
        claim()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177])
def test_directories_are_ours_alone_whatever_the_umask(umask: int) -> None:
    before = os.umask(umask)
    try:
        path = claim() + "/checkpoint"
        with Store.open(path) as store:
            store.put("a", b"x" * 100_000)
    finally:
        os.umask(before)
    for where, names, _ in os.walk("runinfo"):
        for name in names:
            assert os.stat(os.path.join(where, name)).st_mode & 0o777 == 0o700
    assert os.stat("runinfo").st_mode & 0o777 == 0o700


def test_what_others_can_write_to_is_refused_when_named_and_left_out_when_found() -> None:
    with Store.open("a/checkpoint") as store:
        store.put("k", 1)
    os.chmod("a/checkpoint", 0o770)
    with pytest.raises(UntrustedCheckpointError, match="chmod"):
        Store.open(None, sources=["a/checkpoint"])
    with pytest.raises(UntrustedCheckpointError):
        Store.open("a/checkpoint")
    told: list[object] = []
    found = Store.open(None, sources=["a/checkpoint"], named=False, on_problem=told.append)
    assert found.get("k") is None and found.loaded == []
    assert [problem.kind for problem in found.problems] == ["untrusted"] and len(told) == 1
    assert Store.open(None, sources=["a/checkpoint"], trust="any").get("k") == 1
    with pytest.raises(ConfigurationError):
        Store.open(None, sources=["a/checkpoint"], trust="all")  # type: ignore[arg-type]


def test_what_belongs_to_someone_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open("a/checkpoint") as store:
        store.put("k", 1)
    owner = os.stat("a/checkpoint").st_uid
    if owner == 0:
        os.chown("a/checkpoint", 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UntrustedCheckpointError, match="belongs to user"):
        Store.open(None, sources=["a/checkpoint"])


def test_a_store_does_not_mind_a_change_of_directory(tmp_path: Path) -> None:
    store = Store.open("a/checkpoint", rotate_records=2)
    store.put(0, 0)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    for n in range(1, 6):
        store.put(n, b"x" * 100_000)
    assert store.get(0) == 0
    store.close()
    os.chdir(tmp_path)
    reader = Store.open(None, sources=["a/checkpoint"])
    assert len(reader) == 6 and reader.loaded == [("a/checkpoint", 6)]
