"""Whose files are read: ours alone, unless told otherwise; and nobody's links, pipes or devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import LocalBackend, Store
from parsl_ckpt.checkpoint.backend import Owner
from parsl_ckpt.errors import ConfigurationError, UntrustedCheckpointError

from .conftest import Place

BIG = b"b" * (2 << 20)  # stands in a blob of its own


class Foreign(LocalBackend):
    """As if a file belonged to somebody else, which only root could bring about."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def _seen(self, path: str, owner: Owner) -> Owner:
        return Owner(54321, owner.mode) if path.endswith(self.suffix) else owner

    def owner(self, path: str) -> Owner | None:
        found = super().owner(path)
        return found and self._seen(path, found)

    def owners(self, path: str) -> Any:
        for name, owner in super().owners(path):
            yield name, self._seen(name, owner)


def filled(place: Place, values: int = 3) -> Path:
    with place.open() as store:
        for n in range(values):
            store.put(n, n)
        store.put("big", BIG)
    return Path(place.path())


def segment(directory: Path) -> Path:
    return next(directory.glob("*.seg"))


def blob(directory: Path) -> Path:
    return next(directory.glob("blobs/*/*"))


def refused(place: Place, backend: Any = None) -> str:
    with pytest.raises(UntrustedCheckpointError) as caught:
        Store.open(None, sources=[place.path()], backend=backend or place.backend)
    assert "chown" in str(caught.value) and "trust='any'" in str(caught.value)
    store = Store.open(None, sources=[place.path()], backend=backend or place.backend, named=False)
    (problem,) = store.problems
    assert problem.kind == "untrusted" and store.get(1) is None
    open_ = Store.open(None, sources=[place.path()], backend=backend or place.backend, trust="any")
    assert open_.get(1) == 1 and open_.get("big") == BIG and open_.problems == []
    return caught.value.message


@pytest.mark.parametrize("find", [lambda d: d, segment, lambda d: d / "blobs"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_to_is_refused_by_name(
    local: Place, find: Callable[[Path], Path], mode: int
) -> None:
    victim = find(filled(local))
    os.chmod(victim, victim.stat().st_mode | mode)
    said = refused(local)
    assert "can be written to by others" in said and victim.name in said


@pytest.mark.parametrize("suffix", [".seg", "blobs", "checkpoint"])
def test_what_belongs_to_somebody_else_is_refused_by_name(local: Place, suffix: str) -> None:
    filled(local)
    said = refused(local, Foreign(suffix))
    assert "belongs to user 54321" in said and suffix in said


def test_the_directory_that_is_written_to_is_asked_as_well(local: Place) -> None:
    directory = filled(local)
    segment(directory).chmod(0o666)
    with pytest.raises(UntrustedCheckpointError):
        Store.open(directory)


def test_files_of_other_kinds_do_not_count(local: Place) -> None:
    directory = filled(local)
    (directory / "README").write_text("hello")
    (directory / "README").chmod(0o666)
    assert local.open(None, ("000",)).get(1) == 1


def test_a_blob_that_others_can_write_to_is_not_read(local: Place) -> None:
    blob(filled(local)).chmod(0o606)
    reader = local.open(None, ("000",))
    assert reader.get(1) == 1 and reader.get("big") is None
    (problem,) = reader.problems
    assert problem.kind == "blob" and "can be written to by others" in problem.text
    assert local.open(None, ("000",), trust="any").get("big") == BIG


@pytest.mark.parametrize("level", ["blob", "between", "blobs"])
def test_links_to_blobs_are_not_followed(local: Place, tmp_path: Path, level: str) -> None:
    victim = blob(filled(local))
    for _ in range(("blob", "between", "blobs").index(level)):
        victim = victim.parent
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    reader = local.open(None, ("000",), trust="any")
    assert reader.get(1) == 1 and reader.get("big") is None
    assert [problem.kind for problem in reader.problems] == ["blob"]


@pytest.mark.parametrize("how", ["link", "pipe", "directory", "device"])
def test_a_segment_that_is_no_file_is_left_aside(local: Place, tmp_path: Path, how: str) -> None:
    directory = filled(local)
    victim = segment(directory)
    victim.rename(tmp_path / "elsewhere")
    if how == "link":
        victim.symlink_to(tmp_path / "elsewhere")
    elif how == "pipe":
        os.mkfifo(victim)
    elif how == "directory":
        victim.mkdir()
    else:
        victim.symlink_to("/dev/zero")
    reader = local.open(None, ("000",))
    assert reader.get(1) is None and [p.kind for p in reader.problems] == ["directory"]
    writer = local.open("000")
    writer.put(1, 1)
    assert writer.get(1) == 1


def test_a_pipe_in_place_of_a_blob_does_not_hang(local: Place) -> None:
    victim = blob(filled(local))
    victim.unlink()
    os.mkfifo(victim)
    assert local.open(None, ("000",)).get("big") is None


def test_trust_is_one_of_two_words(local: Place) -> None:
    filled(local)
    with pytest.raises(ConfigurationError, match="trust"):
        local.open(None, ("000",), trust="all")
