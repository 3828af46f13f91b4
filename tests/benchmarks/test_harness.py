"""The harness tables what it measured, and an absent peer is a row, not a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import harness


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


def test_quick_shrinks_and_never_enlarges():
    quick = {"n": 5}
    assert harness._params(MEASUREMENT.contenders[2], quick, quick=True) == {"n": 5}
    assert harness._params(MEASUREMENT.contenders[2], {"n": 10}, quick=False) == {"n": 7}


def test_every_measurement_is_listed_with_what_it_measures(capsys):
    assert program.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name in ("overhead", "hits", "latency", "processes", "startup", "append"):
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
