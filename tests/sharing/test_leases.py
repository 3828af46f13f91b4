"""Leases by themselves: taken once, released by their holder, taken over from the dead."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, heartbeat
from parsl_ckpt.checkpoint.lease import SILENT_SECONDS, UNREADABLE_SECONDS, Leases

from .helpers import beat_in

KEY = bytes(range(32))
ELSEWHERE = {"host": "elsewhere", "boot": "another", "space": None}


class Place:
    def __init__(self, backend: Any, root: str) -> None:
        self.backend = backend
        self.root = root
        self.troubles: list[OSError] = []
        self.file = f"{root}/leases/{KEY.hex()}"
        backend.make_directory(root)

    def leases(self, run: str = "000") -> Leases:
        leases = Leases(self.backend, self.root, run)
        leases.trouble = self.troubles.append
        return leases

    def names(self) -> list[str]:
        return sorted(self.backend.list(f"{self.root}/leases"))

    def lay(self, text: str) -> None:
        self.backend.make_directory(f"{self.root}/leases")
        file = self.backend.create(self.file)
        file.write(text.encode())
        file.close()

    def of_the_dead(self, **facts: Any) -> None:
        """A lease whose holder is not there any more."""
        gone = {**heartbeat.identify(), "run": "007", "token": "dead", "beat": time.time()}
        self.lay(json.dumps({**gone, **facts}))


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    backend = LocalBackend() if request.param == "local" else MemoryBackend()
    return Place(backend, str(tmp_path / "runs"))


def test_one_of_two_runs_gets_it_and_the_other_after_the_release(place: Place) -> None:
    one, other = place.leases("000").claim(KEY), place.leases("001").claim(KEY)
    assert one.take(0.0) and not other.take(0.0)
    assert one.take(1.0), "who has it has it"
    one.release()
    assert other.take(2.0) and not one.take(2.0)
    other.release()
    assert place.names() == [] and place.troubles == []


def test_it_tells_who_holds_it(place: Place) -> None:
    place.leases("012").claim(KEY).take(0.0)
    found = heartbeat.read(place.backend, place.file)
    assert found is not None and found["run"] == "012" and found["pid"] == os.getpid()
    assert found["host"] and len(found["token"]) == 16


def test_only_its_holder_releases_it(place: Place) -> None:
    one, other = place.leases("000"), place.leases("001")
    claim = one.claim(KEY)
    claim.take(0.0)
    other.claim(KEY).release()
    assert place.names() == [KEY.hex()]
    # Taken for dead, and taken over by somebody else meanwhile:
    place.backend.remove(place.file)
    assert other.claim(KEY).take(0.0)
    claim.release()
    assert not one.claim(KEY).take(0.0), "what another has taken over is not removed"


def test_all_are_released_at_the_end(place: Place) -> None:
    leases = place.leases()
    assert all(leases.claim(bytes([n]) * 32).take(0.0) for n in range(5)) and leases.held == 5
    leases.release_all()
    assert place.names() == [] and leases.held == 0


def test_a_dead_process_of_this_machine_holds_nothing(place: Place) -> None:
    place.of_the_dead(pid=2**22 + 1)  # beyond the greatest number that Linux gives
    assert place.leases().claim(KEY).take(0.0)
    assert place.names() == [KEY.hex()], "what was put aside is removed"


def test_the_number_of_a_dead_process_may_be_used_again(place: Place) -> None:
    if heartbeat.identify()["start"] is None:
        pytest.skip("the beginning of a process is not known here")
    place.of_the_dead(start="1")
    assert place.leases().claim(KEY).take(0.0)


def test_a_run_that_has_ended_holds_nothing_though_its_process_goes_on(place: Place) -> None:
    place.of_the_dead()
    beat_in(place.backend, f"{place.root}/007", beat=time.time())
    claim = place.leases().claim(KEY)
    assert not claim.take(0.0)
    beat_in(place.backend, f"{place.root}/007", beat=time.time(), ended=time.time())
    assert claim.take(0.0)


def test_a_lease_of_our_own_that_could_not_be_removed_is_no_obstacle(place: Place) -> None:
    place.of_the_dead(run="000")
    assert place.leases("000").claim(KEY).take(0.0)


def test_an_old_lease_from_another_host_is_stale(place: Place) -> None:
    old = time.time() - heartbeat.FOREIGN_SECONDS - 1
    place.of_the_dead(beat=old, **ELSEWHERE)
    assert place.leases().claim(KEY).take(0.0)


def test_an_old_lease_of_a_heart_that_beats_elsewhere_is_not(place: Place) -> None:
    old = time.time() - 10 * heartbeat.FOREIGN_SECONDS
    place.of_the_dead(beat=old, **ELSEWHERE)
    beat_in(place.backend, f"{place.root}/007", beat=time.time(), **ELSEWHERE)
    assert not place.leases().claim(KEY).take(0.0)


def test_a_heart_elsewhere_that_is_not_seen_to_beat_is_dead(
    place: Place,
) -> None:
    place.of_the_dead(**ELSEWHERE)
    ahead = time.time() + 10**6
    beat_in(place.backend, f"{place.root}/007", beat=ahead, **ELSEWHERE)
    claim = place.leases().claim(KEY)
    assert not claim.take(0.0) and not claim.take(SILENT_SECONDS)
    beat_in(place.backend, f"{place.root}/007", beat=ahead + 5, **ELSEWHERE)
    assert not claim.take(SILENT_SECONDS + 1) and not claim.take(2 * SILENT_SECONDS)
    assert claim.take(2 * SILENT_SECONDS + 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"run": "../../etc", "pid": "x"}'])
def test_what_is_no_lease_keeps_nobody_for_long(place: Place, text: str) -> None:
    place.lay(text)
    claim = place.leases().claim(KEY)
    claim.take(0.0)
    assert claim.take(UNREADABLE_SECONDS + 1)


def test_a_lease_without_its_text_is_being_written(place: Place) -> None:
    place.lay("")
    claim = place.leases().claim(KEY)
    assert not claim.take(0.0) and not claim.take(UNREADABLE_SECONDS)


def test_a_directory_that_cannot_be_written_to_is_told_of_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(place.backend, "create", refuse)
    leases = place.leases()
    claims = [leases.claim(bytes([n]) * 32) for n in range(3)]
    assert all(claim.take(0.0) for claim in claims)
    assert len(place.troubles) == 1
    for claim in claims:
        claim.release()


def test_a_full_disk_is_no_obstacle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    create = place.backend.create

    def full(path: str) -> Any:
        file = create(path)

        def write(data: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(file, "write", write)
        return file

    monkeypatch.setattr(place.backend, "create", full)
    assert place.leases().claim(KEY).take(0.0)
    assert place.names() == [] and len(place.troubles) == 1


def test_a_stale_lease_that_cannot_be_put_aside_is_no_obstacle(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.of_the_dead(pid=2**22 + 1)

    def refuse(old: str, new: str) -> None:
        raise PermissionError(13, "Permission denied", old)

    monkeypatch.setattr(place.backend, "rename", refuse)
    assert place.leases().claim(KEY).take(0.0) and len(place.troubles) == 1


def test_a_file_in_the_place_of_the_directory_is_no_obstacle(place: Place) -> None:
    place.backend.create(f"{place.root}/leases").close()
    assert place.leases().claim(KEY).take(0.0) and len(place.troubles) == 1


def test_what_cannot_be_removed_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = place.leases()
    claim = leases.claim(KEY)
    claim.take(0.0)

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(place.backend, "remove", refuse)
        claim.release()
    assert place.names() == [KEY.hex()]
    leases.release_all()
    assert place.names() == []


def test_whoever_takes_over_first_is_not_put_aside(place: Place) -> None:
    """Two find the same stale lease; the slower one has a look at what it takes away."""
    place.of_the_dead(pid=2**22 + 1)
    slow = place.leases("001")
    stale = slow.read(place.file)
    assert place.leases("000").claim(KEY).take(0.0)
    slow.put_aside(place.file, stale)
    assert not slow.claim(KEY).take(0.0)


def test_what_the_dead_left_is_swept(place: Place) -> None:
    place.of_the_dead(pid=2**22 + 1)
    living = place.leases("000")
    living.claim(b"l" * 32).take(0.0)
    place.leases("001").sweep()
    assert place.names() == [(b"l" * 32).hex()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_releases_nothing(tmp_path: Path) -> None:
    place = Place(LocalBackend(), str(tmp_path / "runs"))
    leases = place.leases()
    claim = leases.claim(KEY)
    claim.take(0.0)
    child = os.fork()
    if child == 0:
        claim.release()
        leases.release_all()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert place.names() == [KEY.hex()]
