"""Whole workflows whose run directory is a URL."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import parsl_ckpt
from parsl_ckpt import Config, python_app
from parsl_ckpt.checkpoint import upload
from parsl_ckpt.checkpoint.remote import RemoteBackend
from parsl_ckpt.checkpoint.rundir import claim, get_all_checkpoints, get_last_checkpoint
from parsl_ckpt.errors import (
    CheckpointNotSavedError,
    ConfigurationError,
    NotUploadedError,
    RemoteStoreError,
)
from parsl_ckpt.kernel.problems import CheckpointWarning

from .conftest import NEVER, left

ran: list[int] = []


@python_app(cache=True, code="name")
def square(x: int) -> int:
    ran.append(x)
    return x * x


@python_app(cache=True, code="name")
def zeros(n: int) -> Any:
    ran.append(n)
    return np.arange(n)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def config(url: str, **options: Any) -> Config:
    options = {"checkpoint_mode": "task_exit", "upload_period": NEVER, **options}
    return Config(run_dir=url, **options)


def squares(url: str, numbers: range, **options: Any) -> list[int]:
    """What a run gives; the numbers that it computed are in ``ran``."""
    ran.clear()
    with parsl_ckpt.load(config(url, **options)):
        return [square(x).result() for x in numbers]


# --- restarting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_second_run_computes_nothing(
    kind: str, request: pytest.FixtureRequest, spool: Path
) -> None:
    url = request.getfixturevalue("url" if kind == "memory" else "s3")
    assert squares(url, range(5)) == [0, 1, 4, 9, 16]
    assert len(ran) == 5
    assert left(spool) == []
    with parsl_ckpt.load(config(url)) as dfk:
        assert [square(x).result() for x in range(5)] == [0, 1, 4, 9, 16]
        assert dfk.run_dir.startswith(f"{url}/001")
        assert [count for _, count in dfk.loaded] == [5]
        assert dfk.checkpoint() == f"{dfk.run_dir}/checkpoint"
    assert len(ran) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "power"}, {"checkpoint_mode": "dfk_exit"}, {"checkpoint_mode": "manual"},
        {"signing_key": b"k" * 32}, {"pickle": False},
    ],
    ids=str,
)  # fmt: skip
def test_every_way_to_run_works_there_as_well(url: str, options: dict[str, Any]) -> None:
    squares(url, range(3), **options)
    squares(url, range(3), **options)
    assert ran == []


def test_large_values_come_back_from_elsewhere(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parsl_ckpt.load(config(s3)):
        zeros(1_000_000).result()  # 8 MB: a blob
        zeros(20_000).result()
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(tmp_path / "elsewhere"))
    with parsl_ckpt.load(config(s3)):
        for _ in range(2):
            value = zeros(1_000_000).result()
            assert value.sum() == 499_999_500_000
            value[:] = 0  # the caller's own
        assert zeros(20_000).result().sum() == 199_990_000
    assert ran == [1_000_000, 20_000]


def test_checkpoints_here_and_there_may_be_named_together(url: str, tmp_path: Path) -> None:
    squares(url, range(2))
    squares(str(tmp_path / "runs"), range(2, 4))
    files = [*get_all_checkpoints(url), *get_all_checkpoints(tmp_path / "runs")]
    for place in (f"{url}-later", str(tmp_path / "later")):
        squares(place, range(4), checkpoint_files=files)
        assert ran == []
        squares(f"{place}-again", range(4), checkpoint_files=get_last_checkpoint(place))
        assert ran == []  # what that run had used comes with it


def test_what_a_run_recorded_can_be_read_after_its_end(url: str) -> None:
    with parsl_ckpt.load(config(url)) as dfk:
        future = square(3)
        future.result()
    assert get_all_checkpoints(url, backend=dfk._backend) == [dfk.checkpoint_dir]
    assert dfk._backend.list(dfk.checkpoint_dir)


def test_a_file_url_is_this_machine(tmp_path: Path, spool: Path) -> None:
    squares(f"file://{tmp_path}/runs", range(2))
    assert (tmp_path / "runs" / "000" / "checkpoint").is_dir()
    assert not spool.exists()
    squares(str(tmp_path / "runs"), range(2))
    assert ran == []


def test_a_run_that_keeps_nothing_leaves_nothing_behind(url: str, spool: Path) -> None:
    with parsl_ckpt.load(Config(run_dir=url)):
        square(3).result()
    assert left(spool) == []
    assert get_all_checkpoints(url) == []


def test_nothing_of_fsspec_is_imported_where_no_url_is_given() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import parsl_ckpt, tempfile\n"
        "with parsl_ckpt.load(parsl_ckpt.Config(run_dir=tempfile.mkdtemp())): pass\n"
        "assert not {'fsspec', 's3fs', 'parsl_ckpt.checkpoint.remote'}.intersection(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- run ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_sixty_four_simultaneous_starts_get_runs_of_their_own(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("url" if kind == "memory" else "s3")
    names: list[str] = []
    gate = threading.Barrier(64)

    def begin() -> None:
        gate.wait()
        names.append(claim(url).rpartition("/")[2])

    threads = [threading.Thread(target=begin) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 64
    form = r"\d{3}" if kind == "s3" else r"\d{3}-[0-9a-f]{6}"
    assert all(re.fullmatch(form, name) for name in names)


def test_runs_are_ordered_by_their_numbers(url: str) -> None:
    for _ in range(3):
        squares(url, range(1))
    names = [path.rpartition("/runs/")[2] for path in get_all_checkpoints(url)]
    assert [name[:4] for name in names] == ["000-", "001-", "002-"]
    assert get_last_checkpoint(url) == get_all_checkpoints(url)[-1:]
    assert get_all_checkpoints(f"{url}-nothing") == []


def test_a_service_that_ignores_the_condition_is_found_out(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    put = s3fs.S3FileSystem._call_s3

    async def ignore(self: Any, method: str, *args: Any, **options: Any) -> Any:
        options.pop("IfNoneMatch", None)
        return await put(self, method, *args, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", ignore)
    assert re.fullmatch(r".*/000-[0-9a-f]{6}", claim(s3))


# --- what goes wrong ------------------------------------------------------------------------------


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Fails to put; of a kind that does not replace at once."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failure: ClassVar[BaseException | None] = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("faulty://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return super().pipe_file(path, value, mode, **options)


@pytest.fixture
def faulty(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    monkeypatch.setattr(upload, "TRIES", 1)
    yield url.replace("memory", "faulty")
    Faulty.failure = None


def test_a_run_goes_on_while_nothing_can_be_uploaded(
    faulty: str, spool: Path, recwarn: pytest.WarningsRecorder
) -> None:
    def told() -> int:
        return len([one for one in recwarn if issubclass(one.category, CheckpointWarning)])

    with parsl_ckpt.load(config(faulty)) as dfk:
        Faulty.failure = OSError("the line is cut")
        assert square(2).result() == 4
        for _ in range(3):
            with pytest.raises(NotUploadedError, match=r"not uploaded.*the line is cut") as caught:
                dfk.checkpoint()
        error = caught.value
        assert isinstance(error, CheckpointNotSavedError) and error.files >= 1
        assert str(spool) in str(error) and Path(error.spool).is_dir()
        assert told() == 1
        Faulty.failure = None
        dfk.checkpoint()
        Faulty.failure = OSError("the line is cut")
        square(3).result()
        with pytest.raises(NotUploadedError):
            dfk.checkpoint()
        assert told() == 2  # it had worked meanwhile
        Faulty.failure = None
    squares(faulty, range(2, 4))
    assert ran == []


def test_what_is_not_uploaded_at_the_end_is_by_the_next_start(faulty: str, spool: Path) -> None:
    kernel = parsl_ckpt.load(config(faulty))
    square(2).result()
    Faulty.failure = PermissionError("no more")
    with (
        pytest.warns(CheckpointWarning),
        pytest.raises(NotUploadedError, match="The next start on this machine") as caught,
    ):
        kernel.cleanup()
    assert left(spool) == [Path(caught.value.spool).name]
    Faulty.failure = None
    assert squares(faulty, range(2, 3)) == [4]
    assert ran == [] and left(spool) == []


def test_what_cannot_be_uploaded_by_the_next_start_either_is_used_nevertheless(
    faulty: str, spool: Path
) -> None:
    kernel = parsl_ckpt.load(config(faulty))
    square(2).result()
    Faulty.failure = OSError("the line is cut")
    with pytest.warns(CheckpointWarning), pytest.raises(NotUploadedError):
        kernel.cleanup()
    dead = RemoteBackend(faulty, period=NEVER)
    dead.begin()
    (found,) = get_all_checkpoints(faulty, backend=_only(dead))
    assert any(name.endswith(".seg") for name in dead.list(found))
    with pytest.raises(NotUploadedError):
        dead.close()
    assert len(left(spool)) == 1
    Faulty.failure = None


def _only(backend: RemoteBackend) -> Any:
    from parsl_ckpt.checkpoint.where import Everywhere

    where = Everywhere()
    where._remotes[backend.url] = backend
    return where


def test_a_place_that_cannot_be_reached_is_told_at_the_start(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # it waits seconds in between
    with pytest.raises(RemoteStoreError, match=r"s3://no-such-bucket-here/runs.*Look whether"):
        parsl_ckpt.load(config("s3://no-such-bucket-here/runs"))
    with pytest.raises(RemoteStoreError, match=r"s3://bucket/runs.*endpoint"):
        options = {
            "endpoint_url": "http://127.0.0.1:9",
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        parsl_ckpt.load(config("s3://bucket/runs", storage_options=options))


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(RemoteStoreError, match=r"fsspec.*pip install 'parsl_ckpt\[remote\]'"):
            parsl_ckpt.load(config(url))
    with pytest.raises(RemoteStoreError, match="Nothing is known of nowhere://"):
        parsl_ckpt.load(config("nowhere://a/b"))


def test_s3_without_s3fs_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(RemoteStoreError, match=r"Install s3fs.*pip install 'parsl_ckpt\[remote\]'"):
        parsl_ckpt.load(config("s3://bucket/runs"))


def test_a_spool_that_cannot_be_made_is_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(tmp_path / "file" / "spool"))
    backend = RemoteBackend(url)
    with pytest.raises(RemoteStoreError, match="PARSL_CKPT_SPOOL"):
        backend.make_directory(f"{url}/000/checkpoint")


def test_what_would_have_to_prune_a_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"max_checkpoint_bytes.*lifecycle"):
        Config(run_dir=url, max_checkpoint_bytes=1000)
    with pytest.raises(ConfigurationError, match="URL within a URL"):
        parsl_ckpt.load(config("simplecache::s3://bucket/runs"))


def test_credentials_are_not_shown() -> None:
    assert "hush" not in repr(Config(run_dir="s3://b", storage_options={"secret": "hush"}))
