"""When the time of a file tells of every change."""

from __future__ import annotations

import os
import time

import pytest

from parsl_ckpt.identity import grain


@pytest.fixture
def now(monkeypatch):
    now = 1_700_000_000_123_456_789
    monkeypatch.setattr(time, "time_ns", lambda: now)
    return now


class Found:
    """What ``os.stat`` says of a file that changed some time ago."""

    def __init__(self, changed, device=7, made=None):
        self.st_dev = device
        self.st_ctime_ns = changed
        self.st_mtime_ns = changed if made is None else made


@pytest.mark.parametrize("fine", [True, False])
def test_a_file_settles_when_it_is_older_than_its_grain(now, monkeypatch, fine):
    monkeypatch.setattr(grain, "_grains", {})
    monkeypatch.setattr(grain, "_is_fine", lambda device: fine)
    needed = grain.FINE_NS if fine else grain.COARSE_NS
    assert grain.settles_in(Found(now - needed - 1)) == 0
    assert grain.settles_in(Found(now - needed)) == 1
    assert grain.settles_in(Found(now)) == needed + 1
    # a time that lies in the future, or has been set so, says nothing yet
    assert grain.settles_in(Found(now - 10 * needed, made=now + 5)) > needed


def test_whole_seconds_are_coarse_wherever_they_are(now, monkeypatch):
    monkeypatch.setattr(grain, "_is_fine", lambda device: True)
    second = now // 10**9 * 10**9 - 10**9
    assert grain.settles_in(Found(second)) == second + grain.COARSE_NS - now + 1


@pytest.mark.parametrize(
    ("kind", "fine"),
    [("ext4", True), ("xfs", True), ("nfs4", False), ("vfat", False), ("fuseblk", False)],
)
def test_only_known_local_file_systems_are_fine(monkeypatch, tmp_path, kind, fine):
    line = f"22 27 8:1 / /home rw,relatime shared:1 - {kind} /dev/sda1 rw\n"
    (tmp_path / "mountinfo").write_text(line)
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda name, *args, **kw: real(tmp_path / "mountinfo", *args, **kw)
    )
    assert grain._is_fine(os.makedev(8, 1)) is fine
    assert grain._is_fine(os.makedev(8, 2)) is False  # not mounted here
    assert grain._is_fine(os.makedev(0, 1)) is False  # no disk


def test_where_mounts_cannot_be_read_nothing_is_fine(monkeypatch):
    def fails(*args, **kw):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fails)
    assert grain._is_fine(os.makedev(8, 1)) is False
