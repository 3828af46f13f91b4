"""Trust as runs see it: whose checkpoints are used, what is signed, what is not to be seen."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Result, Store
from parsl_ckpt.errors import AppDefinitionError, KeyFileError, UntrustedCheckpointError
from parsl_ckpt.identity.privacy import SECRET
from parsl_ckpt.kernel.problems import CheckpointWarning

KEY = b"k" * 32
# What an app reaches counts in its addresses, containers by what is in them; loggers do not.
ran = logging.getLogger("ran")
ran.setLevel(logging.INFO)
ran.propagate = False
RAN: list[Any] = []


class _Collector(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        RAN.append(record.msg)


ran.addHandler(_Collector())


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PARSL_CKPT_KEY", raising=False)
    RAN.clear()
    yield
    pc.clear()


def config(tmp_path: Path, **options: Any) -> pc.Config:
    executors = [pc.ThreadPoolExecutor(max_workers=2)]
    return pc.Config(
        executors=executors, checkpoint_mode="task_exit", run_dir=tmp_path / "runs", **options
    )


@pc.python_app(cache=True)
def twice(x: Any) -> Any:
    ran.info(x)
    return x * 2


@pc.python_app(cache=True)
def big(n: int) -> bytes:
    ran.info(n)
    return bytes([n]) * 300_000


def run(tmp_path: Path, app: Any, calls: list[Any], **options: Any) -> list[Any]:
    """What ran of the calls, in a run of its own."""
    RAN.clear()
    with pc.load(config(tmp_path, **options)):
        futures = [app(*call) if isinstance(call, tuple) else app(call) for call in calls]
        for future in futures:
            future.result()
    return sorted(RAN)


def results(tmp_path: Path) -> list[Result]:
    found = []
    for directory in sorted((tmp_path / "runs").iterdir()):
        with Store.open(None, sources=[directory / "checkpoint"]) as store:
            found += [r for _, _, r in store.records() if isinstance(r, Result)]
    return found


def recorded(tmp_path: Path) -> bytes:
    """Every byte of all runs."""
    return b"".join(p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file())


# --- whose ----------------------------------------------------------------------------------------


def opened_to_others(tmp_path: Path) -> Path:
    run(tmp_path, twice, [1, 2])
    directory = tmp_path / "runs" / "000" / "checkpoint"
    next(directory.glob("*.seg")).chmod(0o666)
    return directory


def test_a_checkpoint_that_others_can_write_to_is_left_out_with_one_warning(
    tmp_path: Path,
) -> None:
    directory = opened_to_others(tmp_path)
    shutil.copytree(directory.parent, tmp_path / "runs" / "001")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(tmp_path, twice, [1, 2]) == [1, 2]
    (warning,) = [w for w in caught if issubclass(w.category, CheckpointWarning)]
    assert str(directory) in str(warning.message) and "chmod" in str(warning.message)
    assert run(tmp_path, twice, [1, 2], trust="any") == []


def test_a_checkpoint_that_is_named_and_not_to_be_trusted_is_refused(tmp_path: Path) -> None:
    directory = opened_to_others(tmp_path)
    with pytest.raises(UntrustedCheckpointError, match="can be written to by others"):
        pc.load(config(tmp_path, checkpoint_files=[directory]))
    assert run(tmp_path, twice, [1, 2], trust="any", checkpoint_files=[directory]) == []


# --- signed ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::parsl_ckpt.kernel.problems.CheckpointWarning")
def test_runs_with_a_key_use_what_was_signed_with_it_and_nothing_else(tmp_path: Path) -> None:
    assert run(tmp_path, twice, [1, 2], signing_key=KEY) == [1, 2]
    assert run(tmp_path, twice, [1, 2, 3], signing_key=KEY) == [3]
    assert run(tmp_path, twice, [4]) == [4]
    assert run(tmp_path, twice, [1, 2, 3, 4], signing_key=KEY) == [4]
    assert run(tmp_path, twice, [1, 2, 3, 4], signing_key=b"other key" * 4) == [1, 2, 3, 4]


def test_what_is_not_signed_with_the_key_is_told_once_for_each_cause(tmp_path: Path) -> None:
    for number in range(2):
        assert run(tmp_path, twice, [number], signing_key=b"other key" * 4) == [number]
    assert run(tmp_path, twice, [2]) == [2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(tmp_path, twice, [0, 1, 2], signing_key=KEY) == [0, 1, 2]
    told = sorted(str(w.message) for w in caught if issubclass(w.category, CheckpointWarning))
    assert len(told) == 2 and f"{tmp_path}/runs/00" in told[0]
    assert "not signed with this key. They are left aside, and computed again." in told[0]
    assert "not signed. They are left aside, and computed again" in told[1]


def test_the_key_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSL_CKPT_KEY", KEY.hex())
    assert run(tmp_path, twice, [1]) == [1]
    monkeypatch.delenv("PARSL_CKPT_KEY")
    assert run(tmp_path, twice, [1], signing_key=KEY) == []
    assert KEY.hex().encode() not in recorded(tmp_path) and KEY not in recorded(tmp_path)


def test_a_key_under_the_run_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o700)
    key = tmp_path / "runs" / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    with pytest.raises(KeyFileError, match="kept with the data"):
        pc.load(config(tmp_path, signing_key=key))
    assert "signing_key" not in repr(config(tmp_path, signing_key=KEY))


# --- not to be seen -------------------------------------------------------------------------------


@pc.python_app(cache=True, secret={"token"})
def fetch(url: str, token: str = "none") -> str:
    ran.info(url)
    return f"page {url}"


@pc.python_app(cache=True)
def fetch_any(url: str, **options: Any) -> int:
    ran.info(url)
    return len(options)


def test_a_secret_stands_nowhere_in_the_checkpoint_and_counts(tmp_path: Path) -> None:
    assert run(tmp_path, fetch, [("a", "hunter2"), ("a", "hunter3")]) == ["a", "a"]
    assert run(tmp_path, fetch, [("a", "hunter2"), ("a", "hunter4")]) == ["a"]
    assert b"hunter" not in recorded(tmp_path)
    leaves = {result.leaves for result in results(tmp_path)}
    assert len(leaves) == 3
    assert all(url == b"sa" and token[:1] == SECRET for url, token in leaves)


def test_what_is_secret_by_default_is_secret_in_every_app(tmp_path: Path) -> None:
    options: Any = {"secret": {"token", "password"}}
    assert run(tmp_path, fetch, [("a", "hunter2")], **options) == ["a"]
    RAN.clear()
    for expected in (["u"], []):
        with pc.load(config(tmp_path, **options)):
            fetch_any("u", password="hunter2", size=3).result()
            assert expected == RAN
            RAN.clear()
    with pc.load(config(tmp_path, **options)):
        fetch_any("u", password="hunter3", size=3).result()
    assert RAN == ["u"] and b"hunter" not in recorded(tmp_path)


@pc.python_app(cache=True, keep_arguments=True)
def login(account: dict[str, str]) -> int:
    return len(account)


@pytest.mark.parametrize("size", [1, 300])
def test_a_secret_inside_of_another_argument_stands_nowhere(tmp_path: Path, size: int) -> None:
    account = {"password": "hunter2", "user": "me" * size}
    with pc.load(config(tmp_path, secret={"password"})) as dfk:
        login(account).result()
        other = login({**account, "password": "hunter3"})
        other.result()
        assert "hunter" not in f"{other.why()} {other.why().to_dict()} {list(dfk.results(login))}"
    assert b"hunter" not in recorded(tmp_path)
    with pc.load(config(tmp_path)) as dfk:  # its address is the same
        login(account).result()
        assert dfk.counts()["memo_done"] == 1


def test_secret_addresses_need_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, fetch, [("a", "hunter2")]) == ["a"]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another user"))
    assert run(tmp_path, fetch, [("a", "hunter2")]) == ["a"]
    assert run(tmp_path, fetch, [("a", "hunter2")]) == []


def test_a_secret_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(AppDefinitionError, match="tokn"):

        @pc.python_app(cache=True, secret={"tokn"})
        def fetch(token: str) -> None: ...


def test_without_previews_no_argument_stands_in_the_record_and_hits_stay(tmp_path: Path) -> None:
    assert run(tmp_path, twice, ["visible"]) == ["visible"]
    assert any(b"svisible" in result.leaves for result in results(tmp_path))
    shutil.rmtree(tmp_path / "runs")
    assert run(tmp_path, twice, ["argument"], previews=False) == ["argument"]
    (result,) = results(tmp_path)
    assert [len(leaf) for leaf in result.leaves] == [33]
    assert run(tmp_path, twice, ["argument"]) == []
    assert run(tmp_path, twice, ["argument"], previews=False) == []


# --- purged ---------------------------------------------------------------------------------------


def test_what_a_scratch_cleaner_took_is_run_again_and_nothing_else(tmp_path: Path) -> None:
    calls = list(range(6))
    assert run(tmp_path, big, calls) == calls
    blobs = sorted((tmp_path / "runs").rglob("blobs/*/*"))
    assert len(blobs) == 6
    gone = {blob.read_bytes()[0] for blob in blobs[:4]}
    for blob in blobs[:4]:
        os.unlink(blob)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(tmp_path, big, calls) == sorted(gone)
    told = [w for w in caught if issubclass(w.category, CheckpointWarning)]
    assert len(told) == 1 and "big" in str(told[0].message)
    assert run(tmp_path, big, calls) == []


def test_an_older_outcome_stands_in_for_one_whose_blob_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, big, [1, 2]) == [1, 2]
    monkeypatch.setenv("PARSL_CKPT", "refresh")
    assert run(tmp_path, big, [1]) == [1]
    monkeypatch.delenv("PARSL_CKPT")
    shutil.rmtree(tmp_path / "runs" / "001" / "checkpoint" / "blobs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(tmp_path, big, [1, 2]) == []
        shutil.rmtree(tmp_path / "runs" / "000" / "checkpoint" / "blobs")
        assert run(tmp_path, big, [1]) == [1]


def test_a_cleaner_that_took_the_folders_as_well(tmp_path: Path) -> None:
    assert run(tmp_path, big, [1, 2]) == [1, 2]
    shutil.rmtree(tmp_path / "runs" / "000" / "checkpoint" / "blobs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(tmp_path, big, [1, 2, 3]) == [1, 2, 3]
    assert run(tmp_path, big, [1, 2, 3]) == []


if sys.platform == "win32":
    pytest.skip("owners and modes are those of POSIX", allow_module_level=True)
