"""``parsl-ckpt sets``: what is named, and how names are taken out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import Store, get_all_checkpoints, maintain
from parsl_ckpt.checkpoint.pins import Pins
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import StoreBusyError

from .conftest import Tell

AWKWARD = "\ud800 [bold]x[/bold]"


@pytest.fixture
def named(runs: list[str]) -> None:
    with Store.open("runinfo/003/checkpoint", sources=runs) as store:
        pins = Pins(store)
        two, table = store.find(address(2)), store.find(address("table"))
        assert two is not None and table is not None
        pins.pin("good", {"two": table})
        pins.pin("good", {"two": two, "table": table})
        pins.pin(AWKWARD, {AWKWARD: two})


@pytest.mark.usefixtures("named")
def test_sets_and_their_names_are_listed(told: Tell) -> None:
    status, out, _ = told("sets")
    rows = [line.split()[:2] for line in out.splitlines()]
    assert status == 0 and ["good", "2"] in rows and ["'\\ud800", "[bold]x[/bold]'"] in rows
    assert json.loads(told("sets", "--json")[1]) == {"good": 2, AWKWARD: 1}
    rows = [line.split()[:3] for line in told("sets", "good")[1].splitlines()]
    assert rows.index(["two", "simulate", "002"]) < rows.index(["table", "table", "001"])
    told_of = json.loads(told("sets", "good", "table", "--json")[1])
    assert [(row["name"], row["app"], row["run"]) for row in told_of] == [("table", "table", "001")]


@pytest.mark.usefixtures("runs")
def test_no_sets_and_wrong_ones_are_told(told: Tell) -> None:
    assert "There are no named sets in runinfo." in told("sets")[1]
    status, _, err = told("sets", "best")
    assert status == 1 and "There is no such set." in err
    status, _, err = told("sets", "--drop")
    assert status == 1 and "Nothing says which set is meant." in err


@pytest.mark.usefixtures("named")
def test_names_are_taken_out_with_all_that_they_stood_for_before(told: Tell) -> None:
    assert "Would take 1 name out of the set." in told("sets", "good", "two", "--drop")[1]
    assert "good" in told("sets")[1]
    assert "Took 1 name out of the set." in told("sets", "good", "two", "--drop", "--yes")[1]
    sets = maintain.sets("runinfo")
    assert {of: list(names) for of, names in sets.items()} == {
        "good": ["table"],
        AWKWARD: [AWKWARD],
    }
    status, _, err = told("sets", "good", "two")
    assert status == 1 and "No name of that set is meant by that." in err
    told("sets", "good", "--drop", "--yes")
    with Store.open(None, sources=get_all_checkpoints("runinfo")) as store:
        assert Pins(store).sets() == [AWKWARD]


@pytest.mark.usefixtures("named")
def test_pruning_says_what_stays_because_it_is_named(told: Tell) -> None:
    _, out, _ = told("prune", "--app", "table")
    assert "Left 1 record that named sets need." in out
    assert "table" in json.loads(told("sets", "good", "--json")[1])[1]["app"]


def test_a_result_that_is_gone_is_listed_as_removed(told: Tell, named: None) -> None:
    with Store.open("runinfo/004/checkpoint", sources=get_all_checkpoints("runinfo")) as store:
        store.forget(address("table"))
    assert "(removed)" in told("sets", "good", "table")[1]


def test_where_all_runs_live_no_name_can_be_taken_out(tmp_path: Path) -> None:
    with Store.open(tmp_path / "000" / "checkpoint") as store:
        store.put(1, 1)
        found = store.find(address(1))
        assert found is not None
        Pins(store).pin("s", {"x": found})
        with pytest.raises(StoreBusyError, match="All runs are live"):
            maintain.unpin(tmp_path, "s")
