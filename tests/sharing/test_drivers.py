"""Real drivers of one workflow in one run directory: they share the work."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from .helpers import Drivers

pytestmark = pytest.mark.once

FOLLOW = {"checkpoint_mode": "task_exit", "follow": True}
SHARED = {"checkpoint_mode": "task_exit", "single_flight": "shared"}


# -- following -------------------------------------------------------------------------------------


def test_what_one_driver_has_recorded_is_a_hit_in_the_other(drivers: Drivers) -> None:
    one, other = drivers.start(**FOLLOW), drivers.start(**FOLLOW)
    for n in range(12):
        first, second = (one, other) if n % 2 else (other, one)
        assert first.call("work", n) == [2 * n] == second.call("work", n)
    assert one.end() == other.end() == 0
    assert sorted(one.ran() + other.ran()) == sorted(
        f"{app} {n}" for app in ("load", "double") for n in range(12)
    )


def test_a_driver_that_begins_later_is_followed_too(drivers: Drivers) -> None:
    one = drivers.start(**FOLLOW)
    assert one.call("work", 1) == [2]
    later = drivers.start(**FOLLOW)
    assert later.call("work", 2) == [4] and one.call("work", 2) == [4]
    assert one.call("work", 3) == [6] and later.call("work", 3) == [6]
    later.kill()
    last = drivers.start(**FOLLOW)
    assert [last.call("work", n) for n in (1, 2, 3)] == [[2], [4], [6]]
    assert last.call("work", 4) == [8] == one.call("work", 4)
    assert last.ran() == ["load 4", "double 4"] and one.end() == 0
    assert "load 2" not in one.ran() and "load 4" not in one.ran()


def test_without_follow_a_live_run_is_not_looked_at(drivers: Drivers) -> None:
    one = drivers.start(checkpoint_mode="task_exit")
    other = drivers.start(checkpoint_mode="task_exit")
    assert one.call("work", 1) == [2] == other.call("work", 1)
    assert one.ran() == other.ran() == ["load 1", "double 1"]


@pytest.mark.parametrize("mode", [None, "dfk_exit", "manual"])
def test_the_mode_of_the_one_that_follows_does_not_matter(
    drivers: Drivers, mode: str | None
) -> None:
    one, other = drivers.start(**FOLLOW), drivers.start(checkpoint_mode=mode, follow=True)
    assert one.call("work", 1) == [2] == other.call("work", 1)
    assert other.ran() == [] and other.end() == 0


def test_only_what_is_flushed_is_seen(drivers: Drivers) -> None:
    one = drivers.start(checkpoint_mode="dfk_exit")
    other = drivers.start(**FOLLOW)
    assert one.call("work", 1) == [2]
    assert one.end() == 0
    assert other.call("work", 1) == [2] and other.ran() == [], "it flushed when it ended"


def test_of_named_checkpoints_only_those_are_followed(drivers: Drivers) -> None:
    named, unnamed = drivers.start(**FOLLOW), drivers.start(**FOLLOW)
    assert named.call("load", 0) == [0]
    path = str(drivers.runs / named.run_id / "checkpoint")
    reader = drivers.start(**FOLLOW, checkpoint_files=[path])
    nobody = drivers.start(**FOLLOW, checkpoint_files=[])
    assert named.call("load", 1) == [1] and unnamed.call("load", 2) == [2]
    for driver in (reader, nobody):
        assert [driver.call("load", n) for n in (0, 1, 2)] == [[0], [1], [2]]
    assert reader.ran() == ["load 2"] and nobody.ran() == ["load 0", "load 1", "load 2"]


def test_loading_a_run_loads_those_that_it_followed(drivers: Drivers) -> None:
    one = drivers.start(**FOLLOW)
    other = drivers.start(**FOLLOW)
    assert other.call("load", 1) == [1]
    assert one.call("load", 1) == [1] and one.ran() == []
    assert one.end() == other.end() == 0
    path = str(drivers.runs / one.run_id / "checkpoint")
    last = drivers.start(checkpoint_mode="task_exit", checkpoint_files=[path])
    assert last.call("load", 1) == [1] and last.ran() == []


def test_a_later_run_that_is_not_to_be_trusted_is_warned_of_once(drivers: Drivers) -> None:
    one = drivers.start(**FOLLOW)
    other = drivers.start(**FOLLOW)
    assert other.call("load", 1) == [1]  # by now its checkpoint has been made
    (drivers.runs / other.run_id / "checkpoint").chmod(0o777)
    assert one.call("load", 1) == [1]
    assert one.call("load", 2) == [2]
    assert one.end() == 0
    (warned,) = [line for line in one.lines if line.startswith("warned")]
    assert "can be written to by others" in warned and "trust" in warned


# -- single flight ---------------------------------------------------------------------------------


def leases(runs: Path) -> list[str]:
    return sorted(os.listdir(runs / "leases"))


def test_of_two_drivers_one_computes_and_the_other_waits(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    assert len(leases(drivers.runs)) == 1
    other.begin("slow", 7)
    assert other.call("load", 1) == [1], "no worker waits with it"
    one.let_go()
    assert one.value("slow", 7) == 49 == other.value("slow", 7)
    assert one.end() == other.end() == 0
    assert one.ran() == ["slow 7"] and other.ran() == ["load 1"]
    assert leases(drivers.runs) == []


def test_many_calls_are_each_computed_once(drivers: Drivers) -> None:
    both = [drivers.start(**SHARED) for _ in range(2)]
    for n in range(30):
        for driver in both:
            driver.tell("begin", "tell", n)
    values = []
    for driver in both:
        values.append([driver.value("tell", n) for n in range(30)])
    assert values[0] == values[1], "a task tells which process it ran in"
    assert all(driver.end() == 0 for driver in both)
    assert sorted(both[0].ran() + both[1].ran()) == sorted(f"tell {n}" for n in range(30))
    assert leases(drivers.runs) == []


def test_a_driver_that_waits_takes_over_from_one_that_is_killed(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    other.begin("slow", 7)
    one.kill()
    other.until("ran slow")
    other.let_go()
    assert other.value("slow", 7) == 49 and other.end() == 0
    assert leases(drivers.runs) == []


def test_a_driver_that_waits_computes_what_fails_elsewhere(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    other.begin("slow", 7)
    one.let_go("fail")
    assert one.value("slow", 7) == "ValueError"
    other.until("ran slow")
    other.let_go()
    assert other.value("slow", 7) == 49


def test_what_waits_can_be_cancelled_and_leaves_nothing(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    other.begin("slow", 7)
    other.tell("cancel", "slow", 7)
    assert other.until("cancelled") == "cancelled True"
    assert other.value("slow", 7) == "CancelledError" and other.end() == 0
    one.let_go()
    assert one.value("slow", 7) == 49 and one.end() == 0 and leases(drivers.runs) == []


def test_a_driver_ends_though_it_waits_for_another(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    other.begin("slow", 7)
    assert other.end() == 0 and other.ran() == []
    one.let_go()
    assert one.value("slow", 7) == 49


def test_join_apps_wait_for_one_another_as_well(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("joined", 7)
    one.until("ran slow")
    other.begin("joined", 7)
    one.let_go()
    assert one.value("joined", 7) == 49 == other.value("joined", 7)
    assert other.end() == 0 and other.ran() == []


def test_a_lease_that_another_host_left_is_taken_over(drivers: Drivers) -> None:
    one, other = drivers.start(**SHARED), drivers.start(**SHARED)
    one.begin("slow", 7)
    one.until("ran slow")
    (name,) = leases(drivers.runs)
    old = {"run": "999", "pid": 1, "host": "elsewhere", "token": "t", "beat": time.time() - 10**6}
    (drivers.runs / "leases" / name).write_text(json.dumps(old))
    other.begin("slow", 7)
    other.until("ran slow")
    one.let_go()
    other.let_go()
    assert one.value("slow", 7) == 49 == other.value("slow", 7)
    assert one.end() == other.end() == 0 and leases(drivers.runs) == []


def test_leases_that_cannot_be_written_cost_a_warning(drivers: Drivers) -> None:
    drivers.runs.mkdir(mode=0o700)
    (drivers.runs / "leases").write_text("a file")
    one = drivers.start(**SHARED)
    assert one.call("load", 1) == [1] and one.call("load", 2) == [2] and one.end() == 0
    (warned,) = [line for line in one.lines if line.startswith("warned")]
    assert "leases" in warned and one.ran() == ["load 1", "load 2"]
