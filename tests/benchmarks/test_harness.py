"""The harness tables what it measured, and an absent peer is a row, not a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import harness

pytestmark = pytest.mark.once


def one(n):
    return {"µs": float(n)}


def two(n):
    return {"µs": 2.0 * n, "MB": 3.0}


def absent(n):
    import a_library_that_nobody_has  # noqa: F401

    return {}


def broken(n):
    raise RuntimeError("it broke")


def prepare(n, prepared):
    Path(prepared, "there").write_text(str(n))


def prepared_for(n, prepared):
    return {"µs": float(Path(prepared, "there").read_text())}


MEASUREMENT = harness.Measurement(
    title="A table",
    columns=["µs", "MB"],
    params={"n": 10},
    quick={"n": 5},
    rounds=2,
    contenders=[
        harness.Contender("one", one),
        harness.Contender("two", two),
        harness.Contender("smaller", one, params={"n": 7}, rounds=1),
        harness.Contender("absent", absent),
        harness.Contender("broken", broken),
        harness.Contender("prepared", prepared_for, prepare=prepare),
    ],
)


@pytest.fixture(scope="module")
def results():
    return {r.contender.label: r for r in harness.measure(MEASUREMENT, quick=False, rounds=None)}


def test_every_round_is_kept_and_the_median_shown(results):
    assert results["one"].rows == [{"µs": 10.0}] * 2
    assert results["two"].median("MB") == 3.0
    assert results["smaller"].rows == [{"µs": 7.0}]


def test_what_was_prepared_is_there(results):
    assert results["prepared"].median("µs") == 10.0


def test_an_absent_library_and_a_failure_are_told(results):
    assert results["absent"].trouble == "not installed (a_library_that_nobody_has)"
    assert "it broke" in results["broken"].trouble


def test_the_table_compares_with_the_first(results):
    lines = harness.table(MEASUREMENT, list(results.values())).splitlines()
    assert lines[0] == "A table"
    two_line = next(line for line in lines if line.strip().startswith("two"))
    assert two_line.split() == ["two", "20.00", "3.00", "20.00", "to", "20.00", "2.00"]
    assert any(line.split() == ["absent", "not", "installed", "(a_library_that_nobody_has)"]
               for line in lines)  # fmt: skip


def count(n, prepared):
    made = Path(prepared, "made")
    made.write_text(f"{made.read_text() if made.exists() else ''}x")


def made(n, prepared):
    return {"µs": float(len(Path(prepared, "made").read_text()))}


def changed(n, prepared):
    Path(harness.copied(str(Path(prepared).parent), Path(prepared).name), "more").write_text("x")
    return {"µs": float(len(os.listdir(prepared)))}


def test_what_several_need_is_prepared_once_and_changed_in_copies():
    measurement = harness.Measurement(
        title="Once", columns=["µs"], params={"n": 1}, rounds=2,
        contenders=[
            harness.Contender("first", made, prepare=count),
            harness.Contender("second", changed, prepare=count),
            harness.Contender("other", made, prepare=count, params={"n": 2}),
        ],
    )  # fmt: skip
    with harness.Preparations() as preparations:
        for _ in range(2):
            for result in harness.measure(measurement, False, None, preparations):
                assert not result.trouble and result.rows == [{"µs": 1.0}] * 2


def test_goals_are_judged_by_what_was_measured(results):
    def judge(**limits):
        return harness.Goal("aim", "two", "µs", unit=" µs", **limits).judge(list(results.values()))

    assert judge(at_most=20) == ["aim", "≤ 20 µs", "20 µs", "reached"]
    assert judge(at_least=20.5)[-1] == "not reached"
    assert judge(at_least=2, of="one")[1:3] == ["≥ 2 times µs", "2 times µs"]
    assert harness.Goal("aim", "absent", "µs", at_most=1).judge(list(results.values())) is None
    assert harness.Goal("aim", "two", "µs", at_most=1, of="absent").judge(
        list(results.values())
    ) is None  # fmt: skip
    lines = harness.summary([judge(at_most=20), judge(at_least=30)]).splitlines()
    assert lines[0] == "Aims" and lines[1].split()[-1] == lines[2].split()[-1] == "reached"


def test_quick_shrinks_and_never_enlarges():
    quick = {"n": 5}
    assert harness._params(MEASUREMENT.contenders[2], quick, quick=True) == {"n": 5}
    assert harness._params(MEASUREMENT.contenders[2], {"n": 10}, quick=False) == {"n": 7}


def test_every_measurement_is_listed_with_what_it_measures(capsys):
    assert program.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name in (
        "overhead", "hits", "latency", "processes", "startup", "append", "power", "arrays",
        "opening", "maintain",
    ):  # fmt: skip
        assert name in listed


def test_an_unknown_measurement_is_wrong_usage():
    with pytest.raises(SystemExit) as end:
        program.main(["nonsense"])
    assert end.value.code == 2


def test_it_starts_as_a_module():
    root = Path(harness.__file__).parent.parent
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr


def test_every_goal_is_of_something_that_is_measured():
    import importlib

    for name in program.measurements():
        measurement = importlib.import_module(f"benchmarks.{name}").MEASUREMENT
        labels = {contender.label for contender in measurement.contenders}
        assert len(labels) == len(measurement.contenders)
        for goal in measurement.goals:
            assert {goal.label, goal.of or goal.label} <= labels
            assert goal.column in measurement.columns
            assert (goal.at_least is None) != (goal.at_most is None)
